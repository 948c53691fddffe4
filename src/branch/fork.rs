//! Forking and renaming branches.
//!
//! A fork is O(1): two root pointers are cloned. Both sides get a new epoch, so neither overwrites
//! in place what the other sees.

use std::sync::Arc;

use super::{Branch, BranchError, BranchMeta, Limits, Record, What, Workspace, clock};
use crate::tree::{BranchId, Name};

impl Workspace {
    /// Forks `parent`. The child belongs to user `uid`.
    ///
    /// Fails with `Ended` where the parent is not live, `NameTaken` where it has that child, and
    /// `TooManyBranches` and `TooDeep` at the limits of the mount.
    pub fn fork(
        &self,
        parent: &Arc<Branch>,
        name: &Name,
        uid: u32,
        gid: u32,
    ) -> Result<Arc<Branch>, BranchError> {
        let _running = self.begin();
        // Whoever ends a branch has given a number to each one below it: none may be added then.
        let _family = self.family.lock();
        self.check_one_more(parent)?;
        let mut state = parent.state.write();
        if state.ended.is_some() {
            return Err(BranchError::Ended {
                name: state.meta.name.clone(),
            });
        }
        if state.children.contains_key(name) {
            return Err(BranchError::NameTaken { name: name.clone() });
        }
        self.check_frozen(parent.id)?;
        let number = self.number()?;
        let parent_epoch = self.epoch();
        let meta = BranchMeta {
            id: BranchId(number),
            parent: Some(parent.id),
            name: name.clone(),
            uid,
            gid,
            created: clock::now(),
            policy: state.meta.policy,
            generation: 0,
            fork_generation: state.meta.generation,
            epoch: self.epoch(),
            incarnation: number,
            limits: Limits::default(),
            note: Box::default(),
        };
        self.log(&Record::Fork {
            meta: Box::new(meta.clone()),
            parent_epoch,
        })?;
        let child = self.table.forked(&mut state, meta, parent_epoch);
        drop(state);
        self.happened(What::Fork, self.names_of(&child), child.id);
        Ok(child)
    }

    /// Gives a branch another name.
    ///
    /// Fails with `NameTaken`, `Ended`, or `MainStays` for main.
    pub fn rename(&self, branch: &Arc<Branch>, name: &Name) -> Result<(), BranchError> {
        let _running = self.begin();
        let _family = self.family.lock();
        let parent = self.parent_of(branch, "renamed")?;
        let from = self.names_of(branch);
        let mut parent = parent.state.write();
        let mut state = branch.state.write();
        if state.ended.is_some() {
            return Err(BranchError::Ended {
                name: state.meta.name.clone(),
            });
        }
        if parent.children.contains_key(name) {
            return Err(BranchError::NameTaken { name: name.clone() });
        }
        self.log(&Record::Rename {
            branch: branch.id,
            name: name.clone(),
        })?;
        self.table.renamed(&mut parent, &mut state, name);
        drop(state);
        drop(parent);
        self.happened(What::Rename { from }, self.names_of(branch), branch.id);
        Ok(())
    }

    /// The branch that `branch` would commit into; fails with `MainStays` for main.
    pub fn parent_of(
        &self,
        branch: &Branch,
        what: &'static str,
    ) -> Result<Arc<Branch>, BranchError> {
        let (parent, name) = {
            let state = branch.state.read();
            (state.meta.parent, state.meta.name.clone())
        };
        let parent = parent.ok_or(BranchError::MainStays { what })?;
        self.branch(parent).ok_or(BranchError::Ended { name })
    }
}
