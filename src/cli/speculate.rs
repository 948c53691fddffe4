//! `branchfs speculate`.

use std::ffi::OsString;

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::Session;
use super::trial_arguments::{NameArg, TrialArgs};
use super::trial_output::{Common, print};
use crate::trial::{Action, pattern};

/// Run commands at once and keep the first that succeeds
///
/// Each shell command runs in a branch of its own. The first to exit with 0 lands; all others are
/// ended with everything that they have started, and their branches with them.
///
/// Exits with 0 if one landed, 3 if somebody else's commit was first, 4 if none succeeded.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A shell command; give it once for each
    #[arg(short = 'c', long = "command", value_name = "COMMAND", required = true)]
    commands: Vec<OsString>,
    #[command(flatten)]
    name: NameArg,
    #[command(flatten)]
    trial: TrialArgs,
}

#[derive(Serialize)]
struct Report {
    winner: Option<u32>,
    candidates: usize,
    #[serde(flatten)]
    common: Common,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let settings = args.trial.settings("speculate", Some(&args.name));
    let shell = |command: &OsString| Action::Shell(command.clone(), Vec::new());
    let actions = args.commands.iter().map(shell).collect();
    let (workspace, summary) = args.trial.with_runner(session, &settings, |runner, _| {
        Ok(pattern::speculate(runner, actions)?)
    })?;
    let report = Report {
        winner: summary.winner().map(|winner| winner.index),
        candidates: args.commands.len(),
        common: Common::of(&summary),
    };
    print(
        session,
        ("speculate", args.trial.json),
        &workspace,
        &summary,
        report,
    )
}
