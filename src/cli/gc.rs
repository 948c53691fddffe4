//! `branchfs gc`.

use std::path::{Path, PathBuf};

use super::error::{CliError, Exit};
use super::output::Session;
use crate::client::{ClientError, Verb, Workspace};
use crate::proto::Command;

/// Free what nothing reaches any more
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A mounted workspace, or the store of one that is not; the current directory if not given
    path: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    match (
        Workspace::find(args.path.as_deref(), session.is_mount),
        &args.path,
    ) {
        (Ok(workspace), _) => workspace.top().command(Verb::Gc, &Command::Gc)?,
        (Err(ClientError::NotAWorkspace { .. }), Some(store)) => collect(store)?,
        (Err(error), _) => return Err(error.into()),
    }
    Ok(Exit::Done)
}

/// Collects in a store that no daemon holds.
fn collect(store: &Path) -> Result<(), CliError> {
    Ok(crate::daemon::collect_store(store)?)
}
