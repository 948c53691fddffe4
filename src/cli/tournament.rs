//! `branchfs tournament`.

use std::ffi::OsString;

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::Session;
use super::trial_arguments::{NameArg, TrialArgs};
use super::trial_output::{Common, print};
use crate::trial::{Action, pattern};

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
    name: NameArg,
    #[command(flatten)]
    trial: TrialArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Serialize)]
struct Report {
    n: u32,
    winner: Option<u32>,
    matches: Vec<pattern::Round>,
    #[serde(flatten)]
    common: Common,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let settings = args.trial.settings("tournament", Some(&args.name));
    let what = pattern::Tournament {
        action: Action::Argv(args.command.clone()),
        count: args.count,
        judge: args.judge.clone(),
    };
    let (workspace, (summary, matches)) =
        args.trial.with_runner(session, &settings, |runner, _| {
            Ok(pattern::tournament(runner, &what)?)
        })?;
    let report = Report {
        n: args.count,
        winner: summary.winner().map(|winner| winner.index),
        matches,
        common: Common::of(&summary),
    };
    print(
        session,
        ("tournament", args.trial.json),
        &workspace,
        &summary,
        report,
    )
}
