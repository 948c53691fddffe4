//! What stat(2) says of a file: kind, mode, owner, sizes, times.

use serde::{Deserialize, Serialize};

/// Seconds and nanoseconds since 1970; the seconds may be negative.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Time {
    /// Whole seconds.
    pub sec: i64,
    /// Nanoseconds within the second, 0 to 999,999,999.
    pub nsec: u32,
}

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Kind {
    /// A regular file.
    File = 0,
    /// A directory.
    Dir = 1,
    /// A symbolic link.
    Symlink = 2,
    /// A named pipe.
    Fifo = 3,
    /// A unix-domain socket.
    Socket = 4,
    /// A character device.
    Char = 5,
    /// A block device.
    Block = 6,
}

impl Kind {
    /// The kind in the `S_IFMT` bits of `mode`; `None` where they name no type of Linux.
    pub fn from_mode(mode: u32) -> Option<Kind> {
        Some(match mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Dir,
            libc::S_IFLNK => Kind::Symlink,
            libc::S_IFIFO => Kind::Fifo,
            libc::S_IFSOCK => Kind::Socket,
            libc::S_IFCHR => Kind::Char,
            libc::S_IFBLK => Kind::Block,
            _ => return None,
        })
    }

    /// The `S_IFMT` bits of this kind.
    pub fn to_mode(self) -> u32 {
        match self {
            Kind::File => libc::S_IFREG,
            Kind::Dir => libc::S_IFDIR,
            Kind::Symlink => libc::S_IFLNK,
            Kind::Fifo => libc::S_IFIFO,
            Kind::Socket => libc::S_IFSOCK,
            Kind::Char => libc::S_IFCHR,
            Kind::Block => libc::S_IFBLK,
        }
    }

    /// The kind with this number (the `repr`), as records and listings store it.
    pub fn from_u8(n: u8) -> Option<Kind> {
        use Kind::*;
        [File, Dir, Symlink, Fifo, Socket, Char, Block]
            .get(n as usize)
            .copied()
    }
}

/// The attributes of one file, as stat(2) shows them, without its inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attr {
    /// Its type.
    pub kind: Kind,
    /// Permission bits, with set-id and sticky bits: `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number in the kernel's "new" encoding (what FUSE carries), 0 for all but devices.
    pub rdev: u32,
    /// Number of names.
    pub nlink: u32,
    /// Length in bytes.
    pub size: u64,
    /// Space taken, in blocks of 512 bytes.
    pub blocks: u64,
    /// Last read.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of content or attributes.
    pub ctime: Time,
}
