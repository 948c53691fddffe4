//! `branchfs cascade`.

use std::ffi::OsString;

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::Session;
use super::trial_arguments::{NameArg, TrialArgs};
use super::trial_output::{Common, print};
use crate::trial::{Action, pattern};

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
    name: NameArg,
    #[command(flatten)]
    trial: TrialArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Serialize)]
struct Report {
    waves: u32,
    winner: Option<u32>,
    #[serde(flatten)]
    common: Common,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let settings = args.trial.settings("cascade", Some(&args.name));
    let what = pattern::Cascade {
        action: Action::Argv(args.command.clone()),
        waves: args.waves,
    };
    let (workspace, summary) = args.trial.with_runner(session, &settings, |runner, _| {
        Ok(pattern::cascade(runner, &what)?)
    })?;
    let report = Report {
        waves: summary.outcomes.last().map_or(0, |last| last.attempt + 1),
        winner: summary.winner().map(|winner| winner.index),
        common: Common::of(&summary),
    };
    print(
        session,
        ("cascade", args.trial.json),
        &workspace,
        &summary,
        report,
    )
}
