//! `branchfs rename`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::arguments::{WorkspaceArg, address};
use super::error::{CliError, Exit};
use super::output::Session;
use crate::proto::BranchName;

/// Give a branch another name and print its directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The branch
    branch: OsString,
    /// Its new name, beside its siblings
    new_name: OsString,
    #[command(flatten)]
    workspace: WorkspaceArg,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let name = BranchName::new(args.new_name.as_bytes())?;
    let workspace = args.workspace.find(session)?;
    let branch = workspace.branch(&address(&args.branch)?)?.rename(name)?;
    session.path(&branch.dir)?;
    Ok(Exit::Done)
}
