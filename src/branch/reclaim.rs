//! Giving space back: a mark over every view, then a sweep of the store.
//!
//! Most space is given back at once, when a branch drops what it alone referred to. The rest, what
//! ended branches and shared extents leave, is found here: everything that any view refers to is
//! live, whatever else was allocated before the mark began is not.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{BranchError, Workspace};
use crate::store::{BlobId, Live};
use crate::sys::failpoint;
use crate::tree::{Content, Inode, Source, View};

/// What a sweep gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Bytes that the store's files no longer take.
    pub bytes: u64,
    /// Blobs deleted.
    pub blobs: u64,
}

/// What the mark has found live.
#[derive(Default)]
struct Marked {
    segments: Vec<Range<u64>>,
    blobs: HashSet<u64>,
}

impl Marked {
    fn inode(&mut self, inode: &Inode) {
        let Content::File(extents) = &inode.content else {
            return;
        };
        for extent in extents.iter() {
            match extent.source {
                Source::Base { .. } => {}
                Source::Segment { at, room } => self.segments.push(at..at + u64::from(room)),
                Source::Blob { id, .. } => {
                    self.blobs.insert(id);
                }
            }
        }
    }

    /// Everything in `view` that `from`, which is marked already, does not have.
    fn view(&mut self, from: &View, view: &View) {
        for (_, _, new) in from.diff_inodes(view) {
            if let Some(inode) = new {
                self.inode(inode);
            }
        }
    }
}

impl Workspace {
    /// Finds and gives back what nothing refers to any more. `open` are inodes that no view has but
    /// that somebody still holds open.
    pub fn reclaim(&self, open: &dyn Fn() -> Vec<Arc<Inode>>) -> Result<Reclaimed, BranchError> {
        let _no_publish = self.publishing.lock();
        let mut marked = Marked::default();
        let mark = {
            // While views are cloned nothing changes, so nothing can move from one that is not yet
            // marked to one that is; what is allocated later lies behind the mark.
            let still = self.quiesce.write();
            self.table.garbage.store(false, Ordering::Relaxed);
            let mark = self.store.sweep_mark();
            let views: Vec<_> = self
                .branches()
                .into_iter()
                .map(|branch| {
                    let state = branch.state.read();
                    // What only a view needs that is never read is not kept.
                    let fork_view = (!state.is_commit()).then(|| state.fork_view.clone());
                    (fork_view, state.view.clone())
                })
                .collect();
            let open = open();
            drop(still);
            let mut last = View::default();
            for (fork_view, view) in views {
                if let Some(fork_view) = fork_view {
                    marked.view(&last, &fork_view);
                    last = fork_view;
                }
                marked.view(&last, &view);
                last = view;
            }
            open.iter().for_each(|inode| marked.inode(inode));
            mark
        };
        marked.segments.sort_unstable_by_key(|range| range.start);
        let mut blobs: Vec<BlobId> = marked.blobs.into_iter().map(BlobId).collect();
        blobs.sort_unstable();
        let live = Live {
            segments: marked.segments,
            blobs,
        };
        failpoint::reach("reclaim-marked");
        let swept = self.store.sweep(live, mark)?;
        failpoint::reach("reclaim-swept");
        self.drop_old_versions()?;
        Ok(Reclaimed {
            bytes: swept.freed_bytes,
            blobs: swept.blobs,
        })
    }

    /// Deletes what the store keeps of the base for views that are no more.
    pub fn drop_old_versions(&self) -> Result<(), BranchError> {
        self.base.trim(self.oldest_pinned());
        while self.base.purge(1000)? {}
        Ok(())
    }

    /// Whether there may be something for [`Workspace::reclaim`] to find.
    pub fn has_garbage(&self) -> bool {
        self.table.garbage.load(Ordering::Relaxed)
    }
}
