//! Staging for a publish: the new objects that a plan puts into the base.

use super::BranchError;
use super::fill::Fill;
use super::plan::{Linked, Planner};
use crate::base::{AttrSet, Slot, StagedIno};
use crate::store::BlobId;
use crate::sys::disk::Change;
use crate::sys::inode::ACCESS_ACL;
use crate::sys::rename::At;
use crate::tree::{Content, Inode, Source, Xattrs};

/// Blobs of at least this size become the published file itself instead of being copied.
const LINK_BYTES: u64 = 1 << 20;

impl<'a> Planner<'a> {
    /// The attributes of an inode, for an object that has those of its origin or none.
    pub(super) fn attr_set(&self, inode: &Inode) -> Result<AttrSet, BranchError> {
        let mut set = Vec::new();
        let mut removed = Vec::new();
        if let Xattrs::Own(own) = &inode.xattrs {
            set.extend(
                own.iter()
                    .map(|(name, value)| (name.to_vec(), value.to_vec())),
            );
            if let Some(origin) = &inode.origin {
                let had = self
                    .workspace
                    .base
                    .list_xattrs(self.view.base_version, &origin.path)?;
                removed.extend(had.into_iter().filter(|name| !own.contains_key(&name[..])));
            }
        }
        let attr = &inode.attr;
        Ok(AttrSet {
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            atime: attr.atime,
            mtime: attr.mtime,
            set,
            removed,
        })
    }

    /// The attributes of a new object that takes over from an inode.
    fn whole_attr_set(&self, inode: &Inode) -> Result<AttrSet, BranchError> {
        let mut set = self.attr_set(inode)?;
        set.removed.clear();
        if let (Xattrs::OfOrigin, Some(origin)) = (&inode.xattrs, &inode.origin) {
            let version = self.view.base_version;
            for name in self.workspace.base.list_xattrs(version, &origin.path)? {
                let value = self
                    .workspace
                    .base
                    .get_xattr(version, &origin.path, &name)?;
                set.set.extend(value.map(|value| (name, value)));
            }
        }
        Ok(set)
    }

    /// Stages a new object for `inode`, in slot `self.next`; for an exchange if it `replaces` one.
    pub(super) fn stage(
        &mut self,
        inode: &'a Inode,
        path: &[u8],
        replaces: bool,
    ) -> Result<StagedIno, BranchError> {
        let slot = Slot {
            number: self.number(),
            replaces,
            path,
        };
        let set = self.whole_attr_set(inode)?;
        match &inode.content {
            Content::Dir => Ok(self.staging.dir(slot, &set)?),
            Content::Symlink(target) => Ok(self.staging.symlink(slot, &set, target)?),
            Content::None => {
                let (kind, rdev) = (inode.attr.kind, inode.attr.rdev);
                Ok(self.staging.special(slot, &set, kind, rdev)?)
            }
            Content::File(extents) => match self.linkable(inode) {
                Some(id) => self.stage_linked(id, slot, &set, inode.attr.size),
                None => {
                    let file = self.staging.create(slot, &set)?;
                    let ino = file.ino();
                    self.filling.add(Fill {
                        file,
                        path: path.to_vec(),
                        set,
                        extents,
                        size: inode.attr.size,
                    })?;
                    Ok(ino)
                }
            },
        }
    }

    /// The blob that is just this file's content and nobody else's.
    fn linkable(&self, inode: &Inode) -> Option<u64> {
        let extent = inode.extents()?.single()?;
        match extent.source {
            Source::Blob { id, at: 0 }
                if extent.off == 0
                    && extent.len == inode.attr.size
                    && extent.len >= LINK_BYTES
                    && self.epochs.contains(&extent.epoch) =>
            {
                Some(id)
            }
            _ => None,
        }
    }

    fn stage_linked(
        &mut self,
        id: u64,
        slot: Slot<'_>,
        set: &AttrSet,
        size: u64,
    ) -> Result<StagedIno, BranchError> {
        let store = &self.workspace.store;
        let mut set = set.clone();
        if !set.set.iter().any(|(name, _)| name == ACCESS_ACL) {
            // Of a store whose directories still had a default ACL.
            set.removed.push(ACCESS_ACL.to_vec());
        }
        let name = std::ffi::CString::new(format!("blob-{id:x}-{}", slot.number))
            .expect("a number has no NUL");
        let stage = store.stage_dir();
        store.blob_set_len(BlobId(id), size)?;
        store.blob_link(BlobId(id), stage, &name)?;
        let staged = self.staging.linked(slot, stage, name.to_bytes(), &set);
        let at = At {
            dir: stage,
            name: name.to_bytes(),
        };
        let unlinked = store.disk().change(Change::Unlink(at), || {
            rustix::fs::unlinkat(stage, &name, rustix::fs::AtFlags::empty())
        });
        if let Err(errno) = unlinked {
            log::warn!("{name:?} stays in the stage directory: {errno}");
        }
        let staged = staged?;
        self.linked.push(Linked {
            blob: id,
            ino: staged.0,
        });
        Ok(staged)
    }
}
