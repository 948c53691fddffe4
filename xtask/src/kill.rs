//! `cargo xtask kill`: the long form of the tests in which the daemon is killed.

use clap::Args;

use crate::evidence::{MOUNTED, Test};
use crate::{Done, install};

/// What `cargo xtask kill` takes.
#[derive(Args)]
pub struct Arguments {
    /// How often it is killed under load: versions, an untar, a build, SQLite, commits, by turns
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// For how long it is killed in the middle of commits
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How often it comes to a named point before it dies there, at most
    #[arg(long, default_value_t = 3)]
    times: u64,
}

/// Runs the tests, one after the other.
pub fn run(arguments: &Arguments) -> Done {
    install::ensure(install::FOR_TESTS)?;
    let load = "kills::kills_under_load_lose_nothing_that_was_acknowledged";
    let commit = "recovery::a_crash_at_any_moment_leaves_the_parent_wholly_before_or_wholly_after";
    let mut tests = vec![
        (load, "BRANCHFS_KILLS", arguments.kills),
        (commit, "BRANCHFS_KILL_SECONDS", arguments.seconds),
    ];
    let points = [
        "failpoints::a_daemon_that_dies_within_a_commit_loses_nothing",
        "failpoints::a_daemon_that_dies_within_a_publish_loses_nothing",
        "failpoints::a_daemon_that_dies_within_a_checkpoint_loses_nothing",
        "failpoints::a_daemon_that_dies_within_a_reclaim_loses_nothing",
    ];
    tests.extend(points.map(|point| (point, "BRANCHFS_FAILPOINT_TIMES", arguments.times)));
    run_each(&tests)
}

/// Runs tests with a variable each and prints what they say.
pub fn run_each<A: ToString>(tests: &[(&'static str, &str, A)]) -> Done {
    for (name, variable, amount) in tests {
        let test = Test {
            target: MOUNTED,
            name,
        };
        let lines = test.run(&[(variable, amount.to_string())])?;
        lines.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}
