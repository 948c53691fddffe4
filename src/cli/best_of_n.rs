//! `branchfs best-of-n`.

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::Session;
use super::pattern_arguments::Repeated;
use crate::trial::pattern;

/// Run a command several times at once and keep the one with the highest score
///
/// The command writes its score, a number, to descriptor 3; without one a success counts 1 and a
/// failure 0. All run to their end or their time limit. Only successes win; of equal scores the
/// lowest index does. BRANCHING_ATTEMPT is the index, from 0.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many times
    #[arg(short = 'n', value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    #[command(flatten)]
    command: Repeated,
}

#[derive(Serialize)]
struct Winner {
    index: u32,
    score: f64,
}

#[derive(Serialize)]
struct Report {
    n: u32,
    winner: Option<Winner>,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let (count, action) = (args.count, args.command.action());
    args.command.play(
        session,
        "best-of-n",
        |runner| pattern::best_of(runner, count, &action),
        |summary| Report {
            n: count,
            winner: summary.winner().map(|winner| Winner {
                index: winner.index,
                score: winner.score(),
            }),
        },
    )
}
