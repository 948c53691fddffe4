//! The mounted filesystem, as the kernel asks for it: files, branches and reserved files together.
//!
//! Owns which node is what, how long the kernel may believe what it was told, and telling it when
//! that ends. What files do is `overlay`'s, what the reserved files say is `ctlfs`'s.
//!
//! **Invariants**
//! - No method waits for the kernel, a disk or another request; what has to is an
//!   [`ops::Outcome::Later`].
//! - Whoever has seen an operation succeed sees what it did: everything cached that it made stale
//!   is invalidated before it answers, after every lock is released.
//! - While a commit is under way, names of the branch that takes it are not cached, and what is
//!   cached is dropped before anybody can see the new state.

mod background;
mod control;
mod dispatch;
mod errno;
pub mod in_flight;
mod invalidate;
mod landing;
mod listing;
#[cfg(test)]
pub(crate) mod memory;
pub mod metrics;
pub mod ops;
mod paced;
mod reserved;
mod space;
#[cfg(test)]
mod tests;
mod texts;
pub mod visitor;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::branch::{Branch, Workspace};
use crate::overlay::Overlay;
use crate::tree::{BranchId, NodeId};
use metrics::Metrics;
use ops::KernelCache;

use background::Background;
use paced::Paced;
use texts::KeptTexts;
use visitor::{MOST_NAMES, Pretence, Turned, Visitor};

/// How the kernel is told, and what it is told.
pub struct VfsConfig {
    /// The kernel's caches.
    pub cache: Arc<dyn KernelCache>,
    /// What the mount counts.
    pub metrics: Arc<Metrics>,
    /// Whether nobody but this process can change the base while it is mounted. The kernel then
    /// keeps what it knows until it is told otherwise.
    pub exclusive: bool,
    /// Whether listings of a branch's root show the reserved names.
    pub show_reserved: bool,
    /// Whether the kernel has the last word on the length and times of files, since writes wait in
    /// its page cache.
    pub writeback: bool,
    /// The lines of `@self/config`.
    pub config: String,
    /// Has the kernel begin to write what its page cache holds of this mount: what shared mappings
    /// changed, and with `writeback` all that was written.
    pub write_back: Box<dyn Fn() -> WrittenBack + Send + Sync>,
    /// What counts the writes that come of it.
    pub cache_writes: Arc<CacheWrites>,
    /// Who makes inotify tell what a commit changed.
    pub visitor: Option<Arc<dyn Visitor>>,
}

/// Returns once what was to be written back has come.
pub type WrittenBack = Box<dyn FnOnce() + Send>;

/// Writes out of the kernel's page cache: those that have come, and those that are done.
#[derive(Debug, Default)]
pub struct CacheWrites {
    come: AtomicU64,
    done: AtomicU64,
}

impl CacheWrites {
    /// Runs a write, counted if it is one `from_cache`.
    fn count<T>(&self, from_cache: bool, write: impl FnOnce() -> T) -> T {
        self.come.fetch_add(u64::from(from_cache), Ordering::AcqRel);
        let written = write();
        self.done.fetch_add(u64::from(from_cache), Ordering::AcqRel);
        written
    }

    /// How many have come.
    pub fn come(&self) -> u64 {
        self.come.load(Ordering::Acquire)
    }

    /// How many of them are done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }
}

/// The filesystem.
#[derive(Clone)]
pub struct Vfs(Arc<Inner>);

/// What all clones of a [`Vfs`] share.
pub(crate) struct Inner {
    overlay: Overlay,
    config: VfsConfig,
    /// How many commits into a branch are under way: its names are not cached.
    settling: DashMap<BranchId, usize, RandomState>,
    texts: KeptTexts,
    /// How many opens to write a file has, where opens are told of: only those have writes that
    /// wait in the page cache, and a mapping or the last of them keeps it open.
    writers: DashMap<NodeId, u32>,
    /// The clock of reserved files: every look at one is a later time.
    ticks: std::sync::atomic::AtomicU64,
    ended: std::sync::atomic::AtomicBool,
    background: Mutex<Option<Background>>,
    /// Whether a change was refused for want of space since the background work last looked.
    starved: std::sync::atomic::AtomicBool,
    pretence: Pretence,
    /// Names of which those who watch are to be told.
    turned: Paced<Turned>,
    /// Publishes that are to be settled.
    settler: Paced<()>,
}

/// How long a base that others can change is believed.
const SHARED_TTL: Duration = Duration::from_secs(1);

impl Vfs {
    /// The filesystem of `workspace`.
    pub fn new(workspace: Arc<Workspace>, config: VfsConfig) -> Vfs {
        Vfs(Arc::new(Inner {
            overlay: Overlay::new(workspace, config.exclusive, config.writeback),
            config,
            settling: DashMap::default(),
            texts: KeptTexts::default(),
            writers: DashMap::new(),
            ticks: Default::default(),
            ended: Default::default(),
            background: Mutex::default(),
            starved: Default::default(),
            pretence: Pretence::default(),
            turned: Paced::new("watchers", MOST_NAMES),
            settler: Paced::new("settle", usize::MAX),
        }))
    }

    /// Starts what is done without being asked; it ends with the mount.
    pub fn start_background(&self) -> std::io::Result<()> {
        *self.0.background.lock() = Some(Background::start(self)?);
        Ok(())
    }

    /// The branches.
    pub fn workspace(&self) -> &Arc<Workspace> {
        self.0.workspace()
    }
}

impl Inner {
    fn workspace(&self) -> &Arc<Workspace> {
        &self.overlay.workspace
    }

    /// How long the kernel may believe what it learns of files of a branch.
    fn ttl(&self, branch: &Branch) -> Duration {
        if self.settling.contains_key(&branch.id) {
            return Duration::ZERO;
        }
        match self.config.exclusive && branch.is_live() {
            true => ops::FOREVER,
            false => SHARED_TTL,
        }
    }
}
