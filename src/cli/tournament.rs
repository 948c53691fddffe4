//! `branchfs tournament`.

use std::ffi::OsString;

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::Session;
use super::pattern_arguments::Repeated;
use crate::trial::pattern;

/// Run a command several times at once and let a judge compare the results two by two
///
/// Successes enter in the order of their indices; an odd one goes on without a match. The judge, a
/// shell command, gets the directories of two branches as $1 and $2 and prints 0 for the first or 1
/// for the second. A judge that says anything else ends the tournament and nothing lands.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many times
    #[arg(short = 'n', value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// The shell command that compares two branches
    #[arg(long, value_name = "COMMAND")]
    judge: OsString,
    #[command(flatten)]
    command: Repeated,
}

#[derive(Serialize)]
struct Report {
    n: u32,
    winner: Option<u32>,
    matches: Vec<pattern::Round>,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let what = pattern::Tournament {
        action: args.command.action(),
        count: args.count,
        judge: args.judge.clone(),
    };
    args.command.play(
        session,
        "tournament",
        |runner| pattern::tournament(runner, &what),
        |played: &pattern::TournamentSummary| Report {
            n: args.count,
            winner: played.summary.winner().map(|winner| winner.index),
            matches: played.rounds.clone(),
        },
    )
}
