//! `branchfs abort`.

use std::ffi::OsString;

use super::arguments::{WorkspaceArg, address};
use super::commit::leave;
use super::error::{CliError, Exit};
use super::output::Session;
use crate::client::Verb;
use crate::proto::Command;

/// End branches; their work can be restored until the trash drops it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The branches, ended in this order; . is the one you are in
    #[arg(value_name = "BRANCH", required = true)]
    branches: Vec<OsString>,
    #[command(flatten)]
    workspace: WorkspaceArg,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let workspace = args.workspace.find(session)?;
    for text in &args.branches {
        let branch = workspace.branch(&address(text)?)?;
        branch.command(Verb::Abort, &Command::Abort)?;
        session.line(format_args!("aborted {}", branch.path))?;
        leave(&workspace, &branch, session);
    }
    Ok(Exit::Done)
}
