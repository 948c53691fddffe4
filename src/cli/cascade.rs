//! `branchfs cascade`.

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::Session;
use super::pattern_arguments::Repeated;
use crate::trial::pattern;

/// Run a command in waves of 1, 2, 4, ... trials until one succeeds
///
/// Each wave finds what the trials of the wave before printed in BRANCHING_FEEDBACK, and its number
/// over all waves in BRANCHING_ATTEMPT. The first success of a wave lands and ends the others.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many waves at most
    #[arg(long, value_name = "COUNT", default_value = "3",
          value_parser = clap::value_parser!(u32).range(1..=16))]
    waves: u32,
    #[command(flatten)]
    command: Repeated,
}

#[derive(Serialize)]
struct Report {
    waves: u32,
    winner: Option<u32>,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let what = pattern::Cascade {
        action: args.command.action(),
        waves: args.waves,
    };
    args.command.play(
        session,
        "cascade",
        |runner| pattern::cascade(runner, &what),
        |summary| Report {
            waves: summary.outcomes.last().map_or(0, |last| last.attempt + 1),
            winner: summary.winner().map(|winner| winner.index),
        },
    )
}
