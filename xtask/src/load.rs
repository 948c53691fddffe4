//! `cargo xtask load`: very many branches, very many writers, commits that race for one parent.

use clap::Args;

use crate::kill::run_each;
use crate::{Done, install};

/// What `cargo xtask load` takes.
#[derive(Args)]
pub struct Arguments {
    /// All of it, the writers for seconds; the default
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// The writers for ten minutes, and three times as many races
    #[arg(long)]
    long: bool,
}

/// Runs the tests, one after the other.
pub fn run(arguments: &Arguments) -> Done {
    install::ensure(install::FOR_TESTS)?;
    let amount = if arguments.long { "long" } else { "quick" };
    let tests = [
        "load::thousands_of_live_branches_keep_apart_and_come_back",
        "load::processes_that_write_in_many_branches_at_once_lose_nothing",
        "load::of_commits_that_race_one_wins_and_nobody_sees_half_of_it",
    ];
    run_each(&tests.map(|test| (test, "BRANCHFS_LOAD", amount)))
}
