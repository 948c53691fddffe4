//! `cargo xtask kill`: the long form of the recovery tests that kill the daemon.

use clap::Args;

use crate::cargo::{cargo, succeed};
use crate::{Done, install};

/// What `cargo xtask kill` takes.
#[derive(Args)]
pub struct Arguments {
    /// For how long each of the two tests goes on
    #[arg(long, default_value_t = 300)]
    seconds: u64,
}

/// Runs both tests, one after the other.
pub fn run(arguments: &Arguments) -> Done {
    install::ensure(install::FOR_TESTS)?;
    let mut test = cargo();
    test.args(["test", "--package", "branchfs", "--test", "it", "--"]);
    test.args(["--nocapture", "--test-threads", "1", "--exact"]);
    test.arg("recovery::a_crash_at_any_moment_leaves_the_parent_wholly_before_or_wholly_after");
    test.arg("recovery::kills_under_load_lose_nothing_that_was_acknowledged");
    test.env("BRANCHFS_KILL_SECONDS", arguments.seconds.to_string());
    succeed(test)
}
