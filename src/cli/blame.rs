//! `branchfs blame`.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::arguments::WorkspaceArg;
use super::error::{CliError, Exit};
use super::output::Session;
use super::trials::place;
use crate::client::{Branch, Workspace};
use crate::proto::{BranchPath, Text};
use crate::trial::detached::{self, Known};

/// Show which branches and trials have written a file
///
/// Lists the live branches that have changed it, and the trials since the workspace was mounted
/// that have landed with a change to it, the last one last.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file, from the branch's root or from where you are
    #[arg(value_name = "PATH")]
    file: PathBuf,
    #[command(flatten)]
    workspace: WorkspaceArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    path: Text,
    live: Vec<BranchPath>,
    landed: Vec<Known>,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let workspace = args.workspace.find(session)?;
    let path = below_root(&workspace, &args.file)?;
    let path = Text::from(path.as_os_str().as_bytes());
    let mut live = Vec::new();
    writers(&workspace.top(), &path, &mut live)?;
    let shown = path.to_string();
    let landed = detached::all(&workspace)?.into_iter();
    let landed: Vec<Known> = landed
        .filter(|trial| trial.paths.contains(&shown))
        .collect();
    let report = Report { path, live, landed };
    if args.json {
        session.json("blame", &workspace, report)?;
        return Ok(Exit::Done);
    }
    for trial in &report.landed {
        session.line(format_args!("{}  landed  {}", trial.branch, place(trial)))?;
    }
    for branch in &report.live {
        session.line(format_args!("{branch}  live"))?;
    }
    Ok(Exit::Done)
}

/// The path below its branch's root.
fn below_root(workspace: &Workspace, path: &Path) -> Result<PathBuf, CliError> {
    let here = workspace.branch(&crate::client::Address::here())?;
    let current = std::env::current_dir().unwrap_or_default();
    let absolute = current.join(path);
    match (
        path.is_absolute() || current.starts_with(&here.dir),
        absolute.strip_prefix(&here.dir),
    ) {
        (true, Ok(below)) => Ok(below.to_owned()),
        _ => Ok(path.to_owned()),
    }
}

fn writers(branch: &Branch, path: &Text, found: &mut Vec<BranchPath>) -> Result<(), CliError> {
    for (child, _) in branch.child_statuses()? {
        if child.changes()?.iter().any(|change| change.path == *path) {
            found.push(child.path.clone());
        }
        writers(&child, path, found)?;
    }
    Ok(())
}
