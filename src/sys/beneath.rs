//! Opening paths below a directory descriptor, and never anywhere else.
//!
//! Owns the `openat2(2)` flags that confine the daemon: no symbolic link, `..`, magic link or mount
//! leads out of the directory that a descriptor names. Paths are relative, bytes, and of any
//! length: one beyond PATH_MAX is opened in pieces, each below the piece before.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Longest piece of a path that is handed to the kernel at once: PATH_MAX is 4096 with the NUL.
const PIECE_BYTES: usize = 4000;

/// How often a lookup that raced with a rename in the kernel (EAGAIN) is tried again.
const RETRIES: usize = 16;

fn resolve_flags() -> ResolveFlags {
    ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV
}

fn open_piece(dir: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut last = Errno::AGAIN;
    for _ in 0..RETRIES {
        match rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve_flags()) {
            Err(errno @ (Errno::AGAIN | Errno::INTR)) => last = errno,
            other => return other,
        }
    }
    Err(last)
}

/// Opens `path` below `root` with `flags` (`O_CLOEXEC` and `O_NOFOLLOW` are added; never
/// `O_CREAT`).
///
/// An empty path opens `root` itself anew. ELOOP: a component is a symbolic link; EXDEV: a
/// component is a mount point.
pub fn open_beneath(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let walk = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut rest = if path.is_empty() {
        b".".as_slice()
    } else {
        path
    };
    let mut held: Option<OwnedFd> = None;
    while rest.len() > PIECE_BYTES {
        let cut = match rest[..PIECE_BYTES].iter().rposition(|&byte| byte == b'/') {
            Some(cut) if cut > 0 => cut,
            _ => return Err(Errno::NAMETOOLONG),
        };
        let from = held.as_ref().map_or(root, |fd| fd.as_fd());
        held = Some(open_piece(from, &rest[..cut], walk)?);
        rest = &rest[cut + 1..];
    }
    open_piece(held.as_ref().map_or(root, |fd| fd.as_fd()), rest, flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn check(path: &[u8], expect: Result<(), Errno>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        symlink("a", dir.path().join("link")).unwrap();
        symlink("/", dir.path().join("out")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        let got = open_beneath(root.as_fd(), path, OFlags::PATH | OFlags::DIRECTORY);
        assert_eq!(got.map(drop), expect, "{}", path.escape_ascii());
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        check(b"", Ok(()));
        check(b"a/b", Ok(()));
        check(b"..", Err(Errno::XDEV));
        check(b"a/../..", Err(Errno::XDEV));
        check(b"/etc", Err(Errno::XDEV));
        check(b"link/b", Err(Errno::LOOP));
        check(b"out/etc", Err(Errno::LOOP));
        check(b"a/none", Err(Errno::NOENT));
    }
}
