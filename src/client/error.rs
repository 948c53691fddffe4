//! What can go wrong when a workspace is driven from outside.
//!
//! An error says what was attempted on what, the errno, and the daemon's own sentence where it left
//! one; [`ClientError::hint`] says what to do next. What an errno means for a verb is `explain`'s.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::explain::{hint, meaning};
use crate::proto::{BranchPath, ErrnoText, ProtoError, State, Text, display};

/// What is done to a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// mkdir in `@branches`.
    Fork,
    /// `commit` to `.ctl`.
    Commit,
    /// `undo` to `.ctl`.
    Undo,
    /// `redo` to `.ctl`.
    Redo,
    /// `abort` to `.ctl`.
    Abort,
    /// rename in `@branches`.
    Rename,
    /// rename from `@branches/.trash`.
    Restore,
    /// `publish` to `.ctl`.
    Publish,
    /// `gc` to `.ctl`.
    Gc,
    /// A write to `@self/limits`.
    Limits,
    /// A write to `@self/note`.
    Note,
    /// `policy` to `.ctl`.
    Policy,
    /// `trial` to `.ctl`.
    Trial,
    /// A read of one of the reserved files.
    Read,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Fork => "fork",
            Verb::Commit => "commit",
            Verb::Undo => "undo the last commit into",
            Verb::Redo => "redo the last commit into",
            Verb::Abort => "abort",
            Verb::Rename => "rename",
            Verb::Restore => "restore",
            Verb::Publish => "publish",
            Verb::Gc => "gc",
            Verb::Limits => "set the limits of",
            Verb::Note => "set the note of",
            Verb::Policy => "set the policy of",
            Verb::Trial => "tell of a trial in",
            Verb::Read => "read",
        })
    }
}

/// A verb that was not done, or a workspace that was not found.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The current directory has no path.
    #[error("the current directory is gone")]
    NoCurrentDir {
        /// What getcwd(2) said.
        source: io::Error,
    },
    /// No directory from here up is the root of a branch.
    #[error("{} is not in a branchfs workspace", path.display())]
    NotAWorkspace {
        /// Where the search began.
        path: PathBuf,
    },
    /// There is a mount, but nobody serves it.
    #[error("the workspace at {} is dead: its daemon is gone", path.display())]
    DeadMount {
        /// The mount.
        path: PathBuf,
    },
    /// A path cannot be looked at.
    #[error("{}: {source}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A branch outside the part of the tree that can be reached from here.
    #[error("{branch} cannot be reached from here: this view holds only {here} and its children")]
    Unreachable {
        /// The branch.
        branch: BranchPath,
        /// The outermost one that is in view.
        here: BranchPath,
    },
    /// No branch has that name.
    #[error("no branch {branch}")]
    NoSuchBranch {
        /// The name.
        branch: BranchPath,
    },
    /// The trash has no such entry.
    #[error("nothing called {entry} in the trash of {parent}")]
    NotInTrash {
        /// The entry.
        entry: Text,
        /// Whose trash.
        parent: BranchPath,
    },
    /// `main` has no name to change.
    #[error("main cannot be renamed")]
    RenameMain,
    /// `main` itself was to be forked.
    #[error("main exists already: it is the workspace itself")]
    ForkMain,
    /// The branch is over: it is in the trash.
    #[error("cannot {verb} {branch}: {}", ended(*state))]
    Ended {
        /// What was to be done.
        verb: Verb,
        /// The branch.
        branch: BranchPath,
        /// How it ended.
        state: State,
    },
    /// The workspace refused.
    #[error(
        "cannot {verb} {branch}: {}{}",
        meaning(*verb, *errno, sentence.is_some()),
        tail(sentence.as_deref())
    )]
    Refused {
        /// What was to be done.
        verb: Verb,
        /// To which branch.
        branch: BranchPath,
        /// The answer, a positive errno value.
        errno: i32,
        /// The daemon's own words (`last_error`).
        sentence: Option<String>,
    },
    /// What has landed in main is not in the base yet.
    #[error("main is not published into the base: {}", display(sentence.as_bytes()))]
    Unpublished {
        /// The daemon's own words (`publish_error`).
        sentence: String,
    },
    /// A name or number that does not parse.
    #[error(transparent)]
    Argument(#[from] ProtoError),
    /// A reserved file does not say what it should.
    #[error("{}: {source}", path.display())]
    BadText {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ProtoError,
    },
}

fn tail(sentence: Option<&str>) -> String {
    sentence
        .map(|sentence| format!(": {}", display(sentence.as_bytes())))
        .unwrap_or_default()
}

fn ended(state: State) -> &'static str {
    match state {
        State::Lost => "it lost, a sibling committed first",
        State::Committed => "it is committed",
        State::Undone => "its commit was taken back",
        State::Aborted => "it was aborted",
        State::Open => "it is in the trash",
    }
}

impl ClientError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ClientError::NoCurrentDir { .. } => Some(
                "its branch may have ended; cd to the workspace, or name one with -w PATH".into(),
            ),
            ClientError::NotAWorkspace { path } => {
                Some(format!("mount one: branchfs mount {}", path.display()))
            }
            ClientError::DeadMount { path } => Some(format!(
                "mount it again, nothing acknowledged is lost: branchfs mount {}",
                path.display()
            )),
            ClientError::Unreachable { .. } => {
                Some("run it where the whole workspace is mounted, or name it with -w PATH".into())
            }
            ClientError::NoSuchBranch { .. } => {
                Some("branchfs list shows the branches, --trash the ended ones".into())
            }
            ClientError::NotInTrash { .. } => {
                Some("branchfs list --trash shows what can be restored".into())
            }
            ClientError::ForkMain => Some("name the new branch: branchfs fork NAME".into()),
            ClientError::Ended { branch, .. } => Some(format!(
                "its work can be brought back: branchfs restore {branch}"
            )),
            ClientError::Refused {
                verb,
                branch,
                errno,
                ..
            } => hint(*verb, *errno, branch),
            ClientError::Unpublished { .. } => Some(
                "nothing is lost, and it is tried again; branchfs publish tries at once".into(),
            ),
            ClientError::Path { .. }
            | ClientError::RenameMain
            | ClientError::Argument(_)
            | ClientError::BadText { .. } => None,
        }
    }

    /// The errno, where the workspace answered with one.
    pub fn errno(&self) -> Option<ErrnoText> {
        match self {
            ClientError::Refused { errno, .. } => Some(ErrnoText(*errno)),
            _ => None,
        }
    }

    /// Whether another branch's work is what stands in the way: a conflict, or a lost race.
    pub fn is_conflict(&self) -> bool {
        match self {
            ClientError::Ended { state, .. } => *state != State::Aborted,
            ClientError::Refused { verb, errno, .. } => {
                let lands = matches!(verb, Verb::Commit | Verb::Publish | Verb::Undo | Verb::Redo);
                *errno == libc::ESTALE || (lands && *errno == libc::EBUSY)
            }
            _ => false,
        }
    }
}
