//! One handler per request: decode, call [`Ops`], answer. No policy.
//!
//! Every call runs inside [`Shared::guard`]: a panic becomes EIO, [`Ops::doubt`] is told, and
//! the thread goes on reading requests. What [`Ops`] leaves for later takes its reply to a worker.
//!
//! **Invariant**: each request is answered once. A reply that is dropped unanswered answers EIO
//! (fuser does that), so a panic between the call and the answer is covered too.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, FopenFlags, Generation,
    INodeNo, IoctlFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, PollEvents, PollFlags,
    PollNotifier, RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::calls::Adapter;
use super::convert::{attr, cred, errno, kind, node, set_time, time_from_request};
use super::init;
use super::reply::{send_absent, send_attr, send_empty, send_entry, send_xattr};
use crate::vfs::metrics::Op;
use crate::vfs::ops::{Cached, Errno, Lookup, Ops, SetAttr, SetTime, Sink};

/// The most that one copy_file_range(2) copies: the answer holds 32 bits, and the kernel caps every
/// read and write there (`MAX_RW_COUNT`).
const MAX_COPY_BYTES: u64 = 0x7fff_f000;

/// Whether a file is opened to be written.
fn writes(flags: OpenFlags) -> bool {
    flags.acc_mode() != OpenAccMode::O_RDONLY
}

thread_local! {
    /// What a READ is answered from, kept so that a large one does not allocate each time.
    static READ_BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl<O: Ops> Filesystem for Adapter<O> {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        init::negotiate(config, &self.session);
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (cred, name) = (cred(req), name.as_bytes());
        match self.call(Op::Lookup, |ops| ops.lookup(&cred, node(parent), name)) {
            Ok(Lookup::Found(entry)) => send_entry(reply)(Ok(entry)),
            Ok(Lookup::Absent(ttl)) => send_absent(reply, ttl),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn forget(&self, _req: &Request, ino: INodeNo, lookups: u64) {
        // It has no answer, so the error of a panic (the only one) goes nowhere.
        let _ = self.call(Op::Forget, |ops| {
            ops.forget(node(ino), lookups);
            Ok(())
        });
    }

    fn getattr(
        &self,
        req: &Request,
        ino: INodeNo,
        // The kernel names a handle where read(2) asks, and none for stat(2) or a permission check.
        handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let cred = cred(req);
        let reads = handle.is_some();
        let getattr = |ops: &O| ops.getattr(&cred, node(ino), reads);
        self.call_or_wait(Op::Getattr, getattr, |result| send_attr(reply, result));
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let cred = cred(req);
        let set = SetAttr {
            mode: mode.map(|mode| mode & 0o7777),
            uid,
            gid,
            size,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
            ctime: ctime.map(|time| SetTime::At(time_from_request(time))),
        };
        send_attr(
            reply,
            self.call(Op::Setattr, |ops| ops.setattr(&cred, node(ino), &set)),
        );
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.call(Op::Readlink, |ops| ops.readlink(node(ino))) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let (cred, name) = (cred(req), name.as_bytes());
        send_entry(reply)(self.call(Op::Mknod, |ops| {
            ops.mknod(&cred, node(parent), name, mode, umask, rdev)
        }));
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let (cred, name) = (cred(req), name.as_bytes());
        self.call_or_wait(
            Op::Mkdir,
            |ops| ops.mkdir(&cred, node(parent), name, mode & 0o7777, umask),
            send_entry(reply),
        );
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (cred, name) = (cred(req), name.as_bytes());
        send_empty(reply)(self.call(Op::Unlink, |ops| ops.unlink(&cred, node(parent), name)));
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (cred, name) = (cred(req), name.as_bytes());
        let rmdir = |ops: &O| ops.rmdir(&cred, node(parent), name);
        self.call_or_wait(Op::Rmdir, rmdir, send_empty(reply));
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let (cred, name, target) = (cred(req), name.as_bytes(), target.as_os_str().as_bytes());
        send_entry(reply)(self.call(Op::Symlink, |ops| {
            ops.symlink(&cred, node(parent), name, target)
        }));
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (cred, name, new_name) = (cred(req), name.as_bytes(), new_name.as_bytes());
        let (parent, new_parent) = (node(parent), node(new_parent));
        self.call_or_wait(
            Op::Rename,
            |ops| ops.rename(&cred, parent, name, new_parent, new_name, flags.bits()),
            send_empty(reply),
        );
    }

    fn link(
        &self,
        req: &Request,
        ino: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let (cred, name) = (cred(req), new_name.as_bytes());
        send_entry(reply)(self.call(Op::Link, |ops| {
            ops.link(&cred, node(ino), node(new_parent), name)
        }));
    }

    /// ENOSYS turns it off for the whole connection, and every file is cached. So it is served
    /// where files are to be treated differently.
    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if !self.session.writeback {
            return reply.error(self.not_served(Op::Open));
        }
        match self.call(Op::Open, |ops| ops.open(node(ino), writes(flags))) {
            Ok(Cached::Yes) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Ok(Cached::No) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        flags: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        send_empty(reply)(self.call(Op::Release, |ops| {
            ops.release(node(ino), writes(flags));
            Ok(())
        }));
    }

    fn create(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        reply.error(self.not_served(Op::Create));
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut buffer = READ_BUFFER.take();
        buffer.clear();
        match self.call(Op::Read, |ops| {
            ops.read(node(ino), offset, size, &mut buffer)
        }) {
            // More than was asked for would be refused.
            Ok(()) => reply.data(&buffer[..buffer.len().min(size as usize)]),
            Err(error) => reply.error(errno(error)),
        }
        READ_BUFFER.set(buffer);
    }

    fn write(
        &self,
        req: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let cred = cred(req);
        let kill_priv = flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let from_cache = flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        self.call_or_wait(
            Op::Write,
            |ops| ops.write(&cred, node(ino), offset, data, kill_priv, from_cache),
            move |result| match result {
                Ok(bytes) => reply.written(bytes),
                Err(error) => reply.error(errno(error)),
            },
        );
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(self.not_served(Op::Flush));
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        let fsync = |ops: &O| ops.fsync(node(ino), data_only);
        self.call_or_wait(Op::Fsync, fsync, send_empty(reply));
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(self.not_served(Op::Opendir));
    }

    fn readdir(
        &self,
        req: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let (cred, mut taken) = (cred(req), false);
        let result = self.call(Op::Readdir, |ops| {
            ops.readdir(&cred, node(ino), offset, &mut |item| {
                let (ino, name) = (INodeNo(item.node.0), OsStr::from_bytes(item.name));
                let full = reply.add(ino, item.next, kind(item.kind), name);
                taken |= !full;
                if full { Sink::Full } else { Sink::Taken }
            })
        });
        match result {
            // What was taken is handed out; the listing goes on from there into the same error.
            Err(error) if !taken => reply.error(errno(error)),
            _ => reply.ok(),
        }
    }

    fn readdirplus(
        &self,
        req: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let (cred, mut taken) = (cred(req), false);
        let result = self.call(Op::Readdirplus, |ops| {
            ops.readdirplus(&cred, node(ino), offset, &mut |item, entry| {
                // fuser has one time for the name and the attributes.
                let ttl = entry.entry_ttl.min(entry.node.attr_ttl);
                let (ino, name) = (INodeNo(item.node.0), OsStr::from_bytes(item.name));
                let generation = Generation(entry.generation);
                let full = reply.add(ino, item.next, name, &ttl, &attr(&entry.node), generation);
                taken |= !full;
                if full { Sink::Full } else { Sink::Taken }
            })
        });
        match result {
            // A lookup was counted for what was taken, so the kernel must get it.
            Err(error) if !taken => reply.error(errno(error)),
            _ => reply.ok(),
        }
    }

    fn fsyncdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        let fsync = |ops: &O| ops.fsync(node(ino), data_only);
        self.call_or_wait(Op::Fsyncdir, fsync, send_empty(reply));
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        match self.call(Op::Statfs, |ops| ops.statfs(node(ino))) {
            Ok(s) => reply.statfs(
                s.blocks,
                s.blocks_free,
                s.blocks_available,
                s.files,
                s.files_free,
                s.block_bytes,
                s.name_bytes,
                s.block_bytes,
            ),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let (cred, name) = (cred(req), name.as_bytes());
        send_empty(reply)(self.xattr(Op::Setxattr, |ops| {
            ops.setxattr(&cred, node(ino), name, value, flags)
        }));
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let (cred, name) = (cred(req), name.as_bytes());
        let value = self.xattr(Op::Getxattr, |ops| ops.getxattr(&cred, node(ino), name));
        send_xattr(reply, size, value);
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let cred = cred(req);
        send_xattr(
            reply,
            size,
            self.xattr(Op::Listxattr, |ops| ops.listxattr(&cred, node(ino))),
        );
    }

    fn removexattr(&self, req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (cred, name) = (cred(req), name.as_bytes());
        let removed = self.xattr(Op::Removexattr, |ops| {
            ops.removexattr(&cred, node(ino), name)
        });
        send_empty(reply)(removed);
    }

    /// With default_permissions the kernel decides.
    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(self.not_served(Op::Access));
    }

    fn bmap(&self, _: &Request, _: INodeNo, _: u32, _: u64, reply: ReplyBmap) {
        reply.error(self.not_served(Op::Bmap));
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        self.shared.metrics.record(Op::Ioctl, Duration::ZERO, true);
        reply.error(fuser::Errno::ENOTTY);
    }

    /// ENOSYS makes every file always ready, as poll(2) has it for regular files.
    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(self.not_served(Op::Poll));
    }

    fn fallocate(
        &self,
        req: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let cred = cred(req);
        send_empty(reply)(self.call(Op::Fallocate, |ops| {
            ops.fallocate(&cred, node(ino), offset, length, mode)
        }));
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let lseek = |ops: &O| match u64::try_from(offset) {
            Ok(offset) => ops.lseek(node(ino), offset, whence),
            // lseek(2): ENXIO for SEEK_DATA and SEEK_HOLE outside of the file.
            Err(_) => Err(Errno(libc::ENXIO)),
        };
        self.call_or_wait(Op::Lseek, lseek, |sought| match sought {
            Ok(offset) => reply.offset(offset as i64),
            Err(error) => reply.error(errno(error)),
        });
    }

    fn copy_file_range(
        &self,
        req: &Request,
        from: INodeNo,
        _: FileHandle,
        from_offset: u64,
        to: INodeNo,
        _: FileHandle,
        to_offset: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (cred, len) = (cred(req), len.min(MAX_COPY_BYTES));
        let copied = self.call(Op::CopyFileRange, |ops| {
            ops.copy_file_range(&cred, node(from), from_offset, node(to), to_offset, len)
        });
        match copied {
            Ok(bytes) => reply.written(bytes as u32),
            Err(error) => reply.error(errno(error)),
        }
    }
}
