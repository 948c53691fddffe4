//! Extended attributes: the origin's until one is set, then all of them in the view.

use std::sync::Arc;

use super::{File, FsError, FsResult, Mounted, Overlay, acl};
use crate::branch::{State, now};
use crate::tree::{Change, Inode, Kind, NodeId, Xattrs, xattr_bytes};

/// Linux's limits (XATTR_NAME_MAX, XATTR_SIZE_MAX).
const MAX_NAME_BYTES: usize = 255;
const MAX_VALUE_BYTES: usize = 65536;
/// What all attributes of a file may take, names included: they are in one record of the journal.
const MAX_ALL_BYTES: usize = 1 << 20;

/// When setting an attribute fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Never for its presence.
    Set,
    /// Where it exists.
    Create,
    /// Where it does not.
    Replace,
}

use crate::tree::OwnXattrs as Own;

impl Overlay {
    /// The value of an attribute. Fails with `NoAttribute`.
    pub fn getxattr(&self, node: NodeId, name: &[u8]) -> FsResult<Vec<u8>> {
        let mounted = self.mounted(node)?;
        let state = mounted.branch.state.read();
        let base = &self.workspace.base;
        let value = match self.file(&mounted, &state, node)? {
            File::Viewed(inode) => self.xattr_of(state.view.base_version, &inode, name)?,
            File::Orphaned(inode, version) => self.xattr_of(version, &inode, name)?,
            File::Base(_, path) => base.get_xattr(state.view.base_version, &path, name)?,
        };
        value.ok_or(FsError::NoAttribute)
    }

    /// The names of a file's attributes.
    pub fn listxattr(&self, node: NodeId) -> FsResult<Vec<Vec<u8>>> {
        let mounted = self.mounted(node)?;
        let state = mounted.branch.state.read();
        let version = state.view.base_version;
        let base = &self.workspace.base;
        let (inode, version) = match self.file(&mounted, &state, node)? {
            File::Viewed(inode) => (inode, version),
            File::Orphaned(inode, version) => (inode, version),
            File::Base(_, path) => return Ok(base.list_xattrs(version, &path)?),
        };
        match (&inode.xattrs, &inode.origin) {
            (Xattrs::Own(own), _) => Ok(own.keys().map(|name| name.to_vec()).collect()),
            (Xattrs::OfOrigin, Some(origin)) => Ok(base.list_xattrs(version, &origin.path)?),
            (Xattrs::OfOrigin, None) => Ok(Vec::new()),
        }
    }

    /// An attribute of an inode of a view on base `version`.
    pub(super) fn xattr_of(
        &self,
        version: u64,
        inode: &Inode,
        name: &[u8],
    ) -> FsResult<Option<Vec<u8>>> {
        match (&inode.xattrs, &inode.origin) {
            (Xattrs::Own(own), _) => Ok(own.get(name).map(|value| value.to_vec())),
            (Xattrs::OfOrigin, Some(origin)) => {
                Ok(self.workspace.base.get_xattr(version, &origin.path, name)?)
            }
            (Xattrs::OfOrigin, None) => Ok(None),
        }
    }

    /// Sets an attribute.
    pub fn setxattr(
        &self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> FsResult<()> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(FsError::Invalid);
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(FsError::AttributeTooBig);
        }
        self.edit_xattrs(node, |inode, own| {
            check_namespace(inode.attr.kind, name)?;
            match (mode, own.contains_key(name)) {
                (XattrMode::Create, true) => return Err(FsError::Exists),
                (XattrMode::Replace, false) => return Err(FsError::NoAttribute),
                _ => {}
            }
            if name == acl::DEFAULT {
                if inode.attr.kind != Kind::Dir {
                    return Err(FsError::AccessDenied);
                }
                acl::check(value)?;
            }
            if name == acl::ACCESS {
                let (mode, list) = acl::set_access(value, inode.attr.mode)?;
                inode.attr.mode = mode;
                match list {
                    Some(list) => own.insert(name.into(), list.into()),
                    None => own.remove(name),
                };
                return Ok(());
            }
            own.insert(name.into(), value.into());
            Ok(())
        })
    }

    /// Removes an attribute. Fails with `NoAttribute`.
    pub fn removexattr(&self, node: NodeId, name: &[u8]) -> FsResult<()> {
        self.edit_xattrs(node, |_, own| match own.remove(name) {
            Some(_) => Ok(()),
            None => Err(FsError::NoAttribute),
        })
    }

    fn edit_xattrs(
        &self,
        node: NodeId,
        edit: impl FnOnce(&mut Inode, &mut Own) -> FsResult<()>,
    ) -> FsResult<()> {
        let _running = self.workspace.begin();
        let mounted = self.mounted(node)?;
        let mut state = mounted.branch.state.write();
        self.check_writable(&state, node)?;
        let (mut inode, version) = self.editable(&mounted, &state, node)?;
        let mut own = self.workspace.xattrs_of(version, &inode)?;
        let before = xattr_bytes(&own);
        edit(&mut inode, &mut own)?;
        if xattr_bytes(&own) > MAX_ALL_BYTES.max(before) {
            return Err(FsError::AttributesFull);
        }
        inode.xattrs = Xattrs::Own(Arc::new(own));
        inode.attr.ctime = now();
        self.put_inode(&mounted, &mut state, node, inode)
    }

    /// The inode of a node, to be changed, and the base version that it refers to.
    pub(super) fn editable(
        &self,
        mounted: &Mounted,
        state: &State,
        node: NodeId,
    ) -> FsResult<(Inode, u64)> {
        let version = match self.file(mounted, state, node)? {
            File::Orphaned(inode, version) => return Ok(((*inode).clone(), version)),
            _ => state.view.base_version,
        };
        Ok((self.own_inode(mounted, state, node)?, version))
    }

    /// Puts a changed inode back: into the view, or for an orphan where that is.
    pub(super) fn put_inode(
        &self,
        mounted: &Mounted,
        state: &mut State,
        node: NodeId,
        inode: Inode,
    ) -> FsResult<()> {
        let inode = Arc::new(inode);
        if let Some(orphan) = mounted.nodes.lock().orphan_mut(node) {
            orphan.inode = inode;
            return Ok(());
        }
        self.change(
            mounted,
            state,
            &[Change::Inode {
                file: node.file(),
                inode,
            }],
        )
    }
}

/// Which attributes a kind of file can have (xattr(7)).
fn check_namespace(kind: Kind, name: &[u8]) -> FsResult<()> {
    let user = name.starts_with(b"user.");
    let known = user
        || [&b"trusted."[..], b"security."]
            .iter()
            .any(|space| name.starts_with(space))
        || name == acl::ACCESS
        || name == acl::DEFAULT;
    if !known {
        return Err(FsError::NotSupported);
    }
    if user && !matches!(kind, Kind::File | Kind::Dir) {
        return Err(FsError::NotPermitted);
    }
    if name.starts_with(b"system.") && kind == Kind::Symlink {
        return Err(FsError::NotSupported);
    }
    Ok(())
}
