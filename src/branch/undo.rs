//! Undo and redo: a commit is taken back, and an undo too.
//!
//! A commit leaves its branch in the parent's trash with two views: what the parent showed before
//! (that is what the trash shows) and what it showed after. To undo it is to go back from the one
//! after to the one before and to merge that into what the parent shows now, as if somebody had
//! changed it back by hand in a branch forked right after the commit. So what has come since stays,
//! and where both touch the same path the undo is refused. The entry then holds what the parent
//! showed before and after the undo, and a redo is the same thing once more.
//!
//! To the parent's children an undo is what a user's own changes to it are: nobody is lost by it.
//!
//! The view after is there to be compared with, never to be read: what it alone refers to in the
//! store is not kept (see `reclaim`). For that to be safe its parent gets a new epoch with each
//! commit and undo, so that no later content looks like an earlier one.

use std::sync::Arc;

use super::commit::{Changed, changed};
use super::{Branch, BranchError, Effects, End, Ending, Record, State, What, Workspace, clock};
use crate::sys::failpoint;
use crate::tree::{BranchId, Name, View};

/// How many commits into one branch can be taken back or done again at most.
const MOST: usize = 32;

/// Which way to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// Take the last commit back.
    Undo,
    /// Take the last undo back.
    Redo,
}

impl Back {
    /// What entries of the trash it is about.
    fn end(self) -> End {
        match self {
            Back::Undo => End::Committed,
            Back::Redo => End::Undone,
        }
    }
}

impl End {
    /// Whether an entry of the trash that ended so is one of two views of its parent rather than a
    /// branch.
    pub fn is_commit(self) -> bool {
        matches!(self, End::Committed | End::Undone)
    }
}

/// An entry of a trash that is a commit or an undo.
#[derive(Clone)]
struct Entry {
    name: Name,
    branch: Arc<Branch>,
    ending: Ending,
}

/// The one that came last.
fn newest(entries: &[Entry], back: Back) -> Option<&Entry> {
    let of_kind = entries
        .iter()
        .filter(|entry| entry.ending.end == back.end());
    of_kind.max_by_key(|entry| entry.ending.incarnation)
}

impl Workspace {
    /// The entry in the trash of `parent` that [`Workspace::undo`] would be about, and its name
    /// there.
    ///
    /// Fails with `NothingToUndo`.
    pub fn last(&self, parent: &Branch, back: Back) -> Result<(Name, Arc<Branch>), BranchError> {
        let state = parent.state.read();
        let last = newest(&self.entries(&state), back).cloned();
        let none = || BranchError::NothingToUndo {
            name: state.meta.name.clone(),
            redo: back == Back::Redo,
        };
        last.map(|entry| (entry.name, entry.branch))
            .ok_or_else(none)
    }

    /// The names in the trash of `parent` of what an undo and a redo would be about.
    pub fn last_entries(&self, parent: &Branch) -> [Option<Name>; 2] {
        let entries = self.entries(&parent.state.read());
        [Back::Undo, Back::Redo].map(|back| Some(newest(&entries, back)?.name.clone()))
    }

    /// The entries of a trash that are commits or undos.
    fn entries(&self, parent: &State) -> Vec<Entry> {
        let entry = |(name, id): (&Name, &BranchId)| {
            let branch = self.branch(*id)?;
            let ending = branch.state.read().ended?;
            let name = name.clone();
            ending.end.is_commit().then_some(Entry {
                name,
                branch,
                ending,
            })
        };
        parent.trash.iter().filter_map(entry).collect()
    }

    /// Whether the base still is what undoing `entry` takes it for, where it would change it.
    /// Fails with `BaseChanged`.
    pub fn check_base_for_undo(&self, entry: &Branch) -> Result<(), BranchError> {
        let (after, before) = {
            let state = entry.state.read();
            (state.fork_view.clone(), state.view.clone())
        };
        self.check_base_between(&after, &before)
    }

    /// Takes back the commit, or the undo, that `entry` in the trash of `parent` is. `orphan` and
    /// durability as in [`Workspace::commit`].
    ///
    /// Fails with `ChangedSince` where the same path was changed since, with `Ended` where the
    /// entry or the parent are no more, and has changed nothing then.
    pub fn undo(
        &self,
        parent: &Arc<Branch>,
        entry: &Arc<Branch>,
        orphan: &mut dyn FnMut(&State, &Changed, &View),
    ) -> Result<Effects, BranchError> {
        let mut names = self.names_of(parent);
        names.push(entry.state.read().meta.name.clone());
        let done = self.take_back(parent, entry, orphan);
        match &done {
            Ok((effects, what)) => {
                self.happened(what.clone(), names, entry.id);
                Ok(effects.clone())
            }
            Err(BranchError::ChangedSince { paths, .. } | BranchError::BaseChanged { paths }) => {
                let paths = paths.clone();
                self.happened(What::Conflict { paths }, names, entry.id);
                done.map(|(effects, _)| effects)
            }
            Err(_) => done.map(|(effects, _)| effects),
        }
    }

    fn take_back(
        &self,
        parent: &Arc<Branch>,
        entry: &Arc<Branch>,
        orphan: &mut dyn FnMut(&State, &Changed, &View),
    ) -> Result<(Effects, What), BranchError> {
        let _running = self.begin();
        let _family = self.family.lock();
        let mut parent_state = parent.state.write();
        let mut state = entry.state.write();
        self.check_frozen(parent.id)?;
        let ended = |name: &State| BranchError::Ended {
            name: name.meta.name.clone(),
        };
        if parent_state.ended.is_some() {
            return Err(ended(&parent_state));
        }
        let ending = state.ended.filter(|ending| ending.end.is_commit());
        let is_there = parent_state.trash.values().any(|id| *id == entry.id);
        let Some(ending) = ending.filter(|_| is_there) else {
            return Err(ended(&state));
        };
        let view = self.reverted(&state.fork_view, &state.view)?;
        let merge = self.merge_views(&parent_state.view, (&state.fork_view, &view))?;
        if !merge.conflicts.is_empty() {
            return Err(BranchError::ChangedSince {
                name: state.meta.name.clone(),
                paths: merge.conflicts,
            });
        }
        let next = merge.result(&parent_state.view, &view);
        let changes = merge
            .changes
            .unwrap_or_else(|| parent_state.view.changes_to(&view));
        let (incarnation, trash_incarnation) = (self.number()?, self.number()?);
        let time = clock::now();
        self.log_parts(entry.id, &changes)?;
        self.renew_epoch(parent.id, &mut parent_state)?;
        failpoint::reach("undo-decided");
        self.log(&Record::Undo {
            entry: entry.id,
            incarnation,
            trash_incarnation,
            time,
        })?;
        failpoint::reach("undo-recorded");
        let changed = changed(parent, &state.fork_view, &state.view);
        orphan(&parent_state, &changed, &next);
        self.table.undone(
            (parent, &mut parent_state),
            (entry, &mut state),
            &changes,
            (incarnation, &changed.replaced),
            (trash_incarnation, time),
        );
        let paths = changed.names.len().max(changed.replaced.len()) as u64;
        let what = match ending.end {
            End::Undone => What::Redo { paths },
            _ => What::Undo { paths },
        };
        let effects = Effects {
            dead: Vec::new(),
            changed: Some(changed),
        };
        Ok((effects, what))
    }

    /// Gives a branch whose state is locked another epoch: what it has now counts as shared.
    pub(super) fn renew_epoch(
        &self,
        branch: BranchId,
        state: &mut State,
    ) -> Result<(), BranchError> {
        let epoch = self.epoch();
        self.log(&Record::Epoch { branch, epoch })?;
        self.table.renewed(state, epoch);
        Ok(())
    }

    /// Removes from the trash of `parent` the oldest commits of more than can be taken back.
    pub fn expire_commits(&self, parent: &Branch) -> Result<(), BranchError> {
        let mut entries = self.entries(&parent.state.read());
        entries.sort_by_key(|entry| entry.ending.incarnation);
        let more = entries.len().saturating_sub(MOST);
        for entry in &entries[..more] {
            self.expire(&entry.branch)?;
        }
        Ok(())
    }
}
