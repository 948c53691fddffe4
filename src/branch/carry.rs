//! The part of a merge that bridges two versions of the base: what a branch says of base paths, as
//! the parent would say it after the publishes since the fork.

use std::sync::Arc;

use super::BranchError;
use super::copy_up::origin_at;
use super::merge::Merging;
use crate::base::Found;
use crate::tree::{Content, Extent, FileId, Inode, Origin, Source, Xattrs};

impl Merging<'_> {
    /// Where the base object that was at `path` for the child is for the parent.
    pub(super) fn carried(&self, path: &[u8]) -> Result<Option<Vec<u8>>, BranchError> {
        if self.child.base_version == self.parent.base_version {
            return Ok(Some(path.to_vec()));
        }
        Ok(self
            .workspace
            .base
            .current_path(self.child.base_version, path)?)
    }

    /// What a publish since the fork has made of a file that had an inode in the fork, where the
    /// parent shows that, and its path in the base.
    pub(super) fn published(
        &self,
        file: FileId,
        inode: &Inode,
    ) -> Result<Option<(Vec<u8>, Found)>, BranchError> {
        if self.child.base_version == self.parent.base_version {
            return Ok(None);
        }
        let Some(path) = self.workspace.path_of_file(self.fork, file)? else {
            return Ok(None);
        };
        let found = self.workspace.below(self.parent, &path)?;
        let found = found.filter(|it| it.fid == file && it.attr.kind == inode.attr.kind);
        let shown = self
            .workspace
            .path_by_base_name(self.parent, file, &path)?
            .is_some();
        Ok(found.filter(|_| shown).map(|found| (path, found)))
    }

    /// Whether what a publish since the fork has made of a file, at `path`, has the extended
    /// attributes that it had in the fork.
    pub(super) fn has_published_xattrs(
        &self,
        path: &[u8],
        was: &Inode,
    ) -> Result<bool, BranchError> {
        let [then, version] = [self.fork.base_version, self.parent.base_version];
        let now = self.workspace.base_xattrs(version, path)?;
        Ok(self.workspace.xattrs_of(then, was)? == now)
    }

    /// Whether the parent has set extended attributes of a directory since the fork, and others
    /// than the branch. `was` and `is` are what the branch knows of it; `now` is the parent's inode
    /// of it, and else `carried` says which object of the base it is.
    pub(super) fn xattrs_differ(
        &self,
        (was, is): (Option<&Inode>, &Inode),
        (now, carried): (Option<&Inode>, &Inode),
    ) -> Result<bool, BranchError> {
        let of_origin = |inode: &Inode| Inode {
            xattrs: Xattrs::OfOrigin,
            ..inode.clone()
        };
        let [then, version] = [self.child.base_version, self.parent.base_version];
        let xattrs_of = |version, inode: &Inode| self.workspace.xattrs_of(version, inode);
        let was = match was {
            Some(was) => xattrs_of(then, was)?,
            None => xattrs_of(then, &of_origin(is))?,
        };
        let now = match now {
            Some(now) => xattrs_of(version, now)?,
            None => xattrs_of(version, &of_origin(carried))?,
        };
        Ok(now != was && now != xattrs_of(then, is)?)
    }

    /// The object that a publish since the fork has made of a file.
    fn published_origin(
        &self,
        file: FileId,
        inode: &Inode,
    ) -> Result<Option<Arc<Origin>>, BranchError> {
        if self.fork.inode(file).is_none() {
            return Ok(None);
        }
        let published = self.published(file, inode)?;
        Ok(published.map(|(path, found)| Arc::new(origin_at(&path, &found))))
    }

    /// The inode as it goes into the parent: with its origin and base extents where they are now.
    pub(super) fn carry(
        &self,
        file: FileId,
        inode: &Arc<Inode>,
    ) -> Result<Arc<Inode>, BranchError> {
        if self.child.base_version == self.parent.base_version {
            return Ok(inode.clone());
        }
        let mut carried = (**inode).clone();
        if let Some(origin) = &inode.origin {
            carried.origin = self.carry_origin(origin)?;
        }
        if carried.origin.is_none() {
            carried.origin = self.published_origin(file, inode)?;
        }
        if let (Xattrs::OfOrigin, Some(origin)) = (&inode.xattrs, &inode.origin) {
            let version = self.child.base_version;
            let own = self.workspace.base_xattrs(version, &origin.path)?;
            carried.xattrs = Xattrs::Own(Arc::new(own));
        }
        if let Content::File(extents) = &inode.content {
            let mut failed = None;
            let moved = extents.map_sources(&mut |extent| match self.carry_source(extent) {
                Ok(source) => Some(source),
                Err(error) => {
                    failed = Some(error);
                    None
                }
            });
            if let Some(error) = failed {
                return Err(error);
            }
            carried.content = Content::File(moved);
        }
        Ok(Arc::new(carried))
    }

    fn carry_origin(&self, origin: &Arc<Origin>) -> Result<Option<Arc<Origin>>, BranchError> {
        let Some(path) = self.carried(&origin.path)? else {
            return Ok(None);
        };
        let Some(found) = self.workspace.below(self.parent, &path)? else {
            return Ok(None);
        };
        Ok(Some(Arc::new(origin_at(&path, &found))))
    }

    fn carry_source(&self, extent: &Extent) -> Result<Source, BranchError> {
        let Source::Base { origin, at } = &extent.source else {
            return Ok(extent.source.clone());
        };
        if let Some(origin) = self.carry_origin(origin)? {
            return Ok(Source::Base { origin, at: *at });
        }
        // The file that it shares with was replaced since; only its old version has these bytes.
        let file = self
            .workspace
            .base
            .open_file(self.child.base_version, &origin.path)?;
        let id = self.workspace.store.blob_new();
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        while done < extent.len {
            let want = buffer.len().min((extent.len - done) as usize);
            let got = crate::base::read_at(&file, at + done, &mut buffer[..want], &origin.path)?;
            if got == 0 {
                break;
            }
            self.workspace
                .store
                .blob_write(id, extent.off + done, &buffer[..got])?;
            done += got as u64;
        }
        Ok(Source::Blob {
            id: id.0,
            at: extent.off,
        })
    }

    /// The base path, for the parent, of a directory that the fork had only in its view.
    pub(super) fn published_dir(&self, dir: FileId) -> Result<Option<Vec<u8>>, BranchError> {
        if self.child.base_version == self.parent.base_version || self.fork.inode(dir).is_none() {
            return Ok(None);
        }
        let Some(path) = self.workspace.path_of_file(self.fork, dir)? else {
            return Ok(None);
        };
        let found = self.workspace.below(self.parent, &path)?;
        Ok(found.filter(|found| found.fid == dir).map(|_| path))
    }
}
