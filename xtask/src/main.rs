//! The project's own commands: `cargo xtask VERB`.
//!
//! One file or folder per verb. Nothing here is part of the product: the verbs drive cargo, the
//! `branchfs` binary and plain files, as a user would.

mod bench;
mod cargo;
mod demo;
mod deny;
mod differential;
mod evidence;
mod fstests;
mod fuzz;
mod generate;
mod install;
mod kill;
mod load;
mod mounted;
mod package;
mod scale;
mod scratch;
mod sim;
mod test;
mod tidy;
mod torture;
mod transcript;
mod trials;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a verb returns: an error is printed as it is.
type Done = Result<(), Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build a real program in three branches at once and commit the first whose tests pass
    Demo,
    /// Run commands in branches of a real repository and check what comes of it
    Trials,
    /// Run every test, after installing what they need (as root, with apt-get)
    Test(test::Arguments),
    /// Write what is written from the definition of the commands: manuals and completions
    Generate(generate::Arguments),
    /// Install the program, its manuals, completions and units
    Install(package::InstallArguments),
    /// Make a tarball, a .deb and their checksums in target/dist
    Dist(package::DistArguments),
    /// Check the rules for the source tree
    Tidy,
    /// Check licenses and sources of what is built in, by cargo-deny
    Deny(deny::Arguments),
    /// Run random operations in a branch and in a plain directory for longer than the tests do
    Differential(differential::Arguments),
    /// Measure branchfs beside overlayfs, fuse-overlayfs and others
    Bench(bench::Arguments),
    /// Run test suites of others in main, in a branch and in a branch of a branch
    Fstests(fstests::Arguments),
    /// Measure how time, space and memory grow
    Scale(scale::Arguments),
    /// Cut the power at every change that a random workspace makes to its disk
    Sim(sim::Arguments),
    /// Give readers and operations input that nobody meant
    Fuzz(fuzz::Arguments),
    /// Everything that tries to lose data, one after the other, and one report
    Torture(torture::Arguments),
    /// Kill the daemon under load again and again, for longer than the tests do
    Kill(kill::Arguments),
    /// Put thousands of branches, dozens of writers and racing commits on one mount
    Load(load::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Demo => demo::run(),
        Verb::Trials => trials::run(),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Generate(arguments) => generate::run(&arguments),
        Verb::Install(arguments) => package::install(&arguments),
        Verb::Dist(arguments) => package::dist(&arguments),
        Verb::Tidy => tidy::run(),
        Verb::Deny(arguments) => deny::run(&arguments),
        Verb::Differential(arguments) => differential::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Fstests(arguments) => fstests::run(&arguments),
        Verb::Scale(arguments) => scale::run(&arguments),
        Verb::Sim(arguments) => sim::run(&arguments),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
        Verb::Torture(arguments) => torture::run(&arguments),
        Verb::Kill(arguments) => kill::run(&arguments),
        Verb::Load(arguments) => load::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
