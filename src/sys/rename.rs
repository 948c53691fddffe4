//! Renames that never overwrite, and swaps, also on filesystems that lack `renameat2(2)` flags.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

/// A name in an open directory.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// The directory.
    pub dir: BorrowedFd<'a>,
    /// One component.
    pub name: &'a [u8],
}

fn unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// Renames `from` to `to`, where nothing may be: EEXIST otherwise.
///
/// Filesystems without RENAME_NOREPLACE get a check and a plain rename. That has a race with other
/// writers of `to`, which only someone who writes behind the mount can lose.
pub fn rename_noreplace(from: At<'_>, to: At<'_>) -> Result<(), Errno> {
    let flags = RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(from.dir, from.name, to.dir, to.name, flags) {
        Err(errno) if unsupported(errno) => {}
        other => return other,
    }
    match rustix::fs::statat(to.dir, to.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => rustix::fs::renameat(from.dir, from.name, to.dir, to.name),
        Err(errno) => Err(errno),
    }
}

/// Swaps two names in one step; `false` where the filesystem cannot.
pub fn exchange(a: At<'_>, b: At<'_>) -> Result<bool, Errno> {
    match rustix::fs::renameat_with(a.dir, a.name, b.dir, b.name, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(errno) if unsupported(errno) => Ok(false),
        Err(errno) => Err(errno),
    }
}
