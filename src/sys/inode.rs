//! Reading and writing the attributes of one inode that is held by a descriptor, O_PATH included.
//!
//! Nothing is opened for it: what `f*` calls refuse on O_PATH descriptors goes through
//! `/proc/self/fd/N`, which leads to exactly the inode that the descriptor holds, symbolic links
//! and special files included, and runs no driver's open.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Statx, StatxFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

/// The ACL of a file or directory.
pub const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
/// The ACL that what is made in a directory inherits.
pub const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// Names and values of extended attributes.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// statx(2) of `name` in `dir`, not following a symbolic link and not triggering automounts. An
/// empty name asks for `dir` itself.
pub fn statx_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Statx, Errno> {
    let mut flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    if name.is_empty() {
        flags |= AtFlags::EMPTY_PATH;
    }
    rustix::fs::statx(
        dir,
        name,
        flags,
        StatxFlags::BASIC_STATS | StatxFlags::BTIME,
    )
}

/// Sets the permission bits. Symbolic links have none on Linux: EOPNOTSUPP.
pub fn set_mode(fd: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    rustix::fs::chmodat(
        CWD,
        proc_path(fd),
        Mode::from_raw_mode(mode),
        AtFlags::empty(),
    )
}

/// Sets owner and group; clears set-id bits and file capabilities of files.
///
/// EINVAL: 0xffff_ffff, which is nobody.
pub fn set_owner(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<(), Errno> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Errno::INVAL);
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(fd, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

/// Sets access and modification time, each as seconds and nanoseconds.
pub fn set_times(fd: BorrowedFd<'_>, atime: (i64, u32), mtime: (i64, u32)) -> Result<(), Errno> {
    let spec = |(sec, nsec): (i64, u32)| Timespec {
        tv_sec: sec,
        tv_nsec: nsec.into(),
    };
    let times = Timestamps {
        last_access: spec(atime),
        last_modification: spec(mtime),
    };
    rustix::fs::utimensat(fd, c"", &times, AtFlags::EMPTY_PATH)
}

/// The value of an extended attribute. ENODATA: there is none.
pub fn get_xattr(fd: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let path = proc_path(fd);
    let mut value = vec![0; 256];
    loop {
        match rustix::fs::getxattr(&path, name, value.as_mut_slice()) {
            Ok(len) => {
                value.truncate(len);
                return Ok(value);
            }
            Err(Errno::RANGE) => {
                let len = rustix::fs::getxattr(&path, name, [0u8; 0].as_mut_slice())?;
                value.resize(len.max(value.len() + 1), 0);
            }
            Err(errno) => return Err(errno),
        }
    }
}

/// The names of the extended attributes; none where the filesystem has none.
pub fn list_xattrs(fd: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let path = proc_path(fd);
    names(|buffer| rustix::fs::listxattr(&path, buffer))
}

/// The same of `name` in `dir`, one component, without a descriptor of its own.
pub fn list_xattrs_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    let mut path = proc_path(dir).into_bytes();
    path.push(b'/');
    path.extend_from_slice(name);
    names(|buffer| rustix::fs::llistxattr(&path, buffer))
}

fn names(list: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = vec![0; 1024];
    let len = loop {
        match list(names.as_mut_slice()) {
            Ok(len) => break len,
            Err(Errno::RANGE) if names.len() < 1 << 20 => names.resize(names.len() * 4, 0),
            Err(Errno::OPNOTSUPP) => break 0,
            Err(errno) => return Err(errno),
        }
    };
    let names = names[..len].split(|&byte| byte == 0);
    Ok(names
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// All extended attributes, sorted by name. One that goes away while this runs is left out.
pub fn read_xattrs(fd: BorrowedFd<'_>) -> Result<Xattrs, Errno> {
    let mut names = list_xattrs(fd)?;
    names.sort();
    let mut xattrs = Vec::with_capacity(names.len());
    for name in names {
        match get_xattr(fd, &name) {
            Ok(value) => xattrs.push((name, value)),
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(xattrs)
}

/// Sets an extended attribute, whether or not it exists.
pub fn set_xattr(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    rustix::fs::setxattr(proc_path(fd), name, value, XattrFlags::empty())
}

/// Removes an extended attribute; that it is not or cannot be there is no error.
pub fn remove_xattr(fd: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::removexattr(proc_path(fd), name) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        other => other,
    }
}
