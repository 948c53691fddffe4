//! Why a command failed, and the exit code for it.

use std::io;
use std::path::PathBuf;

use crate::client::ClientError;
use crate::daemon::{DaemonError, OptionError};
use crate::proto::ProtoError;
use crate::trial::TrialError;

/// The process's exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// The command line is wrong.
    Usage,
    /// A conflict, or another branch was first.
    Conflict,
    /// A check found damage.
    Damaged,
    /// No trial won.
    NobodyWon,
    /// What a command in a branch exited with.
    Passed(u8),
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Conflict => 3,
            Exit::Damaged | Exit::NobodyWon => 4,
            Exit::Passed(code) => code,
        }
    }
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
    /// A pattern of trials was not carried out.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// A number on the command line that is none.
    #[error("{text:?} is no {what}")]
    Value {
        /// What was written.
        text: String,
        /// What was expected.
        what: &'static str,
    },
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
            CliError::Trial(error) => error.hint(),
            CliError::Mounted { path } => Some(format!(
                "unmount it first: branchfs umount {}",
                path.display()
            )),
            CliError::Output { .. }
            | CliError::Patch { .. }
            | CliError::Namespace { .. }
            | CliError::Option(_)
            | CliError::Daemon(_)
            | CliError::Value { .. }
            | CliError::StillPublishing { .. } => None,
        }
    }

    /// The exit code for it.
    pub fn exit(&self) -> Exit {
        match self {
            CliError::Client(error) | CliError::Trial(TrialError::Client(error)) => {
                of_client(error)
            }
            CliError::Trial(
                TrialError::Argument { .. }
                | TrialError::TooMany { .. }
                | TrialError::TooDeep { .. },
            )
            | CliError::Value { .. } => Exit::Usage,
            CliError::Trial(TrialError::Interrupted { signal }) => {
                Exit::Passed(u8::try_from(128 + signal).unwrap_or(255))
            }
            CliError::Trial(_)
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

fn of_client(error: &ClientError) -> Exit {
    match error {
        error if error.is_conflict() => Exit::Conflict,
        ClientError::Argument(_) | ClientError::ForkMain | ClientError::RenameMain => Exit::Usage,
        _ => Exit::Failed,
    }
}
