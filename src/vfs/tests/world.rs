//! A base, its mount without FUSE, the kernel's caches and the model, side by side.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::branches::{Bid, Branch, Branches};
use super::kernel::{Did, Kernel};
use super::tree::{Body, Fid, File, ROOT, Tree};
use crate::branch::{Places, PublishMode, Workspace, WorkspaceOptions};
use crate::tree::{FileId, Kind, NodeId, Time};
use crate::vfs::{Vfs, VfsConfig};

/// What a check that failed says.
pub type Checked<T = ()> = Result<T, String>;

/// What an open node shows.
#[derive(Clone, Debug)]
pub struct Opened {
    pub branch: Bid,
    /// The file, while it has a name in its branch.
    pub file: Option<Fid>,
    /// What is left of it after that.
    pub orphan: Option<File>,
    pub dead: bool,
}

/// All of it.
pub struct World {
    dir: TempDir,
    vfs: Option<Vfs>,
    pub sync: bool,
    pub kernel: Kernel,
    pub model: Branches,
    pub next_file: Fid,
    pub handles: Vec<Did>,
    pub open: BTreeMap<NodeId, Opened>,
    pub ids: BTreeMap<Fid, FileId>,
    pub named: BTreeMap<FileId, Fid>,
    /// What was done, for the message of a failure.
    pub log: Vec<String>,
}

fn open_dir(path: &Path) -> std::os::fd::OwnedFd {
    std::fs::File::open(path)
        .expect("the directory was just made")
        .into()
}

impl World {
    /// A fresh base with the tree of [`populate`], mounted.
    pub fn new(sync: bool) -> World {
        let dir = tempfile::Builder::new()
            .prefix("model")
            .tempdir_in("/var/tmp");
        let dir = dir.expect("/var/tmp takes a directory");
        populate(&dir.path().join("base"));
        std::fs::create_dir(dir.path().join("base/.branchfs")).expect("the base is new");
        let mut world = World {
            dir,
            vfs: None,
            sync,
            kernel: Kernel::new(),
            model: Branches::default(),
            next_file: 1,
            handles: Vec::new(),
            open: BTreeMap::new(),
            ids: BTreeMap::new(),
            named: BTreeMap::new(),
            log: Vec::new(),
        };
        let tree = world.imported();
        let main = Branch {
            parent: None,
            name: Vec::new(),
            fork: tree.clone(),
            tree,
            generation: 0,
            fork_generation: 0,
            merges: false,
            ended: false,
            taken: None,
        };
        world.model.all.insert(0, main);
        world.mount();
        world
    }

    pub fn base(&self) -> PathBuf {
        self.dir.path().join("base")
    }

    pub fn vfs(&self) -> Vfs {
        self.vfs.clone().expect("it is mounted")
    }

    pub fn mount(&mut self) {
        let base = self.base();
        let places = Places {
            base: open_dir(&base),
            store: open_dir(&base.join(".branchfs")),
            hide: Some(b".branchfs".to_vec()),
            exclusive: true,
        };
        let options = WorkspaceOptions {
            policy: None,
            publish: if self.sync {
                PublishMode::Sync
            } else {
                PublishMode::Manual
            },
            trash: Duration::from_secs(86400),
            read_only: false,
            rescue: false,
            maxima: Default::default(),
        };
        let workspace = Workspace::open(places, options).expect("the workspace opens");
        self.kernel = Kernel::new();
        self.handles.clear();
        self.open.clear();
        let config = VfsConfig {
            cache: self.kernel.told.clone(),
            metrics: Arc::default(),
            exclusive: true,
            show_reserved: false,
            writeback: false,
            config: String::new(),
            write_back: Box::new(|| Box::new(|| ())),
            cache_writes: Arc::default(),
            visitor: None,
        };
        self.vfs = Some(Vfs::new(Arc::new(workspace), config));
    }

    /// Ends the mount as a kill would.
    pub fn kill(&mut self) {
        self.vfs = None;
    }

    pub fn new_file(&mut self) -> Fid {
        self.next_file += 1;
        self.next_file
    }

    fn imported(&mut self) -> Tree {
        let mut tree = Tree::default();
        let mut seen: BTreeMap<u64, Fid> = BTreeMap::new();
        tree.files.insert(ROOT, self.import(&self.base()).into());
        let mut todo = vec![(self.base(), ROOT)];
        while let Some((path, dir)) = todo.pop() {
            for entry in std::fs::read_dir(&path).expect("a directory") {
                let entry = entry.expect("an entry");
                if entry.file_name() == ".branchfs" {
                    continue;
                }
                let name = entry.file_name().as_bytes().to_vec();
                let ino = std::os::unix::fs::DirEntryExt::ino(&entry);
                let known = seen.get(&ino).copied();
                let file = known.unwrap_or_else(|| self.new_file());
                if known.is_none() {
                    seen.insert(ino, file);
                    tree.files.insert(file, self.import(&entry.path()).into());
                }
                if let Body::Dir(entries) = &mut tree.get_mut(dir).body {
                    entries.insert(name, file);
                }
                if tree.get(file).kind == Kind::Dir {
                    todo.push((entry.path(), file));
                }
            }
        }
        tree
    }

    fn import(&self, path: &Path) -> File {
        super::compare::read_base(path).0
    }

    /// The way from the mount's root to a branch's.
    pub fn root_path(&self, branch: Bid) -> Vec<Vec<u8>> {
        let at = self.model.get(branch);
        let Some(parent) = at.parent else {
            return Vec::new();
        };
        let mut path = self.root_path(parent);
        path.push(b"@branches".to_vec());
        if at.ended {
            path.push(b".trash".to_vec());
        }
        path.push(at.name.clone());
        path
    }

    /// Notes what is about to be done to a name.
    pub fn note(&mut self, what: &str, b: Bid, (dir, name): (Fid, &[u8])) {
        let mut path = self.root_path(b);
        path.extend(self.model.get(b).tree.path_of_dir(dir).unwrap_or_default());
        path.push(name.to_vec());
        self.log.push(format!("{what} {}", show(&path)));
    }

    /// The dentry of a directory of a branch.
    pub fn dir(&mut self, branch: Bid, dir: Fid) -> Checked<Did> {
        let mut path = self.root_path(branch);
        let tree = &self.model.get(branch).tree;
        path.extend(tree.path_of_dir(dir).expect("a directory has a name"));
        let vfs = self.vfs();
        self.kernel
            .walk(&vfs, &path)
            .map_err(|errno| format!("walk to {}: {errno}", show(&path)))
    }

    /// The dentry of a name in a branch.
    pub fn find(&mut self, branch: Bid, dir: Fid, name: &[u8]) -> Checked<Did> {
        let at = self.dir(branch, dir)?;
        let vfs = self.vfs();
        let found = self.kernel.lookup(&vfs, at, name);
        match found {
            Ok(Some(dentry)) => Ok(dentry),
            other => {
                let mut path = self.root_path(branch);
                path.extend(
                    self.model
                        .get(branch)
                        .tree
                        .path_of_dir(dir)
                        .unwrap_or_default(),
                );
                path.push(name.to_vec());
                Err(format!("lookup of {}: {other:?}", show(&path)))
            }
        }
    }
}

/// A path for messages.
pub fn show(path: &[Vec<u8>]) -> String {
    path.iter()
        .map(|name| format!("/{}", name.escape_ascii()))
        .collect()
}

/// Makes a base: nested directories, hard links, symlinks, xattrs, a file of 200 KiB, an empty
/// directory, a fifo, odd names.
fn populate(base: &Path) {
    let at = |path: &[u8]| base.join(OsStr::from_bytes(path));
    let dirs: [&[u8]; 7] = [b"", b"a", b"a/b", b"a/b/x y", b"b", b"\xff\xfe", b"@scope"];
    for dir in dirs {
        std::fs::create_dir(at(dir)).expect("a new directory");
    }
    let pattern = |len: usize, seed: usize| -> Vec<u8> {
        (0..len).map(|i| (i * 7 + i / 256 + seed) as u8).collect()
    };
    let files: [(&[u8], usize); 9] = [
        (b"c", 200 << 10),
        (b"d", 700),
        (b"a/a", 5000),
        (b"a/b/c", 10),
        (b"a/b/d", 0),
        (b"a/b/x y/a", 66_000),
        (b"\xff\xfe/new\nline", 33),
        (b"@scope/d", 4096),
        (b"@scope/.ctl", 9),
    ];
    for (seed, (path, len)) in files.into_iter().enumerate() {
        std::fs::write(at(path), pattern(len, seed)).expect("a new file");
    }
    let links: [(&[u8], &[u8]); 4] = [
        (b"d", b"x y"),
        (b"a/a", b"\xff\xfe/a"),
        (b"a/a", b"a/b/a"),
        (b"a/b/c", b"@scope/c"),
    ];
    for (from, to) in links {
        std::fs::hard_link(at(from), at(to)).expect("a new name");
    }
    symlink("nowhere/at all", at(b"caf\xc3\xa9")).expect("a new symlink");
    symlink("../c", at(b"a/d")).expect("a new symlink");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at(b"@scope/x y"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .expect("a new fifo");
    let owned: [(&[u8], u32); 2] = [(b"@scope/d", 1000), (b"a/b", 1001)];
    for (path, id) in owned {
        chown(at(path), Some(id), Some(id)).expect("root may: run the tests as root");
    }
    for (path, mode) in [(&b"d"[..], 0o600), (b"a/a", 0o755), (b"a/b/x y", 0o700)] {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(at(path), mode).expect("it is ours");
    }
    for path in [&b"d"[..], b"a/a", b"a", b"a/b/x y/a"] {
        let flags = rustix::fs::XattrFlags::empty();
        for name in ["user.a", "user.b"] {
            rustix::fs::setxattr(at(path), name, b"of the base", flags)
                .expect("xattrs on /var/tmp");
        }
    }
    let old = rustix::fs::Timespec {
        tv_sec: 981_173_106,
        tv_nsec: 789,
    };
    let times = rustix::fs::Timestamps {
        last_access: old,
        last_modification: old,
    };
    for path in [&b"c"[..], b"a/b/c", b"a/b", b"b"] {
        let flags = rustix::fs::AtFlags::empty();
        rustix::fs::utimensat(rustix::fs::CWD, at(path), &times, flags).expect("times");
    }
}

/// A time of whole seconds.
pub fn seconds(sec: i64) -> Time {
    Time { sec, nsec: 5 }
}
