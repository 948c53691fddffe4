//! Publishing, first part: new objects are made in the staging directory, nothing of the base
//! changes.
//!
//! # On disk
//!
//! ```text
//! stage/<id>/<slot>   a new object, named by its slot in hexadecimal
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

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::beneath::open_beneath;
use crate::sys::disk::{Change, Disk};
use crate::sys::inode;
use crate::sys::rename::At;
use crate::sys::writing::start_writing;
use crate::tree::{Kind, Time};

use super::event::Area;
use super::plan::{AttrSet, Before, Plan, Sealed};
use super::purge::{remove_tree, unlink};
use super::reach::{Raw, stat_at};
use super::simulate::{Operand, Origin, Simulation, operands};
use super::{Base, BaseError, Layout};

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
    /// The base path that it is meant for: errors speak of that.
    pub path: &'a [u8],
}

/// The name of a slot in the plan's directory.
pub(super) fn slot_name(slot: u32) -> Vec<u8> {
    format!("{slot:x}").into_bytes()
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
    if !symlink {
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

/// A staging directory that is being filled.
pub struct Staging {
    id: u64,
    dir: OwnedFd,
    /// Files to fsync; more than [`FSYNC_FILES`] are not remembered.
    unsynced: Vec<OwnedFd>,
    count: usize,
    disk: Disk,
}

impl Staging {
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

    fn at<'a>(&'a self, name: &'a [u8]) -> At<'a> {
        At {
            dir: self.dir.as_fd(),
            name,
        }
    }

    fn make<T>(&self, name: &[u8], call: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        self.disk.change(Change::Make(self.at(name)), call)
    }

    fn settle(&self, slot: Slot<'_>, name: &[u8], set: &AttrSet) -> Result<StagedIno, BaseError> {
        let fd = open_beneath(self.dir.as_fd(), name, OFlags::PATH)
            .map_err(|errno| BaseError::io(slot.path, "open", errno))?;
        settle(&self.disk, slot, fd.as_fd(), set)
    }

    fn remember(&mut self, fd: OwnedFd) {
        self.count += 1;
        if self.count <= FSYNC_FILES {
            self.unsynced.push(fd);
        } else {
            self.unsynced.clear();
        }
    }

    /// Stages a regular file; `content` writes it.
    pub fn file(
        &mut self,
        slot: Slot<'_>,
        set: &AttrSet,
        content: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<()>,
    ) -> Result<StagedIno, BaseError> {
        let name = slot_name(slot.number);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let create = || rustix::fs::openat(&self.dir, &name, flags | OFlags::CLOEXEC, mode);
        let fd = self
            .make(&name, create)
            .map_err(|errno| BaseError::io(slot.path, "stage", errno))?;
        let (file, offset, len) = (fd.as_fd(), 0, u64::MAX);
        let mut written = Ok(());
        self.disk
            .change(Change::Bytes { file, offset, len }, || {
                written = content(file);
                Ok(())
            })
            .map_err(|errno| BaseError::io(slot.path, "write", errno))?;
        written.map_err(|error| BaseError::io(slot.path, "write", error))?;
        let ino = settle(&self.disk, slot, fd.as_fd(), set)?;
        self.remember(fd);
        Ok(ino)
    }

    /// Stages a file whose content is there already: `name` in `dir` becomes a second name of it,
    /// and the attributes are set on that very inode.
    pub fn linked(
        &mut self,
        slot: Slot<'_>,
        dir: BorrowedFd<'_>,
        name: &[u8],
        set: &AttrSet,
    ) -> Result<StagedIno, BaseError> {
        let own = slot_name(slot.number);
        let link = || {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
            let (from, to) = (At { dir, name }, self.at(&own));
            self.disk.change(Change::Link { from, to }, || {
                rustix::fs::linkat(dir, name, &self.dir, &own, AtFlags::empty())
            })?;
            Ok(fd)
        };
        let fd = link().map_err(|errno: Errno| BaseError::io(slot.path, "link", errno))?;
        let ino = settle(&self.disk, slot, fd.as_fd(), set)?;
        self.remember(fd);
        Ok(ino)
    }

    /// Stages an empty directory.
    pub fn dir(&mut self, slot: Slot<'_>, set: &AttrSet) -> Result<StagedIno, BaseError> {
        let name = slot_name(slot.number);
        self.make(&name, || rustix::fs::mkdirat(&self.dir, &name, Mode::RWXU))
            .map_err(|errno| BaseError::io(slot.path, "mkdir", errno))?;
        self.settle(slot, &name, set)
    }

    /// Stages a symbolic link to `target`.
    pub fn symlink(
        &mut self,
        slot: Slot<'_>,
        set: &AttrSet,
        target: &[u8],
    ) -> Result<StagedIno, BaseError> {
        let name = slot_name(slot.number);
        self.make(&name, || rustix::fs::symlinkat(target, &self.dir, &name))
            .map_err(|errno| BaseError::io(slot.path, "symlink", errno))?;
        self.settle(slot, &name, set)
    }

    /// Stages a fifo, socket or device; `rdev` as in [`crate::tree::Attr`], 0 for all but devices.
    pub fn special(
        &mut self,
        slot: Slot<'_>,
        set: &AttrSet,
        kind: Kind,
        rdev: u32,
    ) -> Result<StagedIno, BaseError> {
        let name = slot_name(slot.number);
        let (major, minor) = (
            (rdev >> 8) & 0xfff,
            (rdev & 0xff) | ((rdev >> 12) & 0xfff00),
        );
        let dev = rustix::fs::makedev(major, minor);
        let file_type = FileType::from_raw_mode(kind.to_mode());
        let mode = Mode::RUSR | Mode::WUSR;
        let mknod = || rustix::fs::mknodat(&self.dir, &name, file_type, mode, dev);
        self.make(&name, mknod)
            .map_err(|errno| BaseError::io(slot.path, "mknod", errno))?;
        self.settle(slot, &name, set)
    }

    /// Makes everything in it durable, and its own name in `stage`.
    fn sync(&mut self, stage: BorrowedFd<'_>) -> Result<(), Errno> {
        if self.count > FSYNC_FILES {
            let all = Change::SyncAll(self.dir.as_fd());
            return self.disk.sync(all, || rustix::fs::syncfs(&self.dir));
        }
        for file in &self.unsynced {
            start_writing(file.as_fd());
        }
        for file in self.unsynced.drain(..) {
            fsync(&self.disk, file.as_fd())?;
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

fn stage_error(op: &'static str) -> impl Fn(Errno) -> BaseError {
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
            unsynced: Vec::new(),
            count: 0,
            disk: disk.clone(),
        })
    }

    /// The staging directory of a plan.
    pub(super) fn open_stage(&self, id: u64) -> Result<OwnedFd, BaseError> {
        let stage = self.reach.area(Area::Stage).as_fd();
        open_beneath(stage, &plan_name(id), OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(stage_error("open"))
    }

    /// Writes the plan down, with what it changes as that is now, and makes it and all that was
    /// staged durable. From here on the plan can be carried out; that it *will* be is the owner's
    /// record to make.
    pub fn seal(&self, plan: Plan, staging: &mut Staging) -> Result<Sealed, BaseError> {
        let layout = self.layout.read();
        let before = self.befores(&layout, &plan)?;
        let sealed = Sealed {
            plan,
            version: layout.version + 1,
            before,
        };
        drop(layout);
        let mut write = || -> Result<(), Errno> {
            let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW;
            let mode = Mode::RUSR | Mode::WUSR;
            let disk = &self.reach.disk;
            let dir = staging.dir.as_fd();
            let create = |name| {
                disk.change(Change::Make(At { dir, name }), || {
                    rustix::fs::openat(dir, name, flags | OFlags::CLOEXEC, mode)
                })
            };
            create(DONE)?;
            let fd = create(PLAN)?;
            let bytes = sealed.encode();
            let (file, offset, len) = (fd.as_fd(), 0, bytes.len() as u64);
            disk.change(Change::Bytes { file, offset, len }, || {
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    rest = &rest[rustix::io::write(&fd, rest)?..];
                }
                Ok(())
            })?;
            staging.remember(fd);
            staging.sync(self.reach.area(Area::Stage).as_fd())
        };
        write().map_err(stage_error("write the plan to"))?;
        Ok(sealed)
    }

    /// What `plan` changes of the base, as it is now.
    fn befores(&self, layout: &Layout, plan: &Plan) -> Result<Vec<Before>, BaseError> {
        let mut befores: Vec<Before> = Vec::new();
        let mut known = std::collections::HashMap::new();
        let mut simulation = Simulation::default();
        for step in &plan.steps {
            for operand in operands(step) {
                let (path, wants_xattrs, leaves) = match operand {
                    Operand::Object {
                        path,
                        xattrs,
                        leaves,
                        ..
                    } => (path, xattrs, leaves),
                    Operand::Entries { dir } => (dir, false, false),
                    Operand::Vacant { .. } => continue,
                };
                let origin = match simulation.origin(path) {
                    Origin::Base(origin) => origin,
                    // What the plan itself made has no past that a view could ask for.
                    Origin::Staged if !leaves => continue,
                    _ => {
                        return Err(BaseError::Changed {
                            path: path.to_vec(),
                        });
                    }
                };
                let index = match known.get(&origin) {
                    Some(&index) => index,
                    None => {
                        let found = self.lookup_in(layout, layout.version, &origin)?;
                        let found = found.ok_or_else(|| BaseError::Changed {
                            path: origin.clone(),
                        })?;
                        known.insert(origin.clone(), befores.len());
                        let (ident, attr) = (found.ident, found.attr);
                        befores.push(Before {
                            path: origin,
                            ident,
                            attr,
                            xattrs: None,
                        });
                        befores.len() - 1
                    }
                };
                let before = &mut befores[index];
                if wants_xattrs && before.xattrs.is_none() {
                    before.xattrs = Some(self.current_xattrs(&before.path)?);
                }
            }
            simulation.advance(step);
        }
        Ok(befores)
    }

    fn current_xattrs(&self, path: &[u8]) -> Result<inode::Xattrs, BaseError> {
        let fd = self
            .reach
            .hold(&super::event::Loc::of_path(path.to_vec()), path)?;
        inode::read_xattrs(fd.as_fd()).map_err(|errno| BaseError::io(path, "listxattr", errno))
    }

    /// The plans that have a staging directory, sealed or not.
    pub fn pending(&self) -> Result<Vec<u64>, BaseError> {
        let names = super::purge::names(self.reach.area(Area::Stage).as_fd());
        let names = names.map_err(stage_error("list"))?;
        let id = |name: &Vec<u8>| u64::from_str_radix(std::str::from_utf8(name).ok()?, 16).ok();
        let mut ids: Vec<u64> = names.iter().filter_map(id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The sealed plan `id`; `None`: it was never sealed, so nothing of it was done.
    pub fn read_plan(&self, id: u64) -> Result<Option<Sealed>, BaseError> {
        let stage = self.reach.area(Area::Stage).as_fd();
        let path = super::path::join(&plan_name(id), PLAN);
        let fd = match open_beneath(stage, &path, OFlags::RDONLY) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(stage_error("open the plan in"))?,
        };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut std::fs::File::from(fd), &mut bytes)
            .map_err(|error| BaseError::io(b"<stage>", "read the plan in", error))?;
        Sealed::decode(id, &bytes).map(Some)
    }

    /// Removes what was staged for a plan that was not started, or that is finished.
    pub fn discard(&self, id: u64) -> Result<(), BaseError> {
        if self.layout.read().half_done == Some(id) {
            return Err(BaseError::PlanPending { id });
        }
        let stage = self.reach.area(Area::Stage);
        // The plan goes first: staged objects without one are garbage, a plan without them is not.
        let plan = super::path::join(&plan_name(id), PLAN);
        let disk = &self.reach.disk;
        match unlink(disk, stage.as_fd(), &plan, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(stage_error("remove the plan in")(errno)),
        }
        remove_tree(disk, stage.as_fd(), &plan_name(id)).map_err(stage_error("remove"))
    }
}
