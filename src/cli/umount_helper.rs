//! `umount.branchfs DIR [-flnrv] [-N NAMESPACE] [-t TYPE]`: what umount(8) calls.
//!
//! Unlike `branchfs umount` it goes on where main cannot be published, with a warning: what main
//! holds is safe in the store, and a machine that shuts down must get its file systems unmounted.
//! Like it, it returns when the daemon has ended, so that the file system of the base can be
//! unmounted next. Exit codes are those of umount(8): 0, 1 for wrong usage, 32 for a failure.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::error::CliError;
use super::mount_helper::{answer, enter, usage};
use super::output::Session;
use super::umount;
use crate::client::Workspace;
use crate::daemon::{self, DaemonError};

/// Unmount a workspace; what umount(8) calls for the type branchfs
#[derive(Debug, Parser)]
#[command(name = "umount.branchfs", version, max_term_width = 100)]
pub(super) struct Helper {
    /// Where it is mounted
    directory: PathBuf,
    /// Take the mount away at once, and let those who hold it go on until they are done
    #[arg(short)]
    lazy: bool,
    /// Cut the mount off from its daemon: whoever uses it gets ECONNABORTED
    #[arg(short)]
    force: bool,
    /// Make the mount read-only if it is busy
    #[arg(short)]
    read_only: bool,
    /// Accepted and without effect: there is no /etc/mtab to write
    #[arg(short)]
    no_mtab: bool,
    /// Accepted and without effect
    #[arg(short, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Unmount in the mount namespace that this file stands for
    #[arg(short = 'N', value_name = "FILE")]
    namespace: Option<PathBuf>,
    /// Accepted and without effect: the type is in the program's name
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<OsString>,
}

/// Runs the helper; the answer is the exit code.
pub fn run(arguments: &[OsString], session: &mut Session<'_>) -> u8 {
    let helper = match Helper::try_parse_from(arguments) {
        Ok(helper) => helper,
        Err(error) => return usage(&error, session),
    };
    answer(unmount(&helper, session), session)
}

fn unmount(helper: &Helper, session: &mut Session<'_>) -> Result<(), CliError> {
    enter(helper.namespace.as_deref())?;
    let directory = std::path::absolute(&helper.directory)?;
    if helper.force {
        return Ok(daemon::unmount_by_force(&directory)?);
    }
    if !helper.lazy {
        publish(&directory, session);
    }
    // A process does not keep busy what it unmounts.
    std::env::set_current_dir("/")?;
    match umount::unmount(&directory, helper.lazy) {
        Err(CliError::Daemon(DaemonError::Busy { .. })) if helper.read_only => {
            let now = daemon::mounted_options(&directory)?;
            let mut wanted = now.clone();
            wanted.read_only = true;
            Ok(daemon::remount(&directory, &now, &wanted)?)
        }
        other => other,
    }
}

/// Publishes what main holds; where that is refused, says so.
fn publish(directory: &Path, session: &mut Session<'_>) {
    let Ok(workspace) = Workspace::find(Some(directory), session.is_mount) else {
        // A dead mount, or none: unmounting says it better.
        return;
    };
    if let Err(error) = umount::publish(&workspace) {
        session.fail(&error);
        session.hint("it is unmounted all the same: nothing is lost, the store has it");
    }
}
