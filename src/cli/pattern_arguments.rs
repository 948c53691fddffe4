//! What the command lines of patterns have in common: which commands are tried, and how a pattern
//! is run and its result told.
//!
//! A pattern's own file holds its flags, the call, and what its JSON has beside [`Common`].

use std::ffi::OsString;

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::Session;
use super::trial_arguments::{NameArg, TrialArgs};
use super::trial_output::{Common, print};
use crate::client::Workspace;
use crate::proto::BranchPath;
use crate::trial::pattern::{ParallelSummary, TournamentSummary};
use crate::trial::{Action, Runner, Summary, TrialError};

/// One command, which is tried more than once.
#[derive(Debug, clap::Args)]
pub struct Repeated {
    #[command(flatten)]
    name: NameArg,
    #[command(flatten)]
    trial: TrialArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Repeated {
    /// The command.
    pub fn action(&self) -> Action {
        Action::Argv(self.command.clone())
    }

    /// As [`play`].
    pub fn play<T: AsRef<Summary>, R: Serialize>(
        &self,
        session: &mut Session<'_>,
        verb: &'static str,
        pattern: impl FnOnce(&Runner<'_>) -> Result<T, TrialError>,
        report: impl FnOnce(&T) -> R,
    ) -> Result<Exit, CliError> {
        play((&self.trial, &self.name), session, verb, pattern, report)
    }
}

/// Several commands, which are tried beside each other.
#[derive(Debug, clap::Args)]
pub struct Candidates {
    /// A shell command; give it once for each
    #[arg(short = 'c', long = "command", value_name = "COMMAND", required = true)]
    commands: Vec<OsString>,
    #[command(flatten)]
    name: NameArg,
    #[command(flatten)]
    trial: TrialArgs,
}

impl Candidates {
    /// The commands, in the order given.
    pub fn actions(&self) -> Vec<Action> {
        let shell = |command: &OsString| Action::Shell(command.clone(), Vec::new());
        self.commands.iter().map(shell).collect()
    }

    /// As [`play`].
    pub fn play<R: Serialize>(
        &self,
        session: &mut Session<'_>,
        verb: &'static str,
        pattern: impl FnOnce(&Runner<'_>) -> Result<Summary, TrialError>,
        report: impl FnOnce(&Summary) -> R,
    ) -> Result<Exit, CliError> {
        play((&self.trial, &self.name), session, verb, pattern, report)
    }
}

/// Levels of commands, of which all but the first are printed by another command.
#[derive(Debug, clap::Args)]
pub struct Strategies {
    /// A shell command that prints the next level's in a branch that goes on, one per line
    #[arg(long, value_name = "COMMAND")]
    pub expand: Option<OsString>,
    /// How many levels at most
    #[arg(long, value_name = "COUNT", default_value = "3",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_depth: u32,
    #[command(flatten)]
    first: Candidates,
}

/// `winner` is the branch that landed last; its results are those with this `branch`.
#[derive(Serialize)]
struct Levels {
    levels: u32,
    winner: Option<BranchPath>,
}

impl Strategies {
    /// The commands of the first level.
    pub fn first(&self) -> Vec<OsString> {
        self.first.commands.clone()
    }

    /// As [`play`].
    pub fn play(
        &self,
        session: &mut Session<'_>,
        verb: &'static str,
        pattern: impl FnOnce(&Runner<'_>) -> Result<Summary, TrialError>,
    ) -> Result<Exit, CliError> {
        self.first.play(session, verb, pattern, |summary| {
            let levels = summary.outcomes.iter().map(|outcome| outcome.attempt + 1);
            Levels {
                levels: levels.max().unwrap_or(0),
                winner: summary.winner().map(|winner| winner.branch.path.clone()),
            }
        })
    }
}

impl AsRef<Summary> for Summary {
    fn as_ref(&self) -> &Summary {
        self
    }
}

impl AsRef<Summary> for TournamentSummary {
    fn as_ref(&self) -> &Summary {
        &self.summary
    }
}

impl AsRef<Summary> for ParallelSummary {
    fn as_ref(&self) -> &Summary {
        &self.summary
    }
}

/// The object that a pattern prints.
#[derive(Serialize)]
struct Whole<R> {
    #[serde(flatten)]
    own: R,
    #[serde(flatten)]
    common: Common,
}

/// Runs a pattern and prints what came of it: `report` gives what its JSON has beside the rest.
fn play<T: AsRef<Summary>, R: Serialize>(
    (trial, name): (&TrialArgs, &NameArg),
    session: &mut Session<'_>,
    verb: &'static str,
    pattern: impl FnOnce(&Runner<'_>) -> Result<T, TrialError>,
    report: impl FnOnce(&T) -> R,
) -> Result<Exit, CliError> {
    let settings = trial.settings(verb, Some(name));
    let run = |runner: &mut Runner<'_>, _: &mut Session<'_>| Ok(pattern(runner)?);
    let (workspace, done) = trial.with_runner(session, &settings, true, run)?;
    tell(
        (verb, trial.json),
        session,
        &workspace,
        &done,
        report(&done),
    )
}

/// Prints what came of a pattern.
pub fn tell<T: AsRef<Summary>>(
    command: (&str, bool),
    session: &mut Session<'_>,
    workspace: &Workspace,
    done: &T,
    own: impl Serialize,
) -> Result<Exit, CliError> {
    let summary = done.as_ref();
    let common = Common::of(summary);
    print(session, command, workspace, summary, Whole { own, common })
}
