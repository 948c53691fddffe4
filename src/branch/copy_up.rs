//! Copy-up: the inode that a base file gets in a view once something of it changes.
//!
//! No content is copied: the inode's one extent is the whole of the base file.

use std::sync::Arc;

use super::{BranchError, Workspace};
use crate::base::Found;
use crate::tree::{
    Content, Extent, ExtentMap, FileId, Inode, Kind, Origin, OwnXattrs, Source, Xattrs,
};

impl Workspace {
    /// The inode of what the base's `version` has at `path`, named by `place`: a directory and a
    /// name in it.
    pub fn copied_up(
        &self,
        found: &Found,
        path: &[u8],
        place: (FileId, &[u8]),
        epoch: u64,
        version: u64,
    ) -> Result<Inode, BranchError> {
        let origin = Arc::new(origin_at(path, found));
        let content = match found.attr.kind {
            Kind::File => Content::File(match found.attr.size {
                0 => ExtentMap::new(),
                len => {
                    let source = Source::Base {
                        origin: origin.clone(),
                        at: 0,
                    };
                    ExtentMap::of(Extent {
                        off: 0,
                        len,
                        epoch,
                        source,
                    })
                }
            }),
            Kind::Dir => Content::Dir,
            Kind::Symlink => Content::Symlink(self.base.read_link(version, path)?.into()),
            _ => Content::None,
        };
        // A file capability must not survive a write, so it has to be at hand then.
        let capability = b"security.capability";
        let capable = found.attr.kind == Kind::File
            && self.base.get_xattr(version, path, capability)?.is_some();
        let xattrs = match capable {
            true => Xattrs::Own(Arc::new(self.base_xattrs(version, path)?)),
            false => Xattrs::OfOrigin,
        };
        Ok(Inode {
            attr: found.attr,
            parent: place.0,
            name: place.1.into(),
            content,
            xattrs,
            origin: Some(origin),
        })
    }

    /// All extended attributes of an inode of a view on base `version`.
    pub fn xattrs_of(&self, version: u64, inode: &Inode) -> Result<OwnXattrs, BranchError> {
        match (&inode.xattrs, &inode.origin) {
            (Xattrs::Own(own), _) => Ok((**own).clone()),
            (Xattrs::OfOrigin, None) => Ok(OwnXattrs::new()),
            (Xattrs::OfOrigin, Some(origin)) => self.base_xattrs(version, &origin.path),
        }
    }

    /// All extended attributes of what the base's `version` has at `path`.
    pub(super) fn base_xattrs(&self, version: u64, path: &[u8]) -> Result<OwnXattrs, BranchError> {
        let mut own = OwnXattrs::new();
        for name in self.base.list_xattrs(version, path)? {
            if let Some(value) = self.base.get_xattr(version, path, &name)? {
                own.insert(name.into(), value.into());
            }
        }
        Ok(own)
    }
}

/// The base object at `path` as what an inode was copied up from.
pub(super) fn origin_at(path: &[u8], found: &Found) -> Origin {
    Origin {
        path: path.into(),
        ino: found.ident.ino,
        btime: found.ident.btime,
        stamp: found.stamp.0,
    }
}
