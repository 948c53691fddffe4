//! `branchfs speculate`.

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::Session;
use super::pattern_arguments::Candidates;
use crate::trial::pattern;

/// Run commands at once and keep the first that succeeds
///
/// Each shell command runs in a branch of its own. The first to exit with 0 lands; all others are
/// ended with everything that they have started, and their branches with them.
///
/// Exits with 0 if one landed, 3 if somebody else's commit was first, 4 if none succeeded.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    commands: Candidates,
}

#[derive(Serialize)]
struct Report {
    winner: Option<u32>,
    candidates: usize,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let actions = args.commands.actions();
    let candidates = actions.len();
    args.commands.play(
        session,
        "speculate",
        |runner| pattern::speculate(runner, actions),
        |summary| Report {
            winner: summary.winner().map(|winner| winner.index),
            candidates,
        },
    )
}
