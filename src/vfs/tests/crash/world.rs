//! A workspace that a seed drives: several branches that are forked, written, committed, aborted,
//! published and reopened, on a disk that is recorded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::super::kernel::{CRED, Told};
use super::random::Random;
use super::scan::{BaseTree, Scan, read_base};
use super::state::State;
use super::tape::Tape;
use crate::branch::{BranchError, Places, Policy, PublishMode, Workspace, WorkspaceOptions};
use crate::store::StoreOptions;
use crate::sys::disk::Disk;
use crate::tree::{FileId, NodeId};
use crate::vfs::ops::{Errno, Lookup, OpResult, Ops, Outcome, SetAttr};
use crate::vfs::{Vfs, VfsConfig};

/// What a world was after an operation.
#[derive(Clone)]
pub struct Moment {
    pub what: String,
    pub scan: Arc<Scan>,
    pub base: Arc<BaseTree>,
    /// How many changes were recorded.
    pub changes: usize,
    /// The last moment, up to this one, that nothing may take away.
    pub floor: usize,
}

/// The choices that hold for a world's whole life.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    pub publish: PublishMode,
    pub policy: Policy,
    pub journal_segment_bytes: u64,
}

impl Nature {
    pub fn new(random: &mut Random) -> Nature {
        Nature {
            publish: *random.pick(&[PublishMode::Sync, PublishMode::Manual]),
            policy: *random.pick(&[Policy::FirstWinner, Policy::Merge]),
            journal_segment_bytes: 4096 << random.below(5),
        }
    }
}

/// The workspace, its disk and what was seen of it.
pub struct World {
    dir: TempDir,
    pub nature: Nature,
    pub tape: Arc<Tape>,
    pub vfs: Option<Vfs>,
    boot: u8,
    pub moments: Vec<Moment>,
    next_name: usize,
    /// Calls fail: nothing is unmounted, and refusals are answers.
    pub faulty: bool,
    /// Nodes looked up by the operation under way.
    held: Vec<NodeId>,
}

fn temp_dir() -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix("crash")
        .tempdir_in("/var/tmp");
    dir.expect("/var/tmp takes a directory")
}

fn open_dir(path: &Path) -> std::os::fd::OwnedFd {
    std::fs::File::open(path)
        .expect("the directory is there")
        .into()
}

fn device(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::dev(&path.metadata().expect("it is there"))
}

/// Opens the workspace in a directory.
pub fn open(base: &Path, nature: &Nature, boot: u8, disk: Disk) -> Result<Vfs, String> {
    let places = Places {
        base: open_dir(base),
        store: open_dir(&base.join(".branchfs")),
        hide: Some(b".branchfs".to_vec()),
        exclusive: true,
    };
    let options = WorkspaceOptions {
        policy: Some(nature.policy),
        publish: nature.publish,
        trash: Duration::from_secs(86400),
        read_only: false,
        rescue: false,
        maxima: Default::default(),
    };
    let store = StoreOptions {
        journal_segment_bytes: nature.journal_segment_bytes,
        data_segment_bytes: 256 << 10,
        boot_id: Some([boot; 16]),
        reclaims: false,
        disk,
        ..StoreOptions::default()
    };
    let workspace = Workspace::open_with(places, options, &store).map_err(|e| e.to_string())?;
    let config = VfsConfig {
        cache: Arc::new(Told::default()),
        metrics: Arc::default(),
        exclusive: true,
        show_reserved: false,
        writeback: false,
        config: String::new(),
        write_back: Box::new(|| Box::new(|| ())),
        cache_writes: Arc::default(),
        visitor: None,
    };
    Ok(Vfs::new(Arc::new(workspace), config))
}

fn populate(base: &Path) {
    std::fs::create_dir_all(base.join(".branchfs")).expect("a new directory");
    for dir in ["a", "a/deep", "b", "empty"] {
        std::fs::create_dir(base.join(dir)).expect("a new directory");
    }
    for (name, len) in [
        ("one", 700),
        ("a/two", 5000),
        ("a/deep/three", 70_000),
        ("b/four", 0),
    ] {
        let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + i / 256) as u8).collect();
        std::fs::write(base.join(name), bytes).expect("a new file");
    }
    std::fs::hard_link(base.join("one"), base.join("b/link")).expect("a second name");
    std::os::unix::fs::symlink("../one", base.join("a/sym")).expect("a new link");
}

impl World {
    /// A new base with a new store.
    pub fn new(nature: Nature) -> World {
        let dir = temp_dir();
        populate(&dir.path().join("base"));
        let (state, numbers) = State::read(&dir.path().join("base"));
        let tape = Tape::new(device(dir.path()), state, numbers);
        let mut world = World {
            dir,
            nature,
            tape,
            vfs: None,
            boot: 1,
            moments: Vec::new(),
            next_name: 0,
            faulty: false,
            held: Vec::new(),
        };
        world.mount().expect("a new store opens");
        world.look("new").expect("a new workspace can be read");
        world
    }

    /// The same workspace on a disk that a crash left. Nothing is mounted.
    pub fn after(&self, state: State, power: bool) -> World {
        let dir = temp_dir();
        let numbers = state.write(&dir.path().join("base"));
        let tape = Tape::new(device(dir.path()), state, numbers);
        World {
            dir,
            nature: self.nature,
            tape,
            vfs: None,
            boot: self.boot + u8::from(power),
            moments: Vec::new(),
            next_name: self.next_name,
            faulty: false,
            held: Vec::new(),
        }
    }

    pub fn base(&self) -> PathBuf {
        self.dir.path().join("base")
    }

    pub fn mount(&mut self) -> Result<(), String> {
        let disk = Disk::behind(self.tape.clone());
        self.vfs = Some(open(&self.base(), &self.nature, self.boot, disk)?);
        Ok(())
    }

    pub fn vfs(&self) -> &Vfs {
        self.vfs.as_ref().expect("it is mounted")
    }

    /// Notes what there is to see now.
    pub fn look(&mut self, what: &str) -> Result<(), String> {
        let moment = Moment {
            what: what.to_owned(),
            scan: Arc::new(Scan::of(self.vfs())?),
            base: Arc::new(read_base(&self.base())),
            changes: self.tape.len(),
            floor: self.moments.last().map_or(0, |moment| moment.floor),
        };
        self.moments.push(moment);
        Ok(())
    }

    /// A power cut may still bring back what was seen on another disk.
    pub fn remember(&mut self, moments: &[Moment]) {
        let old = |moment: &Moment| Moment {
            changes: 0,
            floor: 0,
            ..moment.clone()
        };
        self.moments = moments.iter().map(old).collect();
    }

    /// One operation, and a look at what it did.
    pub fn step(&mut self, random: &mut Random) -> Result<(), String> {
        let (what, durable) = self.operation(random)?;
        self.look(&what).map_err(|e| format!("after {what}: {e}"))?;
        let last = self.moments.len() - 1;
        if what.contains("and mount") {
            let scan = &self.moments[last].scan;
            super::check::shown(scan, &self.moments[last - 1..last])?;
        }
        // Where main has nothing to publish, nothing is promised of what the others have.
        let idle = self.moments[last - 1].changes == self.moments[last].changes;
        if durable && !(idle && (what.contains("publish") || what.contains("commit"))) {
            self.moments[last].floor = last;
        }
        Ok(())
    }

    /// One operation on a file of main, and a look at what it did.
    pub fn change_main(&mut self, random: &mut Random) -> Result<(), String> {
        let root = NodeId::new(0, FileId::ROOT);
        let (what, result) = self.file_operation(root, random);
        for node in std::mem::take(&mut self.held) {
            self.vfs().forget(node, 1);
        }
        self.look(&format!("{what}: {result:?}"))
    }

    /// The nodes of the roots of live branches, main first.
    fn roots(&self) -> Vec<NodeId> {
        let branches = self.vfs().workspace().branches();
        let live = branches.iter().filter(|branch| branch.is_live());
        let root = |incarnation| NodeId::new(incarnation, FileId::ROOT);
        live.map(|branch| root(branch.incarnation())).collect()
    }

    pub fn find(&mut self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        match self.vfs().lookup(&CRED, dir, name) {
            Ok(Lookup::Found(entry)) => {
                self.held.push(entry.node.node);
                Some(entry.node.node)
            }
            _ => None,
        }
    }

    fn names(&self, dir: NodeId) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        let listed = self.vfs().readdir(&CRED, dir, 0, &mut |item| {
            names.push(item.name.to_vec());
            crate::vfs::ops::Sink::Taken
        });
        if listed.is_err() {
            return Vec::new();
        }
        names.retain(|name| name != b"." && name != b"..");
        names.sort();
        names
    }

    /// A directory of a branch, by chance its root.
    fn some_dir(&mut self, root: NodeId, random: &mut Random) -> NodeId {
        let mut dir = root;
        for _ in 0..random.below(3) {
            let names = self.names(dir);
            if names.is_empty() {
                break;
            }
            let name = random.pick(&names).clone();
            if let Some(node) = self.find(dir, &name)
                && let Ok(attr) = self
                    .vfs()
                    .getattr(&CRED, node, false)
                    .and_then(Outcome::wait)
                && attr.attr.kind == crate::tree::Kind::Dir
            {
                dir = node;
            }
        }
        dir
    }

    /// A name of a directory, of something there if there is anything.
    fn some_name(&mut self, dir: NodeId, random: &mut Random) -> Vec<u8> {
        let names = self.names(dir);
        match names.is_empty() {
            true => b"none".to_vec(),
            false => random.pick(&names).clone(),
        }
    }

    fn new_name(&mut self, random: &mut Random) -> Vec<u8> {
        if random.below(3) > 0 {
            return random.pick(&[&b"x"[..], b"y", b"z", b"one", b"a"]).to_vec();
        }
        self.next_name += 1;
        format!("n{}", self.next_name).into_bytes()
    }

    pub fn command(&mut self, root: NodeId, text: &[u8]) -> OpResult<u32> {
        let ctl = self.find(root, b".ctl").ok_or(Errno(libc::ENOENT))?;
        let vfs = self.vfs();
        vfs.write(&CRED, ctl, 0, text, false, false)
            .and_then(Outcome::wait)
    }

    fn operation(&mut self, random: &mut Random) -> Result<(String, bool), String> {
        let roots = self.roots();
        let root = *random.pick(&roots);
        let kind = match self.faulty {
            true => random.below(94),
            false => random.below(100),
        };
        let done = match kind {
            0..=54 => self.file_operation(root, random),
            55..=62 => {
                let name = self.new_name(random);
                let at = self.find(root, b"@branches").expect("it is there");
                let forked = self.vfs().mkdir(&CRED, at, &name, 0o755, 0);
                let forked = forked.and_then(Outcome::wait);
                if let Ok(entry) = &forked {
                    self.held.push(entry.node.node);
                }
                let what = format!("fork {} of {root:?}", name.escape_ascii());
                (what, forked.map(|_| false))
            }
            63..=70 => (
                format!("commit {root:?}"),
                self.command(root, b"commit").map(|_| true),
            ),
            71..=72 => (
                format!("abort {root:?}"),
                self.command(root, b"abort").map(|_| false),
            ),
            73..=74 => {
                let way = *random.pick(&["undo", "undo", "redo"]);
                (
                    format!("{way} a commit into {root:?}"),
                    self.command(root, way.as_bytes()).map(|_| true),
                )
            }
            75..=79 => {
                let done = self.command(roots[0], b"publish");
                ("publish".to_owned(), done.map(|_| true))
            }
            80..=83 => {
                let done = self.vfs().workspace().checkpoint();
                ("checkpoint".to_owned(), self.answered(done)?)
            }
            84..=86 => {
                let vfs = self.vfs();
                let done = vfs.collect();
                vfs.workspace().store.reclaim();
                ("collect".to_owned(), self.answered(done)?)
            }
            87..=88 => {
                self.vfs().workspace().store.reclaim();
                ("reclaim".to_owned(), Ok(false))
            }
            89 => {
                let done = self.vfs().workspace().settle_publish();
                ("settle".to_owned(), self.answered(done)?.map(|_| false))
            }
            90..=93 => {
                let dir = self.some_dir(root, random);
                let done = self.vfs().fsync(dir, false).and_then(Outcome::wait);
                ("fsync".to_owned(), done.map(|()| true))
            }
            94..=95 => {
                self.vfs = None;
                self.held.clear();
                self.mount().map_err(|e| format!("after a kill: {e}"))?;
                ("kill and mount".to_owned(), Ok(false))
            }
            96..=97 => {
                self.vfs().unmounted();
                self.vfs = None;
                self.held.clear();
                self.mount().map_err(|e| format!("after an unmount: {e}"))?;
                ("unmount and mount".to_owned(), Ok(true))
            }
            _ => self.restore(random),
        };
        for node in std::mem::take(&mut self.held) {
            self.vfs().forget(node, 1);
        }
        let (what, result) = done;
        let durable = matches!(result, Ok(true));
        Ok((format!("{what}: {result:?}"), durable))
    }

    fn answered(&self, done: Result<(), BranchError>) -> Result<OpResult<bool>, String> {
        match done {
            Ok(()) => Ok(Ok(true)),
            Err(_) if self.faulty => Ok(Err(Errno(libc::EIO))),
            Err(error) => Err(error.to_string()),
        }
    }

    fn restore(&mut self, random: &mut Random) -> (String, OpResult<bool>) {
        let workspace = self.vfs().workspace().clone();
        let ended: Vec<_> = workspace
            .branches()
            .into_iter()
            .filter(|branch| !branch.is_live())
            .collect();
        if ended.is_empty() {
            return ("nothing to restore".to_owned(), Ok(false));
        }
        let branch = random.pick(&ended);
        if random.below(3) == 0 {
            let done = workspace.expire(branch).map_err(|_| Errno(libc::EIO));
            return (format!("expire {:?}", branch.id), done.map(|()| false));
        }
        let parent = branch.state.read().meta.parent.expect("main never ends");
        let parent = workspace
            .branch(parent)
            .expect("a parent outlives its children");
        let trash = parent.state.read().trash.clone();
        let entry = trash.iter().find(|(_, id)| **id == branch.id);
        let (Some((entry, _)), true) = (entry, parent.is_live()) else {
            return ("nothing to restore there".to_owned(), Ok(false));
        };
        let root = NodeId::new(parent.incarnation(), FileId::ROOT);
        let name = self.new_name(random);
        let text = [b"restore ", &entry[..], b" ", &name].concat();
        let done = self.command(root, &text).map(|_| false);
        (format!("{} in {root:?}", text.escape_ascii()), done)
    }

    fn file_operation(&mut self, root: NodeId, random: &mut Random) -> (String, OpResult<bool>) {
        let dir = self.some_dir(root, random);
        let name = self.some_name(dir, random);
        let fresh = self.new_name(random);
        let show = |name: &[u8]| name.escape_ascii().to_string();
        let (text, done) = match random.below(20) {
            0..=7 => return self.write_some(dir, &name, &fresh, random),
            8 => {
                let done = self.vfs().mkdir(&CRED, dir, &fresh, 0o755, 0);
                (
                    format!("mkdir {}", show(&fresh)),
                    self.entered(done.and_then(Outcome::wait)),
                )
            }
            9 | 10 => (
                format!("unlink {}", show(&name)),
                self.vfs().unlink(&CRED, dir, &name),
            ),
            11 => {
                let done = self.vfs().rmdir(&CRED, dir, &name).and_then(Outcome::wait);
                (format!("rmdir {}", show(&name)), done)
            }
            12..=14 => {
                let to = self.some_dir(root, random);
                let done = self.vfs().rename(&CRED, dir, &name, to, &fresh, 0);
                let text = format!("rename {} to {to:?} {}", show(&name), show(&fresh));
                (text, done.and_then(Outcome::wait))
            }
            15 => {
                let Some(node) = self.find(dir, &name) else {
                    return ("no link".to_owned(), Ok(false));
                };
                let to = self.some_dir(root, random);
                let done = self.vfs().link(&CRED, node, to, &fresh);
                (
                    format!("link {} to {}", show(&name), show(&fresh)),
                    self.entered(done),
                )
            }
            16 => {
                let done = self.vfs().symlink(&CRED, dir, &fresh, b"to/somewhere");
                (format!("symlink {}", show(&fresh)), self.entered(done))
            }
            17 => {
                let Some(node) = self.find(dir, &name) else {
                    return ("no chmod".to_owned(), Ok(false));
                };
                let attr = self
                    .vfs()
                    .getattr(&CRED, node, false)
                    .and_then(Outcome::wait);
                if attr.is_ok_and(|attr| attr.attr.kind == crate::tree::Kind::Symlink) {
                    // The kernel asks for no such thing.
                    return ("no chmod of a link".to_owned(), Ok(false));
                }
                let mode = Some(*random.pick(&[0o600, 0o644, 0o755]));
                let set = SetAttr {
                    mode,
                    ..SetAttr::default()
                };
                let done = self.vfs().setattr(&CRED, node, &set);
                (format!("chmod {}", show(&name)), done.map(|_| ()))
            }
            18 => {
                let Some(node) = self.find(dir, &name) else {
                    return ("no truncate".to_owned(), Ok(false));
                };
                let size = *random.pick(&[0, 100, 4096, 9000, 300_000]);
                let set = SetAttr {
                    size: Some(size),
                    ..SetAttr::default()
                };
                let done = self.vfs().setattr(&CRED, node, &set);
                (
                    format!("truncate {} to {size}", show(&name)),
                    done.map(|_| ()),
                )
            }
            _ => {
                let Some(node) = self.find(dir, &name) else {
                    return ("no xattr".to_owned(), Ok(false));
                };
                let value = [random.next() as u8; 20];
                let done = self.vfs().setxattr(&CRED, node, b"user.x", &value, 0);
                (format!("setxattr {}", show(&name)), done)
            }
        };
        (format!("{text} in {dir:?}"), done.map(|()| false))
    }

    fn entered(&mut self, entry: OpResult<crate::vfs::ops::Entry>) -> OpResult<()> {
        self.held.push(entry?.node.node);
        Ok(())
    }

    /// Writes to a file that is there or a new one, and sometimes syncs it.
    fn write_some(
        &mut self,
        dir: NodeId,
        name: &[u8],
        fresh: &[u8],
        random: &mut Random,
    ) -> (String, OpResult<bool>) {
        let existing = random.below(2) == 0;
        let name = if existing { name } else { fresh };
        let text = name.escape_ascii().to_string();
        let node = match self.find(dir, name) {
            Some(node) => node,
            None => match self
                .vfs()
                .mknod(&CRED, dir, name, libc::S_IFREG | 0o644, 0, 0)
            {
                Ok(entry) => {
                    self.held.push(entry.node.node);
                    let what = format!("create {text} in {dir:?}");
                    if random.below(3) == 0 || self.look(&what).is_err() {
                        return (what, Ok(false));
                    }
                    entry.node.node
                }
                Err(errno) => return (format!("create {text}"), Err(errno)),
            },
        };
        let sizes = [1, 10, 700, 4096, 5000, 20_000, 100_000];
        let mut len = *random.pick(&sizes);
        if random.below(60) == 0 {
            len = (1 << 20) + 77;
        }
        let offset = *random.pick(&[0, 0, 0, 5, 512, 4096, 10_000]);
        let fill = random.next() as u8;
        let data: Vec<u8> = (0..len)
            .map(|i| fill.wrapping_add((i / 64) as u8))
            .collect();
        let done = self.vfs().write(&CRED, node, offset, &data, false, false);
        if let Err(errno) = done.and_then(Outcome::wait) {
            return (format!("write {text}"), Err(errno));
        }
        let sync = random.below(5) == 0;
        let text = format!("write {text} in {dir:?}, {len} at {offset}, sync {sync}");
        if !sync {
            return (text, Ok(false));
        }
        let done = self.vfs().fsync(node, false).and_then(Outcome::wait);
        (text, done.map(|()| true))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.vfs = None;
        self.tape.reveal();
    }
}
