//! `branchfs kill`.

use super::arguments::BranchArg;
use super::error::{CliError, Exit};
use super::output::Session;
use crate::trial::detached;

/// End a trial that runs elsewhere, with the pattern that it belongs to
///
/// As Ctrl-C where it was started: its processes are ended and its branches aborted.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    branch: BranchArg,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let (workspace, branch) = args.branch.find(session)?;
    if detached::kill(&workspace, &branch.path)? {
        detached::wait(&workspace, &branch.path, None)?;
        session.line(format_args!("ended {}", branch.path))?;
    } else {
        session.line(format_args!("{} had ended", branch.path))?;
    }
    Ok(Exit::Done)
}
