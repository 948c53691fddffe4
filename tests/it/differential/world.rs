//! Carries operations out in one tree and says what came of them, in a form that can be compared.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, CWD, FileType, OFlags, SeekFrom, Stat, Timespec, Timestamps, copy_file_range,
};
use rustix::io::Errno;

use super::op::{Op, SLOTS};
use crate::harness::{mapping, snapshot};

/// What an operation that worked gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing to compare.
    Unit,
    /// A number of bytes.
    Len(u64),
    /// Content, a link's target, an attribute's value.
    Bytes(Vec<u8>),
    /// Names, sorted, each with what else there is to say of it.
    Names(Vec<(Vec<u8>, String)>),
    /// Attributes.
    Attr {
        kind: FileType,
        mode: u32,
        owner: (u32, u32),
        nlink: u64,
        size: u64,
    },
    /// The operation found that the tree contradicts itself.
    Wrong(String),
}

/// What an operation did: a value, or an errno.
pub type Outcome = Result<Value, i32>;

/// A tree and the descriptors that one thread holds in it.
pub struct World {
    root: PathBuf,
    slots: Vec<Option<File>>,
}

impl World {
    /// The tree at `root`, with no file open.
    pub fn new(root: &Path) -> World {
        World {
            root: root.to_owned(),
            slots: (0..SLOTS).map(|_| None).collect(),
        }
    }

    /// Carries out one operation.
    pub fn apply(&mut self, op: &Op) -> Outcome {
        let done = match op {
            Op::Open { .. } | Op::Close { .. } => self.open_or_close(op),
            Op::WriteAt { slot, .. }
            | Op::ReadAt { slot, .. }
            | Op::FstatSlot { slot }
            | Op::TruncateSlot { slot, .. }
            | Op::ChmodSlot { slot, .. }
            | Op::Fallocate { slot, .. }
            | Op::Seek { slot, .. }
            | Op::MapWrite { slot, .. }
            | Op::Fsync { slot, .. } => match &self.slots[*slot] {
                Some(file) => on_file(file, op),
                None => Ok(Value::Unit),
            },
            Op::CopyRange {
                from,
                from_offset,
                to,
                to_offset,
                len,
            } => match (&self.slots[*from], &self.slots[*to]) {
                (Some(a), Some(b)) => copy(a, *from_offset, b, *to_offset, *len),
                _ => Ok(Value::Unit),
            },
            Op::SetXattr { .. }
            | Op::GetXattr { .. }
            | Op::RemoveXattr { .. }
            | Op::ListXattr { .. } => self.on_xattrs(op),
            Op::Append { .. } | Op::ReadFile { .. } | Op::Truncate { .. } => self.on_content(op),
            Op::Chmod { .. } | Op::Chown { .. } | Op::Utimens { .. } | Op::Access { .. } => {
                self.on_attributes(op)
            }
            _ => self.on_names(op),
        };
        done.map_err(|e| e.raw_os_error().unwrap_or(-1))
    }

    fn at(&self, name: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(name))
    }

    fn open_or_close(&mut self, op: &Op) -> io::Result<Value> {
        match op {
            Op::Open {
                path,
                flags,
                mode,
                slot,
            } => {
                // Opening a FIFO waits for its other end without O_NONBLOCK.
                let flags = *flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = rustix::fs::open(self.at(path), flags, *mode)?;
                self.slots[*slot] = Some(File::from(file));
            }
            Op::Close { slot } => self.slots[*slot] = None,
            _ => unreachable!("not an open: {op:?}"),
        }
        Ok(Value::Unit)
    }

    fn on_content(&self, op: &Op) -> io::Result<Value> {
        match op {
            Op::Append { path, len, fill } => {
                let nonblock = OFlags::NONBLOCK.bits() as i32;
                let mut options = OpenOptions::new();
                let mut file = options
                    .append(true)
                    .custom_flags(nonblock)
                    .open(self.at(path))?;
                if !file.metadata()?.is_file() {
                    return Ok(Value::Unit);
                }
                file.write_all(&content(*len, *fill))?;
                Ok(Value::Unit)
            }
            Op::ReadFile { path } => {
                let nonblock = OFlags::NONBLOCK.bits() as i32;
                let file = OpenOptions::new()
                    .read(true)
                    .custom_flags(nonblock)
                    .open(self.at(path))?;
                read(&file, 0, 1 << 20)
            }
            Op::Truncate { path, size } => {
                nix::unistd::truncate(&self.at(path), *size as i64)?;
                Ok(Value::Unit)
            }
            _ => unreachable!("not on content: {op:?}"),
        }
    }

    fn on_attributes(&self, op: &Op) -> io::Result<Value> {
        match op {
            Op::Chmod { path, mode } => rustix::fs::chmod(self.at(path), *mode)?,
            Op::Chown { path, uid, gid } => {
                std::os::unix::fs::lchown(self.at(path), Some(*uid), Some(*gid))?;
            }
            Op::Utimens { path, sec, nsec } => {
                let time = Timespec {
                    tv_sec: *sec,
                    tv_nsec: *nsec,
                };
                let times = Timestamps {
                    last_access: time,
                    last_modification: time,
                };
                rustix::fs::utimensat(CWD, self.at(path), &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Op::Access { path, write } => {
                let mode = if *write {
                    Access::WRITE_OK
                } else {
                    Access::READ_OK | Access::EXEC_OK
                };
                rustix::fs::access(self.at(path), mode)?;
            }
            _ => unreachable!("not on attributes: {op:?}"),
        }
        Ok(Value::Unit)
    }

    fn on_names(&self, op: &Op) -> io::Result<Value> {
        match op {
            Op::Mkdir { path, mode } => rustix::fs::mkdir(self.at(path), *mode)?,
            Op::Rmdir { path } => rustix::fs::rmdir(self.at(path))?,
            Op::Unlink { path } => rustix::fs::unlink(self.at(path))?,
            Op::Rename { from, to, flags } => {
                rustix::fs::renameat_with(CWD, self.at(from), CWD, self.at(to), *flags)?;
            }
            Op::Link { old, new } => {
                rustix::fs::linkat(CWD, self.at(old), CWD, self.at(new), AtFlags::empty())?;
            }
            Op::Symlink { target, path } => rustix::fs::symlink(target.as_slice(), self.at(path))?,
            Op::Mkfifo { path, mode } => {
                rustix::fs::mknodat(CWD, self.at(path), FileType::Fifo, *mode, 0)?;
            }
            Op::Readlink { path } => {
                let target = fs::read_link(self.at(path))?;
                return Ok(Value::Bytes(target.as_os_str().as_bytes().to_vec()));
            }
            Op::List { path } => return list(&self.at(path)),
            Op::Stat { path } => return Ok(attr(&rustix::fs::lstat(self.at(path))?)),
            _ => unreachable!("not on names: {op:?}"),
        }
        Ok(Value::Unit)
    }

    fn on_xattrs(&self, op: &Op) -> io::Result<Value> {
        match op {
            Op::SetXattr {
                path,
                name,
                len,
                fill,
                flags,
            } => {
                rustix::fs::lsetxattr(self.at(path), name.as_str(), &content(*len, *fill), *flags)?;
                Ok(Value::Unit)
            }
            Op::GetXattr { path, name } => {
                let mut value = vec![0; 1024];
                let len = rustix::fs::lgetxattr(self.at(path), name.as_str(), &mut value)?;
                value.truncate(len);
                Ok(Value::Bytes(value))
            }
            Op::RemoveXattr { path, name } => {
                rustix::fs::lremovexattr(self.at(path), name.as_str())?;
                Ok(Value::Unit)
            }
            Op::ListXattr { path } => {
                let found = snapshot::xattrs(&self.at(path))?;
                let line =
                    |(name, value): (Vec<u8>, Vec<u8>)| (name, value.escape_ascii().to_string());
                Ok(Value::Names(found.into_iter().map(line).collect()))
            }
            _ => unreachable!("not on xattrs: {op:?}"),
        }
    }
}

fn on_file(file: &File, op: &Op) -> io::Result<Value> {
    match op {
        Op::WriteAt {
            offset, len, fill, ..
        } => {
            let written = file.write_at(&content(*len, *fill), *offset)?;
            Ok(Value::Len(written as u64))
        }
        Op::ReadAt { offset, len, .. } => read(file, *offset, *len),
        Op::FstatSlot { .. } => Ok(attr(&rustix::fs::fstat(file)?)),
        Op::TruncateSlot { size, .. } => {
            rustix::fs::ftruncate(file, *size)?;
            Ok(Value::Unit)
        }
        Op::ChmodSlot { mode, .. } => {
            rustix::fs::fchmod(file, *mode)?;
            Ok(Value::Unit)
        }
        Op::Fallocate {
            flags, offset, len, ..
        } => {
            rustix::fs::fallocate(file, *flags, *offset, *len)?;
            Ok(Value::Unit)
        }
        Op::Seek { offset, hole, .. } => seek(file, *offset, *hole),
        Op::MapWrite {
            page, len, fill, ..
        } => {
            let end = page * 4096 + *len as u64;
            if !file.metadata()?.is_file() || file.metadata()?.len() < end {
                return Ok(Value::Unit);
            }
            mapping::write_shared(file, page * 4096, &content(*len, *fill))?;
            Ok(Value::Unit)
        }
        Op::Fsync { data_only, .. } => {
            if file.metadata()?.is_file() || file.metadata()?.is_dir() {
                if *data_only {
                    file.sync_data()?
                } else {
                    file.sync_all()?
                }
            }
            Ok(Value::Unit)
        }
        _ => unreachable!("not on a descriptor: {op:?}"),
    }
}

/// Bytes that are recognisable when they turn up in the wrong place.
fn content(len: usize, fill: u8) -> Vec<u8> {
    (0..len)
        .map(|i| fill.wrapping_add((i / 512) as u8))
        .collect()
}

fn read(file: &File, offset: u64, len: usize) -> io::Result<Value> {
    let mut bytes = vec![0; len];
    let got = file.read_at(&mut bytes, offset)?;
    bytes.truncate(got);
    Ok(Value::Bytes(bytes))
}

/// SEEK_DATA and SEEK_HOLE may report holes as data, so their results cannot be compared; that a
/// stretch which is skipped as a hole reads as zeros can be checked.
fn seek(file: &File, offset: u64, hole: bool) -> io::Result<Value> {
    if !file.metadata()?.is_file() {
        return Ok(Value::Unit);
    }
    let size = file.metadata()?.len();
    let whence = if hole {
        SeekFrom::Hole(offset)
    } else {
        SeekFrom::Data(offset)
    };
    let found = match rustix::fs::seek(file, whence) {
        Ok(found) => found,
        Err(Errno::NXIO) if !hole && offset < size => size,
        Err(e) => return Err(e.into()),
    };
    if found < offset || found > size {
        return Ok(Value::Wrong(format!(
            "{whence:?} of {size} bytes gave {found}"
        )));
    }
    if !hole {
        let len = (found - offset).min(1 << 20) as usize;
        let mut bytes = vec![0; len];
        // The descriptor may be open for writing only.
        let got = file.read_at(&mut bytes, offset).unwrap_or(0);
        if bytes[..got].iter().any(|&b| b != 0) {
            return Ok(Value::Wrong(format!(
                "{whence:?} skipped data before {found}"
            )));
        }
    }
    Ok(Value::Unit)
}

/// copy_file_range(2) may copy less than was asked, so this goes on until nothing is left.
fn copy(from: &File, from_offset: u64, to: &File, to_offset: u64, len: usize) -> io::Result<Value> {
    let (mut from_offset, mut to_offset, mut left) = (from_offset, to_offset, len);
    while left > 0 {
        match copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), left)? {
            0 => break,
            n => left -= n,
        }
    }
    Ok(Value::Len((len - left) as u64))
}

fn list(path: &Path) -> io::Result<Value> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let kind = match () {
            () if kind.is_dir() => "directory",
            () if kind.is_symlink() => "symlink",
            () if kind.is_fifo() => "fifo",
            () => "file",
        };
        names.push((entry.file_name().as_bytes().to_vec(), kind.to_owned()));
    }
    names.sort();
    Ok(Value::Names(names))
}

fn attr(stat: &Stat) -> Value {
    let kind = FileType::from_raw_mode(stat.st_mode);
    Value::Attr {
        kind,
        mode: stat.st_mode & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        nlink: stat.st_nlink,
        size: if kind == FileType::Directory {
            0
        } else {
            stat.st_size as u64
        },
    }
}
