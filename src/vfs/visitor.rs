//! What inotify(7) tells of a commit or an abort.
//!
//! FUSE has no notification that makes inotify events: the kernel makes them of what processes do.
//! So a thread of ours, the [`Visitor`], does what a checkout would have done, through the mount as
//! everybody: it removes the old file and makes the new one. Nothing of that changes anything,
//! since to the visitor alone the name looks as it did before, and its requests are answered with
//! what is so already.
//!
//! It visits only names that somebody watches, or whose directory somebody watches, after the
//! operation has been answered. To find out who watches means to look at all that every process has
//! open, so changes that come quickly one after the other are told together ([`Paced`]).
//!
//! **Invariants**
//! - No request of the visitor changes a branch.
//! - A file that goes on living under another name is never the one that the visitor removes:
//!   another one, which was never there, stands in for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::ops::{Cred, Entry, Errno, Lookup, NodeAttr, OpResult, Ops};
use super::{Inner, Vfs};
use crate::branch::{Branch, PathChangeKind, now};
use crate::ctlfs::Reserved;
use crate::tree::{Attr, FileId, Kind, Name, NodeId};

/// Beyond this many names nothing is told: more than a watcher's queue holds (`max_queued_events`).
pub(super) const MOST_NAMES: usize = 8192;

/// Beyond this many, whether anybody watches is asked before the names are looked at, unless that
/// was asked a moment ago.
const FEW_NAMES: usize = 256;

/// What the visitor does with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// unlink(2), or rmdir(2) of a directory.
    Remove(Kind),
    /// mknod(2), mkdir(2) or symlink(2).
    Make(Kind),
    /// A new modification time, then an open(2) for writing and close(2).
    Rewrite,
}

/// Uses the mount as any process does.
pub trait Visitor: Send + Sync {
    /// The thread whose requests are the visitor's.
    fn thread(&self) -> u32;
    /// The nodes of this mount that inotify watches for somebody.
    fn watched(&self) -> HashSet<NodeId>;
    /// Does it in the directory at `path` below the mount's root. Fails silently.
    fn visit(&self, path: &[u8], name: &[u8], visit: Visit);
}

/// A name that shows another file than it did.
pub(super) struct Turned {
    dir: NodeId,
    /// The directory, below the mount's root.
    path: Vec<u8>,
    name: Name,
    was: Option<(NodeId, Kind)>,
}

/// What a name looks like to the visitor.
enum AsIf {
    /// The old file is there.
    Old(Box<Entry>),
    /// Nothing is there yet.
    Nothing,
}

/// What the visitor is shown.
#[derive(Default)]
pub(super) struct Pretence {
    shown: Mutex<Option<(NodeId, Name, AsIf)>>,
    /// Numbers of files that were never there.
    stand_ins: AtomicU32,
}

/// Names of a branch as they were before something changed them.
#[derive(Default)]
pub(super) struct Before(Vec<Turned>);

impl Pretence {
    fn stand_in(&self) -> NodeId {
        // No branch has this incarnation, so whatever asks about it finds nothing.
        let number = self.stand_ins.fetch_add(1, Ordering::Relaxed) % 0x4000_0000;
        NodeId::new(u32::MAX, FileId(0x1000 + number))
    }
}

impl Inner {
    /// Whether a request is the visitor's.
    pub(super) fn is_visitor(&self, cred: &Cred) -> bool {
        let visitor = self.config.visitor.as_ref();
        visitor.is_some_and(|visitor| visitor.thread() == cred.pid)
    }

    /// What the visitor finds at a name, where that is not what everybody finds.
    pub(super) fn shown_to_visitor(&self, parent: NodeId, name: &[u8]) -> Option<Lookup> {
        let shown = self.pretence.shown.lock();
        let (dir, at, as_if) = shown.as_ref()?;
        match as_if {
            _ if *dir != parent || **at != *name => None,
            AsIf::Old(entry) => Some(Lookup::Found(**entry)),
            AsIf::Nothing => Some(Lookup::Absent(Duration::ZERO)),
        }
    }

    /// The names in its parent that a commit of `branch` is about to turn, as they are.
    pub(super) fn before(&self, branch: &Branch, parent: &Arc<Branch>, changes: usize) -> Before {
        let Some(visitor) = &self.config.visitor else {
            return Before::default();
        };
        let look = changes > FEW_NAMES && !self.turned.rests();
        if changes > MOST_NAMES || look && self.watched(&**visitor).is_empty() {
            return Before::default();
        }
        let (old, new) = {
            let state = branch.state.read();
            (state.fork_view.clone(), state.view.clone())
        };
        let changes = self.workspace().diff(&old, &new).unwrap_or_default();
        let prefix = self.path_of(parent);
        let root = self.overlay.root(parent);
        let mut turned = Vec::new();
        let mut dirs = HashMap::new();
        for change in &changes {
            let from = match &change.kind {
                PathChangeKind::Renamed { from } => Some(from),
                _ => None,
            };
            for path in from.into_iter().chain([&change.path]) {
                let slash = path.iter().rposition(|&byte| byte == b'/');
                let (above, name) = path.split_at(slash.map_or(0, |at| at + 1));
                let dir = *dirs
                    .entry(above.to_vec())
                    .or_insert_with(|| self.dir_at(root, above));
                // What the kernel does not know nobody watches.
                let was = dir.and_then(|dir| Some((dir, self.overlay.peek(dir, name).ok()?)));
                turned.extend(was.map(|(dir, was)| Turned {
                    dir,
                    path: [&prefix[..], above].concat(),
                    name: name.into(),
                    was,
                }));
            }
        }
        Before(turned)
    }

    /// What somebody watches.
    fn watched(&self, visitor: &dyn Visitor) -> HashSet<NodeId> {
        let start = Instant::now();
        let watched = visitor.watched();
        self.turned.took(start.elapsed());
        watched
    }

    /// The directory at a path below `root`, where the kernel knows it.
    fn dir_at(&self, root: NodeId, path: &[u8]) -> Option<NodeId> {
        let mut names = path.split(|&byte| byte == b'/').filter(|it| !it.is_empty());
        names.try_fold(root, |dir, name| {
            let found = self.overlay.peek(dir, name).ok()??;
            Some(found.0)
        })
    }

    /// The root of a branch below the mount's, with a slash at its end where it is not empty.
    fn path_of(&self, branch: &Branch) -> Vec<u8> {
        let mut path = Vec::new();
        for name in self.workspace().names_of(branch) {
            path.extend_from_slice(b"@branches/");
            path.extend_from_slice(&name);
            path.push(b'/');
        }
        path
    }
}

impl Vfs {
    /// Tells those who watch what became of names. Returns at once.
    pub(super) fn tell_watchers(&self, before: Before) {
        if before.0.is_empty() {
            return;
        }
        let inner = Arc::downgrade(&self.0);
        self.0.turned.push(before.0, move |turned| {
            if let Some(inner) = inner.upgrade() {
                Vfs(inner).visit_all(&turned);
            }
        });
    }

    /// Tells those who watch `@branches` of `parent` that a branch is gone.
    pub(super) fn tell_of_end(&self, parent: &Arc<Branch>, name: &Name, root: NodeId) {
        let incarnation = self.0.overlay.root(parent).incarnation();
        let turned = Turned {
            dir: Reserved::Branches.node(incarnation),
            path: [&self.0.path_of(parent)[..], b"@branches"].concat(),
            name: name.clone(),
            was: Some((root, Kind::Dir)),
        };
        if self.0.config.visitor.is_some() {
            self.tell_watchers(Before(vec![turned]));
        }
    }

    fn visit_all(&self, turned: &[Turned]) {
        let Some(visitor) = self.0.config.visitor.clone() else {
            return;
        };
        let watched = self.0.watched(&*visitor);
        if watched.is_empty() {
            return;
        }
        for turned in turned {
            self.visit(&*visitor, &watched, turned);
        }
    }

    fn visit(&self, visitor: &dyn Visitor, watched: &HashSet<NodeId>, turned: &Turned) {
        let Turned { dir, name, was, .. } = turned;
        let now = match Reserved::of(dir.file()) {
            Some(_) => None,
            None => self.0.overlay.peek(*dir, name).ok().flatten(),
        };
        let in_watched = watched.contains(dir);
        let was_watched = was.is_some_and(|(node, _)| watched.contains(&node));
        if now == *was || !in_watched && !was_watched {
            return;
        }
        if let Some((node, kind)) = *was {
            let lives = self.0.overlay.getattr(node).is_ok_and(|it| it.nlink > 0);
            let node = match lives || !was_watched {
                true => self.0.pretence.stand_in(),
                false => node,
            };
            let shown = AsIf::Old(Box::new(old_entry(node, kind)));
            self.pretend(visitor, turned, shown, Visit::Remove(kind));
        }
        if let (Some((_, kind)), true) = (now, in_watched) {
            self.pretend(visitor, turned, AsIf::Nothing, Visit::Make(kind));
            if kind == Kind::File {
                visitor.visit(&turned.path, name, Visit::Rewrite);
            }
        }
    }

    fn pretend(&self, visitor: &dyn Visitor, turned: &Turned, as_if: AsIf, visit: Visit) {
        let Turned { dir, name, .. } = turned;
        *self.0.pretence.shown.lock() = Some((*dir, name.clone(), as_if));
        // Whatever somebody has looked up since would be believed.
        self.0.config.cache.inval_entry(*dir, name);
        visitor.visit(&turned.path, name, visit);
        *self.0.pretence.shown.lock() = None;
    }

    /// The visitor removes a name: it is gone already.
    pub(super) fn visitor_removes(&self, parent: NodeId, name: &[u8]) -> OpResult<()> {
        match self.0.shown_to_visitor(parent, name) {
            Some(Lookup::Found(_)) => Ok(()),
            _ => Err(Errno(libc::EPERM)),
        }
    }

    /// The visitor makes what is there already.
    pub(super) fn visitor_makes(&self, cred: &Cred, dir: NodeId, name: &[u8]) -> OpResult<Entry> {
        *self.0.pretence.shown.lock() = None;
        match self.lookup(cred, dir, name)? {
            Lookup::Found(entry) => Ok(entry),
            Lookup::Absent(_) => Err(Errno(libc::ENOENT)),
        }
    }
}

/// A file that is no more, for as long as it takes to remove it.
fn old_entry(node: NodeId, kind: Kind) -> Entry {
    let time = now();
    let attr = Attr {
        kind,
        mode: 0o700,
        uid: 0,
        gid: 0,
        rdev: 0,
        nlink: 1,
        size: 0,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
    };
    Entry {
        node: NodeAttr {
            node,
            attr,
            attr_ttl: Duration::ZERO,
        },
        entry_ttl: Duration::ZERO,
        generation: 0,
    }
}
