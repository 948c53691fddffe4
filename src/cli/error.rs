//! Why a command failed, and the exit code for it.

use std::io;
use std::path::PathBuf;

use crate::client::ClientError;
use crate::daemon::{DaemonError, OptionError};
use crate::proto::ProtoError;

/// The process's exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A conflict, or another branch was first.
    Conflict = 3,
    /// A check found damage.
    Damaged = 4,
}

/// A command that was not done.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The workspace was not found, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The output cannot be written.
    #[error("cannot write the output: {source}")]
    Output {
        /// Why not.
        #[from]
        source: io::Error,
    },
    /// A reserved file broke off in the middle.
    #[error("cannot read the patch of {branch}: {source}")]
    Patch {
        /// The branch.
        branch: String,
        /// Why not.
        source: io::Error,
    },
    /// A check of a store that is in use.
    #[error("{} is mounted", path.display())]
    Mounted {
        /// The workspace.
        path: PathBuf,
    },
    /// mount(8) or umount(8) named a mount namespace that cannot be entered.
    #[error("cannot enter the mount namespace {}: {source}", path.display())]
    Namespace {
        /// The file that stands for it.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An option of a mount is wrong.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A mount could not be made or ended.
    #[error("{}", .0.chain())]
    Daemon(#[from] DaemonError),
    /// The daemon goes on after its mount has gone.
    #[error("the mount is gone, but process {pid} is still publishing")]
    StillPublishing {
        /// The daemon.
        pid: u32,
    },
}

impl From<ProtoError> for CliError {
    fn from(error: ProtoError) -> CliError {
        CliError::Client(ClientError::Argument(error))
    }
}

impl CliError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            CliError::Client(error) => error.hint(),
            CliError::Mounted { path } => Some(format!(
                "unmount it first: branchfs umount {}",
                path.display()
            )),
            CliError::Output { .. }
            | CliError::Patch { .. }
            | CliError::Namespace { .. }
            | CliError::Option(_)
            | CliError::Daemon(_)
            | CliError::StillPublishing { .. } => None,
        }
    }

    /// The exit code for it.
    pub fn exit(&self) -> Exit {
        match self {
            CliError::Client(error) if error.is_conflict() => Exit::Conflict,
            CliError::Client(
                ClientError::Argument(_) | ClientError::ForkMain | ClientError::RenameMain,
            ) => Exit::Usage,
            CliError::Client(_)
            | CliError::Output { .. }
            | CliError::Patch { .. }
            | CliError::Namespace { .. }
            | CliError::Mounted { .. }
            | CliError::Daemon(_)
            | CliError::StillPublishing { .. } => Exit::Failed,
            CliError::Option(_) => Exit::Usage,
        }
    }

    /// Whether the reader of the output went away, as `head` does.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, CliError::Output { source } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}
