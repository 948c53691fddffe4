//! Every system call that the store makes on its files.
//!
//! The rest of the store names files and ranges; only this module opens, reads, writes, maps and
//! syncs. A crash simulator or a fault injector replaces this module (see [`Faults`]) and nothing
//! else. It must not know what the bytes mean.
//!
//! **Confinement**: files are opened with openat2(2) beneath a directory descriptor, and neither
//! symbolic links nor `..` are followed. The calls that have no such variant (mkdirat, renameat,
//! unlinkat, linkat) get one path component, which they never follow.
//!
//! **Errors**: ENOSPC and EDQUOT become [`StoreError::Full`], except from a sync, where data that
//! was accepted is lost and the caller must poison the store.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FallocateFlags, FlockOperation, IFlags, Mode, OFlags, ResolveFlags, SeekFrom,
};
use rustix::io::Errno;

use super::StoreError;
use super::faults::Faults;
use super::map::Map;
use super::size::Size;
use crate::sys::disk::{Change, Disk};
use crate::sys::inode::{self, DEFAULT_ACL};
use crate::sys::mapping::SharedMapping;
use crate::sys::rename::At;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// For reading; absence is an answer.
    Read,
    /// For reading and writing; absence is an answer.
    Write,
    /// For reading and writing, made when absent.
    Create,
}

/// An open directory of the store.
pub(super) struct Dir {
    fd: OwnedFd,
    name: String,
    faults: Faults,
    disk: Disk,
}

/// An open file of the store. Clones share the descriptor.
#[derive(Clone)]
pub(super) struct File {
    fd: Arc<OwnedFd>,
    name: Arc<str>,
    faults: Faults,
    disk: Disk,
}

fn error(operation: &'static str, file: &str, errno: Errno) -> StoreError {
    let file = file.to_owned();
    match errno {
        Errno::NOSPC | Errno::DQUOT => StoreError::Full { file },
        _ => StoreError::Io {
            operation,
            file,
            source: errno.into(),
        },
    }
}

fn sync_error(file: &str, errno: Errno) -> StoreError {
    StoreError::Io {
        operation: "sync",
        file: file.to_owned(),
        source: errno.into(),
    }
}

fn open_beneath(
    dir: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        // EAGAIN says that a rename elsewhere raced with the resolution.
        match rustix::fs::openat2(dir, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => continue,
            other => return other,
        }
    }
}

impl Dir {
    /// The store's own directory. `fd` may be an `O_PATH` descriptor.
    pub(super) fn root(fd: OwnedFd, faults: Faults, disk: Disk) -> Result<Dir, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = open_beneath(fd.as_fd(), ".", flags, Mode::empty())
            .map_err(|errno| error("open", ".", errno))?;
        Ok(Dir {
            fd,
            name: String::new(),
            faults,
            disk,
        })
    }

    /// Where changes go.
    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    fn at<'a>(&'a self, name: &'a str) -> At<'a> {
        At {
            dir: self.fd.as_fd(),
            name: name.as_bytes(),
        }
    }

    fn path(&self, name: &str) -> String {
        if self.name.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.name)
        }
    }

    /// Takes away what this directory inherited for what is made in it: a default ACL, which would
    /// give others rights to files that come to lie in the base.
    pub(super) fn drop_default_acl(&self) -> Result<(), StoreError> {
        let fd = self.fd.as_fd();
        let drop = || match inode::get_xattr(fd, DEFAULT_ACL) {
            Ok(_) => (self.disk).change(Change::Attributes(fd), || {
                inode::remove_xattr(fd, DEFAULT_ACL)
            }),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(errno),
        };
        drop().map_err(|errno| error("removexattr", &self.path("."), errno))
    }

    /// The directory `name` in this one, `None` where there is none.
    pub(super) fn subdir(&self, name: &str) -> Result<Option<Dir>, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match open_beneath(self.fd.as_fd(), name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Dir {
                fd,
                name: self.path(name),
                faults: self.faults.clone(),
                disk: self.disk.clone(),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(error("open", &self.path(name), errno)),
        }
    }

    /// Makes the directory `name` unless it is there. True when it was made.
    pub(super) fn make_dir(&self, name: &str) -> Result<bool, StoreError> {
        let made = self.faults.check("mkdir", name).and_then(|()| {
            let make = || rustix::fs::mkdirat(&self.fd, name, Mode::RWXU);
            self.disk.change(Change::Make(self.at(name)), make)
        });
        match made {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(error("mkdir", &self.path(name), errno)),
        }
    }

    /// Opens the file `name`; `None` only where `access` leaves absence open.
    pub(super) fn open(&self, name: &str, access: Access) -> Result<Option<File>, StoreError> {
        let path = self.path(name);
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
            Access::Create => OFlags::RDWR | OFlags::CREATE,
        };
        let creates = flags.contains(OFlags::CREATE);
        let mode = if creates {
            Mode::RUSR | Mode::WUSR
        } else {
            Mode::empty()
        };
        let opened = self
            .faults
            .check(if creates { "create" } else { "open" }, &path)
            .and_then(|()| {
                let open = || open_beneath(self.fd.as_fd(), name, flags | OFlags::NOFOLLOW, mode);
                match creates {
                    true => self.disk.change(Change::Make(self.at(name)), open),
                    false => open(),
                }
            });
        match opened {
            Ok(fd) => Ok(Some(File {
                fd: Arc::new(fd),
                name: path.into(),
                faults: self.faults.clone(),
                disk: self.disk.clone(),
            })),
            Err(Errno::NOENT) if !creates => Ok(None),
            Err(errno) => Err(error("open", &path, errno)),
        }
    }

    /// Opens or makes the file `name`.
    pub(super) fn create(&self, name: &str, access: Access) -> Result<File, StoreError> {
        self.open(name, access)?.ok_or_else(|| StoreError::Missing {
            file: self.path(name),
        })
    }

    /// Gives the file `from` the name `to`, in place of what has it.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.faults
            .check("rename", to)
            .and_then(|()| {
                let change = Change::Rename {
                    from: self.at(from),
                    to: self.at(to),
                };
                let rename = || rustix::fs::renameat(&self.fd, from, &self.fd, to);
                self.disk.change(change, rename)
            })
            .map_err(|errno| error("rename", &self.path(to), errno))
    }

    /// Removes the file `name`; it is no error when it is not there.
    pub(super) fn unlink(&self, name: &str) -> Result<(), StoreError> {
        let done = self.faults.check("unlink", name).and_then(|()| {
            let unlink = || rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
            self.disk.change(Change::Unlink(self.at(name)), unlink)
        });
        match done {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(error("unlink", &self.path(name), errno)),
        }
    }

    /// Removes the file `name` by a call of somebody who has to know of it.
    pub(super) fn unlink_by(
        &self,
        name: &str,
        unlink: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<(), Errno>,
    ) -> Result<(), StoreError> {
        unlink(self.fd.as_fd(), name.as_bytes())
            .map_err(|errno| error("unlink", &self.path(name), errno))
    }

    /// Gives the file `name` a second name outside the store.
    pub(super) fn link_out(
        &self,
        name: &str,
        dir: BorrowedFd<'_>,
        new_name: &std::ffi::CStr,
    ) -> Result<(), StoreError> {
        let change = Change::Link {
            from: self.at(name),
            to: At {
                dir,
                name: new_name.to_bytes(),
            },
        };
        let link = || rustix::fs::linkat(&self.fd, name, dir, new_name, AtFlags::empty());
        self.disk
            .change(change, link)
            .map_err(|errno| error("link", &self.path(name), errno))
    }

    /// The names in this directory, sorted, without `.` and `..`. Names that are not UTF-8 are
    /// shown with replacement characters: no file of the store has such a name.
    pub(super) fn names(&self) -> Result<Vec<String>, StoreError> {
        let fail = |errno| error("list", &self.path("."), errno);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(fail)? {
            let name = entry
                .map_err(fail)?
                .file_name()
                .to_string_lossy()
                .into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The sizes of the file `name`, zeros where it is not there.
    pub(super) fn size(&self, name: &str) -> Result<Size, StoreError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Size::of(&stat)),
            Err(Errno::NOENT) => Ok(Size::default()),
            Err(errno) => Err(error("stat", &self.path(name), errno)),
        }
    }

    /// Bytes on disk of the files in this directory.
    pub(super) fn allocated_bytes(&self) -> Result<u64, StoreError> {
        let sizes = self.names()?.into_iter().map(|name| self.size(&name));
        sizes.map(|size| Ok(size?.allocated_bytes)).sum()
    }

    /// Makes the names in this directory durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.faults
            .check("syncdir", &self.name)
            .and_then(|()| {
                let names = Change::SyncNames(self.fd.as_fd());
                self.disk.sync(names, || rustix::fs::fsync(&self.fd))
            })
            .map_err(|errno| sync_error(&self.path("."), errno))
    }

    /// Makes everything on the filesystem durable (syncfs(2); reports errors since Linux 5.8).
    pub(super) fn sync_filesystem(&self) -> Result<(), StoreError> {
        self.faults
            .check("syncfs", &self.name)
            .and_then(|()| {
                let all = Change::SyncAll(self.fd.as_fd());
                self.disk.sync(all, || rustix::fs::syncfs(&self.fd))
            })
            .map_err(|errno| sync_error(&self.path("."), errno))
    }

    /// Asks for files made here to be overwritten in place, on filesystems that otherwise copy on
    /// write (btrfs). There, a page that has space once can need new space when it is stored to
    /// again, which a mapping cannot report.
    pub(super) fn prefer_in_place(&self) {
        // Every other filesystem refuses the flag, and needs none.
        if let Ok(flags) = rustix::fs::ioctl_getflags(&self.fd) {
            let _ = rustix::fs::ioctl_setflags(&self.fd, flags | IFlags::NOCOW);
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl File {
    /// The name, relative to the store.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The descriptor, for copy_file_range(2) and the like.
    pub(super) fn fd(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd)
    }

    fn bytes(&self, offset: u64, len: u64) -> Change<'_> {
        let file = self.fd.as_fd();
        Change::Bytes { file, offset, len }
    }

    fn fail(&self, operation: &'static str) -> impl Fn(Errno) -> StoreError {
        move |errno| error(operation, &self.name, errno)
    }

    /// Takes the exclusive (or shared) lock of the file for as long as it is open; false when
    /// somebody else has it.
    pub(super) fn try_lock(&self, exclusive: bool) -> Result<bool, StoreError> {
        let operation = if exclusive {
            FlockOperation::NonBlockingLockExclusive
        } else {
            FlockOperation::NonBlockingLockShared
        };
        match rustix::fs::flock(&*self.fd, operation) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(error("lock", &self.name, errno)),
        }
    }

    /// Length and bytes on disk.
    pub(super) fn size(&self) -> Result<Size, StoreError> {
        rustix::fs::fstat(&*self.fd)
            .map(|stat| Size::of(&stat))
            .map_err(self.fail("stat"))
    }

    /// Sets the length.
    pub(super) fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.faults
            .check("truncate", &self.name)
            .and_then(|()| {
                let length = Change::Length(self.fd.as_fd());
                self.disk
                    .change(length, || rustix::fs::ftruncate(&*self.fd, len))
            })
            .map_err(self.fail("truncate"))
    }

    /// Reads up to `buf.len()` bytes at `offset`; less only at the end of the file.
    pub(super) fn read_at(&self, mut buf: &mut [u8], offset: u64) -> Result<usize, StoreError> {
        let mut done = 0;
        while !buf.is_empty() {
            match rustix::io::pread(&*self.fd, &mut *buf, offset + done as u64) {
                Ok(0) => break,
                Ok(n) => {
                    done += n;
                    buf = &mut buf[n..];
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(error("read", &self.name, errno)),
            }
        }
        Ok(done)
    }

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// [`StoreError::ShortRead`] when the file ends before.
    pub(super) fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), StoreError> {
        if self.read_at(buf, offset)? == buf.len() {
            return Ok(());
        }
        Err(StoreError::ShortRead {
            file: self.name.to_string(),
            end: offset + buf.len() as u64,
        })
    }

    /// The whole content.
    pub(super) fn read_all(&self) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::with_capacity(self.size()?.len_bytes as usize);
        while bytes.len() < bytes.capacity() {
            let offset = bytes.len() as u64;
            match rustix::io::pread(
                &*self.fd,
                rustix::buffer::spare_capacity(&mut bytes),
                offset,
            ) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(error("read", &self.name, errno)),
            }
        }
        Ok(bytes)
    }

    /// Writes all of `data` at `offset`. After an error any part of it may be written.
    pub(super) fn write_at(&self, mut data: &[u8], mut offset: u64) -> Result<(), StoreError> {
        while !data.is_empty() {
            let written = self.faults.check("write", &self.name).and_then(|()| {
                let write = || rustix::io::pwrite(&*self.fd, data, offset);
                self.disk
                    .change(self.bytes(offset, data.len() as u64), write)
            });
            match written {
                Ok(n) => {
                    data = &data[n..];
                    offset += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(error("write", &self.name, errno)),
            }
        }
        Ok(())
    }

    /// Gives the range space on disk; what was never written reads as zeros. Extends the file.
    pub(super) fn allocate(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.fallocate("allocate", FallocateFlags::empty(), offset, len)
            .map_err(self.fail("allocate"))
    }

    fn fallocate(
        &self,
        operation: &'static str,
        flags: FallocateFlags,
        offset: u64,
        len: u64,
    ) -> rustix::io::Result<()> {
        loop {
            let done = self.faults.check(operation, &self.name).and_then(|()| {
                let allocate = || rustix::fs::fallocate(&*self.fd, flags, offset, len);
                self.disk.change(self.bytes(offset, len), allocate)
            });
            match done {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Frees the space of the range, which then reads as zeros; the length stays. Where the
    /// filesystem cannot do it the range keeps its bytes and false is returned.
    pub(super) fn punch(&self, offset: u64, len: u64) -> Result<bool, StoreError> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match self.fallocate("punch", flags, offset, len) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(error("punch", &self.name, errno)),
        }
    }

    /// Makes the range read as zeros and extends the file to its end.
    pub(super) fn zero(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        match self.fallocate("zero", FallocateFlags::ZERO_RANGE, offset, len) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(error("zero", &self.name, errno)),
        }
        let end = self.size()?.len_bytes;
        let inside = end.min(offset + len).saturating_sub(offset);
        if inside > 0 && !self.punch(offset, inside)? {
            let zeros = [0; 64 << 10];
            let mut at = offset;
            while at < offset + inside {
                let step = (offset + inside - at).min(zeros.len() as u64);
                self.write_at(&zeros[..step as usize], at)?;
                at += step;
            }
        }
        if end < offset + len {
            self.set_len(offset + len)
        } else {
            Ok(())
        }
    }

    /// The first range with data at or after `offset`, `None` when only a hole follows.
    pub(super) fn next_data(&self, offset: u64) -> Result<Option<(u64, u64)>, StoreError> {
        let start = match rustix::fs::seek(&*self.fd, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(error("seek", &self.name, errno)),
        };
        let end = rustix::fs::seek(&*self.fd, SeekFrom::Hole(start)).map_err(self.fail("seek"))?;
        Ok(Some((start, end)))
    }

    /// Copies from another file, sharing blocks where the filesystem can. Returns the bytes copied:
    /// less than `len` only at the end of `source`.
    pub(super) fn copy_from(
        &self,
        mut offset: u64,
        source: BorrowedFd<'_>,
        mut source_offset: u64,
        len: u64,
    ) -> Result<u64, StoreError> {
        let mut left = len;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
            let copied = self.faults.check("write", &self.name).and_then(|()| {
                let range = self.bytes(offset, step as u64);
                self.disk.change(range, || {
                    rustix::fs::copy_file_range(
                        source,
                        Some(&mut source_offset),
                        &*self.fd,
                        Some(&mut offset),
                        step,
                    )
                })
            });
            match copied {
                Ok(0) => break,
                Ok(n) => left -= n as u64,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(error("write", &self.name, errno)),
            }
        }
        Ok(len - left)
    }

    /// Makes content and length durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.faults
            .check("sync", &self.name)
            .and_then(|()| {
                let sync = || rustix::fs::fdatasync(&*self.fd);
                self.disk.sync(Change::Sync(self.fd.as_fd()), sync)
            })
            .map_err(|errno| sync_error(&self.name, errno))
    }

    /// Maps the first `len` bytes, which must be allocated.
    pub(super) fn map(&self, len: usize) -> Result<Map, StoreError> {
        let map = SharedMapping::new(self.fd.as_fd(), len).map_err(|source| StoreError::Io {
            operation: "map",
            file: self.name.to_string(),
            source,
        })?;
        Ok(Map::new(map, self.clone(), self.disk.clone()))
    }
}
