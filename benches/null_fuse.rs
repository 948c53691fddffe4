//! The floor: a FUSE file system that answers everything from memory.
//!
//! No store, no journal, no layers: what an operation takes here is what the kernel's protocol,
//! fuser and a wake-up cost. It negotiates what branchfs negotiates, opens nothing (OPEN, OPENDIR,
//! CREATE, FLUSH: ENOSYS), lets the kernel believe every answer for ever, and has as many threads.
//!
//! `null-fuse MOUNTPOINT` serves until it is unmounted.
//!
//! **Not here**: durability, xattrs, permissions beyond the kernel's own check, limits.

mod null_tree;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use branchfs::fuse::SessionConfig;
use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileHandle, Filesystem, Generation, INodeNo, KernelConfig,
    LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, SessionACL, TimeOrNow, WriteFlags,
};
use parking_lot::RwLock;

use null_tree::{Body, Tree};

/// How long the kernel may believe an answer: branchfs says the same of an in-place mount.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

const FIRST: Generation = Generation(0);

struct Null(RwLock<Tree>);

fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

impl Null {
    fn make(&self, req: &Request, at: (INodeNo, &OsStr), mode: u32, body: Body, reply: ReplyEntry) {
        let (parent, name) = at;
        let made = self.0.write().make(
            (req.uid(), req.gid()),
            parent.0,
            name.as_bytes(),
            mode,
            body,
        );
        match made {
            Ok(attr) => reply.entry(&FOR_EVER, &attr, FIRST),
            Err(error) => reply.error(error),
        }
    }
}

fn done(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Null {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let session = SessionConfig {
            keeps_pages: true,
            ..SessionConfig::default()
        };
        branchfs::fuse::negotiate(config, &session);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.0.write().lookup(parent.0, name.as_bytes()) {
            Ok(Some(attr)) => reply.entry(&FOR_EVER, &attr, FIRST),
            Ok(None) => {
                let nothing = null_tree::nothing();
                reply.entry_with_ttls(&Duration::ZERO, &FOR_EVER, &nothing, FIRST);
            }
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, lookups: u64) {
        self.0.write().forget(ino.0, lookups);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.read().get(ino.0) {
            Ok(node) => reply.attr(&FOR_EVER, &node.attr),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut tree = self.0.write();
        let node = match tree.get_mut(ino.0) {
            Ok(node) => node,
            Err(error) => return reply.error(error),
        };
        if let Some(size) = size {
            node.resize(size);
        }
        let attr = &mut node.attr;
        attr.perm = mode.map_or(attr.perm, |mode| (mode & 0o7777) as u16);
        attr.uid = uid.unwrap_or(attr.uid);
        attr.gid = gid.unwrap_or(attr.gid);
        attr.atime = atime.map_or(attr.atime, time);
        attr.mtime = mtime.map_or(attr.mtime, time);
        attr.ctime = SystemTime::now();
        reply.attr(&FOR_EVER, attr);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.0.read().get(ino.0).map(|node| &node.body) {
            Ok(Body::Link(target)) => reply.data(target),
            Ok(_) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(error),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let body = match mode & libc::S_IFMT {
            libc::S_IFREG => Body::File(Vec::new()),
            kind => Body::Special(kind),
        };
        self.make(req, (parent, name), mode & !umask, body, reply);
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
        self.make(req, (parent, name), mode & !umask, Body::directory(), reply);
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let body = Body::Link(target.as_os_str().as_bytes().to_vec());
        self.make(req, (parent, name), 0o777, body, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(
            reply,
            self.0.write().remove(parent.0, name.as_bytes(), false),
        );
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(
            reply,
            self.0.write().remove(parent.0, name.as_bytes(), true),
        );
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.bits() & libc::RENAME_EXCHANGE != 0 {
            return reply.error(Errno::EINVAL);
        }
        let from = (parent.0, name.as_bytes());
        let to = (new_parent.0, new_name.as_bytes());
        let keep = flags.bits() & libc::RENAME_NOREPLACE != 0;
        done(reply, self.0.write().rename(from, to, keep));
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        match self
            .0
            .write()
            .link(ino.0, new_parent.0, new_name.as_bytes())
        {
            Ok(attr) => reply.entry(&FOR_EVER, &attr, FIRST),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
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
        reply.error(Errno::ENOSYS);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.read().get(ino.0) {
            Ok(node) => reply.data(node.bytes(offset, size)),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.write().get_mut(ino.0) {
            Ok(node) => {
                node.write(offset, data);
                reply.written(data.len() as u32);
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let tree = self.0.read();
        for (cookie, name, node) in tree.list(ino.0, offset) {
            let kind = tree
                .get(node)
                .map_or(fuser::FileType::Directory, |n| n.attr.kind);
            if reply.add(INodeNo(node), cookie, kind, OsStr::from_bytes(&name)) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let mut tree = self.0.write();
        for (cookie, name, id) in tree.list(ino.0, offset) {
            let Ok(node) = tree.get_mut(id) else { continue };
            let shown = OsStr::from_bytes(&name);
            if reply.add(INodeNo(id), cookie, shown, &FOR_EVER, &node.attr, FIRST) {
                break;
            }
            let counts = name != b"." && name != b"..";
            node.lookups += u64::from(counts);
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 24, 1 << 24, 1 << 24, 1 << 30, 1 << 30, 4096, 255, 4096);
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::NO_XATTR);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, size: u32, reply: ReplyXattr) {
        match size {
            0 => reply.size(0),
            _ => reply.data(&[]),
        }
    }
}

fn main() -> ExitCode {
    env_logger::init();
    let Some(mountpoint) = std::env::args_os().nth(1) else {
        eprintln!("usage: null-fuse MOUNTPOINT");
        return ExitCode::from(2);
    };
    let mut config = fuser::Config::default();
    config.mount_options = vec![
        MountOption::FSName("null-fuse".into()),
        MountOption::DefaultPermissions,
    ];
    config.acl = SessionACL::All;
    config.n_threads = Some(SessionConfig::default().threads);
    match fuser::mount(Null(RwLock::new(Tree::new())), mountpoint, &config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
