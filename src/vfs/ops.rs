//! The operations that a mount needs of a filesystem, in the kernel's nouns and without FUSE.
//!
//! [`Ops`] is implemented by [`super::Vfs`]; `fuse/` turns requests into these calls, tests make
//! the same calls directly. Nothing here names fuser.
//!
//! **Invariant**: no method blocks for long. What has to wait (a commit, an abort, a fsync, a
//! publish) comes back as [`Outcome::Later`], and the caller runs it on a thread that serves no
//! requests.

use std::time::Duration;

use crate::tree::{Attr, NodeId, Time};

/// An error as the kernel wants it: a positive errno value, such as `libc::ENOENT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

/// What an operation returns.
pub type OpResult<T> = Result<T, Errno>;

/// How long the kernel may believe an entry or attributes without asking.
pub type Ttl = Duration;

/// For as long as nobody invalidates it.
pub const FOREVER: Ttl = Duration::from_secs(u32::MAX as u64);

/// Who makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cred {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Process, 0 where it is not visible from here.
    pub pid: u32,
}

/// Attributes of a node, and for how long they hold.
#[derive(Clone, Copy, Debug)]
pub struct NodeAttr {
    /// The node, which is also `st_ino`.
    pub node: NodeId,
    /// What stat(2) shows.
    pub attr: Attr,
    /// How long the kernel may keep the attributes.
    pub attr_ttl: Ttl,
}

/// The answer to a lookup or a create. The kernel's count of lookups of `node` went up by one.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The node and its attributes.
    pub node: NodeAttr,
    /// How long the kernel may keep the name.
    pub entry_ttl: Ttl,
    /// Tells two files apart that had the same node id at different times.
    pub generation: u64,
}

/// The answer to a lookup.
#[derive(Clone, Copy, Debug)]
pub enum Lookup {
    /// The name exists.
    Found(Entry),
    /// It does not, and the kernel may remember that for this long.
    Absent(Ttl),
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The time of the call.
    Now,
    /// This one.
    At(Time),
}

/// The attributes that a setattr changes; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// Last read.
    pub atime: Option<SetTime>,
    /// Last change of the content.
    pub mtime: Option<SetTime>,
    /// Last change of the inode, where the kernel names one.
    pub ctime: Option<SetTime>,
}

/// One name that a readdir hands out.
#[derive(Debug)]
pub struct DirItem<'a> {
    /// The name, without a terminator.
    pub name: &'a [u8],
    /// The inode number that readdir(3) shows; no lookup was counted for it.
    pub node: NodeId,
    /// Its type.
    pub kind: crate::tree::Kind,
    /// Where a readdir that follows this name starts.
    pub next: u64,
}

/// Whether a directory listing's buffer took an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// It is in.
    Taken,
    /// There was no room: stop, the item was not taken.
    Full,
}

/// The result now, or the rest of the work for a thread that may wait.
pub enum Outcome<T> {
    /// Done.
    Now(T),
    /// To be run elsewhere; its result is the answer.
    Later(Box<dyn FnOnce() -> OpResult<T> + Send>),
}

impl<T> Outcome<T> {
    /// Runs the rest here, for callers that may wait (tests).
    pub fn wait(self) -> OpResult<T> {
        match self {
            Outcome::Now(value) => Ok(value),
            Outcome::Later(rest) => rest(),
        }
    }
}

/// Whether reads and writes of an open file go through the kernel's page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// They do.
    Yes,
    /// Each is a request.
    No,
}

/// What statfs(2) shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsStat {
    /// Blocks in all, of `block_bytes`.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Blocks free to ordinary users.
    pub blocks_available: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// Bytes in a block.
    pub block_bytes: u32,
    /// The longest name, in bytes.
    pub name_bytes: u32,
}

/// How the kernel's caches are told of changes that it did not ask for.
///
/// Implemented by `fuse/` with FUSE notifications. Every method may block until requests in flight
/// have been answered, so callers hold no lock that a request takes.
pub trait KernelCache: Send + Sync {
    /// Forget the name `name` in directory `parent` (and everything below it).
    fn inval_entry(&self, parent: NodeId, name: &[u8]);
    /// Take `node` for a file of at least `len_bytes`, for a kernel that has the last word on the
    /// length of files and never reads this one from its cache.
    fn extend(&self, node: NodeId, len_bytes: u64);
    /// Forget the attributes of `node` and, where `data`, its cached pages or listing. Dirty pages
    /// of shared mappings are written back first.
    fn inval_inode(&self, node: NodeId, data: bool);
    /// Distrust every cached name, lazily and without blocking; `false` where the kernel cannot.
    fn new_epoch(&self) -> bool;
}

/// The filesystem operations. Node ids are those that [`Ops::lookup`] and the creating calls gave.
#[allow(clippy::too_many_arguments)]
pub trait Ops: Send + Sync + 'static {
    /// Finds `name` in the directory `parent` and counts a lookup of what it finds.
    fn lookup(&self, cred: &Cred, parent: NodeId, name: &[u8]) -> OpResult<Lookup>;
    /// The kernel drops `lookups` of its references to `node`.
    fn forget(&self, node: NodeId, lookups: u64);
    /// The attributes of `node`. `reads`: a read(2) asks for them, to know where the file ends.
    fn getattr(&self, cred: &Cred, node: NodeId, reads: bool) -> OpResult<Outcome<NodeAttr>>;
    /// Changes attributes; the answer is what they are now.
    fn setattr(&self, cred: &Cred, node: NodeId, set: &SetAttr) -> OpResult<NodeAttr>;
    /// The target of a symbolic link.
    fn readlink(&self, node: NodeId) -> OpResult<Vec<u8>>;
    /// Creates a file, fifo, socket or device. `mode` holds the type and is what the caller gave:
    /// where `parent` has a default ACL, that decides the permissions and the new file inherits it;
    /// elsewhere `mode & !umask` does.
    fn mknod(
        &self,
        cred: &Cred,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        umask: u32,
        rdev: u32,
    ) -> OpResult<Entry>;
    /// Creates a directory, or forks a branch in `@branches`. `mode` and `umask` as in
    /// [`Ops::mknod`].
    fn mkdir(
        &self,
        cred: &Cred,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        umask: u32,
    ) -> OpResult<Outcome<Entry>>;
    /// Removes a name that is not a directory.
    fn unlink(&self, cred: &Cred, parent: NodeId, name: &[u8]) -> OpResult<()>;
    /// Removes an empty directory, or aborts a branch in `@branches`.
    fn rmdir(&self, cred: &Cred, parent: NodeId, name: &[u8]) -> OpResult<Outcome<()>>;
    /// Creates a symbolic link.
    fn symlink(&self, cred: &Cred, parent: NodeId, name: &[u8], target: &[u8]) -> OpResult<Entry>;
    /// Renames; `flags` are those of renameat2(2). In `@branches` it renames or restores a branch.
    fn rename(
        &self,
        cred: &Cred,
        parent: NodeId,
        name: &[u8],
        new_parent: NodeId,
        new_name: &[u8],
        flags: u32,
    ) -> OpResult<Outcome<()>>;
    /// Makes `new_name` another name of `node`.
    fn link(
        &self,
        cred: &Cred,
        node: NodeId,
        new_parent: NodeId,
        new_name: &[u8],
    ) -> OpResult<Entry>;
    /// Opens a file, `to_write` or to be read alone. Only where writes wait in the page cache are
    /// opens told of; elsewhere every file is cached.
    fn open(&self, node: NodeId, to_write: bool) -> OpResult<Cached>;
    /// What was opened is closed, and nothing that was written by it waits any more.
    fn release(&self, node: NodeId, to_write: bool);
    /// Appends up to `len` bytes at `offset` to `out`; fewer only at the end of the file.
    fn read(&self, node: NodeId, offset: u64, len: u32, out: &mut Vec<u8>) -> OpResult<()>;
    /// Writes `data` at `offset`. `kill_priv` asks to drop set-id bits; `from_cache` marks what
    /// comes out of the page cache. The answer is the number of bytes taken.
    fn write(
        &self,
        cred: &Cred,
        node: NodeId,
        offset: u64,
        data: &[u8],
        kill_priv: bool,
        from_cache: bool,
    ) -> OpResult<Outcome<u32>>;
    /// Makes what was written durable.
    fn fsync(&self, node: NodeId, data_only: bool) -> OpResult<Outcome<()>>;
    /// Hands out the names of a directory after cookie `from` (0: from the start), `.` and `..`
    /// included.
    fn readdir(
        &self,
        cred: &Cred,
        node: NodeId,
        from: u64,
        sink: &mut dyn FnMut(&DirItem<'_>) -> Sink,
    ) -> OpResult<()>;
    /// The same with attributes. Each item that was taken, other than `.` and `..`, counts a
    /// lookup.
    fn readdirplus(
        &self,
        cred: &Cred,
        node: NodeId,
        from: u64,
        sink: &mut dyn FnMut(&DirItem<'_>, &Entry) -> Sink,
    ) -> OpResult<()>;
    /// Space and inodes.
    fn statfs(&self, node: NodeId) -> OpResult<FsStat>;
    /// Sets an extended attribute; `flags` are XATTR_CREATE and XATTR_REPLACE.
    fn setxattr(
        &self,
        cred: &Cred,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        flags: i32,
    ) -> OpResult<()>;
    /// The value of an extended attribute.
    fn getxattr(&self, cred: &Cred, node: NodeId, name: &[u8]) -> OpResult<Vec<u8>>;
    /// The names of the extended attributes, each ended by a NUL byte.
    fn listxattr(&self, cred: &Cred, node: NodeId) -> OpResult<Vec<u8>>;
    /// Removes an extended attribute.
    fn removexattr(&self, cred: &Cred, node: NodeId, name: &[u8]) -> OpResult<()>;
    /// Allocates, punches or zeroes; `mode` as in fallocate(2).
    fn fallocate(
        &self,
        cred: &Cred,
        node: NodeId,
        offset: u64,
        len: u64,
        mode: i32,
    ) -> OpResult<()>;
    /// SEEK_DATA or SEEK_HOLE.
    fn lseek(&self, node: NodeId, offset: u64, whence: i32) -> OpResult<Outcome<u64>>;
    /// Shares or copies a range between two files; the answer is the number of bytes.
    fn copy_file_range(
        &self,
        cred: &Cred,
        from: NodeId,
        from_offset: u64,
        to: NodeId,
        to_offset: u64,
        len: u64,
    ) -> OpResult<u64>;
    /// A call of this trait, or what it left for [`Outcome::Later`], panicked (its caller got EIO)
    /// or does not end: what is in memory may be half done, so nothing more may be written to the
    /// store. `why` is a clause: "a request panicked". Waits for nothing.
    fn doubt(&self, why: &'static str);
    /// The kernel is gone: every node is forgotten, what is left to publish is published.
    fn unmounted(&self);
}
