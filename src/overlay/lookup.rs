//! Lookup and getattr: one probe of the view, then the base.

use super::{File, FsError, FsResult, Mounted, Overlay, shown_attr};
use crate::base::Found;
use crate::branch::{State, join};
use crate::tree::{Attr, Dentry, DentryRef, FileId, Kind, NodeId, is_file_name};

/// The longest name, in bytes (NAME_MAX).
pub const MAX_NAME_BYTES: usize = 255;

/// What a name leads to.
pub(super) struct Named {
    /// The file.
    pub file: FileId,
    /// Its attributes.
    pub attr: Attr,
    /// The base object, for a file that the view has no inode of.
    pub base: Option<(Found, Vec<u8>)>,
}

impl Overlay {
    /// The node and attributes of `name` in `dir`, counted as a lookup. `None` where it is absent.
    pub fn lookup(&self, dir: NodeId, name: &[u8]) -> FsResult<Option<(NodeId, Attr)>> {
        if name.len() > MAX_NAME_BYTES {
            return Err(FsError::NameTooLong);
        }
        // A directory must not be known as an entry of itself: the way up from it has an end.
        if !is_file_name(name) {
            return Ok(None);
        }
        let mounted = self.mounted(dir)?;
        let state = mounted.branch.state.read();
        let Some(named) = self.named(&mounted, &state, dir, name)? else {
            return Ok(None);
        };
        let node = self.node_of(&state, dir, named.file);
        mounted.nodes.lock().looked_up(node, dir, name);
        Ok(Some((node, named.attr)))
    }

    /// The file at `name` in `dir` and its type, for nobody to keep.
    pub fn peek(&self, dir: NodeId, name: &[u8]) -> FsResult<Option<(NodeId, Kind)>> {
        let mounted = self.mounted(dir)?;
        let state = mounted.branch.state.read();
        let named = self.named(&mounted, &state, dir, name)?;
        Ok(named.map(|named| (self.node_of(&state, dir, named.file), named.attr.kind)))
    }

    /// The node of a file that lies in `dir`.
    pub(super) fn node_of(&self, state: &State, dir: NodeId, file: FileId) -> NodeId {
        match state.ended {
            Some(_) => NodeId::new(dir.incarnation(), file),
            None => NodeId::new(state.incarnation_of(file), file),
        }
    }

    /// What `name` leads to in `dir`, without counting.
    pub(super) fn named(
        &self,
        mounted: &Mounted,
        state: &State,
        dir: NodeId,
        name: &[u8],
    ) -> FsResult<Option<Named>> {
        let key = self.workspace.key(dir.file(), name);
        self.named_by(mounted, state, dir, key, state.view.dentry(key))
    }

    /// The same, with what the view says of the name.
    pub(super) fn named_by(
        &self,
        mounted: &Mounted,
        state: &State,
        dir: NodeId,
        key: DentryRef<'_>,
        dentry: Option<&Dentry>,
    ) -> FsResult<Option<Named>> {
        self.check_live(state, dir)?;
        if let Some(dentry) = dentry {
            let Some((file, _)) = dentry.file else {
                return Ok(None);
            };
            let inode = state.view.inode(file).ok_or(FsError::Stale)?;
            return Ok(Some(Named {
                file,
                attr: shown_attr(inode),
                base: None,
            }));
        }
        let Some(path) = self.hidden_path(mounted, state, dir, key.name)? else {
            return Ok(None);
        };
        if let Some((file, inode)) = self.kept_name(mounted, state, key, &path) {
            return Ok(Some(Named {
                file,
                attr: shown_attr(inode),
                base: None,
            }));
        }
        match self.workspace.below(&state.view, &path)? {
            Some(found) => Ok(Some(self.shown_base(state, found, path)?)),
            None => Ok(None),
        }
    }

    /// The base path that a name has in a directory.
    fn hidden_path(
        &self,
        mounted: &Mounted,
        state: &State,
        dir: NodeId,
        name: &[u8],
    ) -> FsResult<Option<Vec<u8>>> {
        let path = self.dir_path(mounted, state, dir)?;
        Ok(path.map(|dir| join(&dir, name)))
    }

    /// What the base has under a name, with its path.
    pub(super) fn hidden(
        &self,
        mounted: &Mounted,
        state: &State,
        dir: NodeId,
        key: DentryRef<'_>,
    ) -> FsResult<Option<(Found, Vec<u8>)>> {
        let Some(path) = self.hidden_path(mounted, state, dir, key.name)? else {
            return Ok(None);
        };
        Ok(self
            .workspace
            .below(&state.view, &path)?
            .map(|found| (found, path)))
    }

    /// The base path of a directory, by its node alone where the view does not have it: the base
    /// itself says on the next step whether it is there.
    pub(super) fn dir_path(
        &self,
        mounted: &Mounted,
        state: &State,
        dir: NodeId,
    ) -> FsResult<Option<Vec<u8>>> {
        if let Some(inode) = state.view.inode(dir.file()) {
            if !inode.is_dir() {
                return Err(FsError::NotDir);
            }
            return Ok(inode.origin.as_ref().map(|origin| origin.path.to_vec()));
        }
        if dir.file() == FileId::ROOT {
            return Ok(Some(Vec::new()));
        }
        if mounted.nodes.lock().orphan(dir).is_some() {
            return Err(FsError::NotFound);
        }
        self.base_path(mounted, state, dir).map(Some)
    }

    /// A base object that no dentry of the view hides; another name of it may have been changed.
    fn shown_base(&self, state: &State, found: Found, path: Vec<u8>) -> FsResult<Named> {
        let Some(inode) = state.view.inode(found.fid) else {
            return Ok(Named {
                file: found.fid,
                attr: found.attr,
                base: Some((found, path)),
            });
        };
        let same = inode.origin.as_ref().is_some_and(|origin| {
            origin.ino == found.ident.ino && origin.btime == found.ident.btime
        });
        if same || found.fid == FileId::ROOT {
            return Ok(Named {
                file: found.fid,
                attr: shown_attr(inode),
                base: None,
            });
        }
        // Its number was another file's when the view copied that up: this is a new file of the
        // base.
        let file = self.workspace.base.distinct_fid(found.ident)?;
        let found = Found { fid: file, ..found };
        Ok(Named {
            file,
            attr: found.attr,
            base: Some((found, path)),
        })
    }

    /// The attributes of a node.
    pub fn getattr(&self, node: NodeId) -> FsResult<Attr> {
        let mounted = self.mounted(node)?;
        let state = mounted.branch.state.read();
        Ok(self.file(&mounted, &state, node)?.attr())
    }

    /// The target of a symbolic link.
    pub fn readlink(&self, node: NodeId) -> FsResult<Vec<u8>> {
        let mounted = self.mounted(node)?;
        let state = mounted.branch.state.read();
        match self.file(&mounted, &state, node)? {
            File::Viewed(inode) | File::Orphaned(inode, _) => match &inode.content {
                crate::tree::Content::Symlink(target) => Ok(target.to_vec()),
                _ => Err(FsError::Invalid),
            },
            File::Base(found, path) if found.attr.kind == Kind::Symlink => Ok(self
                .workspace
                .base
                .read_link(state.view.base_version, &path)?),
            File::Base(..) => Err(FsError::Invalid),
        }
    }
}
