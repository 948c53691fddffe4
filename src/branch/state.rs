//! One branch: its names, numbers and views.
//!
//! *Lock order*: a branch's state is locked after its parent's; the journal after both. Two
//! branches that are not ancestor and descendant are locked in order of id.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::HashMap;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::tree::{BranchId, FileId, Inode, Name, Time, View};

/// What decides whether a child's commit is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// The first child to commit wins, its siblings are lost.
    FirstWinner,
    /// Siblings survive; a commit is refused only where both sides changed the same path.
    Merge,
}

/// Upper limits of what a branch may add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of content of its own.
    pub bytes: Option<u64>,
    /// Files of its own.
    pub inodes: Option<u64>,
}

/// What a branch has added since its fork. May be negative where it removed what its parent had
/// added over the base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of content in the store.
    pub bytes: i64,
    /// Files.
    pub inodes: i64,
}

impl Usage {
    /// An inode comes.
    pub fn add(&mut self, inode: &Inode) {
        self.bytes += inode.own_bytes() as i64;
        self.inodes += i64::from(inode.origin.is_none());
    }

    /// An inode goes.
    pub fn subtract(&mut self, inode: &Inode) {
        self.bytes -= inode.own_bytes() as i64;
        self.inodes -= i64::from(inode.origin.is_none());
    }
}

/// How a branch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// A sibling's commit came first, or that of an ancestor's sibling.
    Lost,
    /// It was given up.
    Aborted,
    /// It was committed: the trash keeps what its parent was before.
    Committed,
    /// Its commit was taken back: the trash keeps what its parent was before that.
    Undone,
}

/// When and how a branch ended, and the incarnation under which the trash shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// How.
    pub end: End,
    /// When.
    pub time: Time,
    /// The incarnation of its files in the trash.
    pub incarnation: u32,
}

/// What is recorded of a branch besides its views.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchMeta {
    /// Its number.
    pub id: BranchId,
    /// The branch that it commits into; `None` for main alone.
    pub parent: Option<BranchId>,
    /// Its name among its parent's children.
    pub name: Name,
    /// The user who forked it.
    pub uid: u32,
    /// That user's group.
    pub gid: u32,
    /// When it was forked.
    pub created: Time,
    /// The policy for its children.
    pub policy: Policy,
    /// How many commits it has taken in.
    pub generation: u64,
    /// Its parent's generation when it was forked.
    pub fork_generation: u64,
    /// Its epoch.
    pub epoch: u64,
    /// The incarnation of its files.
    pub incarnation: u32,
    /// Its limits.
    pub limits: Limits,
    /// Its user's words about it.
    pub note: Box<[u8]>,
}

/// The part of a branch that changes.
#[derive(Debug)]
pub struct State {
    /// What is recorded of it besides its views.
    pub meta: BranchMeta,
    /// How it ended; `None` while it is live.
    pub ended: Option<Ending>,
    /// What it shows now.
    pub view: View,
    /// What its parent showed when it was forked.
    pub fork_view: View,
    /// Its live children by name.
    pub children: BTreeMap<Name, BranchId>,
    /// Its children in the trash by the name that they have there.
    pub trash: BTreeMap<Name, BranchId>,
    /// The incarnations of files that commits replaced here since the mount.
    pub incarnations: HashMap<FileId, u32>,
    /// The blob that a file's large writes go to in this epoch.
    pub blobs: HashMap<FileId, u64>,
    /// The epoch of the branch whose commit came last, until a child is forked: its content is
    /// nobody else's either.
    pub taken_epoch: Option<u64>,
    /// What it has added.
    pub usage: Usage,
    /// The last refusal: its errno, and the sentence that explains it.
    pub last_error: Option<(i32, String)>,
}

/// One branch.
#[derive(Debug)]
pub struct Branch {
    /// Its number.
    pub id: BranchId,
    /// The incarnation of its live files; 0xffff_ffff once it has ended. For checks without the
    /// lock.
    incarnation: AtomicU32,
    /// What changes of it.
    pub state: RwLock<State>,
}

const NO_INCARNATION: u32 = u32::MAX;

impl Branch {
    /// A branch with this record and these views.
    pub fn new(meta: BranchMeta, view: View, fork_view: View, ended: Option<Ending>) -> Branch {
        let incarnation = if ended.is_some() {
            NO_INCARNATION
        } else {
            meta.incarnation
        };
        Branch {
            id: meta.id,
            incarnation: AtomicU32::new(incarnation),
            state: RwLock::new(State {
                meta,
                ended,
                view,
                fork_view,
                children: BTreeMap::new(),
                trash: BTreeMap::new(),
                incarnations: HashMap::default(),
                blobs: HashMap::default(),
                taken_epoch: None,
                usage: Usage::default(),
                last_error: None,
            }),
        }
    }

    /// Whether it can be used by its own paths.
    pub fn is_live(&self) -> bool {
        self.incarnation.load(Ordering::Acquire) != NO_INCARNATION
    }

    /// The incarnation of its root and of every file that no commit replaced; meaningless once
    /// ended.
    pub fn incarnation(&self) -> u32 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// Marks it ended, with its state locked.
    pub(super) fn end(&self, state: &mut State, ending: Ending) {
        state.ended = Some(ending);
        state.blobs.clear();
        self.incarnation.store(NO_INCARNATION, Ordering::Release);
    }

    /// Marks it live again under a new incarnation, with its state locked.
    pub(super) fn revive(&self, state: &mut State, incarnation: u32) {
        state.ended = None;
        state.meta.incarnation = incarnation;
        state.incarnations.clear();
        self.incarnation.store(incarnation, Ordering::Release);
    }
}

impl State {
    /// The incarnation of one of its files while it is live.
    pub fn incarnation_of(&self, file: FileId) -> u32 {
        if self.incarnations.is_empty() {
            return self.meta.incarnation;
        }
        self.incarnations
            .get(&file)
            .copied()
            .unwrap_or(self.meta.incarnation)
    }

    /// Whether content of an epoch is this branch's alone.
    pub(super) fn owns(&self, epoch: u64) -> bool {
        self.own_epochs().contains(&epoch)
    }

    /// The epochs whose content is this branch's alone.
    pub(super) fn own_epochs(&self) -> [u64; 2] {
        [self.meta.epoch, self.taken_epoch.unwrap_or(self.meta.epoch)]
    }

    /// Whether it is an entry of the trash that shows what its parent was before a commit or an
    /// undo, and whose fork view, what that was after it, is only there to be compared with.
    pub fn is_commit(&self) -> bool {
        self.ended.is_some_and(|ending| ending.end.is_commit())
    }

    /// What it has added, computed from its views: for recovery and for checks.
    pub fn counted_usage(&self) -> Usage {
        let mut usage = Usage::default();
        if self.is_commit() {
            return usage;
        }
        for (_, old, new) in self.fork_view.diff_inodes(&self.view) {
            if let Some(old) = old {
                usage.subtract(old);
            }
            if let Some(new) = new {
                usage.add(new);
            }
        }
        usage
    }
}
