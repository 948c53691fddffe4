//! `branchfs reflexion`.

use std::ffi::OsString;

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::Session;
use super::trial_arguments::{NameArg, TrialArgs};
use super::trial_output::{Common, print};
use crate::trial::{Action, pattern};

/// Try a command again and again, told each time what was wrong
///
/// Every attempt has a fresh branch. The critique, a shell command, runs in the branch of an
/// attempt
/// that failed, with what the attempt printed in BRANCHING_FEEDBACK; what it prints is the next
/// attempt's BRANCHING_FEEDBACK. Without a critique that is what the attempt printed.
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
    name: NameArg,
    #[command(flatten)]
    trial: TrialArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Serialize)]
struct Report {
    attempts: usize,
    winner: Option<u32>,
    #[serde(flatten)]
    common: Common,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let settings = args.trial.settings("reflexion", Some(&args.name));
    let what = pattern::Reflexion {
        action: Action::Argv(args.command.clone()),
        retries: args.retries,
        critique: args.critique.clone(),
    };
    let (workspace, summary) = args.trial.with_runner(session, &settings, |runner, _| {
        Ok(pattern::reflexion(runner, &what)?)
    })?;
    let report = Report {
        attempts: summary.outcomes.len(),
        winner: summary.winner().map(|winner| winner.attempt),
        common: Common::of(&summary),
    };
    print(
        session,
        ("reflexion", args.trial.json),
        &workspace,
        &summary,
        report,
    )
}
