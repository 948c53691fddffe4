//! `branchfs trials`.

use serde::Serialize;

use super::arguments::WorkspaceArg;
use super::error::{CliError, Exit};
use super::output::{Color, Session};
use crate::proto::display;
use crate::trial::detached::{self, Known, TrialState};

/// List the trials since the workspace was mounted
///
/// A trial is pending, running, waiting (for trials in branches of its own branch), completed or
/// failed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    workspace: WorkspaceArg,
    /// Only those that have not ended
    #[arg(long)]
    active: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    trials: Vec<Known>,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let workspace = args.workspace.find(session)?;
    let mut trials = detached::all(&workspace)?;
    if args.active {
        trials.retain(|trial| trial.state.is_active());
    }
    if args.json {
        session.json("trials", &workspace, Report { trials })?;
        return Ok(Exit::Done);
    }
    for trial in &trials {
        line(session, trial)?;
    }
    Ok(Exit::Done)
}

/// One trial.
pub(super) fn line(session: &mut Session<'_>, trial: &Known) -> Result<(), CliError> {
    let color = match trial.state {
        TrialState::Completed => Color::Green,
        TrialState::Failed => Color::Red,
        TrialState::Pending | TrialState::Running | TrialState::Waiting => Color::Yellow,
    };
    let state = session.paint(color, format!("{:?}", trial.state).to_lowercase());
    let label = trial
        .label
        .as_ref()
        .map(|label| format!(" {}", display(label.as_bytes())))
        .unwrap_or_default();
    let result = trial.result.as_ref().map_or(String::new(), |result| {
        format!("exit {} in {} ms", result.exit_code, result.duration_ms)
    });
    session.line(format_args!(
        "{}  {}{label}  {state}  {result}",
        trial.branch,
        place(trial)
    ))
}

/// Which trial of its pattern it is: `best-of-n 3 attempt 0`.
pub(super) fn place(trial: &Known) -> String {
    let pattern = display(trial.pattern.as_bytes());
    format!("{pattern} {} attempt {}", trial.index, trial.attempt)
}
