//! Changing attributes: mode, owner, times, and length by way of `data`.

use super::{FsError, FsResult, Overlay, acl, shown_attr};
use crate::branch::{State, now};
use crate::tree::{Attr, Inode, Kind, NodeId, Time, Xattrs, is_owner};

/// The attributes to change; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttrChange {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// Last read.
    pub atime: Option<Time>,
    /// Last change of the content.
    pub mtime: Option<Time>,
    /// Last change of the inode, where it is not now.
    pub ctime: Option<Time>,
    /// Whether a change of length drops set-id bits: the caller is not privileged.
    pub kill_priv: bool,
}

impl AttrChange {
    /// Whether every value is one that a file can have. The kernel sends no others.
    fn is_sound(&self) -> bool {
        let owned = [self.uid, self.gid].into_iter().flatten().all(is_owner);
        let times = [self.atime, self.mtime, self.ctime];
        owned && times.iter().flatten().all(Time::is_sound)
    }
}

impl Overlay {
    /// Changes attributes; returns what they are now.
    pub fn setattr(&self, node: NodeId, change: &AttrChange) -> FsResult<Attr> {
        if !change.is_sound() {
            return Err(FsError::Invalid);
        }
        let _running = self.workspace.begin();
        let mounted = self.mounted(node)?;
        let mut state = mounted.branch.state.write();
        self.check_writable(&state, node)?;
        let (mut inode, version) = self.editable(&mounted, &state, node)?;
        let time = now();
        let mut cut = Vec::new();
        if let Some(size) = change.size {
            match inode.attr.kind {
                Kind::File => {}
                Kind::Dir => return Err(FsError::IsDir),
                _ => return Err(FsError::Invalid),
            }
            cut = self.resize(&mut inode, size)?;
            inode.attr.mtime = time;
            if change.kill_priv {
                drop_set_id(&mut inode);
            }
        }
        self.set_owner(&mut inode, change);
        if let Some(mode) = change.mode {
            self.set_mode(&mut inode, version, mode & 0o7777)?;
        }
        inode.attr.atime = change.atime.unwrap_or(inode.attr.atime);
        inode.attr.mtime = change.mtime.unwrap_or(inode.attr.mtime);
        inode.attr.ctime = change.ctime.unwrap_or(time);
        let attr = shown_attr(&inode);
        self.put_inode(&mounted, &mut state, node, inode)?;
        self.cut_off(&mut state, node, &cut);
        Ok(attr)
    }

    /// chown(2) drops set-id bits of everything but directories, whoever calls it.
    fn set_owner(&self, inode: &mut Inode, change: &AttrChange) {
        if change.uid.is_none() && change.gid.is_none() {
            return;
        }
        inode.attr.uid = change.uid.unwrap_or(inode.attr.uid);
        inode.attr.gid = change.gid.unwrap_or(inode.attr.gid);
        drop_set_id(inode);
    }

    fn set_mode(&self, inode: &mut Inode, version: u64, mode: u32) -> FsResult<()> {
        inode.attr.mode = mode;
        if let Some(access) = self.xattr_of(version, inode, acl::ACCESS)? {
            let mut own = self.workspace.xattrs_of(version, inode)?;
            own.insert(acl::ACCESS.into(), acl::after_chmod(&access, mode)?.into());
            inode.xattrs = Xattrs::Own(std::sync::Arc::new(own));
        }
        Ok(())
    }

    pub(super) fn free_all(&self, state: &State, extents: &[crate::tree::Extent]) {
        for extent in extents {
            self.workspace.free(state, extent);
        }
    }
}

/// Drops set-user-id, and set-group-id where the group may execute (else it means locking).
pub(super) fn drop_set_id(inode: &mut Inode) {
    if inode.attr.kind == Kind::Dir {
        return;
    }
    inode.attr.mode &= !libc::S_ISUID;
    if inode.attr.mode & libc::S_IXGRP != 0 {
        inode.attr.mode &= !libc::S_ISGID;
    }
}
