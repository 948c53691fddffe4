//! Tests of the base on a real directory. They need root, a temporary directory on a filesystem
//! with renameat2(2), hard links and extended attributes (ext4, xfs, btrfs), and /proc.

mod confine;
mod crash;
mod identity;
mod model;
mod resolve;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;

/// A base directory with its old and staging directories beside it, and the base that reads it.
pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) base: Base,
    pub(super) new_ids: Arc<Mutex<Vec<IdEntry>>>,
    pub(super) next_plan: u64,
    pub(super) exclusive: bool,
}

fn open_dir(path: PathBuf) -> OwnedFd {
    std::fs::create_dir_all(&path).unwrap();
    std::fs::File::open(path).unwrap().into()
}

fn open_base(dir: &tempfile::TempDir, exclusive: bool) -> (Base, Arc<Mutex<Vec<IdEntry>>>) {
    let new_ids: Arc<Mutex<Vec<IdEntry>>> = Arc::default();
    let sink = new_ids.clone();
    let on_new_id = Box::new(move |entry: &IdEntry| sink.lock().push(*entry));
    let config = BaseConfig {
        disk: Default::default(),
        root: open_dir(dir.path().join("base")),
        old: open_dir(dir.path().join("old")),
        stage: open_dir(dir.path().join("stage")),
        hide: None,
        hash_key: [9; 16],
        exclusive,
        version: 0,
        ids: IdConfig {
            used: vec![],
            cursor: 0,
            on_new_id,
            make_durable: Box::new(|| Ok(())),
        },
    };
    (Base::open(config).unwrap(), new_ids)
}

/// A path as the standard library wants it.
pub(super) fn os(path: &[u8]) -> &std::ffi::OsStr {
    std::ffi::OsStr::from_bytes(path)
}

/// Attributes for a staged object.
pub(super) fn attrs(mode: u32) -> AttrSet {
    let time = Time {
        sec: 1_000_000_000,
        nsec: 123_456_789,
    };
    AttrSet {
        mode,
        uid: 0,
        gid: 0,
        atime: time,
        mtime: time,
        set: vec![],
        removed: vec![],
    }
}

impl World {
    /// A base with these files; a path that ends in `/` is a directory.
    pub(super) fn new(files: &[(&str, &str)]) -> World {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make devices and change owners: run them as root"
        );
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("base");
        std::fs::create_dir(&root).unwrap();
        for (path, content) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if path.as_os_str().as_bytes().ends_with(b"/") {
                std::fs::create_dir_all(path).unwrap();
            } else {
                std::fs::write(path, content).unwrap();
            }
        }
        let (base, new_ids) = open_base(&dir, true);
        World {
            dir,
            base,
            new_ids,
            next_plan: 1,
            exclusive: true,
        }
    }

    /// The same base opened again with what a checkpoint holds, and no memory of half-done plans.
    pub(super) fn reopen(&mut self) {
        let (version, events, ids) = (self.base.version(), self.base.events(), self.base.ids());
        let (base, new_ids) = open_base(&self.dir, self.exclusive);
        for record in events
            .into_iter()
            .filter(|record| record.version <= version)
        {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            base.restore_event(EventRecord::decode(&bytes).unwrap());
        }
        ids.into_iter().for_each(|entry| base.restore_id(entry));
        base.restore_version(version);
        (self.base, self.new_ids) = (base, new_ids);
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("base")
    }

    pub(super) fn found(&self, at: Version, path: &[u8]) -> Option<Found> {
        self.base.lookup(at, path).unwrap()
    }

    pub(super) fn ino(&self, path: &[u8]) -> u64 {
        let found = self.found(self.base.version(), path);
        found
            .unwrap_or_else(|| panic!("{} is there", path.escape_ascii()))
            .ident
            .ino
    }

    /// The content of a file at a version; `None`: it is not there.
    pub(super) fn content(&self, at: Version, path: &[u8]) -> Option<Vec<u8>> {
        match self.base.open_file(at, path) {
            Ok(fd) => {
                let mut content = vec![0; 1 << 16];
                let len = rustix::io::pread(&fd, &mut content, 0).unwrap();
                content.truncate(len);
                Some(content)
            }
            Err(BaseError::NotFound { .. } | BaseError::NotDir { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn names(&self, at: Version, dir: &[u8]) -> Vec<String> {
        let listing = self.base.list(at, dir).unwrap();
        let mut names: Vec<String> = listing
            .iter()
            .map(|name| name.name.escape_ascii().to_string())
            .collect();
        names.sort();
        names
    }

    /// Stages a plan with the steps that `make` gives, which gets the staging directory.
    pub(super) fn seal(
        &mut self,
        keep_old: bool,
        make: impl FnOnce(&World, &mut Staging) -> Vec<Step>,
    ) -> Sealed {
        let id = self.next_plan;
        self.next_plan += 1;
        let mut staging = self.base.stage_begin(id).unwrap();
        let steps = make(self, &mut staging);
        let plan = Plan {
            id,
            keep_old,
            steps,
        };
        let seen = self.base.check(&plan, &[]).unwrap();
        self.base.seal(plan, &staging, &seen).unwrap()
    }

    /// Publishes such a plan.
    pub(super) fn publish(
        &mut self,
        keep_old: bool,
        make: impl FnOnce(&World, &mut Staging) -> Vec<Step>,
    ) -> Applied {
        let sealed = self.seal(keep_old, make);
        let applied = self.base.apply(&sealed, |_| ()).unwrap();
        self.base.finish(&sealed).unwrap();
        applied
    }

    /// Everything that can be seen at a version.
    pub(super) fn see(&self, at: Version) -> BTreeMap<Vec<u8>, Seen> {
        let mut seen = BTreeMap::new();
        let mut dirs = vec![Vec::new()];
        seen.insert(Vec::new(), self.see_one(at, b""));
        while let Some(dir) = dirs.pop() {
            for name in self.base.list(at, &dir).unwrap().iter() {
                let path = path::join(&dir, name.name);
                let one = self.see_one(at, &path);
                assert_eq!(one.found.attr.kind, name.kind, "{}", path.escape_ascii());
                assert_eq!(one.found.fid, name.fid, "{}", path.escape_ascii());
                if name.kind == Kind::Dir {
                    dirs.push(path.clone());
                }
                seen.insert(path, one);
            }
        }
        seen
    }

    fn see_one(&self, at: Version, path: &[u8]) -> Seen {
        let show = path.escape_ascii().to_string();
        let found = self.found(at, path);
        let mut found = found.unwrap_or_else(|| panic!("{show} at {at}: listed and not found"));
        // Reading moves the atime of links, and writeback the number of blocks.
        found.attr.atime = Time::default();
        found.attr.blocks = 0;
        let content = match found.attr.kind {
            Kind::File => self.content(at, path).unwrap(),
            Kind::Symlink => self.base.read_link(at, path).unwrap(),
            _ => Vec::new(),
        };
        let mut xattrs = Vec::new();
        for name in self.base.list_xattrs(at, path).unwrap() {
            let value = self.base.get_xattr(at, path, &name).unwrap().unwrap();
            xattrs.push((name, value));
        }
        xattrs.sort();
        Seen {
            found,
            content,
            xattrs,
        }
    }
}

/// What can be seen of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) found: Found,
    pub(super) content: Vec<u8>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Stages a file and says which inode it has.
pub(super) fn stage(staging: &mut Staging, number: u32, content: &str) -> u64 {
    stage_for(staging, number, content, false)
}

/// The same, maybe for an exchange.
fn stage_for(staging: &mut Staging, number: u32, content: &str, replaces: bool) -> u64 {
    let slot = Slot {
        number,
        replaces,
        path: b"",
    };
    let mut write = |fd: std::os::fd::BorrowedFd<'_>| {
        std::fs::File::from(fd.try_clone_to_owned()?).write_all(content.as_bytes())
    };
    stage_file(staging, slot, &attrs(0o644), &mut write)
        .unwrap()
        .0
}

/// Stages a file; `content` writes it.
pub(super) fn stage_file(
    staging: &Staging,
    slot: Slot<'_>,
    set: &AttrSet,
    content: &mut dyn FnMut(std::os::fd::BorrowedFd<'_>) -> std::io::Result<()>,
) -> Result<StagedIno, BaseError> {
    let file = staging.create(slot, set)?;
    let ino = file.ino();
    staging.fill(file, slot.path, set, content)?;
    Ok(ino)
}

pub(super) fn evict(world: &World, path: &str, keep: u32) -> Step {
    Step::Evict {
        path: path.into(),
        ino: world.ino(path.as_bytes()),
        keep,
    }
}

pub(super) fn rename(world: &World, from: &str, to: &str) -> Step {
    let ino = world.ino(from.as_bytes());
    Step::Move {
        from: from.into(),
        to: to.into(),
        ino,
        shown: None,
    }
}

pub(super) fn place(staging: &mut Staging, slot: u32, path: &str, content: &str) -> Step {
    let ino = stage(staging, slot, content);
    Step::Place {
        slot,
        ino,
        path: path.into(),
        shown: None,
    }
}

pub(super) fn exchange(
    world: &World,
    staging: &mut Staging,
    number: u32,
    path: &str,
    content: &str,
) -> Step {
    Step::Exchange {
        ino_new: stage_for(staging, number, content, true),
        path: path.into(),
        ino_old: world.ino(path.as_bytes()),
        keep: number,
        shown: None,
    }
}
