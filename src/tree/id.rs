//! The numbers that name things: files, branches, kernel nodes.
//!
//! Owns the layout of `st_ino` and nothing else. It must not know where a file's content is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A file within a workspace; stays the same across copy-up, rename, fork and commit.
///
/// Hard links share it. A base file takes its inode number when that fits below
/// [`FileId::FIRST_NEW`] and is free; everything else is numbered from there on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId(pub u32);

impl FileId {
    /// The root directory of every branch.
    pub const ROOT: FileId = FileId(1);
    /// The first number given to files that do not carry their base inode's number.
    pub const FIRST_NEW: u32 = 0x8000_0000;
    /// Numbers from here on are the reserved files of a branch (`.ctl`, `@self/status`, ...).
    pub const FIRST_RESERVED: u32 = 0xffff_ff00;
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "F{}", self.0)
    }
}

/// A branch's number, never used twice in the life of a store. `main` is 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BranchId(pub u32);

impl BranchId {
    /// The branch that lies directly on the base.
    pub const MAIN: BranchId = BranchId(0);
}

impl fmt::Debug for BranchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "B{}", self.0)
    }
}

/// What the kernel calls an inode: `incarnation << 32 | FileId`, which is also `st_ino`.
///
/// The incarnation is the branch's own number, or a fresh number for files that a commit replaced
/// in that branch. `main`'s root is 1, which is what FUSE wants of a root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl NodeId {
    /// Joins the two halves.
    pub const fn new(incarnation: u32, file: FileId) -> NodeId {
        NodeId((incarnation as u64) << 32 | file.0 as u64)
    }

    /// The upper half: which branch, or which commit into a branch, this version belongs to.
    pub const fn incarnation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The lower half.
    pub const fn file(self) -> FileId {
        FileId(self.0 as u32)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "N{}:{}", self.incarnation(), self.file().0)
    }
}
