//! A small base with a mount on it that has no kernel above: what the kernel would ask for is
//! called directly.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use branchfs::branch::{
    BranchError, Maxima, Places, Policy, PublishMode, Workspace, WorkspaceOptions, verify_store,
};
use branchfs::store::StoreOptions;
use branchfs::tree::NodeId;
use branchfs::vfs::ops::{Cred, KernelCache, Lookup, Ops};
use branchfs::vfs::{Vfs, VfsConfig};

use crate::files;
use crate::random::Random;

/// The node of the mount's root.
pub const ROOT: u64 = 1;

/// Nobody is told anything.
struct Deaf;

impl KernelCache for Deaf {
    fn inval_entry(&self, _: NodeId, _: &[u8]) {}
    fn extend(&self, _: NodeId, _: u64) {}
    fn inval_inode(&self, _: NodeId, _: bool) {}
    fn new_epoch(&self) -> bool {
        false
    }
}

/// A base, a store beside it, and the filesystem.
pub struct Mounted {
    dir: PathBuf,
    /// The filesystem.
    pub vfs: Vfs,
}

/// Fills a base.
pub fn fill(base: &Path) {
    fs::create_dir_all(base.join("d/e")).expect("mkdir");
    fs::create_dir(base.join("empty")).expect("mkdir");
    fs::write(base.join("f"), vec![b'f'; 10_000]).expect("write");
    fs::write(base.join("d/g"), b"g").expect("write");
    fs::write(base.join("d/e/large"), vec![b'l'; 300_000]).expect("write");
    fs::hard_link(base.join("f"), base.join("d/hard")).expect("link");
    symlink("../f", base.join("d/link")).expect("symlink");
    let fifo = base.join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, fifo, rustix::fs::FileType::Fifo, mode, 0)
        .expect("mkfifo");
}

/// Stores that are quick to make.
pub fn store_options() -> StoreOptions {
    StoreOptions {
        journal_segment_bytes: 256 << 10,
        data_segment_bytes: 1 << 20,
        ..StoreOptions::default()
    }
}

/// Opens the workspace of `dir/base` and `dir/store`.
pub fn open(dir: &Path, random: &mut Random) -> Result<Workspace, BranchError> {
    let places = Places {
        base: files::open(&dir.join("base")),
        store: files::open(&dir.join("store")),
        hide: None,
        exclusive: random.once_in(2),
    };
    let rescue = random.once_in(8);
    let options = WorkspaceOptions {
        policy: *random.pick(&[None, Some(Policy::FirstWinner), Some(Policy::Merge)]),
        publish: *random.pick(&[PublishMode::Sync, PublishMode::Async, PublishMode::Manual]),
        trash: Duration::from_secs(if random.once_in(4) { 0 } else { 86400 }),
        read_only: rescue || random.once_in(30),
        rescue,
        maxima: Maxima::default(),
    };
    let store = StoreOptions {
        read_only: rescue,
        rescue,
        ..store_options()
    };
    Workspace::open_with(places, options, &store)
}

impl Mounted {
    /// A filled base in `dir`, with some branches.
    pub fn new(dir: &Path, random: &mut Random) -> Mounted {
        fs::create_dir(dir.join("base")).expect("mkdir");
        fs::create_dir(dir.join("store")).expect("mkdir");
        fill(&dir.join("base"));
        // The first open makes the store, which no read-only one does.
        while open(dir, random).is_err() {}
        let workspace = open(dir, random).expect("a workspace that was just made");
        let mounted = Mounted::of(dir, workspace, random);
        let root = Cred {
            uid: 0,
            gid: 0,
            pid: 1,
        };
        for path in [
            &[&b"@branches"[..]][..],
            &[b"@branches", b"a", b"@branches"],
        ] {
            for name in [&b"a"[..], b"b"] {
                let at = mounted.walk(&root, NodeId(ROOT), path);
                // Refused by a read-only mount.
                let _ = at.map(|at| {
                    mounted
                        .vfs
                        .mkdir(&root, at, name, 0o755, 0)
                        .map(|o| o.wait())
                });
            }
        }
        mounted
    }

    /// The filesystem of an open workspace.
    pub fn of(dir: &Path, workspace: Workspace, random: &mut Random) -> Mounted {
        let config = VfsConfig {
            cache: Arc::new(Deaf),
            metrics: Arc::default(),
            exclusive: true,
            show_reserved: random.once_in(2),
            writeback: random.once_in(4),
            config: String::new(),
            write_back: Box::new(|| Box::new(|| ())),
            cache_writes: Arc::default(),
            visitor: None,
        };
        Mounted {
            dir: dir.to_owned(),
            vfs: Vfs::new(Arc::new(workspace), config),
        }
    }

    /// Root mostly, else another user.
    pub fn cred(&self, random: &mut Random) -> Cred {
        let id = if random.once_in(6) {
            random.edge() as u32
        } else {
            0
        };
        Cred {
            uid: id,
            gid: id,
            pid: random.edge() as u32,
        }
    }

    /// The node at the end of a path.
    pub fn walk(&self, cred: &Cred, from: NodeId, path: &[&[u8]]) -> Option<NodeId> {
        let mut at = from;
        for name in path {
            at = match self.vfs.lookup(cred, at, name) {
                Ok(Lookup::Found(entry)) => entry.node.node,
                _ => return None,
            };
        }
        Some(at)
    }

    /// Unmounts. The store must be sound afterwards.
    pub fn end(self) {
        self.vfs.unmounted();
        drop(self.vfs);
        let found = verify_store(files::open(&self.dir.join("store"))).expect("check the store");
        assert!(
            found.findings.is_empty(),
            "the store is not sound: {:?}",
            found.findings
        );
    }
}
