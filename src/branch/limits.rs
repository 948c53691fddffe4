//! Upper limits: what a branch may add, and what all branches of a store may be together.
//!
//! A branch's own limits are counted exactly, by [`Usage`](super::Usage). The store's is about the
//! disk, where a snapshot may hold what no live branch counts any more: so it is measured. Between
//! two measurements whatever is written counts in full, and a write is refused only by a fresh one.
//! As on a disk, the space of what was removed is free after the barrier that follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Branch, BranchError, State, Workspace};
use crate::tree::BranchId;

/// How deep branches nest unless told otherwise; main is at 0.
const DEPTH: u32 = 50;
/// How deep they may nest at all. The path of a name that deep has to fit in PATH_MAX, and readers
/// of `branchfs tree --json` that take 128 levels of JSON end at 63.
pub const MAX_DEPTH: u32 = 100;

/// What all branches of a store may be together; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maxima {
    /// Bytes on disk of what branches hold of their own, those in the trash included.
    pub bytes: Option<u64>,
    /// Live branches, not counting main.
    pub branches: Option<u64>,
    /// How deep live branches nest; a child of main is at 1.
    pub depth: u32,
}

impl Default for Maxima {
    fn default() -> Maxima {
        Maxima {
            bytes: None,
            branches: None,
            depth: DEPTH,
        }
    }
}

/// What is known of the room that is left.
#[derive(Debug, Default)]
pub(super) struct Room {
    measured: AtomicU64,
    /// Written since it was measured.
    since: AtomicU64,
}

impl Workspace {
    /// Whether `more` bytes and inodes fit the branch's limits.
    pub fn check_limits(&self, state: &State, bytes: i64, inodes: i64) -> Result<(), BranchError> {
        let over = |limit: Option<u64>, used: i64, more: i64, what| match limit {
            Some(limit) if more > 0 && i128::from(used) + i128::from(more) > i128::from(limit) => {
                Err(BranchError::OverLimit {
                    name: state.meta.name.clone(),
                    limit,
                    what,
                })
            }
            _ => Ok(()),
        };
        over(state.meta.limits.bytes, state.usage.bytes, bytes, "bytes")?;
        over(
            state.meta.limits.inodes,
            state.usage.inodes,
            inodes,
            "inodes",
        )
    }

    /// Takes room for `more` bytes on disk. Fails with `StoreLimit` where there is none.
    pub fn take_room(&self, more: u64) -> Result<(), BranchError> {
        let Some(limit) = self.options.maxima.bytes else {
            return Ok(());
        };
        let room = &self.room;
        let since = room.since.fetch_add(more, Relaxed);
        let known = room.measured.load(Relaxed).saturating_add(since);
        if known.saturating_add(more) <= limit {
            return Ok(());
        }
        let held = self.measure_room()?;
        if held.saturating_add(more) > limit {
            return Err(BranchError::StoreLimit { limit });
        }
        room.since.fetch_add(more, Relaxed);
        Ok(())
    }

    /// Looks how much the branches hold on disk. What is being written at the moment may be missed.
    pub fn measure_room(&self) -> Result<u64, BranchError> {
        self.room.since.store(0, Relaxed);
        let held = self.store.data_bytes()?;
        self.room.measured.store(held, Relaxed);
        Ok(held)
    }

    /// What is left of the store's limit, as far as that is known without looking; `None` without
    /// a limit.
    pub fn room_left(&self) -> Option<u64> {
        let limit = self.options.maxima.bytes?;
        let held = self.room.measured.load(Relaxed) + self.room.since.load(Relaxed);
        Some(limit.saturating_sub(held))
    }

    /// Whether `parent` may have one more child. Called with `family` locked, so no other branch
    /// comes to be meanwhile.
    ///
    /// Fails with `TooDeep` and `TooManyBranches`.
    pub(super) fn check_one_more(&self, parent: &Branch) -> Result<(), BranchError> {
        let limit = self.options.maxima.depth;
        if self.names_of(parent).len() >= limit as usize {
            return Err(BranchError::TooDeep { limit });
        }
        let Some(limit) = self.options.maxima.branches else {
            return Ok(());
        };
        let branches = self.branches();
        let live = |branch: &&Arc<Branch>| branch.id != BranchId::MAIN && branch.is_live();
        match (branches.iter().filter(live).count() as u64) < limit {
            true => Ok(()),
            false => Err(BranchError::TooManyBranches { limit }),
        }
    }
}
