//! Branches: what a fork, a commit, an abort and a publish do to views, and how they survive.
//!
//! Owns every [`Branch`] of a store and the meaning of the journal's records. It knows names of
//! files only as far as commits need them, and nothing of nodes, the kernel or control files.
//!
//! **Invariants**
//! - A table changes only after its record is in the journal; both happen under the branch's lock.
//! - Replaying the journal does what the operations did, by the same code.
//! - What an operation makes visible or stale is *returned* to the caller as [`Effects`].
//!
//! *Lock order*: `quiesce` (shared by every operation, exclusive for a checkpoint's snapshot), then
//! `family` (for operations on more than one branch), then states from the root down, then the
//! history, then the store.

mod admit;
mod carry;
mod checkpoint;
mod clock;
mod commit;
mod copy_up;
mod diff;
mod end;
mod error;
mod fill;
mod fork;
mod history;
mod limits;
mod merge;
mod plan;
mod publish;
mod reclaim;
mod record;
mod recover;
mod removals;
mod resolve;
mod revert;
mod staged;
mod state;
mod table;
mod undo;
mod unfinished;
mod verify;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

pub use clock::now;
#[cfg(test)]
pub use clock::shift_clock;
pub use commit::{Changed, DeadTree, Effects, Preview};
pub use diff::{PathChange, PathChangeKind};
pub use error::BranchError;
pub use history::{Happened, History, Names, TrialCounts, What};
pub use limits::{MAX_DEPTH, Maxima};
pub use publish::PublishReport;
pub use reclaim::Reclaimed;
pub use record::Record;
pub use recover::Places;
pub use resolve::{join, split};
pub use state::{Branch, BranchMeta, End, Ending, Limits, Policy, State, Usage};
pub use undo::Back;
pub use verify::{Finding, Verified, verify_store};

use table::Table;

use crate::base::Base;
use crate::store::{BlobId, Dead, Lsn, SegAddr, Store};
use crate::tree::{BranchId, Change, Extent, Replaced, Source, View, shortened};

/// What the user chose for a workspace.
#[derive(Clone, Debug)]
pub struct WorkspaceOptions {
    /// The policy that main gets, and with it every later fork of main; what it was, or in a new
    /// store [`Policy::FirstWinner`], if `None`.
    pub policy: Option<Policy>,
    /// When main's changes go down into the base.
    pub publish: PublishMode,
    /// How long ended branches stay in the trash.
    pub trash: Duration,
    /// Whether every change is refused.
    pub read_only: bool,
    /// Whether a damaged store is opened all the same, for what it still holds. Needs `read_only`.
    pub rescue: bool,
    /// What all branches may be together.
    pub maxima: Maxima,
}

/// When main's changes go down into the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishMode {
    /// Before a commit into main returns; direct writes when idle and at unmount.
    Sync,
    /// When idle and at unmount.
    Async,
    /// When asked, and at unmount.
    Manual,
}

/// The branches of one store over one base.
pub struct Workspace {
    /// The bytes.
    pub store: Arc<Store>,
    /// The directory below.
    pub base: Base,
    /// What the user chose.
    pub options: WorkspaceOptions,
    /// What has happened to branches.
    pub history: History,
    table: Table,
    hash_key: [u8; 16],
    pins: Mutex<BTreeMap<u64, usize>>,
    quiesce: RwLock<()>,
    family: Mutex<()>,
    publishing: Mutex<()>,
    unfinished: Mutex<Option<unfinished::Unfinished>>,
    /// Why the last publish failed.
    publish_error: Mutex<Option<String>>,
    room: limits::Room,
    /// Whether main takes no changes, see `unfinished`.
    frozen: std::sync::atomic::AtomicBool,
}

impl Workspace {
    /// The branch that an incarnation belongs to, live or in the trash.
    pub fn by_incarnation(&self, incarnation: u32) -> Option<Arc<Branch>> {
        self.table.by_incarnation(incarnation)
    }

    /// The branch with this number, live or in the trash.
    pub fn branch(&self, id: BranchId) -> Option<Arc<Branch>> {
        self.table.branch(id)
    }

    /// The branch that lies on the base.
    pub fn main(&self) -> Arc<Branch> {
        self.branch(BranchId::MAIN).expect("main always exists")
    }

    /// Every branch, live or in the trash, parents before children.
    pub fn branches(&self) -> Vec<Arc<Branch>> {
        self.table.all()
    }

    /// The names that lead from main to a branch; none for main itself.
    pub fn names_of(&self, branch: &Branch) -> Names {
        let mut names = Vec::new();
        let (mut name, mut parent) = {
            let state = branch.state.read();
            (state.meta.name.clone(), state.meta.parent)
        };
        while let Some(id) = parent {
            names.push(name.clone());
            let Some(above) = self.branch(id) else { break };
            let state = above.state.read();
            (name, parent) = (state.meta.name.clone(), state.meta.parent);
        }
        names.reverse();
        names
    }

    /// To be held by whatever changes a branch, from before it looks until it is done.
    pub fn begin(&self) -> RwLockReadGuard<'_, ()> {
        self.quiesce.read()
    }

    /// Journals `changes` of `branch`, applies them to its locked state, counts what they use and
    /// gives back the space of what they replaced.
    ///
    /// Errors leave the state as it was.
    pub fn change(
        &self,
        branch: BranchId,
        state: &mut State,
        changes: &[Change],
    ) -> Result<(), BranchError> {
        if self.options.read_only {
            return Err(BranchError::ReadOnly);
        }
        self.check_frozen(branch)?;
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        BUFFER.with_borrow_mut(|buffer| {
            record::encode_set(branch, &shortened(changes, &state.view), buffer);
            self.store.append(buffer)
        })?;
        for change in changes {
            // What was written over in the same blob is where the new bytes are now.
            let blob = match change {
                Change::Write {
                    extent: Some(extent),
                    ..
                } => match extent.source {
                    Source::Blob { id, .. } => Some(id),
                    _ => None,
                },
                _ => None,
            };
            for extent in apply(state, change) {
                if !matches!(extent.source, Source::Blob { id, .. } if Some(id) == blob) {
                    self.free(state, &extent);
                }
            }
        }
        Ok(())
    }

    /// Gives back the space of an extent that `state`'s branch no longer refers to, where nobody
    /// else can refer to it.
    pub fn free(&self, state: &State, extent: &Extent) {
        if !state.owns(extent.epoch) {
            self.table.garbage.store(true, Ordering::Relaxed);
            return;
        }
        match extent.source {
            Source::Base { .. } => {}
            Source::Segment { at, room } => {
                self.store.release(Dead::Seg {
                    at: SegAddr(at),
                    len_bytes: room.into(),
                });
            }
            Source::Blob { id, at } => {
                let (id, offset, len_bytes) = (BlobId(id), at, extent.len);
                self.store.release(Dead::BlobRange {
                    id,
                    offset,
                    len_bytes,
                });
            }
        }
    }

    /// Changes a branch's policy, limits or note.
    pub fn set(&self, branch: &Branch, record: &Record) -> Result<(), BranchError> {
        let _running = self.begin();
        let mut state = branch.state.write();
        if state.ended.is_some() {
            return Err(BranchError::Ended {
                name: state.meta.name.clone(),
            });
        }
        self.log(record)?;
        match record {
            Record::Policy { policy, .. } => state.meta.policy = *policy,
            Record::Limits { limits, .. } => state.meta.limits = *limits,
            Record::Note { note, .. } => state.meta.note = note.clone(),
            other => panic!("not a setting: {other:?}"),
        }
        Ok(())
    }

    /// Makes everything durable that was journalled up to `lsn`; costs nothing where it is.
    pub fn make_durable(&self, lsn: Lsn) -> Result<(), BranchError> {
        match self.store.synced_to() < lsn {
            true => self.barrier(),
            false => Ok(()),
        }
    }

    /// Makes everything done so far durable.
    pub fn barrier(&self) -> Result<(), BranchError> {
        Ok(self.store.barrier()?)
    }

    fn log(&self, record: &Record) -> Result<(), BranchError> {
        if self.options.read_only {
            return Err(BranchError::ReadOnly);
        }
        self.store.append(&record.encode())?;
        Ok(())
    }

    fn number(&self) -> Result<u32, BranchError> {
        let number = self.table.next_number.fetch_add(1, Ordering::Relaxed);
        if number >= u32::MAX - 1 {
            self.table
                .next_number
                .store(u32::MAX - 1, Ordering::Relaxed);
            return Err(BranchError::NumbersUsedUp);
        }
        Ok(number)
    }

    fn epoch(&self) -> u64 {
        self.table.next_epoch.fetch_add(1, Ordering::Relaxed)
    }

    /// Keeps base `version` readable until [`Workspace::unpin`]: an open file needs it.
    pub fn pin(&self, version: u64) {
        *self.pins.lock().entry(version).or_default() += 1;
    }

    /// Ends one [`Workspace::pin`].
    pub fn unpin(&self, version: u64) {
        let mut pins = self.pins.lock();
        if let Some(count) = pins.get_mut(&version) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&version);
            }
        }
    }

    /// Ends every [`Workspace::pin`]: the kernel is gone, and with it all open files.
    pub fn unpin_all(&self) {
        self.pins.lock().clear();
    }

    /// The oldest base version that something other than main's view needs.
    fn oldest_pinned(&self) -> Option<u64> {
        let views = self
            .table
            .all()
            .into_iter()
            .filter(|branch| branch.id != BranchId::MAIN);
        let oldest_view = views
            .map(|branch| branch.state.read().view.base_version)
            .min();
        let oldest_pin = self.pins.lock().keys().next().copied();
        oldest_view.into_iter().chain(oldest_pin).min()
    }
}

/// Applies a change to a state: its view, its usage. Returns the extents that were cut out.
fn apply(state: &mut State, change: &Change) -> Vec<Extent> {
    let Replaced {
        extents: cut,
        inode: replaced,
    } = state.view.apply(change);
    let own = |extent: &Extent| extent.own_bytes() as i64;
    let usage = &mut state.usage;
    match change {
        Change::Inode { inode, .. } => usage.add(inode),
        Change::Edit { file, .. } => {
            if let Some(inode) = state.view.inode(*file) {
                usage.add(inode);
            }
        }
        Change::Write {
            extent: Some(extent),
            ..
        } => {
            usage.bytes += own(extent) - cut.iter().map(own).sum::<i64>();
        }
        Change::Grow { more, .. } => {
            usage.bytes += *more as i64 - cut.iter().map(own).sum::<i64>();
        }
        _ => {}
    }
    if let Some(replaced) = replaced {
        usage.subtract(&replaced);
    }
    cut
}

/// Whether a view shows exactly what another does, as far as pointers tell.
fn unchanged(view: &View, since: &View) -> bool {
    view.same_as(since)
}
