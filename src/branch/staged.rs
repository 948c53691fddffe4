//! Staging for a publish: the new objects that a plan puts into the base.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::plan::{Linked, Planner};
use super::{BranchError, Workspace};
use crate::base::{AttrSet, Slot, StagedIno};
use crate::store::BlobId;
use crate::sys::disk::Change;
use crate::sys::rename::At;
use crate::tree::{Content, Extent, FileId, Inode, Source, Xattrs};

/// Blobs of at least this size become the published file itself instead of being copied.
const LINK_BYTES: u64 = 1 << 20;

impl Planner<'_> {
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

    /// Stages a new object for `inode`, in slot `self.next`.
    pub(super) fn stage(
        &mut self,
        _file: FileId,
        inode: &Inode,
        path: &[u8],
    ) -> Result<StagedIno, BranchError> {
        let number = self.number();
        let slot = Slot { number, path };
        let set = self.whole_attr_set(inode)?;
        let staged = match &inode.content {
            Content::Dir => self.staging.dir(slot, &set)?,
            Content::Symlink(target) => self.staging.symlink(slot, &set, target)?,
            Content::None => self
                .staging
                .special(slot, &set, inode.attr.kind, inode.attr.rdev)?,
            Content::File(extents) => {
                if let Some(id) = self.linkable(inode) {
                    return self.stage_linked(id, slot, &set, inode.attr.size);
                }
                let workspace = self.workspace;
                let version = self.view.base_version;
                let mut failed = None;
                let staged = self.staging.file(slot, &set, &mut |fd| {
                    for extent in extents.iter() {
                        if let Err(error) = workspace.copy_extent(version, extent, fd) {
                            failed = Some(error);
                            return Err(std::io::ErrorKind::Other.into());
                        }
                    }
                    // A hole at the end was not written.
                    Ok(rustix::fs::ftruncate(fd, inode.attr.size)?)
                });
                match (failed, staged) {
                    (Some(error), _) => return Err(error),
                    (None, staged) => staged?,
                }
            }
        };
        Ok(staged)
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
        let name = std::ffi::CString::new(format!("blob-{id:x}-{}", slot.number))
            .expect("a number has no NUL");
        let stage = store.stage_dir();
        store.blob_set_len(BlobId(id), size)?;
        store.blob_link(BlobId(id), stage, &name)?;
        let staged = self.staging.linked(slot, stage, name.to_bytes(), set);
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

impl Workspace {
    /// Writes an extent's bytes to the same offset of a new file outside the store. Holes of the
    /// source stay holes.
    fn copy_extent(
        &self,
        version: u64,
        extent: &Extent,
        to: BorrowedFd<'_>,
    ) -> Result<(), BranchError> {
        let (from, at) = match &extent.source {
            Source::Base { origin, at } => (self.base.open_file(version, &origin.path)?, *at),
            Source::Segment { at, .. } => self.store.seg_fd(crate::store::SegAddr(*at))?,
            Source::Blob { id, at } => (self.store.blob_fd(BlobId(*id))?, *at),
        };
        copy_data(from.as_fd(), at, to, extent.off, extent.len)
            .map_err(|errno| crate::base::copy_error(errno).into())
    }
}

/// Copies the data of a range into a file that has nothing there yet, passing over holes:
/// copy_file_range(2) would fill them with zeros.
fn copy_data(
    from: BorrowedFd<'_>,
    start: u64,
    to: BorrowedFd<'_>,
    to_start: u64,
    len: u64,
) -> Result<(), Errno> {
    let end = start + len;
    let mut at = start;
    while at < end {
        at = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(data) if data < end => data,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno),
        };
        let hole = rustix::fs::seek(from, SeekFrom::Hole(at))?.min(end);
        let mut off = to_start + (at - start);
        while at < hole {
            let want = usize::try_from(hole - at)
                .unwrap_or(usize::MAX)
                .min(1 << 30);
            match rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut off), want) {
                // The file was cut behind us: the publish is checked against that elsewhere.
                Ok(0) => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}
