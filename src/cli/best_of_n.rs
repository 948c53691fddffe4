//! `branchfs best-of-n`.

use std::ffi::OsString;

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::Session;
use super::trial_arguments::{NameArg, TrialArgs};
use super::trial_output::{Common, print};
use crate::trial::{Action, pattern};

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
    name: NameArg,
    #[command(flatten)]
    trial: TrialArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
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
    #[serde(flatten)]
    common: Common,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let settings = args.trial.settings("best-of-n", Some(&args.name));
    let action = Action::Argv(args.command.clone());
    let (workspace, summary) = args.trial.with_runner(session, &settings, |runner, _| {
        Ok(pattern::best_of(runner, args.count, &action)?)
    })?;
    let report = Report {
        n: args.count,
        winner: summary.winner().map(|winner| Winner {
            index: winner.index,
            score: winner.score(),
        }),
        common: Common::of(&summary),
    };
    print(
        session,
        ("best-of-n", args.trial.json),
        &workspace,
        &summary,
        report,
    )
}
