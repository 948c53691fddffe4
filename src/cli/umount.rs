//! `branchfs umount`.
//!
//! Publishes first, and by itself, so that a refusal is told while there is still a mount to look
//! at.

use std::path::{Path, PathBuf};

use super::error::{CliError, Exit};
use super::output::Session;
use crate::client::{ClientError, Verb, Workspace};
use crate::proto::Command;

/// Publish what main holds into the base, then unmount
///
/// Branches stay in the store; the next mount shows them again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A path in the workspace; the current directory if not given
    pub path: Option<PathBuf>,
    /// Take the mount away at once, and let those who hold it go on until they are done
    #[arg(short, long)]
    pub lazy: bool,
    /// Leave what main holds in the store
    #[arg(long)]
    pub no_publish: bool,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let root = match Workspace::find(args.path.as_deref(), session.is_mount) {
        Ok(workspace) => {
            if !args.no_publish {
                publish(&workspace, session)?;
            }
            workspace.root().to_owned()
        }
        Err(ClientError::DeadMount { path }) => path,
        Err(error) => return Err(error.into()),
    };
    // A process does not keep busy what it unmounts.
    std::env::set_current_dir("/")?;
    unmount(&root, args.lazy)?;
    Ok(Exit::Done)
}

fn publish(workspace: &Workspace, session: &mut Session<'_>) -> Result<(), CliError> {
    match workspace.top().command(Verb::Publish, &Command::Publish) {
        // A read-only mount has nothing to publish that it could.
        Err(ClientError::Refused {
            errno: libc::EROFS, ..
        }) => Ok(()),
        Err(error) => {
            session.hint("unmount all the same, nothing is lost: branchfs umount --no-publish");
            Err(error.into())
        }
        Ok(()) => Ok(()),
    }
}

/// Unmounts the workspace whose mount point is `root`.
fn unmount(_root: &Path, _lazy: bool) -> Result<(), CliError> {
    Err(CliError::NotInThisBuild { verb: "umount" })
}
