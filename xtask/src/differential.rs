//! `cargo xtask differential`: the long form of the differential test.

use clap::Args;

use crate::cargo::{cargo, succeed};
use crate::{Done, install};

/// What `cargo xtask differential` takes.
#[derive(Args)]
pub struct Arguments {
    /// For how long seed follows seed (1800 without --seed, one run with it)
    #[arg(long)]
    seconds: Option<u64>,
    /// The first seed; without it, one from the clock
    #[arg(long)]
    seed: Option<u64>,
    /// Mount with `-o writeback`
    #[arg(long)]
    writeback: bool,
}

/// Runs the test with this time and seed.
pub fn run(arguments: &Arguments) -> Done {
    install::ensure(install::FOR_TESTS)?;
    let mut test = cargo();
    let name = "differential::a_branch_and_a_plain_directory_cannot_be_told_apart";
    test.args([
        "test",
        "--package",
        "branchfs",
        "--test",
        "it",
        "--",
        "--nocapture",
        "--exact",
        name,
    ]);
    let usual = if arguments.seed.is_some() { 0 } else { 1800 };
    let seconds = arguments.seconds.unwrap_or(usual);
    test.env("BRANCHFS_DIFFERENTIAL_SECONDS", seconds.to_string());
    if let Some(seed) = arguments.seed {
        test.env("BRANCHFS_DIFFERENTIAL_SEED", seed.to_string());
    }
    if arguments.writeback {
        test.env("BRANCHFS_DIFFERENTIAL_OPTIONS", "writeback");
    }
    succeed(test)
}
