//! `branchfs umount`.
//!
//! Publishes first, and by itself, so that a refusal is told while there is still a mount to look
//! at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{CliError, Exit};
use super::output::Session;
use crate::client::{ClientError, Verb, Workspace};
use crate::daemon::ProcessWatch;
use crate::proto::Command;

/// How long the daemon may take to end after its mount is gone.
const PUBLISH_LIMIT: Duration = Duration::from_secs(600);

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
    crate::daemon::cut_abandoned(args.path.as_deref().unwrap_or(Path::new(".")))?;
    let root = match Workspace::find(args.path.as_deref(), session.is_mount) {
        Ok(workspace) => {
            if !args.no_publish
                && let Err(error) = publish(&workspace)
            {
                session.hint("unmount all the same, nothing is lost: branchfs umount --no-publish");
                return Err(error);
            }
            workspace.root().to_owned()
        }
        Err(ClientError::DeadMount { path }) => path,
        Err(error) => return Err(error.into()),
    };
    // A process does not keep busy what it unmounts.
    let root = std::path::absolute(root)?;
    std::env::set_current_dir("/")?;
    unmount(&root, args.lazy)?;
    Ok(Exit::Done)
}

/// Publishes what main holds.
pub(super) fn publish(workspace: &Workspace) -> Result<(), CliError> {
    match workspace.top().command(Verb::Publish, &Command::Publish) {
        // A read-only mount has nothing to publish that it could.
        Err(ClientError::Refused {
            errno: libc::EROFS, ..
        }) => Ok(()),
        other => Ok(other?),
    }
}

/// Unmounts the workspace whose mount point is `root`; returns when its daemon has ended.
pub(super) fn unmount(root: &Path, lazy: bool) -> Result<(), CliError> {
    let pid = daemon_of(root);
    let watch = pid.map(ProcessWatch::new).transpose()?.flatten();
    crate::daemon::unmount(root, lazy)?;
    if let (Some(watch), Some(pid), false) = (watch, pid, lazy)
        && !watch.wait(PUBLISH_LIMIT)?
    {
        return Err(CliError::StillPublishing { pid });
    }
    Ok(())
}

/// The process that serves the mount, as it says itself; `None` where it is dead.
fn daemon_of(root: &Path) -> Option<u32> {
    let config = std::fs::read_to_string(root.join("@self/config")).ok()?;
    config
        .lines()
        .find_map(|line| line.strip_prefix("pid ")?.parse().ok())
}
