//! How branches end without winning: abort, the trash, restore and expiry.
//!
//! Ending a branch is O(1) in its changes: it is marked, and its parent keeps it under `trash`. Its
//! files get a new incarnation there, so that what was opened before stays dead.

use std::sync::Arc;

use super::{Branch, BranchError, Effects, End, Record, State, What, Workspace, clock};
use crate::tree::{BranchId, Name};

impl Workspace {
    /// Aborts a live branch without live children.
    ///
    /// Fails with `HasChildren`, `Ended`, or `MainStays` for main.
    pub fn abort(&self, branch: &Arc<Branch>) -> Result<Effects, BranchError> {
        let _running = self.begin();
        let _family = self.family.lock();
        let parent = self.parent_of(branch, "aborted")?;
        let names = self.names_of(branch);
        // A fork takes its parent's lock alone, so childlessness is settled under it.
        let numbers = {
            let state = branch.state.write();
            require_childless(&state)?;
            let numbers = vec![(branch.id, self.number()?)];
            self.log(&Record::Abort {
                branch: branch.id,
                trash_incarnations: numbers.clone(),
                time: clock::now(),
            })?;
            drop(state);
            numbers.into_iter().collect()
        };
        let mut effects = Effects::default();
        let when = (End::Aborted, clock::now());
        self.table
            .end_tree(&parent, branch, when, &numbers, &mut effects);
        self.happened(What::Abort, names, branch.id);
        Ok(effects)
    }

    /// A fresh incarnation for a branch and each of its live descendants.
    pub(super) fn trash_numbers(
        &self,
        branch: &Branch,
    ) -> Result<Vec<(BranchId, u32)>, BranchError> {
        let mut numbers = vec![(branch.id, self.number()?)];
        let children: Vec<BranchId> = branch.state.read().children.values().copied().collect();
        for child in self.table.some(children) {
            numbers.extend(self.trash_numbers(&child)?);
        }
        Ok(numbers)
    }

    /// Brings a branch back from its parent's trash, under `name`.
    ///
    /// Fails with `NoSuchBranch`, `NameTaken`, or `Ended` where the parent itself has ended, and as
    /// a fork does at the limits of the mount.
    pub fn restore(
        &self,
        parent: &Arc<Branch>,
        trash_name: &Name,
        name: &Name,
    ) -> Result<Arc<Branch>, BranchError> {
        let _running = self.begin();
        let _family = self.family.lock();
        self.check_one_more(parent)?;
        let branch = {
            let state = parent.state.read();
            if state.ended.is_some() {
                return Err(BranchError::Ended {
                    name: state.meta.name.clone(),
                });
            }
            if state.children.contains_key(name) {
                return Err(BranchError::NameTaken { name: name.clone() });
            }
            let missing = || BranchError::NoSuchBranch {
                name: trash_name.clone(),
            };
            let id = state.trash.get(trash_name).ok_or_else(missing)?;
            self.branch(*id).ok_or_else(missing)?
        };
        if branch.state.read().is_commit() {
            return Err(BranchError::NotABranch {
                name: trash_name.clone(),
            });
        }
        let incarnation = self.number()?;
        self.log(&Record::Restore {
            branch: branch.id,
            name: name.clone(),
            incarnation,
        })?;
        self.table.restored(parent, &branch, name, incarnation);
        self.happened(What::Restore, self.names_of(&branch), branch.id);
        Ok(branch)
    }

    /// Removes a branch in the trash for good, with what is in its own trash. One that is not in
    /// the trash, or not any more, is left alone.
    pub fn expire(&self, branch: &Arc<Branch>) -> Result<(), BranchError> {
        let _running = self.begin();
        let _family = self.family.lock();
        // It may have been restored, or removed with its parent, since the caller looked.
        if branch.state.read().ended.is_none() || self.branch(branch.id).is_none() {
            return Ok(());
        }
        let names = self.names_of(branch);
        self.log(&Record::Expire { branch: branch.id })?;
        self.table.expired(branch);
        self.happened(What::Expire, names, branch.id);
        Ok(())
    }

    /// Removes from the trash what ended first, for its space; `false` where the trash is empty.
    pub fn expire_oldest(&self) -> Result<bool, BranchError> {
        let ended = |branch: &Arc<Branch>| branch.state.read().ended.map(|ending| ending.time);
        let oldest = self
            .branches()
            .into_iter()
            .filter(|b| ended(b).is_some())
            .min_by_key(ended);
        match oldest {
            Some(branch) => self.expire(&branch).map(|()| true),
            None => Ok(false),
        }
    }

    /// Removes from the trash whatever ended longer ago than the mount option says.
    pub fn expire_old(&self) -> Result<usize, BranchError> {
        let now = clock::now();
        let keep = i64::try_from(self.options.trash.as_secs()).unwrap_or(i64::MAX);
        let old: Vec<_> = self
            .branches()
            .into_iter()
            .filter(|branch| {
                let ended = branch.state.read().ended;
                ended.is_some_and(|e| now.sec.saturating_sub(e.time.sec) >= keep)
            })
            .collect();
        for branch in &old {
            if self.branch(branch.id).is_some() {
                self.expire(branch)?;
            }
        }
        Ok(old.len())
    }
}

/// Refuses to end a branch that has ended already or has live children.
pub(super) fn require_childless(state: &State) -> Result<(), BranchError> {
    if state.ended.is_some() {
        return Err(BranchError::Ended {
            name: state.meta.name.clone(),
        });
    }
    if !state.children.is_empty() {
        let children = state.children.keys().map(|name| name.to_vec()).collect();
        return Err(BranchError::HasChildren {
            name: state.meta.name.clone(),
            children,
        });
    }
    Ok(())
}
