//! A plain tree in memory, for tests of what lies between the kernel and [`Ops`].
//!
//! Some names do what a real file system does in bad moments:
//!
//! | name | what writing to it does |
//! | --- | --- |
//! | `full` | ENOSPC |
//! | `slow` | waits on a worker until [`Memory::open_gate`] |
//! | `panic` | panics |
//! | `panic-later` | panics on a worker |

mod tree;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use parking_lot::{Condvar, Mutex, MutexGuard};

use self::tree::{Body, NAME_BYTES, Node, Tree, fail, node, now};
use super::ops::*;
use crate::tree::{Kind, NodeId};

/// What a slow write waits for.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

/// The file system.
pub(crate) struct Memory {
    tree: Mutex<Tree>,
    gate: Arc<Gate>,
    /// How long the kernel may believe anything.
    ttl: Ttl,
    pub(crate) doubts: AtomicUsize,
    pub(crate) unmounts: AtomicUsize,
}

impl Memory {
    pub(crate) fn new(ttl: Ttl) -> Memory {
        let root = Cred {
            uid: 0,
            gid: 0,
            pid: 0,
        };
        let root = node(Kind::Dir, 0o777, &root, 0, Body::Dir(BTreeMap::new()));
        Memory {
            tree: Mutex::new(Tree {
                nodes: HashMap::from([(1, root)]),
                next: 10,
            }),
            gate: Arc::default(),
            ttl,
            doubts: AtomicUsize::new(0),
            unmounts: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock()
    }

    /// Lets every slow write go on, those to come included.
    pub(crate) fn open_gate(&self) {
        *self.gate.open.lock() = true;
        self.gate.opened.notify_all();
    }

    /// How many slow writes wait.
    pub(crate) fn at_gate(&self) -> usize {
        self.gate.waiting.load(SeqCst)
    }

    /// The node of a file in the root.
    pub(crate) fn node_of(&self, name: &[u8]) -> NodeId {
        let file = self.lock().child(NodeId(1), name);
        file.expect("the file is there")
    }

    /// Changes a file in the root without the kernel's knowledge.
    pub(crate) fn change_behind(&self, name: &[u8], bytes: &[u8]) -> NodeId {
        let mut tree = self.lock();
        let file = tree.child(NodeId(1), name).expect("the file is there");
        *tree.file(file).expect("it is a file") = bytes.to_vec();
        tree.touch(file);
        file
    }

    /// What a file in the root holds.
    pub(crate) fn content(&self, name: &[u8]) -> Vec<u8> {
        let mut tree = self.lock();
        let file = tree.child(NodeId(1), name).expect("the file is there");
        tree.file(file).expect("it is a file").clone()
    }

    /// Renames within the root without the kernel's knowledge.
    pub(crate) fn rename_behind(&self, name: &[u8], new_name: &[u8]) {
        let mut tree = self.lock();
        let names = tree.dir(NodeId(1)).expect("the root is a directory");
        let entry = names.remove(name).expect("the file is there");
        names.insert(new_name.to_vec(), entry);
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.lock().nodes.len()
    }

    fn entry(&self, tree: &mut Tree, id: NodeId) -> OpResult<Entry> {
        let node = tree.get(id)?;
        node.lookups += 1;
        let node = NodeAttr {
            node: id,
            attr: node.attr,
            attr_ttl: self.ttl,
        };
        Ok(Entry {
            node,
            entry_ttl: self.ttl,
            generation: 0,
        })
    }

    fn made(&self, parent: NodeId, name: &[u8], node: Node) -> OpResult<Entry> {
        let mut tree = self.lock();
        let id = tree.add(parent, name, node)?;
        self.entry(&mut tree, id)
    }
}

impl Ops for Memory {
    fn lookup(&self, _: &Cred, parent: NodeId, name: &[u8]) -> OpResult<Lookup> {
        let mut tree = self.lock();
        match tree.child(parent, name) {
            Ok(child) => Ok(Lookup::Found(self.entry(&mut tree, child)?)),
            Err(Errno(libc::ENOENT)) => Ok(Lookup::Absent(self.ttl)),
            Err(error) => Err(error),
        }
    }

    fn forget(&self, node: NodeId, lookups: u64) {
        let mut tree = self.lock();
        if let Ok(known) = tree.get(node) {
            known.lookups -= lookups;
        }
        tree.reap(node);
    }

    fn getattr(&self, _: &Cred, node: NodeId, _: bool) -> OpResult<Outcome<NodeAttr>> {
        Ok(Outcome::Now(NodeAttr {
            node,
            attr: self.lock().get(node)?.attr,
            attr_ttl: self.ttl,
        }))
    }

    fn setattr(&self, _: &Cred, id: NodeId, set: &SetAttr) -> OpResult<NodeAttr> {
        let mut tree = self.lock();
        if let Some(size) = set.size {
            tree.file(id)?.resize(size as usize, 0);
            tree.touch(id);
        }
        let attr = &mut tree.get(id)?.attr;
        attr.mode = set.mode.unwrap_or(attr.mode);
        attr.uid = set.uid.unwrap_or(attr.uid);
        attr.gid = set.gid.unwrap_or(attr.gid);
        for (time, asked) in [(&mut attr.atime, set.atime), (&mut attr.mtime, set.mtime)] {
            match asked {
                Some(SetTime::Now) => *time = now(),
                Some(SetTime::At(at)) => *time = at,
                None => {}
            }
        }
        attr.ctime = now();
        Ok(NodeAttr {
            node: id,
            attr: *attr,
            attr_ttl: self.ttl,
        })
    }

    fn readlink(&self, node: NodeId) -> OpResult<Vec<u8>> {
        match &self.lock().get(node)?.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => fail(libc::EINVAL),
        }
    }

    fn mknod(
        &self,
        cred: &Cred,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        umask: u32,
        rdev: u32,
    ) -> OpResult<Entry> {
        let kind = Kind::from_mode(mode).ok_or(Errno(libc::EINVAL))?;
        let body = if kind == Kind::File {
            Body::File(Vec::new())
        } else {
            Body::Special
        };
        self.made(parent, name, node(kind, mode & !umask, cred, rdev, body))
    }

    fn mkdir(
        &self,
        cred: &Cred,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        umask: u32,
    ) -> OpResult<Outcome<Entry>> {
        let dir = node(
            Kind::Dir,
            mode & !umask,
            cred,
            0,
            Body::Dir(BTreeMap::new()),
        );
        let entry = self.made(parent, name, dir)?;
        // A directory needs no wait; this shows that an entry can come from a worker.
        Ok(Outcome::Later(Box::new(move || Ok(entry))))
    }

    fn unlink(&self, _: &Cred, parent: NodeId, name: &[u8]) -> OpResult<()> {
        self.lock().remove(parent, name)
    }

    fn rmdir(&self, _: &Cred, parent: NodeId, name: &[u8]) -> OpResult<Outcome<()>> {
        let mut tree = self.lock();
        let dir = tree.child(parent, name)?;
        if !tree.dir(dir)?.is_empty() {
            return fail(libc::ENOTEMPTY);
        }
        tree.remove(parent, name).map(Outcome::Now)
    }

    fn symlink(&self, cred: &Cred, parent: NodeId, name: &[u8], target: &[u8]) -> OpResult<Entry> {
        let mut link = node(
            Kind::Symlink,
            0o777,
            cred,
            0,
            Body::Symlink(target.to_vec()),
        );
        link.attr.size = target.len() as u64;
        self.made(parent, name, link)
    }

    fn rename(
        &self,
        _: &Cred,
        parent: NodeId,
        name: &[u8],
        new_parent: NodeId,
        new_name: &[u8],
        flags: u32,
    ) -> OpResult<Outcome<()>> {
        let mut tree = self.lock();
        let node = tree.child(parent, name)?;
        match (tree.child(new_parent, new_name), flags) {
            (Ok(_), libc::RENAME_NOREPLACE) => return fail(libc::EEXIST),
            (Ok(other), libc::RENAME_EXCHANGE) => {
                tree.insert(parent, name, other.0)?;
                tree.insert(new_parent, new_name, node.0)?;
                return Ok(Outcome::Now(()));
            }
            (Ok(_), 0) => tree.remove(new_parent, new_name)?,
            (Err(Errno(libc::ENOENT)), 0 | libc::RENAME_NOREPLACE) => {}
            (Err(error), _) => return Err(error),
            (_, _) => return fail(libc::EINVAL),
        }
        tree.dir(parent)?.remove(name);
        tree.insert(new_parent, new_name, node.0)?;
        Ok(Outcome::Now(()))
    }

    fn link(&self, _: &Cred, node: NodeId, new_parent: NodeId, new_name: &[u8]) -> OpResult<Entry> {
        let mut tree = self.lock();
        if tree.child(new_parent, new_name).is_ok() {
            return fail(libc::EEXIST);
        }
        tree.insert(new_parent, new_name, node.0)?;
        tree.get(node)?.attr.nlink += 1;
        self.entry(&mut tree, node)
    }

    fn open(&self, _: NodeId, _: bool) -> OpResult<Cached> {
        Ok(Cached::Yes)
    }

    fn release(&self, _: NodeId, _: bool) {}

    fn read(&self, node: NodeId, offset: u64, len: u32, out: &mut Vec<u8>) -> OpResult<()> {
        let mut tree = self.lock();
        let bytes = tree.file(node)?;
        let start = (offset as usize).min(bytes.len());
        let end = start.saturating_add(len as usize).min(bytes.len());
        out.extend_from_slice(&bytes[start..end]);
        Ok(())
    }

    fn write(
        &self,
        _: &Cred,
        node: NodeId,
        offset: u64,
        data: &[u8],
        kill_priv: bool,
        _: bool,
    ) -> OpResult<Outcome<u32>> {
        let mut tree = self.lock();
        let taken = data.len() as u32;
        match tree.get(node)?.name.as_slice() {
            b"full" => return fail(libc::ENOSPC),
            b"panic" => panic!("a write that is meant to panic"),
            b"panic-later" => {
                return Ok(Outcome::Later(Box::new(|| {
                    panic!("a rest that is meant to panic")
                })));
            }
            b"slow" => {
                let gate = Arc::clone(&self.gate);
                return Ok(Outcome::Later(Box::new(move || {
                    let mut open = gate.open.lock();
                    gate.waiting.fetch_add(1, SeqCst);
                    while !*open {
                        gate.opened.wait(&mut open);
                    }
                    gate.waiting.fetch_sub(1, SeqCst);
                    Ok(taken)
                })));
            }
            _ => {}
        }
        let bytes = tree.file(node)?;
        let (start, end) = (offset as usize, offset as usize + data.len());
        bytes.resize(bytes.len().max(end), 0);
        bytes[start..end].copy_from_slice(data);
        tree.touch(node);
        if kill_priv {
            tree.get(node)?.attr.mode &= !0o6000;
        }
        Ok(Outcome::Now(taken))
    }

    fn fsync(&self, node: NodeId, _: bool) -> OpResult<Outcome<()>> {
        self.lock().get(node)?;
        Ok(Outcome::Later(Box::new(|| Ok(()))))
    }

    fn readdir(
        &self,
        _: &Cred,
        node: NodeId,
        from: u64,
        sink: &mut dyn FnMut(&DirItem<'_>) -> Sink,
    ) -> OpResult<()> {
        for (name, node, kind, next) in self.lock().items(node, from)? {
            if sink(&DirItem {
                name: &name,
                node,
                kind,
                next,
            }) == Sink::Full
            {
                break;
            }
        }
        Ok(())
    }

    fn readdirplus(
        &self,
        _: &Cred,
        dir: NodeId,
        from: u64,
        sink: &mut dyn FnMut(&DirItem<'_>, &Entry) -> Sink,
    ) -> OpResult<()> {
        let mut tree = self.lock();
        for (name, node, kind, next) in tree.items(dir, from)? {
            let entry = self.entry(&mut tree, node)?;
            let taken = sink(
                &DirItem {
                    name: &name,
                    node,
                    kind,
                    next,
                },
                &entry,
            );
            if taken == Sink::Full || name == b"." || name == b".." {
                tree.get(node)?.lookups -= 1;
            }
            if taken == Sink::Full {
                break;
            }
        }
        Ok(())
    }

    fn statfs(&self, _: NodeId) -> OpResult<FsStat> {
        Ok(FsStat {
            blocks: 1000,
            blocks_free: 900,
            blocks_available: 800,
            files: 700,
            files_free: 600,
            block_bytes: 4096,
            name_bytes: NAME_BYTES as u32,
        })
    }

    fn setxattr(
        &self,
        _: &Cred,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        flags: i32,
    ) -> OpResult<()> {
        let mut tree = self.lock();
        let xattrs = &mut tree.get(node)?.xattrs;
        match (flags, xattrs.contains_key(name)) {
            (libc::XATTR_CREATE, true) => return fail(libc::EEXIST),
            (libc::XATTR_REPLACE, false) => return fail(libc::ENODATA),
            _ => xattrs.insert(name.to_vec(), value.to_vec()),
        };
        Ok(())
    }

    fn getxattr(&self, _: &Cred, node: NodeId, name: &[u8]) -> OpResult<Vec<u8>> {
        self.lock()
            .get(node)?
            .xattrs
            .get(name)
            .cloned()
            .ok_or(Errno(libc::ENODATA))
    }

    fn listxattr(&self, _: &Cred, node: NodeId) -> OpResult<Vec<u8>> {
        let mut tree = self.lock();
        Ok(tree
            .get(node)?
            .xattrs
            .keys()
            .flat_map(|name| [name, &b"\0"[..]].concat())
            .collect())
    }

    fn removexattr(&self, _: &Cred, node: NodeId, name: &[u8]) -> OpResult<()> {
        let removed = self.lock().get(node)?.xattrs.remove(name);
        removed.map(|_| ()).ok_or(Errno(libc::ENODATA))
    }

    fn fallocate(&self, _: &Cred, node: NodeId, offset: u64, len: u64, mode: i32) -> OpResult<()> {
        let mut tree = self.lock();
        let bytes = tree.file(node)?;
        let (start, end) = (offset as usize, (offset + len) as usize);
        if mode & libc::FALLOC_FL_KEEP_SIZE == 0 {
            bytes.resize(bytes.len().max(end), 0);
        }
        if mode & libc::FALLOC_FL_PUNCH_HOLE != 0 {
            let size = bytes.len();
            bytes[start.min(size)..end.min(size)].fill(0);
        }
        tree.touch(node);
        Ok(())
    }

    fn lseek(&self, node: NodeId, offset: u64, whence: i32) -> OpResult<Outcome<u64>> {
        let size = self.lock().file(node)?.len() as u64;
        match whence {
            _ if offset >= size => fail(libc::ENXIO),
            libc::SEEK_DATA => Ok(Outcome::Now(offset)),
            libc::SEEK_HOLE => Ok(Outcome::Now(size)),
            _ => fail(libc::EINVAL),
        }
    }

    fn copy_file_range(
        &self,
        cred: &Cred,
        from: NodeId,
        from_offset: u64,
        to: NodeId,
        to_offset: u64,
        len: u64,
    ) -> OpResult<u64> {
        let mut data = Vec::new();
        self.read(from, from_offset, len.min(1 << 20) as u32, &mut data)?;
        self.write(cred, to, to_offset, &data, true, false)?
            .wait()
            .map(u64::from)
    }

    fn doubt(&self, _: &'static str) {
        self.doubts.fetch_add(1, SeqCst);
    }

    fn unmounted(&self) {
        self.unmounts.fetch_add(1, SeqCst);
    }
}
