//! Why a pattern could not be carried out.
//!
//! A trial that fails is a result and no error; these are what keeps a pattern from having one.

use std::io;

use super::supervise::protocol::Step;
use crate::client::ClientError;
use crate::proto::{BranchPath, ErrnoText, Text};

/// A pattern that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The workspace refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No process could be started.
    #[error("cannot start a trial: {source}")]
    Start {
        /// Why not.
        #[from]
        source: io::Error,
    },
    /// A supervisor did not get as far as the command.
    #[error("cannot {}: {}", step.describe(), ErrnoText(*errno))]
    NotStarted {
        /// How far it got.
        step: Step,
        /// Why no further.
        errno: i32,
    },
    /// Neither version of control groups can be used.
    #[error("limits cannot be set: no control group can be made ({})", reasons.join("; "))]
    NoCgroup {
        /// What was tried.
        reasons: Vec<String>,
    },
    /// A limit that the kernel refused.
    #[error("a limit cannot be set: {source}")]
    Limit {
        /// Why not.
        source: io::Error,
    },
    /// More branches at once than allowed.
    #[error("{wanted} branches are more than the {limit} that are allowed at once")]
    TooMany {
        /// How many were asked for.
        wanted: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Deeper nesting than allowed.
    #[error("a branch below {parent} is nested deeper than the {limit} levels that are allowed")]
    TooDeep {
        /// Where a branch was to be made.
        parent: BranchPath,
        /// How deep it may be.
        limit: usize,
    },
    /// A judge that does not judge.
    #[error("the judge of {first} and {second} said {said}, which is neither 0 nor 1")]
    Judge {
        /// One branch.
        first: BranchPath,
        /// The other.
        second: BranchPath,
        /// What it said, or how it ended.
        said: Text,
    },
    /// A named branch that there is none of, or that has no name, or twice.
    #[error("{what}: {text}")]
    Argument {
        /// What is wrong.
        what: &'static str,
        /// Where.
        text: Text,
    },
    /// A file could not be carried from one branch to another.
    #[error("{path}: {source}")]
    Carry {
        /// The file.
        path: Text,
        /// Why not.
        source: io::Error,
    },
    /// Two branches wrote one file, and the command that was to merge them failed.
    #[error("{path} was written by more than one branch, and merging it failed: {reason}")]
    Fold {
        /// The file.
        path: Text,
        /// How the command ended.
        reason: String,
    },
    /// The user ended it.
    #[error("interrupted")]
    Interrupted {
        /// By this signal.
        signal: i32,
    },
    /// There is no trial in that branch.
    #[error("no trial has run in {branch} since the workspace was mounted")]
    NoTrial {
        /// The branch.
        branch: BranchPath,
    },
    /// Waiting took too long.
    #[error("the trial in {branch} still runs")]
    StillRuns {
        /// The branch.
        branch: BranchPath,
    },
}

impl TrialError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            TrialError::Client(error) => error.hint(),
            TrialError::NotStarted { step, .. } if step.isolates() => Some(
                "allow user namespaces (sysctl user.max_user_namespaces, \
                 kernel.apparmor_restrict_unprivileged_userns), or run it with --no-isolate"
                    .into(),
            ),
            TrialError::NoCgroup { .. } => Some(
                "give it a group of its own: systemd-run --user --scope -p Delegate=yes COMMAND"
                    .into(),
            ),
            TrialError::TooMany { .. } => Some("raise it with --max-branches".into()),
            TrialError::TooDeep { .. } => Some("raise it with --max-nesting".into()),
            TrialError::StillRuns { branch } => Some(format!("end it: branchfs kill {branch}")),
            _ => None,
        }
    }
}
