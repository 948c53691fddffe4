//! What a disk holds: a tree of inodes, in memory, and how one is read from and put into a
//! directory.
//!
//! Inodes have numbers and times of their own, the same in every copy of a tree: what is put into a
//! directory is made to show them.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode};

use crate::sys::disk::{Shown, conceal};
use crate::sys::inode::{self, Xattrs};

/// The number of an inode in a [`State`].
pub type Ino = u64;

/// The first time that anything shows, in nanoseconds since 1970.
const EPOCH: i64 = 1_700_000_000_000_000_000;

/// What attributes an inode has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub mode: u32,
    pub owner: (u32, u32),
    pub atime: (i64, u32),
    pub mtime: (i64, u32),
    pub xattrs: Xattrs,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub kind: FileType,
    pub rdev: u64,
    pub target: Vec<u8>,
    pub meta: Meta,
    pub bytes: Arc<Vec<u8>>,
    pub entries: BTreeMap<Vec<u8>, Ino>,
    pub born: i64,
    pub changed: i64,
    /// Names in directories of one domain reach the disk in the order in which they changed; 0 is
    /// everything but the store's own directories, each of which is one for itself.
    pub domain: Ino,
}

/// A tree.
#[derive(Clone, Debug)]
pub struct State {
    pub nodes: BTreeMap<Ino, Node>,
    pub root: Ino,
    pub store: Ino,
    next: Ino,
    clock: i64,
}

/// Which inode of a directory stands for which of the tree.
pub type Numbers = HashMap<u64, Ino>;

/// The attributes of what `fd` holds.
pub fn meta_of(fd: impl AsFd) -> Meta {
    let fd = fd.as_fd();
    let st = inode::statx_at(fd, b"").expect("a descriptor has attributes");
    Meta {
        mode: u32::from(st.stx_mode) & 0o7777,
        owner: (st.stx_uid, st.stx_gid),
        atime: (st.stx_atime.tv_sec, st.stx_atime.tv_nsec),
        mtime: (st.stx_mtime.tv_sec, st.stx_mtime.tv_nsec),
        xattrs: inode::read_xattrs(fd).expect("xattrs can be read"),
    }
}

fn hold(path: &Path) -> std::os::fd::OwnedFd {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty()).expect("it is there")
}

impl State {
    /// Reads a directory that has a store in it, and makes it show the numbers of the tree.
    pub fn read(root: &Path) -> (State, Numbers) {
        let mut state = State {
            nodes: BTreeMap::new(),
            root: 0,
            store: 0,
            next: 1000,
            clock: EPOCH,
        };
        let mut numbers = Numbers::new();
        state.root = state.read_node(root, &mut numbers);
        state.store = state.nodes[&state.root].entries[&b".branchfs"[..]];
        (state, numbers)
    }

    fn read_node(&mut self, path: &Path, numbers: &mut Numbers) -> Ino {
        let st = path.symlink_metadata().expect("it is there");
        if let Some(known) = numbers.get(&st.ino()) {
            return *known;
        }
        let kind = FileType::from_raw_mode(st.mode());
        let ino = self.make(kind, st.rdev());
        numbers.insert(st.ino(), ino);
        let mut entries = BTreeMap::new();
        if kind == FileType::Directory {
            let names = path.read_dir().expect("a directory can be listed");
            let mut names: Vec<_> = names.map(|name| name.expect("a name").path()).collect();
            names.sort();
            for name in names {
                let bytes = name.file_name().expect("a name").as_bytes().to_vec();
                entries.insert(bytes, self.read_node(&name, numbers));
            }
        }
        let node = self.nodes.get_mut(&ino).expect("it was just made");
        node.entries = entries;
        node.meta = meta_of(hold(path));
        if kind == FileType::RegularFile {
            node.bytes = Arc::new(std::fs::read(path).expect("a file can be read"));
        } else if kind == FileType::Symlink {
            let target = path.read_link().expect("a link has a target");
            node.target = target.as_os_str().as_bytes().to_vec();
        }
        self.show(ino, st.dev(), st.ino());
        ino
    }

    /// A new inode without a name.
    pub fn make(&mut self, kind: FileType, rdev: u64) -> Ino {
        let ino = self.next;
        self.next += 1;
        let now = self.tick();
        let meta = Meta {
            mode: 0o600,
            owner: (0, 0),
            atime: (0, 0),
            mtime: (0, 0),
            xattrs: Vec::new(),
        };
        let node = Node {
            kind,
            rdev,
            target: Vec::new(),
            meta,
            bytes: Arc::default(),
            entries: BTreeMap::new(),
            born: now,
            changed: now,
            domain: 0,
        };
        self.nodes.insert(ino, node);
        ino
    }

    /// From now on numbers and times are ones that `other` has not given out.
    pub fn later_than(&mut self, other: &State) {
        (self.next, self.clock) = (other.next, other.clock);
    }

    /// A later time than any before.
    pub fn tick(&mut self) -> i64 {
        self.clock += 1000;
        self.clock
    }

    pub fn node(&mut self, ino: Ino) -> &mut Node {
        self.nodes.get_mut(&ino).expect("the tree has the inode")
    }

    /// Makes the inode of a directory that stands for `ino` show its number and times.
    pub fn show(&self, ino: Ino, dev: u64, real: u64) {
        let Node { born, changed, .. } = self.nodes[&ino];
        let shown = Shown { ino, born, changed };
        conceal(dev, real, shown);
    }

    /// Puts the tree at `root`, where nothing is.
    pub fn write(&self, root: &Path) -> Numbers {
        let mut numbers = Numbers::new();
        let mut made = HashMap::new();
        self.write_node(self.root, root, &mut made, &mut numbers);
        numbers
    }

    fn write_node(
        &self,
        ino: Ino,
        path: &Path,
        made: &mut HashMap<Ino, std::path::PathBuf>,
        numbers: &mut Numbers,
    ) {
        if let Some(first) = made.get(&ino) {
            std::fs::hard_link(first, path).expect("a second name");
            return;
        }
        let node = &self.nodes[&ino];
        match node.kind {
            FileType::Directory => std::fs::create_dir(path).expect("a new directory"),
            FileType::RegularFile => write_file(path, &node.bytes),
            FileType::Symlink => {
                let target = std::ffi::OsStr::from_bytes(&node.target);
                std::os::unix::fs::symlink(target, path).expect("a new link");
            }
            kind => rustix::fs::mknodat(CWD, path, kind, Mode::RUSR, node.rdev).expect("mknod"),
        }
        made.insert(ino, path.to_owned());
        for (name, child) in &node.entries {
            let name = std::ffi::OsStr::from_bytes(name);
            self.write_node(*child, &path.join(name), made, numbers);
        }
        let fd = hold(path);
        let meta = &node.meta;
        inode::set_owner(fd.as_fd(), meta.owner.0, meta.owner.1).expect("chown: run as root");
        for (name, value) in &meta.xattrs {
            inode::set_xattr(fd.as_fd(), name, value).expect("setxattr");
        }
        if node.kind != FileType::Symlink {
            inode::set_mode(fd.as_fd(), meta.mode).expect("chmod");
        }
        inode::set_times(fd.as_fd(), meta.atime, meta.mtime).expect("utimes");
        let st = rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH).expect("fstat");
        numbers.insert(st.st_ino, ino);
        self.show(ino, st.st_dev, st.st_ino);
    }
}

/// Makes a file without writing blocks of zeros.
fn write_file(path: &Path, bytes: &[u8]) {
    let file = std::fs::File::create_new(path).expect("a new file");
    file.set_len(bytes.len() as u64).expect("a length");
    for (index, block) in bytes.chunks(4096).enumerate() {
        if block.iter().any(|&byte| byte != 0) {
            let offset = index as u64 * 4096;
            file.write_all_at(block, offset).expect("a block");
        }
    }
}
