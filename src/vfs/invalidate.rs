//! Telling the kernel what is no longer so.
//!
//! Called by threads that serve no requests, with no lock held: a notification waits for requests
//! that are in flight on the directory or inode it is about.

use std::sync::Arc;

use super::{Inner, Vfs};
use crate::branch::DeadTree;
use crate::ctlfs::Reserved;
use crate::overlay::Stale;
use crate::tree::{FileId, NodeId};

/// With more nodes than this an ended branch is cut off by a new epoch of the kernel's names at
/// once, and its nodes are invalidated after the answer.
const MANY_NODES: usize = 1000;

/// Who asked for the end of a branch, which decides what the kernel does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A write to one of its files.
    ByWrite,
    /// rmdir(2) of its root, which holds the directory that the name is in.
    ByRmdir,
}

/// The nodes of a large branch that has ended, which the kernel cannot reach by name any more.
#[must_use]
pub(super) struct Unburied<'a> {
    dead: &'a DeadTree,
    asked: Asked,
}

impl Vfs {
    /// Everything of an ended branch: its name first, which drops every path into it, then its
    /// inodes, so that descriptors answer ESTALE and mappings fault. What of that may wait until
    /// after the answer is handed back.
    pub(super) fn bury<'a>(&self, dead: &'a DeadTree, asked: Asked) -> Option<Unburied<'a>> {
        let inner = &self.0;
        if asked == Asked::ByWrite {
            let root = NodeId::new(dead.incarnation, FileId::ROOT);
            self.tell_of_end(&dead.parent, &dead.name, root);
        }
        let is_large = inner.overlay.node_count(&dead.branch) > MANY_NODES;
        inner.overlay.detach(&dead.branch, dead.incarnation);
        if is_large && inner.config.cache.new_epoch() {
            return Some(Unburied { dead, asked });
        }
        inner.bury_nodes(dead, asked);
        None
    }

    /// Drops the rest of what [`Vfs::bury`] left, in a thread.
    pub(super) fn bury_later(&self, rest: Vec<Unburied<'_>>) {
        for Unburied { dead, asked } in rest {
            let (vfs, dead) = (self.clone(), dead.clone());
            let thread = std::thread::Builder::new()
                .name("bury".into())
                .spawn(move || vfs.0.bury_nodes(&dead, asked));
            if thread.is_err() {
                log::warn!("the kernel keeps pages of an ended branch: no thread to drop them");
            }
        }
    }
}

impl Inner {
    fn bury_nodes(&self, dead: &DeadTree, asked: Asked) {
        if asked == Asked::ByWrite {
            self.forget_name(dead);
        }
        // Not its reserved files: the write that asked for this may be in flight on one of them,
        // and what they cache is looked at anew each time anyway.
        for node in self.overlay.known(&dead.branch, dead.incarnation) {
            self.config.cache.inval_inode(node, true);
        }
    }

    /// The name of an ended branch in its parent's `@branches`.
    fn forget_name(&self, dead: &DeadTree) {
        let parent = self.overlay.root(&dead.parent).incarnation();
        let dir = Reserved::Branches.node(parent);
        self.config.cache.inval_entry(dir, &dead.name);
        self.config.cache.inval_inode(dir, true);
    }

    /// What a commit changes in its parent.
    pub(super) fn drop_stale(&self, stale: &Stale) {
        for (dir, name) in &stale.names {
            self.config.cache.inval_entry(*dir, name);
        }
        self.drop_stale_dirs(stale);
    }

    /// The directories alone: their attributes and cached listings.
    pub(super) fn drop_stale_dirs(&self, stale: &Stale) {
        for dir in &stale.dirs {
            self.config.cache.inval_inode(*dir, true);
        }
    }

    /// A branch's reserved directories may show another owner. Attributes alone never wait for a
    /// request that is in flight.
    pub(super) fn drop_owner(&self, incarnation: u32) {
        for dir in [Reserved::Branches, Reserved::SelfDir] {
            self.config.cache.inval_inode(dir.node(incarnation), false);
        }
    }

    /// A branch's trash does not have this name any more.
    pub(super) fn drop_trashed(&self, parent: &Arc<crate::branch::Branch>, name: &[u8]) {
        let incarnation = self.overlay.root(parent).incarnation();
        let trash = Reserved::Trash.node(incarnation);
        self.config.cache.inval_entry(trash, name);
        self.config.cache.inval_inode(trash, true);
    }

    /// A branch's `@branches` shows other names.
    pub(super) fn drop_listing(&self, parent: &Arc<crate::branch::Branch>) {
        let incarnation = self.overlay.root(parent).incarnation();
        self.config
            .cache
            .inval_inode(Reserved::Branches.node(incarnation), true);
    }
}
