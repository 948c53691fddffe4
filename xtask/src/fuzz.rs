//! `cargo xtask fuzz`: the long form of the tests that make up their input.

use clap::{Args, ValueEnum};

use crate::Done;
use crate::cargo::{cargo, succeed};

/// What `cargo xtask fuzz` takes.
#[derive(Args)]
pub struct Arguments {
    /// What is given such input; everything, one after the other, if not said
    target: Option<Target>,
    /// For how long each target gets fresh input
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The input to repeat, as a failure names it
    #[arg(long, conflicts_with = "seconds", requires = "target")]
    seed: Option<u64>,
}

/// The tests in tests/fuzz.
#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// Damaged journals, checkpoints and superblocks
    Store,
    /// Journals of nonsense with good checksums
    Records,
    /// What is written to the control files
    Control,
    /// File operations with any arguments
    Vfs,
}

/// Runs one target or all.
pub fn run(arguments: &Arguments) -> Done {
    let targets = match &arguments.target {
        Some(one) => std::slice::from_ref(one),
        None => Target::value_variants(),
    };
    for target in targets {
        let name = target.to_possible_value().expect("none is hidden");
        let mut test = cargo();
        test.args(["test", "--quiet", "--package", "branchfs", "--test", "fuzz"]);
        test.args(["--", "--nocapture", "--exact", name.get_name()]);
        match arguments.seed {
            Some(seed) => test.env("FUZZ_SEED", seed.to_string()),
            None => test.env("FUZZ_SECONDS", arguments.seconds.to_string()),
        };
        succeed(test)?;
    }
    Ok(())
}
