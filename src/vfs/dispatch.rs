//! Each operation of the kernel, sent to where it belongs: a reserved file or a file of a branch.

use std::sync::atomic::Ordering;

use super::Vfs;
use super::ops::{
    Cached, Cred, DirItem, Entry, Errno, FsStat, Lookup, NodeAttr, OpResult, Ops, Outcome, SetAttr,
    SetTime, Sink,
};
use super::reserved::Look;
use crate::branch::{BranchError, now};
use crate::ctlfs::Reserved;
use crate::overlay::{Allocate, AttrChange, Creation, FsError, RenameMode, Seek, XattrMode};
use crate::store::StoreError;
use crate::tree::{Attr, FileId, Kind, NodeId, Time};

/// What a name in a directory is about.
enum Place {
    /// A file of a branch.
    File,
    /// A reserved name at a branch's root.
    AtRoot,
    /// Something in a reserved directory.
    In(Reserved),
}

fn place(parent: NodeId, name: &[u8]) -> Place {
    match Reserved::of(parent.file()) {
        Some(dir) => Place::In(dir),
        None if parent.file() == FileId::ROOT && Reserved::at_root(name).is_some() => Place::AtRoot,
        None => Place::File,
    }
}

fn set_time(time: SetTime) -> Time {
    match time {
        SetTime::Now => now(),
        SetTime::At(time) => time,
    }
}

fn later<T>(rest: impl FnOnce() -> OpResult<T> + Send + 'static) -> OpResult<Outcome<T>> {
    Ok(Outcome::Later(Box::new(rest)))
}

const REFUSED: Errno = Errno(libc::EPERM);

impl Vfs {
    fn entry(&self, parent: NodeId, (node, attr): (NodeId, Attr)) -> OpResult<Entry> {
        let ttl = match self.0.overlay.mounted(parent) {
            Ok(mounted) => self.0.ttl(&mounted.branch),
            Err(error) => return Err(error.into()),
        };
        let node = NodeAttr {
            node,
            attr,
            attr_ttl: ttl,
        };
        Ok(Entry {
            node,
            entry_ttl: ttl,
            generation: 0,
        })
    }

    /// A refusal that needs more than an errno to be understood leaves its sentence in the branch.
    fn explained<T>(&self, node: NodeId, done: Result<T, FsError>) -> OpResult<T> {
        if let Err(FsError::Branch(error)) = &done
            && let Ok(mounted) = self.0.overlay.mounted(node)
        {
            let full = matches!(
                error,
                BranchError::Store(StoreError::Full { .. }) | BranchError::StoreLimit { .. }
            );
            if full {
                self.0.starved.store(true, Ordering::Release);
            }
            let told = (Errno::from(error).0, error.to_string());
            mounted.branch.state.write().last_error = Some(told);
        }
        Ok(done?)
    }

    /// The attributes of a reserved file, once the kernel has no page of an older text.
    fn look(&self, node: NodeId, file: Reserved, look: Look) -> OpResult<Outcome<NodeAttr>> {
        let attr = self.0.reserved_attr(node, file, look)?;
        if self.0.config.writeback {
            let vfs = self.clone();
            return later(move || {
                vfs.0.config.cache.extend(node, attr.attr.size);
                Ok(attr)
            });
        }
        let touches = match self.0.config.exclusive {
            true => self.0.texts.touches(node),
            // The kernel drops them itself, since the mtime has moved.
            false => None,
        };
        let Some(touches) = touches else {
            return Ok(Outcome::Now(attr));
        };
        let vfs = self.clone();
        later(move || {
            vfs.0.config.cache.inval_inode(node, true);
            vfs.0.texts.dropped(node, touches);
            Ok(attr)
        })
    }

    /// The attributes of a node as they are.
    pub(super) fn attr_of(&self, node: NodeId) -> OpResult<NodeAttr> {
        match Reserved::of(node.file()) {
            Some(file) => self.0.reserved_attr(node, file, Look::Stat),
            None => self.node_attr(node, self.0.overlay.getattr(node)?),
        }
    }

    fn node_attr(&self, node: NodeId, attr: Attr) -> OpResult<NodeAttr> {
        let mounted = self.0.overlay.mounted(node)?;
        Ok(NodeAttr {
            node,
            attr,
            attr_ttl: self.0.ttl(&mounted.branch),
        })
    }
}

impl Ops for Vfs {
    fn lookup(&self, cred: &Cred, parent: NodeId, name: &[u8]) -> OpResult<Lookup> {
        if self.0.is_visitor(cred)
            && let Some(shown) = self.0.shown_to_visitor(parent, name)
        {
            return Ok(shown);
        }
        match place(parent, name) {
            Place::In(dir) => self.0.reserved_lookup(parent, dir, name),
            Place::AtRoot => {
                let file = Reserved::at_root(name).ok_or(Errno(libc::ENOENT))?;
                let node = file.node(parent.incarnation());
                Ok(Lookup::Found(self.0.reserved_entry(node, file)?))
            }
            Place::File => match self.0.overlay.lookup(parent, name)? {
                Some(found) => Ok(Lookup::Found(self.entry(parent, found)?)),
                None => {
                    let mounted = self.0.overlay.mounted(parent)?;
                    Ok(Lookup::Absent(self.0.ttl(&mounted.branch)))
                }
            },
        }
    }

    fn forget(&self, node: NodeId, lookups: u64) {
        if Reserved::of(node.file()).is_none() {
            self.0.overlay.forget(node, lookups);
        }
    }

    fn getattr(&self, _: &Cred, node: NodeId, reads: bool) -> OpResult<Outcome<NodeAttr>> {
        if let Some(file) = Reserved::of(node.file()) {
            let look = if reads { Look::Read } else { Look::Stat };
            return self.look(node, file, look);
        }
        self.attr_of(node).map(Outcome::Now)
    }

    fn setattr(&self, cred: &Cred, node: NodeId, set: &SetAttr) -> OpResult<NodeAttr> {
        if self.0.is_visitor(cred) {
            return self.attr_of(node);
        }
        if let Some(file) = Reserved::of(node.file()) {
            // `echo > .ctl` cuts the file to nothing first, and touch(1) sets its times.
            let harmless = set.mode.is_none() && set.uid.is_none() && set.gid.is_none();
            return match harmless && file.kind() == Kind::File {
                true => self.0.reserved_attr(node, file, Look::Change),
                false => Err(REFUSED),
            };
        }
        let change = AttrChange {
            mode: set.mode,
            uid: set.uid,
            gid: set.gid,
            size: set.size,
            atime: set.atime.map(set_time),
            mtime: set.mtime.map(set_time),
            ctime: set.ctime.map(set_time),
            kill_priv: cred.uid != 0,
        };
        let attr = self.0.overlay.setattr(node, &change)?;
        if node.file() == FileId::ROOT && (set.uid.is_some() || set.gid.is_some()) {
            self.0.drop_owner(node.incarnation());
        }
        self.node_attr(node, attr)
    }

    fn readlink(&self, node: NodeId) -> OpResult<Vec<u8>> {
        Ok(self.0.overlay.readlink(node)?)
    }

    fn mknod(
        &self,
        cred: &Cred,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        umask: u32,
        rdev: u32,
    ) -> OpResult<Entry> {
        if self.0.is_visitor(cred) {
            return self.visitor_makes(cred, parent, name);
        }
        match place(parent, name) {
            Place::File => {}
            Place::AtRoot => return Err(Errno(libc::EEXIST)),
            Place::In(_) => return Err(REFUSED),
        }
        let kind = Kind::from_mode(mode).unwrap_or(Kind::File);
        let creation = Creation {
            kind,
            mode: mode & 0o7777,
            umask,
            uid: cred.uid,
            gid: cred.gid,
            rdev: if matches!(kind, Kind::Char | Kind::Block) {
                rdev
            } else {
                0
            },
            target: None,
        };
        let made = self.explained(parent, self.0.overlay.create(parent, name, &creation))?;
        self.entry(parent, made)
    }

    fn mkdir(
        &self,
        cred: &Cred,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        umask: u32,
    ) -> OpResult<Outcome<Entry>> {
        if self.0.is_visitor(cred) {
            return self.visitor_makes(cred, parent, name).map(Outcome::Now);
        }
        match place(parent, name) {
            Place::In(Reserved::Branches) => {
                let (vfs, cred, name) = (self.clone(), *cred, name.to_vec());
                // Two threads wake up at the same time.
                let written = (self.0.config.write_back)();
                later(move || vfs.mkdir_branch(&cred, parent, &name, written))
            }
            Place::In(_) => Err(REFUSED),
            Place::AtRoot => Err(Errno(libc::EEXIST)),
            Place::File => {
                let creation = Creation {
                    kind: Kind::Dir,
                    mode: mode & 0o7777,
                    umask,
                    uid: cred.uid,
                    gid: cred.gid,
                    rdev: 0,
                    target: None,
                };
                let made = self.0.overlay.create(parent, name, &creation);
                let made = self.explained(parent, made)?;
                Ok(Outcome::Now(self.entry(parent, made)?))
            }
        }
    }

    fn unlink(&self, cred: &Cred, parent: NodeId, name: &[u8]) -> OpResult<()> {
        if self.0.is_visitor(cred) {
            return self.visitor_removes(parent, name);
        }
        match place(parent, name) {
            Place::File => Ok(self.0.overlay.unlink(parent, name)?),
            _ => Err(REFUSED),
        }
    }

    fn rmdir(&self, cred: &Cred, parent: NodeId, name: &[u8]) -> OpResult<Outcome<()>> {
        if self.0.is_visitor(cred) {
            return self.visitor_removes(parent, name).map(Outcome::Now);
        }
        let (vfs, cred, owned) = (self.clone(), *cred, name.to_vec());
        match place(parent, name) {
            Place::In(Reserved::Branches) if name != Reserved::Trash.name().as_bytes() => {
                later(move || vfs.rmdir_branch(&cred, parent, &owned))
            }
            Place::In(Reserved::Trash) => later(move || vfs.rmdir_trash(&cred, parent, &owned)),
            Place::In(_) | Place::AtRoot => Err(REFUSED),
            Place::File => Ok(Outcome::Now(self.0.overlay.rmdir(parent, name)?)),
        }
    }

    fn symlink(&self, cred: &Cred, parent: NodeId, name: &[u8], target: &[u8]) -> OpResult<Entry> {
        if self.0.is_visitor(cred) {
            return self.visitor_makes(cred, parent, name);
        }
        match place(parent, name) {
            Place::File => {}
            Place::AtRoot => return Err(Errno(libc::EEXIST)),
            Place::In(_) => return Err(REFUSED),
        }
        let creation = Creation {
            kind: Kind::Symlink,
            mode: 0o777,
            umask: 0,
            uid: cred.uid,
            gid: cred.gid,
            rdev: 0,
            target: Some(target),
        };
        let made = self.explained(parent, self.0.overlay.create(parent, name, &creation))?;
        self.entry(parent, made)
    }

    fn rename(
        &self,
        cred: &Cred,
        parent: NodeId,
        name: &[u8],
        new_parent: NodeId,
        new_name: &[u8],
        flags: u32,
    ) -> OpResult<Outcome<()>> {
        match (place(parent, name), place(new_parent, new_name)) {
            (Place::File, Place::File) => {}
            (Place::In(from), Place::In(Reserved::Branches))
                if matches!(from, Reserved::Branches | Reserved::Trash) =>
            {
                if flags & !libc::RENAME_NOREPLACE != 0 {
                    return Err(Errno(libc::EINVAL));
                }
                let (vfs, cred) = (self.clone(), *cred);
                let (name, new_name) = (name.to_vec(), new_name.to_vec());
                let from = (parent, from == Reserved::Trash);
                return later(move || vfs.rename_branch(&cred, from, &name, new_parent, &new_name));
            }
            _ => return Err(REFUSED),
        }
        let mode = match flags {
            0 => RenameMode::Replace,
            libc::RENAME_NOREPLACE => RenameMode::NoReplace,
            libc::RENAME_EXCHANGE => RenameMode::Exchange,
            _ => return Err(Errno(libc::EINVAL)),
        };
        self.0
            .overlay
            .rename((parent, name), (new_parent, new_name), mode)?;
        Ok(Outcome::Now(()))
    }

    fn link(&self, _: &Cred, node: NodeId, new_parent: NodeId, new_name: &[u8]) -> OpResult<Entry> {
        match place(new_parent, new_name) {
            Place::File if Reserved::of(node.file()).is_none() => {}
            _ => return Err(REFUSED),
        }
        let linked = self.0.overlay.link(node, new_parent, new_name)?;
        self.entry(new_parent, linked)
    }

    fn open(&self, node: NodeId, to_write: bool) -> OpResult<Cached> {
        if Reserved::of(node.file()).is_some() {
            return Ok(Cached::No);
        }
        if to_write {
            *self.0.writers.entry(node).or_default() += 1;
        }
        Ok(Cached::Yes)
    }

    fn release(&self, node: NodeId, to_write: bool) {
        if to_write {
            self.0.writers.remove_if_mut(&node, |_, count| {
                *count -= 1;
                *count == 0
            });
        }
    }

    fn read(&self, node: NodeId, offset: u64, len: u32, out: &mut Vec<u8>) -> OpResult<()> {
        match Reserved::of(node.file()) {
            Some(file) => self.0.reserved_read(node, file, offset, len, out),
            None => Ok(self.0.overlay.read(node, offset, len, out)?),
        }
    }

    fn write(
        &self,
        cred: &Cred,
        node: NodeId,
        offset: u64,
        data: &[u8],
        kill_priv: bool,
        from_cache: bool,
    ) -> OpResult<Outcome<u32>> {
        if let Some(file) = Reserved::of(node.file()) {
            if !file.is_writable() {
                return Err(Errno(libc::EACCES));
            }
            self.0.texts.write(node);
            let (vfs, cred, data) = (self.clone(), *cred, data.to_vec());
            return later(move || {
                vfs.control_write(&cred, node, file, &data)
                    .map(|()| data.len() as u32)
            });
        }
        let write = || self.0.overlay.write(node, offset, data, kill_priv);
        let written = self.0.config.cache_writes.count(from_cache, write);
        Ok(Outcome::Now(self.explained(node, written)?))
    }

    fn fsync(&self, node: NodeId, _: bool) -> OpResult<Outcome<()>> {
        if Reserved::of(node.file()).is_some() {
            return Ok(Outcome::Now(()));
        }
        self.0.overlay.mounted(node)?;
        let vfs = self.clone();
        later(move || Ok(vfs.workspace().barrier()?))
    }

    fn readdir(
        &self,
        cred: &Cred,
        node: NodeId,
        from: u64,
        sink: &mut dyn FnMut(&DirItem<'_>) -> Sink,
    ) -> OpResult<()> {
        self.list(cred, node, from, sink)
    }

    fn readdirplus(
        &self,
        cred: &Cred,
        node: NodeId,
        from: u64,
        sink: &mut dyn FnMut(&DirItem<'_>, &Entry) -> Sink,
    ) -> OpResult<()> {
        self.list_plus(cred, node, from, sink)
    }

    fn statfs(&self, node: NodeId) -> OpResult<FsStat> {
        self.0.space(node)
    }

    fn setxattr(
        &self,
        _: &Cred,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        flags: i32,
    ) -> OpResult<()> {
        if Reserved::of(node.file()).is_some() {
            return Err(Errno(libc::EOPNOTSUPP));
        }
        let mode = match flags {
            0 => XattrMode::Set,
            libc::XATTR_CREATE => XattrMode::Create,
            libc::XATTR_REPLACE => XattrMode::Replace,
            _ => return Err(Errno(libc::EINVAL)),
        };
        Ok(self.0.overlay.setxattr(node, name, value, mode)?)
    }

    fn getxattr(&self, _: &Cred, node: NodeId, name: &[u8]) -> OpResult<Vec<u8>> {
        if Reserved::of(node.file()).is_some() {
            return Err(Errno(libc::ENODATA));
        }
        Ok(self.0.overlay.getxattr(node, name)?)
    }

    fn listxattr(&self, cred: &Cred, node: NodeId) -> OpResult<Vec<u8>> {
        if Reserved::of(node.file()).is_some() {
            return Ok(Vec::new());
        }
        let mut list = Vec::new();
        for name in self.0.overlay.listxattr(node)? {
            if cred.uid != 0 && name.starts_with(b"trusted.") {
                continue;
            }
            list.extend_from_slice(&name);
            list.push(0);
        }
        Ok(list)
    }

    fn removexattr(&self, _: &Cred, node: NodeId, name: &[u8]) -> OpResult<()> {
        if Reserved::of(node.file()).is_some() {
            return Err(Errno(libc::ENODATA));
        }
        Ok(self.0.overlay.removexattr(node, name)?)
    }

    fn fallocate(
        &self,
        cred: &Cred,
        node: NodeId,
        offset: u64,
        len: u64,
        mode: i32,
    ) -> OpResult<()> {
        if Reserved::of(node.file()).is_some() {
            return Err(Errno(libc::EOPNOTSUPP));
        }
        let keep_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        let mode = match mode & !libc::FALLOC_FL_KEEP_SIZE {
            0 => Allocate::Reserve { keep_size },
            libc::FALLOC_FL_PUNCH_HOLE if keep_size => Allocate::Punch,
            libc::FALLOC_FL_ZERO_RANGE => Allocate::Zero { keep_size },
            _ => return Err(Errno(libc::EOPNOTSUPP)),
        };
        Ok(self
            .0
            .overlay
            .fallocate(node, offset, len, mode, cred.uid != 0)?)
    }

    fn lseek(&self, node: NodeId, offset: u64, whence: i32) -> OpResult<Outcome<u64>> {
        let what = match whence {
            libc::SEEK_DATA => Seek::Data,
            libc::SEEK_HOLE => Seek::Hole,
            _ => return Err(Errno(libc::EINVAL)),
        };
        if let Some(file) = Reserved::of(node.file()) {
            let size = self.0.reserved_attr(node, file, Look::Read)?.attr.size;
            return match (offset < size, what) {
                (false, _) => Err(Errno(libc::ENXIO)),
                (true, Seek::Data) => Ok(Outcome::Now(offset)),
                (true, Seek::Hole) => Ok(Outcome::Now(size)),
            };
        }
        if self.0.writers.contains_key(&node) {
            // What waits in the page cache may be in what we take for a hole.
            let vfs = self.clone();
            return later(move || {
                vfs.0.config.cache.inval_inode(node, true);
                Ok(vfs.0.overlay.seek(node, offset, what)?)
            });
        }
        Ok(Outcome::Now(self.0.overlay.seek(node, offset, what)?))
    }

    fn copy_file_range(
        &self,
        cred: &Cred,
        from: NodeId,
        from_offset: u64,
        to: NodeId,
        to_offset: u64,
        len: u64,
    ) -> OpResult<u64> {
        if Reserved::of(from.file()).is_some() || Reserved::of(to.file()).is_some() {
            return Err(Errno(libc::EOPNOTSUPP));
        }
        let (from, to) = ((from, from_offset), (to, to_offset));
        let copied = self.0.overlay.copy_range(from, to, len, cred.uid != 0);
        self.explained(to.0, copied)
    }

    fn unmounted(&self) {
        self.finish();
    }

    fn doubt(&self, why: &'static str) {
        self.workspace().store.distrust(why);
    }
}
