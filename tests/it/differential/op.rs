//! The operations of the differential test.
//!
//! An operation is a value that depends on nothing that happened before, so any part of a sequence
//! is a sequence too, which is what shrinking needs. Names come from a small pool so that they
//! collide.

use rustix::fs::{FallocateFlags, Mode, OFlags, RenameFlags, XattrFlags};

/// A path relative to the tree's root.
pub type Name = Vec<u8>;

/// How many descriptors one thread keeps open.
pub const SLOTS: usize = 6;

/// One operation. Slots are places in the thread's table of open files.
#[derive(Clone, Debug)]
pub enum Op {
    Open {
        path: Name,
        flags: OFlags,
        mode: Mode,
        slot: usize,
    },
    Close {
        slot: usize,
    },
    WriteAt {
        slot: usize,
        offset: u64,
        len: usize,
        fill: u8,
    },
    ReadAt {
        slot: usize,
        offset: u64,
        len: usize,
    },
    FstatSlot {
        slot: usize,
    },
    TruncateSlot {
        slot: usize,
        size: u64,
    },
    ChmodSlot {
        slot: usize,
        mode: Mode,
    },
    Fallocate {
        slot: usize,
        flags: FallocateFlags,
        offset: u64,
        len: u64,
    },
    Seek {
        slot: usize,
        offset: u64,
        hole: bool,
    },
    CopyRange {
        from: usize,
        from_offset: u64,
        to: usize,
        to_offset: u64,
        len: usize,
    },
    MapWrite {
        slot: usize,
        page: u64,
        len: usize,
        fill: u8,
    },
    Fsync {
        slot: usize,
        data_only: bool,
    },
    Append {
        path: Name,
        len: usize,
        fill: u8,
    },
    ReadFile {
        path: Name,
    },
    Truncate {
        path: Name,
        size: u64,
    },
    Mkdir {
        path: Name,
        mode: Mode,
    },
    Rmdir {
        path: Name,
    },
    Unlink {
        path: Name,
    },
    Rename {
        from: Name,
        to: Name,
        flags: RenameFlags,
    },
    Link {
        old: Name,
        new: Name,
    },
    Symlink {
        target: Name,
        path: Name,
    },
    Readlink {
        path: Name,
    },
    Mkfifo {
        path: Name,
        mode: Mode,
    },
    Chmod {
        path: Name,
        mode: Mode,
    },
    Chown {
        path: Name,
        uid: u32,
        gid: u32,
    },
    Utimens {
        path: Name,
        sec: i64,
        nsec: i64,
    },
    SetXattr {
        path: Name,
        name: String,
        len: usize,
        fill: u8,
        flags: XattrFlags,
    },
    GetXattr {
        path: Name,
        name: String,
    },
    RemoveXattr {
        path: Name,
        name: String,
    },
    ListXattr {
        path: Name,
    },
    List {
        path: Name,
    },
    Stat {
        path: Name,
    },
    Access {
        path: Name,
        write: bool,
    },
}
