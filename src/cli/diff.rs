//! `branchfs diff`.

use serde::Serialize;

use super::arguments::BranchArg;
use super::error::{CliError, Exit};
use super::output::{Color, Session};
use crate::proto::{BranchPath, Change, ChangeKind};

/// List the paths that a branch changed
///
/// A added, M modified, m attributes only, D deleted, R moved, T another type. Directories end with
/// a slash; odd names are quoted as git quotes them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    branch: BranchArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    branch: BranchPath,
    changes: Vec<Change>,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let (workspace, branch) = args.branch.find(session)?;
    let changes = branch.changes()?;
    if args.json {
        session.json(
            "diff",
            &workspace,
            Report {
                branch: branch.path,
                changes,
            },
        )?;
        return Ok(Exit::Done);
    }
    for change in &changes {
        let color = match change.kind {
            ChangeKind::Added => Color::Green,
            ChangeKind::Deleted => Color::Red,
            ChangeKind::Modified
            | ChangeKind::Attributes
            | ChangeKind::Renamed { .. }
            | ChangeKind::TypeChanged => Color::Yellow,
        };
        let line = session.paint(color, change);
        session.line(line)?;
    }
    Ok(Exit::Done)
}
