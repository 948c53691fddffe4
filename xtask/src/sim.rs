//! `cargo xtask sim`: the long form of the crash simulation.

use clap::Args;

use crate::Done;
use crate::cargo::{cargo, succeed};

/// What `cargo xtask sim` takes.
#[derive(Args)]
pub struct Arguments {
    /// The world to run, with a power cut after every change to the disk
    #[arg(long, conflicts_with = "minutes")]
    seed: Option<u64>,
    /// For how long fresh seeds are run
    #[arg(long, default_value_t = 10)]
    minutes: u64,
}

/// Runs the simulation.
pub fn run(arguments: &Arguments) -> Done {
    let mut test = cargo();
    test.args(["test", "--package", "branchfs", "--lib", "--"]);
    test.args(["--nocapture", "--exact"]);
    test.arg("vfs::tests::crash::a_power_cut_anywhere_loses_nothing_durable");
    match arguments.seed {
        Some(seed) => test.env("SIM_SEED", seed.to_string()),
        None => test.env("SIM_SECONDS", (arguments.minutes * 60).to_string()),
    };
    succeed(test)
}
