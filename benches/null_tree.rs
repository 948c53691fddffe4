//! The tree of the null server: nodes in a map, names in directories, contents in vectors.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use fuser::{Errno, FileAttr, FileType, INodeNo};

/// A directory's names, by name and in the order in which they came.
#[derive(Default)]
pub struct Names {
    cookies: HashMap<Vec<u8>, u64>,
    order: BTreeMap<u64, (Vec<u8>, u64)>,
}

/// What a node holds.
pub enum Body {
    File(Vec<u8>),
    Dir(Names),
    Link(Vec<u8>),
    /// A fifo, socket or device: its file type bits.
    Special(u32),
}

impl Body {
    /// An empty directory.
    pub fn directory() -> Body {
        Body::Dir(Names::default())
    }
}

/// A file of any kind.
pub struct Node {
    pub attr: FileAttr,
    pub lookups: u64,
    pub body: Body,
}

/// Every file, by node id.
pub struct Tree {
    nodes: HashMap<u64, Node>,
    next: u64,
}

const ROOT: u64 = 1;

/// Attributes of nothing, for a name that is known to be absent.
pub fn nothing() -> FileAttr {
    attr(0, FileType::RegularFile, 0, (0, 0))
}

fn attr(ino: u64, kind: FileType, perm: u16, (uid, gid): (u32, u32)) -> FileAttr {
    let now = SystemTime::now();
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        crtime: now,
        kind,
        perm,
        nlink: if kind == FileType::Directory { 2 } else { 1 },
        uid,
        gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Node {
    fn set_size(&mut self, size: u64) {
        self.attr.size = size;
        self.attr.blocks = size.div_ceil(512);
    }

    /// Cuts or lengthens a file.
    pub fn resize(&mut self, size: u64) {
        if let Body::File(bytes) = &mut self.body {
            bytes.resize(size as usize, 0);
            self.set_size(size);
        }
        self.attr.mtime = SystemTime::now();
    }

    /// Up to `len` bytes of a file from `offset` on.
    pub fn bytes(&self, offset: u64, len: u32) -> &[u8] {
        let Body::File(bytes) = &self.body else {
            return &[];
        };
        let start = (offset as usize).min(bytes.len());
        &bytes[start..(start + len as usize).min(bytes.len())]
    }

    /// Writes into a file.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let Body::File(bytes) = &mut self.body else {
            return;
        };
        let (start, end) = (offset as usize, offset as usize + data.len());
        if start == bytes.len() {
            bytes.extend_from_slice(data);
        } else {
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[start..end].copy_from_slice(data);
        }
        let size = bytes.len() as u64;
        self.set_size(size);
        let now = SystemTime::now();
        (self.attr.mtime, self.attr.ctime) = (now, now);
    }
}

impl Tree {
    /// An empty root that everybody may write.
    pub fn new() -> Tree {
        let root = Node {
            attr: attr(ROOT, FileType::Directory, 0o777, (0, 0)),
            lookups: 1,
            body: Body::directory(),
        };
        Tree {
            nodes: HashMap::from([(ROOT, root)]),
            next: ROOT + 1,
        }
    }

    pub fn get(&self, id: u64) -> Result<&Node, Errno> {
        self.nodes.get(&id).ok_or(Errno::ESTALE)
    }

    pub fn get_mut(&mut self, id: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&id).ok_or(Errno::ESTALE)
    }

    fn names(&mut self, id: u64) -> Result<&mut Names, Errno> {
        match &mut self.get_mut(id)?.body {
            Body::Dir(names) => Ok(names),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn child(&mut self, parent: u64, name: &[u8]) -> Result<Option<u64>, Errno> {
        let names = self.names(parent)?;
        Ok(names.cookies.get(name).map(|cookie| names.order[cookie].1))
    }

    /// The attributes of a name, counted as a lookup.
    pub fn lookup(&mut self, parent: u64, name: &[u8]) -> Result<Option<FileAttr>, Errno> {
        let Some(id) = self.child(parent, name)? else {
            return Ok(None);
        };
        let node = self.get_mut(id)?;
        node.lookups += 1;
        Ok(Some(node.attr))
    }

    fn enter(&mut self, parent: u64, name: &[u8], id: u64) -> Result<(), Errno> {
        let cookie = self.next;
        self.next += 1;
        let names = self.names(parent)?;
        names.cookies.insert(name.to_vec(), cookie);
        names.order.insert(cookie, (name.to_vec(), id));
        self.touch(parent)
    }

    fn touch(&mut self, id: u64) -> Result<(), Errno> {
        let now = SystemTime::now();
        let attr = &mut self.get_mut(id)?.attr;
        (attr.mtime, attr.ctime) = (now, now);
        Ok(())
    }

    fn leave(&mut self, parent: u64, name: &[u8]) -> Result<u64, Errno> {
        let names = self.names(parent)?;
        let cookie = names.cookies.remove(name).ok_or(Errno::ENOENT)?;
        let (_, id) = names.order.remove(&cookie).ok_or(Errno::EIO)?;
        self.touch(parent)?;
        Ok(id)
    }

    /// Makes a file with one lookup.
    pub fn make(
        &mut self,
        owner: (u32, u32),
        parent: u64,
        name: &[u8],
        mode: u32,
        body: Body,
    ) -> Result<FileAttr, Errno> {
        if self.child(parent, name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        let kind = match &body {
            Body::File(_) => FileType::RegularFile,
            Body::Dir(_) => FileType::Directory,
            Body::Link(_) => FileType::Symlink,
            Body::Special(libc::S_IFIFO) => FileType::NamedPipe,
            Body::Special(libc::S_IFSOCK) => FileType::Socket,
            Body::Special(libc::S_IFBLK) => FileType::BlockDevice,
            Body::Special(_) => FileType::CharDevice,
        };
        let id = self.next;
        self.next += 1;
        let mut attr = attr(id, kind, (mode & 0o7777) as u16, owner);
        if let Body::Link(target) = &body {
            attr.size = target.len() as u64;
        }
        let node = Node {
            attr,
            lookups: 1,
            body,
        };
        self.nodes.insert(id, node);
        self.enter(parent, name, id)?;
        Ok(attr)
    }

    /// Another name for a file.
    pub fn link(&mut self, id: u64, parent: u64, name: &[u8]) -> Result<FileAttr, Errno> {
        if self.child(parent, name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        self.enter(parent, name, id)?;
        let node = self.get_mut(id)?;
        node.attr.nlink += 1;
        node.lookups += 1;
        Ok(node.attr)
    }

    /// Removes a name.
    pub fn remove(&mut self, parent: u64, name: &[u8], is_dir: bool) -> Result<(), Errno> {
        let id = self.child(parent, name)?.ok_or(Errno::ENOENT)?;
        match (&self.get(id)?.body, is_dir) {
            (Body::Dir(names), true) if !names.order.is_empty() => return Err(Errno::ENOTEMPTY),
            (Body::Dir(_), false) => return Err(Errno::EISDIR),
            (Body::Dir(_), true) => {}
            (_, true) => return Err(Errno::ENOTDIR),
            (_, false) => {}
        }
        self.leave(parent, name)?;
        self.unlinked(id, is_dir)
    }

    fn unlinked(&mut self, id: u64, is_dir: bool) -> Result<(), Errno> {
        let node = self.get_mut(id)?;
        node.attr.nlink = if is_dir {
            0
        } else {
            node.attr.nlink.saturating_sub(1)
        };
        self.forget(id, 0);
        Ok(())
    }

    /// Moves a name, in place of what is there.
    pub fn rename(
        &mut self,
        (parent, name): (u64, &[u8]),
        (to, to_name): (u64, &[u8]),
        keep: bool,
    ) -> Result<(), Errno> {
        match self.child(to, to_name)? {
            Some(_) if keep => return Err(Errno::EEXIST),
            Some(there) => {
                let is_dir = matches!(self.get(there)?.body, Body::Dir(_));
                self.remove(to, to_name, is_dir)?;
            }
            None => {}
        }
        let id = self.leave(parent, name)?;
        self.enter(to, to_name, id)
    }

    /// The kernel forgets a node; what has no name either is gone.
    pub fn forget(&mut self, id: u64, lookups: u64) {
        let Ok(node) = self.get_mut(id) else { return };
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups == 0 && node.attr.nlink == 0 {
            self.nodes.remove(&id);
        }
    }

    /// What a listing shows from a cookie on: cookie, name, node.
    pub fn list(&self, id: u64, from: u64) -> Vec<(u64, Vec<u8>, u64)> {
        /// As many as fit into the largest answer.
        const AT_ONCE: usize = 1024;
        let Ok(Node {
            body: Body::Dir(names),
            ..
        }) = self.get(id)
        else {
            return Vec::new();
        };
        let after = names.order.range(from + 1..).take(AT_ONCE);
        let own = after.map(|(cookie, (name, node))| (*cookie, name.clone(), *node));
        own.collect()
    }
}
