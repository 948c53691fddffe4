//! `branchfs reflexion`.

use std::ffi::OsString;

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::Session;
use super::pattern_arguments::Repeated;
use crate::trial::pattern;

/// Try a command again and again, told each time what was wrong
///
/// Every attempt has a fresh branch. The critique, a shell command, runs in the branch of an
/// attempt that failed, with what the attempt printed in BRANCHING_FEEDBACK; what it prints is the
/// next attempt's BRANCHING_FEEDBACK. Without a critique that is what the attempt printed.
/// BRANCHING_ATTEMPT is the attempt, from 0. The first success lands.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often it is tried again after the first attempt
    #[arg(long, value_name = "COUNT", default_value = "3")]
    retries: u32,
    /// A shell command that says what was wrong
    #[arg(long, value_name = "COMMAND")]
    critique: Option<OsString>,
    #[command(flatten)]
    command: Repeated,
}

#[derive(Serialize)]
struct Report {
    attempts: usize,
    winner: Option<u32>,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let what = pattern::Reflexion {
        action: args.command.action(),
        retries: args.retries,
        critique: args.critique.clone(),
    };
    args.command.play(
        session,
        "reflexion",
        |runner| pattern::reflexion(runner, &what),
        |summary| Report {
            attempts: summary.outcomes.len(),
            winner: summary.winner().map(|winner| winner.attempt),
        },
    )
}
