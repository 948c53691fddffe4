//! `branchfs fork`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::arguments::WorkspaceArg;
use super::error::{CliError, Exit};
use super::output::Session;

/// Make a branch and print its directory
///
/// fork fix-a forks from main, fork fix-a/sub from fix-a, fork ./sub from the branch you are in.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The new branch
    name: OsString,
    /// A note for it
    #[arg(short = 'm', long = "note", value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    workspace: WorkspaceArg,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let workspace = args.workspace.find(session)?;
    let (parent, name) = workspace.new_branch(args.name.as_bytes())?;
    let branch = parent.fork(name)?;
    if let Some(note) = &args.note {
        branch.set_note(note)?;
    }
    session.path(&branch.dir)?;
    Ok(Exit::Done)
}
