//! `branchfs wait`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::arguments::{WorkspaceArg, address};
use super::error::{CliError, Exit};
use super::output::Session;
use super::trial_arguments::duration;
use super::trials;
use crate::proto::{BranchPath, TrialResult};
use crate::trial::TrialError;
use crate::trial::detached::{self, Known, TrialState};

/// Wait for trials that run elsewhere, and show their results
///
/// Without a branch, for all that have not ended. Exits with 0 if all were successful, 1 if one
/// failed, 124 if the time was over.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The branches
    #[arg(value_name = "BRANCH")]
    branches: Vec<OsString>,
    /// Wait no longer than this
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// How the results are put together
    #[arg(long = "as", value_name = "FORM", default_value = "list",
          value_parser = ["list", "names", "counts"])]
    form: String,
    #[command(flatten)]
    workspace: WorkspaceArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Report {
    List {
        results: Vec<Known>,
    },
    Names {
        results: BTreeMap<String, Known>,
    },
    Counts {
        total: usize,
        completed: usize,
        failed: usize,
        data: Vec<Option<TrialResult>>,
        errors: BTreeMap<String, Option<TrialResult>>,
    },
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let workspace = args.workspace.find(session)?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let branches: Vec<BranchPath> = if args.branches.is_empty() {
        let active = detached::all(&workspace)?
            .into_iter()
            .filter(|t| t.state.is_active());
        active.map(|trial| trial.branch).collect()
    } else {
        let resolve = |text| Ok(address(text)?.resolve(workspace.here()));
        args.branches
            .iter()
            .map(resolve)
            .collect::<Result<_, CliError>>()?
    };
    let mut results = Vec::new();
    let mut late = None;
    for branch in &branches {
        match detached::wait(&workspace, branch, deadline) {
            Ok(known) => results.push(known),
            Err(error @ TrialError::StillRuns { .. }) => late = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    let failed = results
        .iter()
        .any(|trial| trial.state == TrialState::Failed);
    if args.json {
        session.json("wait", &workspace, report(&args.form, results))?;
    } else {
        results
            .iter()
            .try_for_each(|trial| trials::line(session, trial))?;
    }
    if let Some(error) = late {
        session.fail(&error.into());
        return Ok(Exit::Passed(124));
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn report(form: &str, results: Vec<Known>) -> Report {
    let name = |trial: &Known| {
        trial
            .label
            .clone()
            .unwrap_or_else(|| trial.branch.to_string())
    };
    match form {
        "names" => Report::Names {
            results: results
                .into_iter()
                .map(|trial| (name(&trial), trial))
                .collect(),
        },
        "counts" => {
            let total = results.len();
            let (completed, failed): (Vec<Known>, Vec<Known>) = results
                .into_iter()
                .partition(|trial| trial.state == TrialState::Completed);
            Report::Counts {
                total,
                completed: completed.len(),
                failed: failed.len(),
                data: completed.into_iter().map(|trial| trial.result).collect(),
                errors: failed
                    .into_iter()
                    .map(|trial| (name(&trial), trial.result))
                    .collect(),
            }
        }
        _ => Report::List { results },
    }
}
