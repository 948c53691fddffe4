//! The table of branches, and what each kind of record does to it.
//!
//! Operations and replay both go through here, so that replaying a record does what the operation
//! did. Nothing here looks at the base or writes to the store.
//!
//! *Lock order*: a parent's state before its child's; the table's own maps are innermost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use parking_lot::RwLock;

use super::commit::DeadTree;
use super::{Branch, BranchMeta, Effects, End, Ending, State, apply};
use crate::tree::{BranchId, Change, FileId, Name, Time, View};

/// Every branch, live or in the trash, and the counters that number them.
pub(super) struct Table {
    branches: RwLock<BTreeMap<BranchId, Arc<Branch>>>,
    incarnations: DashMap<u32, Arc<Branch>, RandomState>,
    /// The next branch number or incarnation.
    pub next_number: AtomicU32,
    /// The next epoch.
    pub next_epoch: AtomicU64,
    /// The next plan number.
    pub next_plan: AtomicU64,
    /// Whether something has become garbage that only a sweep can find.
    pub garbage: AtomicBool,
}

/// A number for each branch of a tree that ends.
pub(super) type TrashNumbers = BTreeMap<BranchId, u32>;

impl Table {
    /// A table without branches.
    pub fn new() -> Table {
        Table {
            branches: RwLock::default(),
            incarnations: DashMap::default(),
            next_number: AtomicU32::new(1),
            next_epoch: AtomicU64::new(1),
            next_plan: AtomicU64::new(1),
            garbage: AtomicBool::new(false),
        }
    }

    /// The branch with this number.
    pub fn branch(&self, id: BranchId) -> Option<Arc<Branch>> {
        self.branches.read().get(&id).cloned()
    }

    /// The branch that an incarnation belongs to.
    pub fn by_incarnation(&self, incarnation: u32) -> Option<Arc<Branch>> {
        self.incarnations
            .get(&incarnation)
            .map(|branch| branch.clone())
    }

    /// Every branch, in order of number.
    pub fn all(&self) -> Vec<Arc<Branch>> {
        self.branches.read().values().cloned().collect()
    }

    /// The branches with these numbers.
    pub fn some(&self, ids: impl IntoIterator<Item = BranchId>) -> Vec<Arc<Branch>> {
        let branches = self.branches.read();
        ids.into_iter()
            .filter_map(|id| branches.get(&id).cloned())
            .collect()
    }

    fn seen(&self, number: u32) {
        self.next_number
            .fetch_max(number.saturating_add(1), Ordering::Relaxed);
    }

    /// Adds a branch.
    pub fn insert(&self, branch: Arc<Branch>) {
        let incarnation = {
            let state = branch.state.read();
            self.next_epoch
                .fetch_max(state.meta.epoch.saturating_add(1), Ordering::Relaxed);
            match &state.ended {
                Some(ending) => ending.incarnation,
                None => state.meta.incarnation,
            }
        };
        self.seen(branch.id.0);
        self.seen(incarnation);
        self.incarnations.insert(incarnation, branch.clone());
        self.branches.write().insert(branch.id, branch);
    }

    /// A fork of `parent`, whose state is locked.
    pub fn forked(&self, parent: &mut State, meta: BranchMeta, parent_epoch: u64) -> Arc<Branch> {
        self.renewed(parent, parent_epoch);
        parent.children.insert(meta.name.clone(), meta.id);
        let child = Arc::new(Branch::new(
            meta,
            parent.view.clone(),
            parent.view.clone(),
            None,
        ));
        self.insert(child.clone());
        child
    }

    /// What a branch has so far counts as shared.
    pub fn renewed(&self, state: &mut State, epoch: u64) {
        state.meta.epoch = epoch;
        state.taken_epoch = None;
        state.blobs.clear();
        self.next_epoch
            .fetch_max(epoch.saturating_add(1), Ordering::Relaxed);
    }

    /// A branch got another name. Returns the old one.
    pub fn renamed(&self, parent: &mut State, state: &mut State, name: &Name) -> Name {
        let old = std::mem::replace(&mut state.meta.name, name.clone());
        parent.children.remove(&old);
        parent.children.insert(name.clone(), state.meta.id);
        old
    }

    /// A commit: the parent's view, its generation, and the branch is gone, or in the trash with
    /// the incarnation in `kept` to be taken back. `changes` is what a merge found; `None` where
    /// the parent takes over the branch's view.
    pub fn committed(
        &self,
        (parent, parent_state): (&Arc<Branch>, &mut State),
        (branch, state): (&Arc<Branch>, &mut State),
        changes: Option<&[Change]>,
        (incarnation, replaced): (u32, &[FileId]),
        kept: Option<(u32, Time)>,
    ) -> DeadTree {
        let before = parent_state.view.clone();
        match changes {
            None => {
                parent_state.view = state.view.clone();
                parent_state.usage.bytes += state.usage.bytes;
                parent_state.usage.inodes += state.usage.inodes;
            }
            Some(changes) => {
                for change in changes {
                    apply(parent_state, change);
                }
            }
        }
        // What the branch made is the parent's alone now. What the parent had made before counts as
        // shared from here on, which only means that it is not overwritten in place. Where the
        // commit may be taken back that is so of both: the parent has a new epoch already.
        match kept {
            Some(_) => parent_state.taken_epoch = Some(state.meta.epoch),
            None => {
                parent_state.meta.epoch = state.meta.epoch;
                parent_state.taken_epoch = None;
                parent_state.blobs = std::mem::take(&mut state.blobs);
            }
        }
        parent_state.meta.generation += 1;
        for file in replaced {
            parent_state.incarnations.insert(*file, incarnation);
        }
        let name = state.meta.name.clone();
        parent_state.children.remove(&name);
        for (name, id) in std::mem::take(&mut state.trash) {
            let Some(orphaned) = self.branch(id) else {
                continue;
            };
            // What can be taken back now is this commit, with all that had gone into it.
            if orphaned.state.read().ended.map(|ending| ending.end) == Some(End::Committed) {
                self.dropped(&orphaned);
                continue;
            }
            let name = free_name(&parent_state.trash, &name);
            parent_state.trash.insert(name, id);
            orphaned.state.write().meta.parent = Some(parent.id);
        }
        let old = state.meta.incarnation;
        let ending = Ending {
            end: End::Lost,
            time: Time::default(),
            incarnation: old,
        };
        let stale: Vec<u32> = state.incarnations.values().copied().collect();
        branch.end(state, ending);
        self.branches.write().remove(&branch.id);
        self.forget(old, &stale);
        self.incarnations.insert(incarnation, parent.clone());
        self.seen(incarnation);
        if let Some((incarnation, time)) = kept {
            let ending = Ending {
                end: End::Committed,
                time,
                incarnation,
            };
            self.branches.write().insert(branch.id, branch.clone());
            let after = parent_state.view.clone();
            self.keep((parent_state, branch, state), (before, after), ending);
        }
        self.garbage.store(true, Ordering::Relaxed);
        DeadTree {
            branch: branch.clone(),
            incarnation: old,
            parent: parent.clone(),
            name,
        }
    }

    /// A commit, or an undo, was taken back: `entry` in the trash stands for that from now on.
    pub fn undone(
        &self,
        (parent, parent_state): (&Arc<Branch>, &mut State),
        (entry, state): (&Arc<Branch>, &mut State),
        changes: &[Change],
        (incarnation, replaced): (u32, &[FileId]),
        (trash_incarnation, time): (u32, Time),
    ) {
        let before = parent_state.view.clone();
        for change in changes {
            apply(parent_state, change);
        }
        for file in replaced {
            parent_state.incarnations.insert(*file, incarnation);
        }
        self.incarnations.insert(incarnation, parent.clone());
        self.seen(incarnation);
        let was = state.ended.map(|ending| {
            self.incarnations.remove(&ending.incarnation);
            ending.end
        });
        let ending = Ending {
            end: match was {
                Some(End::Undone) => End::Committed,
                _ => End::Undone,
            },
            time,
            incarnation: trash_incarnation,
        };
        parent_state.trash.retain(|_, id| *id != entry.id);
        let after = parent_state.view.clone();
        self.keep((parent_state, entry, state), (before, after), ending);
        self.garbage.store(true, Ordering::Relaxed);
    }

    /// Puts `entry` into its parent's trash, to show what that was before a commit or an undo.
    fn keep(
        &self,
        (parent, entry, state): (&mut State, &Arc<Branch>, &mut State),
        (before, after): (View, View),
        ending: Ending,
    ) {
        let suffix = match ending.end {
            End::Undone => "~undone",
            _ => "~before",
        };
        let name = [&state.meta.name[..], suffix.as_bytes()].concat();
        let name = free_name(&parent.trash, &name.into());
        parent.trash.insert(name, entry.id);
        (state.view, state.fork_view) = (before, after);
        state.usage = Default::default();
        state.incarnations.clear();
        entry.end(state, ending);
        self.incarnations.insert(ending.incarnation, entry.clone());
        self.seen(ending.incarnation);
    }

    fn forget(&self, incarnation: u32, more: &[u32]) {
        self.incarnations.remove(&incarnation);
        for incarnation in more {
            self.incarnations.remove(incarnation);
        }
    }

    /// A branch and its live descendants end, each going into its parent's trash.
    pub fn end_tree(
        &self,
        parent: &Arc<Branch>,
        branch: &Arc<Branch>,
        (end, time): (End, Time),
        numbers: &TrashNumbers,
        effects: &mut Effects,
    ) {
        let children: Vec<BranchId> = branch.state.read().children.values().copied().collect();
        for child in self.some(children) {
            self.end_tree(branch, &child, (end, time), numbers, effects);
        }
        let mut parent_state = parent.state.write();
        let mut state = branch.state.write();
        let old = state.meta.incarnation;
        let incarnation = numbers
            .get(&branch.id)
            .copied()
            .expect("a number for each branch");
        let stale: Vec<u32> = state.incarnations.values().copied().collect();
        branch.end(
            &mut state,
            Ending {
                end,
                time,
                incarnation,
            },
        );
        let name = state.meta.name.clone();
        parent_state.children.remove(&name);
        let trash_name = free_name(&parent_state.trash, &name);
        parent_state.trash.insert(trash_name, branch.id);
        drop(state);
        drop(parent_state);
        self.forget(old, &stale);
        self.incarnations.insert(incarnation, branch.clone());
        self.seen(incarnation);
        let parent = parent.clone();
        effects.dead.push(DeadTree {
            branch: branch.clone(),
            incarnation: old,
            parent,
            name,
        });
    }

    /// A branch came back from its parent's trash.
    pub fn restored(
        &self,
        parent: &Arc<Branch>,
        branch: &Arc<Branch>,
        name: &Name,
        incarnation: u32,
    ) {
        let mut parent_state = parent.state.write();
        let mut state = branch.state.write();
        if let Some(ending) = &state.ended {
            self.incarnations.remove(&ending.incarnation);
        }
        parent_state.trash.retain(|_, id| *id != branch.id);
        parent_state.children.insert(name.clone(), branch.id);
        state.meta.name = name.clone();
        branch.revive(&mut state, incarnation);
        drop(state);
        drop(parent_state);
        self.incarnations.insert(incarnation, branch.clone());
        self.seen(incarnation);
    }

    /// A branch in the trash is gone for good, with what is in its own trash.
    pub fn expired(&self, branch: &Arc<Branch>) {
        let parent = branch.state.read().meta.parent;
        if let Some(parent) = parent.and_then(|id| self.branch(id)) {
            parent.state.write().trash.retain(|_, id| *id != branch.id);
        }
        self.dropped(branch);
    }

    /// The same where its parent does not have it any more.
    fn dropped(&self, branch: &Arc<Branch>) {
        let (inner, incarnation) = {
            let state = branch.state.read();
            let inner: Vec<BranchId> = state.trash.values().copied().collect();
            (inner, state.ended.map(|e| e.incarnation))
        };
        for child in self.some(inner) {
            self.dropped(&child);
        }
        if let Some(incarnation) = incarnation {
            self.incarnations.remove(&incarnation);
        }
        self.branches.write().remove(&branch.id);
        self.garbage.store(true, Ordering::Relaxed);
    }
}

/// `name`, or `name~2`, `name~3`... where the trash has it already.
fn free_name(trash: &BTreeMap<Name, BranchId>, name: &Name) -> Name {
    let mut free = name.clone();
    let mut n = 2;
    while trash.contains_key(&free) {
        let mut numbered = name.to_vec();
        numbered.extend_from_slice(format!("~{n}").as_bytes());
        free = numbered.into();
        n += 1;
    }
    free
}
