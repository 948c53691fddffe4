//! `branchfs restore`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::arguments::WorkspaceArg;
use super::error::{CliError, Exit};
use super::output::Session;
use crate::proto::BranchName;

/// Bring an aborted or lost branch back and print its directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name in the trash (list --trash shows it): fix-a, or fix-a/sub in the trash of fix-a
    name: OsString,
    /// Restore it under another name
    #[arg(long = "as", value_name = "NEW")]
    new_name: Option<OsString>,
    #[command(flatten)]
    workspace: WorkspaceArg,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let new_name = args
        .new_name
        .as_ref()
        .map(|name| BranchName::new(name.as_bytes()));
    let new_name = new_name.transpose()?;
    let workspace = args.workspace.find(session)?;
    let (parent, entry) = workspace.trash_entry(args.name.as_bytes())?;
    let branch = parent.restore(&entry, new_name)?;
    session.path(&branch.dir)?;
    Ok(Exit::Done)
}
