//! POSIX operations on one branch: its view laid over its version of the base.
//!
//! Owns which nodes the kernel knows, copy-up, and what every file operation changes in a view. It
//! knows nothing of reserved names, of caching times or of FUSE.
//!
//! **Invariants**
//! - An operation looks and changes under one hold of the branch's lock, and returns when its
//!   record is in the journal.
//! - Copy-up copies no content: the new inode's extents refer to the base file.
//! - Data is in the store before the record that names it.
//!
//! *Lock order*: `Workspace::begin`, the branch's state, the branch's nodes, the store; or, after
//! the state, the names that files keep.

mod acl;
mod attrs;
mod data;
mod error;
mod kept;
mod list;
mod lookup;
mod names;
mod nodes;
mod ranges;
mod removal;
mod roots;
mod walk;
mod xattr;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

pub use attrs::AttrChange;
pub use error::FsError;
use kept::KeptNames;
pub use list::{ListItem, Take};
pub use lookup::MAX_NAME_BYTES;
pub use names::{Creation, RenameMode};
pub use nodes::{Nodes, Orphan};
pub use ranges::{Allocate, Seek};
pub use xattr::XattrMode;

use crate::base::Found;
use crate::branch::{Branch, Changed, State, Workspace, now};
use crate::tree::{Attr, BranchId, Change, Content, DentryKey, FileId, Inode, Name, NodeId, Time};

/// What file operations return.
pub type FsResult<T> = Result<T, FsError>;

/// A branch and the nodes of it that the kernel knows.
pub struct Mounted {
    /// The branch.
    pub branch: Arc<Branch>,
    nodes: Mutex<Nodes>,
    /// Names of files that it has changed, where others may change the base.
    kept: Mutex<KeptNames>,
}

/// The file operations of a workspace.
pub struct Overlay {
    /// The branches.
    pub workspace: Arc<Workspace>,
    by_branch: DashMap<BranchId, Arc<Mounted>, RandomState>,
    by_incarnation: DashMap<u32, Arc<Mounted>, RandomState>,
    /// The way to branches by incarnations that they no longer have, for what the kernel has yet to
    /// forget of those.
    by_ended: DashMap<u32, Arc<Mounted>, RandomState>,
    forgotten: AtomicU64,
    /// Whether nobody else can change the base.
    exclusive: bool,
    /// Whether who writes to a file sets its times too, by a setattr before or after it.
    times_are_set: bool,
}

/// A file as an operation finds it.
enum File {
    /// It has an inode in the view.
    Viewed(Arc<Inode>),
    /// It is the base's, unchanged; with its path there.
    Base(Found, Vec<u8>),
    /// It has no name any more; with the base version of its extents.
    Orphaned(Arc<Inode>, u64),
}

impl File {
    fn attr(&self) -> Attr {
        match self {
            File::Viewed(inode) | File::Orphaned(inode, _) => shown_attr(inode),
            File::Base(found, _) => found.attr,
        }
    }
}

fn shown_attr(inode: &Inode) -> Attr {
    Attr {
        blocks: inode.blocks(),
        ..inode.attr
    }
}

impl Overlay {
    /// The file operations of `workspace`.
    pub fn new(workspace: Arc<Workspace>, exclusive: bool, times_are_set: bool) -> Overlay {
        Overlay {
            workspace,
            by_branch: DashMap::default(),
            by_incarnation: DashMap::default(),
            by_ended: DashMap::default(),
            forgotten: AtomicU64::new(0),
            exclusive,
            times_are_set,
        }
    }

    /// The time that the change of a file's content gets.
    fn time_of_change(&self, inode: &Inode) -> Time {
        match self.times_are_set {
            true => inode.attr.mtime,
            false => now(),
        }
    }

    /// The branch that a node belongs to. Fails with `Stale` where that branch has ended, unless
    /// the node is the trash's.
    pub fn mounted(&self, node: NodeId) -> FsResult<Arc<Mounted>> {
        let incarnation = node.incarnation();
        if let Some(mounted) = self.by_incarnation.get(&incarnation) {
            return Ok(mounted.clone());
        }
        let branch = self
            .workspace
            .by_incarnation(incarnation)
            .ok_or(FsError::Stale)?;
        let mounted = self.mounted_branch(&branch);
        self.by_incarnation.insert(incarnation, mounted.clone());
        Ok(mounted)
    }

    /// The same for a branch.
    pub fn mounted_branch(&self, branch: &Arc<Branch>) -> Arc<Mounted> {
        self.by_branch
            .entry(branch.id)
            .or_insert_with(|| {
                Arc::new(Mounted {
                    branch: branch.clone(),
                    nodes: Mutex::default(),
                    kept: Mutex::default(),
                })
            })
            .clone()
    }

    /// Cuts the way to a branch by an incarnation that it no longer has, but for
    /// [`Overlay::forget`].
    pub fn detach(&self, branch: &Branch, incarnation: u32) {
        if let Some(mounted) = self.by_branch.get(&branch.id) {
            self.by_ended.insert(incarnation, mounted.clone());
        }
        self.by_incarnation.remove(&incarnation);
    }

    /// The kernel drops `lookups` references to `node`.
    pub fn forget(&self, node: NodeId, lookups: u64) {
        self.forgotten.fetch_add(1, Ordering::Relaxed);
        let Some(mounted) = self.knowing(node) else {
            return;
        };
        let state = mounted.branch.state.read();
        let orphan = mounted.nodes.lock().forget(node, lookups);
        if let Some(orphan) = orphan {
            self.workspace.unpin(orphan.base_version);
            if let Content::File(extents) = &orphan.inode.content {
                extents
                    .iter()
                    .for_each(|extent| self.workspace.free(&state, extent));
            }
        }
        let mut nodes = mounted.nodes.lock();
        nodes.shrink();
        let (empty, ended) = (nodes.is_empty(), state.ended.is_some());
        drop(nodes);
        drop(state);
        if empty && !self.by_ended.is_empty() {
            self.by_ended
                .retain(|_, other| !Arc::ptr_eq(other, &mounted));
        }
        if empty && ended {
            self.by_branch.remove(&mounted.branch.id);
        }
    }

    /// The branch that has `node` in its table, whatever became of it since.
    fn knowing(&self, node: NodeId) -> Option<Arc<Mounted>> {
        let incarnation = node.incarnation();
        for ways in [&self.by_incarnation, &self.by_ended] {
            if let Some(mounted) = ways.get(&incarnation) {
                return Some(mounted.clone());
            }
        }
        let known = |mounted: &Arc<Mounted>| mounted.nodes.lock().is_known(node);
        self.by_branch
            .iter()
            .find(|entry| known(entry.value()))
            .map(|entry| entry.value().clone())
    }

    /// How many nodes the kernel has forgotten since the mount.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// The inodes that only open files keep.
    pub fn open_orphans(&self) -> Vec<Arc<Inode>> {
        let mut inodes = Vec::new();
        for mounted in self.by_branch.iter() {
            inodes.extend(
                mounted
                    .nodes
                    .lock()
                    .orphans()
                    .map(|orphan| orphan.inode.clone()),
            );
        }
        inodes
    }

    /// Number of nodes that the kernel knows.
    pub fn known_nodes(&self) -> usize {
        self.by_branch
            .iter()
            .map(|mounted| mounted.nodes.lock().len())
            .sum()
    }

    /// Number of nodes of a branch, under any incarnation.
    pub fn node_count(&self, branch: &Branch) -> usize {
        let mounted = self.by_branch.get(&branch.id);
        mounted.map_or(0, |mounted| mounted.nodes.lock().len())
    }

    /// The nodes of a branch that the kernel knows under an incarnation.
    pub fn known(&self, branch: &Arc<Branch>, incarnation: u32) -> Vec<NodeId> {
        match self.by_branch.get(&branch.id) {
            Some(mounted) => mounted.nodes.lock().known(incarnation),
            None => Vec::new(),
        }
    }

    /// The nodes and names of a branch that a commit into it makes stale, as the kernel knows them.
    pub fn stale(&self, changed: &Changed) -> Stale {
        let mut stale = Stale::default();
        let Some(mounted) = self.by_branch.get(&changed.branch.id) else {
            return stale;
        };
        let state = mounted.branch.state.read();
        let nodes = mounted.nodes.lock();
        let node_of = |file| NodeId::new(state.incarnation_of(file), file);
        for (dir, name) in &changed.names {
            stale.names.push((node_of(*dir), name.clone()));
        }
        for file in &changed.replaced {
            let node = node_of(*file);
            stale.names.extend(nodes.names(node));
        }
        let is_known = |dir: &NodeId| dir.file() == FileId::ROOT || nodes.is_known(*dir);
        stale.dirs.extend(
            changed
                .dirs
                .iter()
                .map(|dir| node_of(*dir))
                .filter(is_known),
        );
        stale.names.retain(|(dir, _)| is_known(dir));
        stale.names.sort();
        stale.names.dedup();
        stale
    }

    /// The file that a node stands for. Fails with `Stale` where there is none.
    fn file(&self, mounted: &Mounted, state: &State, node: NodeId) -> FsResult<File> {
        self.check_live(state, node)?;
        let file = node.file();
        let is_current = state.ended.is_some() || node.incarnation() == state.incarnation_of(file);
        if let Some(inode) = state.view.inode(file).filter(|_| is_current) {
            return Ok(File::Viewed(inode.clone()));
        }
        if let Some(orphan) = mounted.nodes.lock().orphan(node) {
            return Ok(File::Orphaned(orphan.inode.clone(), orphan.base_version));
        }
        if state.ended.is_none() && node.incarnation() != state.incarnation_of(file) {
            return Err(FsError::Stale);
        }
        let path = self.base_path(mounted, state, node)?;
        let found = self.workspace.below(&state.view, &path)?;
        match found {
            Some(found) if found.fid == file => Ok(File::Base(found, path)),
            _ => Err(FsError::Stale),
        }
    }

    fn check_live(&self, state: &State, node: NodeId) -> FsResult<()> {
        match &state.ended {
            Some(ending) if ending.incarnation != node.incarnation() => Err(FsError::Stale),
            _ => Ok(()),
        }
    }

    fn check_writable(&self, state: &State, node: NodeId) -> FsResult<()> {
        self.check_live(state, node)?;
        if state.ended.is_some() || self.workspace.options.read_only {
            return Err(FsError::ReadOnly);
        }
        Ok(())
    }

    /// The path in the base of a node that the view has no inode of.
    fn base_path(&self, mounted: &Mounted, state: &State, node: NodeId) -> FsResult<Vec<u8>> {
        let nodes = mounted.nodes.lock();
        let mut names: Vec<Name> = Vec::new();
        let mut at = node;
        let mut start: &[u8] = b"";
        while at.file() != FileId::ROOT {
            if let Some(inode) = state.view.inode(at.file()) {
                start = &inode.origin.as_ref().ok_or(FsError::Stale)?.path;
                break;
            }
            let (dir, name) = nodes.name(at).ok_or(FsError::Stale)?;
            names.push(name);
            at = dir;
        }
        let len = start.len() + names.iter().map(|n| n.len() + 1).sum::<usize>();
        let mut path = Vec::with_capacity(len);
        path.extend_from_slice(start);
        for name in names.iter().rev() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        Ok(path)
    }

    /// The inode of a node, to be changed: copied up in memory where the view has none. The root is
    /// its own parent.
    fn own_inode(&self, mounted: &Mounted, state: &State, node: NodeId) -> FsResult<Inode> {
        match self.file(mounted, state, node)? {
            File::Viewed(inode) | File::Orphaned(inode, _) => Ok((*inode).clone()),
            File::Base(found, path) => {
                let name = mounted.nodes.lock().name(node);
                let (parent, name) = name.unwrap_or((node, Name::from(&b""[..])));
                let (epoch, version) = (state.meta.epoch, state.view.base_version);
                let place = (parent.file(), &name[..]);
                Ok(self
                    .workspace
                    .copied_up(&found, &path, place, epoch, version)?)
            }
        }
    }

    fn key(&self, dir: FileId, name: &[u8]) -> DentryKey {
        self.workspace.key(dir, name).to_key()
    }

    /// Applies changes to a branch whose state is locked.
    fn change(&self, mounted: &Mounted, state: &mut State, changes: &[Change]) -> FsResult<()> {
        Ok(self.workspace.change(mounted.branch.id, state, changes)?)
    }
}

/// What a commit makes stale in the kernel's caches of the parent.
#[derive(Clone, Debug, Default)]
pub struct Stale {
    /// Names, each with its directory.
    pub names: Vec<(NodeId, Name)>,
    /// Directories.
    pub dirs: Vec<NodeId>,
}
