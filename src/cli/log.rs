//! `branchfs log`.

use serde::Serialize;

use super::arguments::BranchArg;
use super::error::{CliError, Exit};
use super::output::Session;
use crate::proto::{BranchPath, Event};

/// Show what happened to a branch, oldest first
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
    events: Vec<Event>,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let (workspace, branch) = args.branch.find(session)?;
    if args.json {
        let events = branch.events()?;
        session.json(
            "log",
            &workspace,
            Report {
                branch: branch.path,
                events,
            },
        )?;
    } else {
        session.out.write_all(&branch.log()?)?;
    }
    Ok(Exit::Done)
}
