//! What can go wrong with a branch. `vfs` turns each variant into its errno.

use crate::base::BaseError;
use crate::proto::TrialPhase;
use crate::store::StoreError;
use crate::tree::{BranchId, Name};

/// An error of this layer. Its text is the sentence that `last_error` shows.
#[derive(Debug, thiserror::Error)]
pub enum BranchError {
    /// The branch has ended (ESTALE).
    #[error(
        "branch {:?} has ended: it was committed, aborted or lost",
        lossy(name)
    )]
    Ended {
        /// The branch.
        name: Name,
    },
    /// A sibling's commit came first (ESTALE).
    #[error(
        "branch {:?} was forked before the last commit into its parent, so it can no longer win; \
         fork again, or set the parent's policy to merge",
        lossy(name)
    )]
    LateCommit {
        /// The branch.
        name: Name,
    },
    /// Both sides changed the same path (EBUSY).
    #[error(
        "branch {:?} and its parent both changed {}{}; @self/conflicts lists them",
        lossy(name),
        lossy(&paths[0]),
        more(paths)
    )]
    Conflict {
        /// The branch.
        name: Name,
        /// The paths, at least one.
        paths: Vec<Vec<u8>>,
    },
    /// What a commit changed was changed since, so it cannot be taken back (EBUSY).
    #[error(
        "what the commit of {:?} changed was changed again since: {}{}; nothing was taken back",
        lossy(name),
        lossy(&paths[0]),
        more(paths)
    )]
    ChangedSince {
        /// The branch that was committed.
        name: Name,
        /// The paths, at least one.
        paths: Vec<Vec<u8>>,
    },
    /// Files of the base were changed behind the mount (EBUSY).
    #[error(
        "the base was changed behind the mount: {}{}; nothing was overwritten. Move your version \
         aside, restore the base's file, or remove it, then publish again",
        lossy(&paths[0]),
        more(paths)
    )]
    BaseChanged {
        /// The paths, at least one.
        paths: Vec<Vec<u8>>,
    },
    /// Only a branch without live children can end (ENOTEMPTY).
    #[error(
        "branch {:?} has live branches: {}{}; commit or abort them first",
        lossy(name),
        lossy(&children[0]),
        more(children)
    )]
    HasChildren {
        /// The branch.
        name: Name,
        /// Its children, at least one.
        children: Vec<Vec<u8>>,
    },
    /// The name is taken (EEXIST).
    #[error("there is a branch {:?} already", lossy(name))]
    NameTaken {
        /// The name.
        name: Name,
    },
    /// No branch of that name (ENOENT).
    #[error("there is no branch {:?}", lossy(name))]
    NoSuchBranch {
        /// The name.
        name: Name,
    },
    /// No commit is left to be taken back, or no undo (ENOENT).
    #[error(
        "there is nothing to {} in {:?}: {}",
        if *redo { "redo" } else { "undo" },
        lossy(name),
        if *redo {
            "no commit into it was taken back"
        } else {
            "no commit into it is in the trash any more"
        }
    )]
    NothingToUndo {
        /// The branch that it was asked of.
        name: Name,
        /// Whether it was asked to redo.
        redo: bool,
    },
    /// An entry of the trash that is no branch (EINVAL).
    #[error(
        "{:?} is no branch: it shows what its parent was; copy from it what you need, or take the \
         commit back with: undo",
        lossy(name)
    )]
    NotABranch {
        /// The entry.
        name: Name,
    },
    /// main can be neither aborted nor renamed (EPERM).
    #[error("main cannot be {what}: it is the workspace itself")]
    MainStays {
        /// What was asked.
        what: &'static str,
    },
    /// Only main lies on the base (EINVAL).
    #[error("only main is published; commit this branch into its parent first")]
    NotMain,
    /// Somebody else's branch (EPERM).
    #[error("branch {:?} belongs to user {owner}", lossy(name))]
    NotOwner {
        /// The branch.
        name: Name,
        /// Its owner.
        owner: u32,
    },
    /// A trial's steps have an order (EINVAL).
    #[error("the trial in branch #{} is {}, which {next} cannot follow", number.0, shown(*last))]
    TrialPhase {
        /// The branch.
        number: BranchId,
        /// How far the trial is.
        last: Option<TrialPhase>,
        /// What was told of it.
        next: TrialPhase,
    },
    /// The branch's limit is reached (EDQUOT).
    #[error("branch {:?} has reached its limit of {limit} {what}", lossy(name))]
    OverLimit {
        /// The branch.
        name: Name,
        /// The limit.
        limit: u64,
        /// What it limits: `bytes` or `inodes`.
        what: &'static str,
    },
    /// All branches together have reached the store's limit (ENOSPC).
    #[error(
        "the branches of this store hold {limit} bytes together, which is all that max_bytes \
         allows; commit or abort branches, empty the trash, or mount with a larger max_bytes"
    )]
    StoreLimit {
        /// The limit in bytes.
        limit: u64,
    },
    /// As many live branches as the mount allows (EDQUOT).
    #[error(
        "there are {limit} live branches, which is all that max_branches allows; commit or abort \
         one, or mount with a larger max_branches"
    )]
    TooManyBranches {
        /// The limit.
        limit: u64,
    },
    /// The parent is as deep as the mount allows (EDQUOT).
    #[error("branches nest {limit} deep at most, which is what max_depth allows")]
    TooDeep {
        /// The limit.
        limit: u32,
    },
    /// A publish stopped part of the way (EROFS).
    #[error(
        "a publish into the base stopped part of the way, and main takes no changes until it is \
         finished; it is tried again every second, or by: echo publish > .ctl"
    )]
    HalfPublished,
    /// The workspace is mounted read-only (EROFS).
    #[error("the workspace is read-only")]
    ReadOnly,
    /// No number is left for another branch (ENOSPC).
    #[error("all branch numbers of this store have been used; publish and make a new store")]
    NumbersUsedUp,
    /// A journal record cannot be understood.
    #[error("the journal record at {lsn} cannot be read: {source}")]
    BadRecord {
        /// Where.
        lsn: u64,
        /// Why.
        source: postcard::Error,
    },
    /// A journal record does not fit those before it.
    #[error("the journal record at {lsn} names {what} {number}, which does not exist")]
    Dangling {
        /// Where.
        lsn: u64,
        /// What is missing.
        what: &'static str,
        /// Its number.
        number: u64,
    },
    /// A journal record says what cannot have happened after those before it.
    #[error("the journal record at {lsn} does not follow from those before it: {what}")]
    Misfit {
        /// Where.
        lsn: u64,
        /// What it would have been.
        what: &'static str,
    },
    /// From the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// From the base.
    #[error(transparent)]
    Base(#[from] BaseError),
}

impl BranchError {
    /// Whether the store is damaged, and could be opened with `rescue`.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            BranchError::Store(StoreError::Damaged { .. } | StoreError::Missing { .. })
                | BranchError::BadRecord { .. }
                | BranchError::Dangling { .. }
                | BranchError::Misfit { .. }
        )
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shown(phase: Option<TrialPhase>) -> String {
    phase.map_or("not begun".to_owned(), |phase| format!("at {phase}"))
}

fn more(list: &[Vec<u8>]) -> String {
    match list.len() {
        0 | 1 => String::new(),
        n => format!(" and {} more", n - 1),
    }
}
