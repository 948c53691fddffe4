//! Publishing, first part: new objects are made in the staging directory, nothing of the base
//! changes.
//!
//! # On disk
//!
//! ```text
//! stage/<id>/<slot>   a new object, named by its slot in hexadecimal
//! old/<id>-<slot>     one that is to take the place of an object of the base, which comes here
//! stage/<id>/plan     the sealed plan; with the owner's record it may have been started
//! stage/<id>/done     its length is the number of steps that are done
//! ```
//!
//! What an unprivileged daemon may not make (a device, a file of another owner) fails here, before
//! anything was published.
//!
//! **Durability**: everything is made first, names included, and synced last ([`Base::seal`]): the
//! first sync then takes the file system's journal to the disk with all of it, and the others find
//! little to do. So after a power cut a plan may be there that is torn or lacks what it names. It
//! counts only once the owner's record of it is durable, which is made after all the syncs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::beneath::open_beneath;
use crate::sys::disk::{Change, Disk};
use crate::sys::inode;
use crate::sys::rename::At;
use crate::sys::writing::start_writing;
use crate::tree::{Kind, Time};

use super::event::{Area, OldName};
use super::plan::AttrSet;
use super::purge::remove_tree;
use super::reach::{Raw, stat_at};
use super::{Base, BaseError};

/// Up to this many files are fsynced one by one; beyond it, one syncfs(2) is cheaper.
const FSYNC_FILES: usize = 16;

pub(super) const PLAN: &[u8] = b"plan";
pub(super) const DONE: &[u8] = b"done";

/// The inode number of a staged object, which the plan names it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagedIno(pub u64);

/// Where a new object is staged.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    /// Its number, once per plan.
    pub number: u32,
    /// Whether it is for an exchange: then it is staged where what it replaces will be kept, so
    /// that one call does both.
    pub replaces: bool,
    /// The base path that it is meant for: errors speak of that.
    pub path: &'a [u8],
}

/// The name of a slot in the plan's directory.
pub(super) fn slot_name(slot: u32) -> Vec<u8> {
    format!("{slot:x}").into_bytes()
}

/// The name, in the old directory, of what a plan keeps there, and before of what is to replace it.
pub(super) fn old_name(plan: u64, keep: u32) -> Vec<u8> {
    OldName { plan, keep }.bytes()
}

/// The name of a plan's directory.
pub(super) fn plan_name(id: u64) -> Vec<u8> {
    format!("{id:x}").into_bytes()
}

fn times(time: Time) -> (i64, u32) {
    (time.sec, time.nsec)
}

/// Makes the object that `fd` holds have these attributes. The owner first, since that clears
/// set-id bits; then xattrs, since an ACL changes the mode; the times last.
pub(super) fn set_attrs(
    disk: &Disk,
    fd: BorrowedFd<'_>,
    now: &Raw,
    set: &AttrSet,
) -> Result<(), Errno> {
    disk.change(Change::Attributes(fd), || set_each(fd, now, set))
}

fn set_each(fd: BorrowedFd<'_>, now: &Raw, set: &AttrSet) -> Result<(), Errno> {
    if (now.attr.uid, now.attr.gid) != (set.uid, set.gid) {
        inode::set_owner(fd, set.uid, set.gid)?;
    }
    let xattrs = || {
        set.removed
            .iter()
            .try_for_each(|name| inode::remove_xattr(fd, name))?;
        set.set
            .iter()
            .try_for_each(|(name, value)| inode::set_xattr(fd, name, value))
    };
    let symlink = now.attr.kind == Kind::Symlink;
    match xattrs() {
        Err(Errno::ACCESS) if !symlink => {
            // The owner of a read-only file may not set its xattrs; the final mode comes below.
            inode::set_mode(fd, now.attr.mode | 0o600)?;
            xattrs()?;
        }
        other => other?,
    }
    // A change of owner clears bits, an ACL among the xattrs sets some.
    let is_left = (now.attr.uid, now.attr.gid) == (set.uid, set.gid)
        && set.set.is_empty()
        && set.removed.is_empty();
    if !symlink && (!is_left || now.attr.mode != set.mode) {
        inode::set_mode(fd, set.mode)?;
    }
    inode::set_times(fd, times(set.atime), times(set.mtime))
}

/// Gives the new object that `fd` holds its attributes.
fn settle(
    disk: &Disk,
    slot: Slot<'_>,
    fd: BorrowedFd<'_>,
    set: &AttrSet,
) -> Result<StagedIno, BaseError> {
    let settle = || {
        let raw = stat_at(fd, b"")?;
        set_attrs(disk, fd, &raw, set)?;
        Ok(StagedIno(raw.ident.ino))
    };
    settle().map_err(|errno: Errno| BaseError::io(slot.path, "set attributes of", errno))
}

/// A staged regular file that has neither content nor attributes yet.
pub struct Unfilled {
    fd: OwnedFd,
    raw: Raw,
}

impl Unfilled {
    /// Its inode number.
    pub fn ino(&self) -> StagedIno {
        StagedIno(self.raw.ident.ino)
    }
}

/// What was staged.
#[derive(Default)]
struct Staged {
    /// Files to fsync; more than [`FSYNC_FILES`] are counted only.
    files: Vec<OwnedFd>,
    count: usize,
    /// The slots in the old directory.
    replacing: Vec<u32>,
}

/// A staging directory that is being filled, by any number of threads.
pub struct Staging {
    id: u64,
    dir: OwnedFd,
    old: Arc<OwnedFd>,
    staged: Mutex<Staged>,
    disk: Disk,
}

impl Staging {
    /// The slots that were taken in the old directory.
    pub(super) fn replacing(&self) -> Vec<u32> {
        self.staged.lock().replacing.clone()
    }

    /// The plan that it is for.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Where a slot is. From here on something may be there.
    fn spot(&self, slot: Slot<'_>) -> (BorrowedFd<'_>, Vec<u8>) {
        if !slot.replaces {
            return (self.dir.as_fd(), slot_name(slot.number));
        }
        self.staged.lock().replacing.push(slot.number);
        (self.old.as_fd(), old_name(self.id, slot.number))
    }

    fn make<T>(&self, at: At<'_>, call: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        self.disk.change(Change::Make(at), call)
    }

    fn settle(&self, slot: Slot<'_>, at: At<'_>, set: &AttrSet) -> Result<StagedIno, BaseError> {
        let fd = open_beneath(at.dir, at.name, OFlags::PATH)
            .map_err(|errno| BaseError::io(slot.path, "open", errno))?;
        settle(&self.disk, slot, fd.as_fd(), set)
    }

    pub(super) fn remember(&self, fd: OwnedFd) {
        let mut staged = self.staged.lock();
        staged.count += 1;
        if staged.count <= FSYNC_FILES {
            staged.files.push(fd);
        } else {
            staged.files.clear();
        }
    }

    /// Stages a regular file, for [`Staging::fill`] to go on with.
    pub fn create(&self, slot: Slot<'_>, set: &AttrSet) -> Result<Unfilled, BaseError> {
        let (dir, name) = self.spot(slot);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW;
        // Writing would clear the others.
        let mode = Mode::from_raw_mode(set.mode & 0o777);
        let create = || rustix::fs::openat(dir, &name, flags | OFlags::CLOEXEC, mode);
        let fd = self.make(At { dir, name: &name }, create);
        let made = fd.and_then(|fd| stat_at(&fd, b"").map(|raw| Unfilled { fd, raw }));
        made.map_err(|errno| BaseError::io(slot.path, "stage", errno))
    }

    /// Gives a file that is meant for `path` its content, which `content` writes, and attributes.
    pub fn fill(
        &self,
        file: Unfilled,
        path: &[u8],
        set: &AttrSet,
        content: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<()>,
    ) -> Result<(), BaseError> {
        let Unfilled { fd, raw } = file;
        let (file, offset, len) = (fd.as_fd(), 0, u64::MAX);
        let mut written = Ok(());
        self.disk
            .change(Change::Bytes { file, offset, len }, || {
                written = content(file);
                Ok(())
            })
            .map_err(|errno| BaseError::io(path, "write", errno))?;
        written.map_err(|error| BaseError::io(path, "write", error))?;
        set_attrs(&self.disk, file, &raw, set)
            .map_err(|errno| BaseError::io(path, "set attributes of", errno))?;
        self.remember(fd);
        Ok(())
    }

    /// Stages a file whose content is there already: `name` in `dir` becomes a second name of it,
    /// and the attributes are set on that very inode.
    pub fn linked(
        &self,
        slot: Slot<'_>,
        dir: BorrowedFd<'_>,
        name: &[u8],
        set: &AttrSet,
    ) -> Result<StagedIno, BaseError> {
        let (own_dir, own) = self.spot(slot);
        let link = || {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
            let from = At { dir, name };
            let to = At {
                dir: own_dir,
                name: &own,
            };
            self.disk.change(Change::Link { from, to }, || {
                rustix::fs::linkat(dir, name, own_dir, &own, AtFlags::empty())
            })?;
            Ok(fd)
        };
        let fd = link().map_err(|errno: Errno| BaseError::io(slot.path, "link", errno))?;
        let ino = settle(&self.disk, slot, fd.as_fd(), set)?;
        self.remember(fd);
        Ok(ino)
    }

    /// Stages an empty directory.
    pub fn dir(&self, slot: Slot<'_>, set: &AttrSet) -> Result<StagedIno, BaseError> {
        let (dir, name) = self.spot(slot);
        let at = At { dir, name: &name };
        self.make(at, || rustix::fs::mkdirat(dir, &name, Mode::RWXU))
            .map_err(|errno| BaseError::io(slot.path, "mkdir", errno))?;
        self.settle(slot, at, set)
    }

    /// Stages a symbolic link to `target`.
    pub fn symlink(
        &self,
        slot: Slot<'_>,
        set: &AttrSet,
        target: &[u8],
    ) -> Result<StagedIno, BaseError> {
        let (dir, name) = self.spot(slot);
        let at = At { dir, name: &name };
        self.make(at, || rustix::fs::symlinkat(target, dir, &name))
            .map_err(|errno| BaseError::io(slot.path, "symlink", errno))?;
        self.settle(slot, at, set)
    }

    /// Stages a fifo, socket or device; `rdev` as in [`crate::tree::Attr`], 0 for all but devices.
    pub fn special(
        &self,
        slot: Slot<'_>,
        set: &AttrSet,
        kind: Kind,
        rdev: u32,
    ) -> Result<StagedIno, BaseError> {
        let (dir, name) = self.spot(slot);
        let at = At { dir, name: &name };
        let (major, minor) = (
            (rdev >> 8) & 0xfff,
            (rdev & 0xff) | ((rdev >> 12) & 0xfff00),
        );
        let dev = rustix::fs::makedev(major, minor);
        let file_type = FileType::from_raw_mode(kind.to_mode());
        let mode = Mode::RUSR | Mode::WUSR;
        let mknod = || rustix::fs::mknodat(dir, &name, file_type, mode, dev);
        self.make(at, mknod)
            .map_err(|errno| BaseError::io(slot.path, "mknod", errno))?;
        self.settle(slot, at, set)
    }

    /// Makes everything in it durable, and its own name in `stage`.
    pub(super) fn sync(&self, stage: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut staged = self.staged.lock();
        let (files, count) = (std::mem::take(&mut staged.files), staged.count);
        let replaces = !staged.replacing.is_empty();
        drop(staged);
        if count > FSYNC_FILES {
            let all = Change::SyncAll(self.dir.as_fd());
            return self.disk.sync(all, || rustix::fs::syncfs(&self.dir));
        }
        for file in &files {
            start_writing(file.as_fd());
        }
        for file in files {
            fsync(&self.disk, file.as_fd())?;
        }
        if replaces {
            fsync_dir(&self.disk, self.old.as_fd())?;
        }
        fsync_dir(&self.disk, self.dir.as_fd())?;
        fsync_dir(&self.disk, stage)
    }
}

/// Makes the entries of a directory durable; `dir` may be an O_PATH descriptor.
pub(super) fn fsync_dir(disk: &Disk, dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, c".", flags, Mode::empty())?;
    disk.sync(Change::SyncNames(dir), || rustix::fs::fsync(&fd))
}

/// Makes a regular file durable.
pub(super) fn fsync(disk: &Disk, file: BorrowedFd<'_>) -> Result<(), Errno> {
    disk.sync(Change::Sync(file), || rustix::fs::fsync(file))
}

pub(super) fn stage_error(op: &'static str) -> impl Fn(Errno) -> BaseError {
    move |errno| BaseError::io(b"<stage>", op, errno)
}

impl Base {
    /// Starts staging for plan `id`. What an attempt that was never sealed left behind is removed.
    pub fn stage_begin(&self, id: u64) -> Result<Staging, BaseError> {
        if self.read_plan(id)?.is_some() {
            return Err(BaseError::PlanPending { id });
        }
        let stage = self.reach.area(Area::Stage);
        let name = plan_name(id);
        let disk = &self.reach.disk;
        remove_tree(disk, stage.as_fd(), &name).map_err(stage_error("remove"))?;
        let (dir, name) = (stage.as_fd(), name.as_slice());
        disk.change(Change::Make(At { dir, name }), || {
            rustix::fs::mkdirat(stage, name, Mode::RWXU)
        })
        .map_err(stage_error("mkdir"))?;
        let dir = self.open_stage(id)?;
        Ok(Staging {
            id,
            dir,
            old: self.reach.area(Area::Old).clone(),
            staged: Mutex::default(),
            disk: disk.clone(),
        })
    }

    /// The staging directory of a plan.
    pub(super) fn open_stage(&self, id: u64) -> Result<OwnedFd, BaseError> {
        let stage = self.reach.area(Area::Stage).as_fd();
        open_beneath(stage, &plan_name(id), OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(stage_error("open"))
    }
}
