//! The kernel's side of a mount: dentries, counts of lookups, and what it drops when it is told to.
//!
//! A name that was answered with an endless time is believed until it is invalidated, as the kernel
//! does; so a missing invalidation shows as a wrong answer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ctlfs::Reserved;
use crate::tree::{Kind, NodeId};
use crate::vfs::Vfs;
use crate::vfs::ops::{Cred, Entry, FOREVER, KernelCache, Lookup, Ops};

/// Who does everything.
pub const CRED: Cred = Cred {
    uid: 0,
    gid: 0,
    pid: 1,
};

/// Collects what the kernel is told.
#[derive(Default)]
pub struct Told(Mutex<Vec<(NodeId, Vec<u8>)>>);

impl KernelCache for Told {
    fn inval_entry(&self, parent: NodeId, name: &[u8]) {
        self.0.lock().push((parent, name.to_vec()));
    }

    fn extend(&self, _: NodeId, _: u64) {}

    fn inval_inode(&self, _: NodeId, _: bool) {}

    fn new_epoch(&self) -> bool {
        false
    }
}

/// The number of a dentry.
pub type Did = usize;

#[derive(Debug)]
struct Dentry {
    parent: Option<Did>,
    name: Vec<u8>,
    node: NodeId,
    hashed: bool,
    forever: bool,
    children: usize,
    users: usize,
}

#[derive(Debug, Default)]
struct Node {
    lookups: u64,
    dentries: Vec<Did>,
    is_dir: bool,
}

/// The caches of one mount.
pub struct Kernel {
    pub told: Arc<Told>,
    dentries: BTreeMap<Did, Dentry>,
    by_name: HashMap<(Did, Vec<u8>), Did>,
    negative: HashSet<(Did, Vec<u8>)>,
    nodes: HashMap<NodeId, Node>,
    next: Did,
}

/// The dentry of the mount's root.
pub const ROOT: Did = 0;

impl Kernel {
    pub fn new() -> Kernel {
        let node = NodeId(1);
        let root = Dentry {
            parent: None,
            name: Vec::new(),
            node,
            hashed: true,
            forever: true,
            children: 0,
            users: 1,
        };
        Kernel {
            told: Arc::default(),
            dentries: BTreeMap::from([(ROOT, root)]),
            by_name: HashMap::new(),
            negative: HashSet::new(),
            nodes: HashMap::from([(
                node,
                Node {
                    lookups: 1,
                    dentries: vec![ROOT],
                    is_dir: true,
                },
            )]),
            next: 1,
        }
    }

    pub fn node(&self, dentry: Did) -> NodeId {
        self.dentries[&dentry].node
    }

    /// Does what notifications ask for.
    pub fn listen(&mut self, vfs: &Vfs) {
        let told = std::mem::take(&mut *self.told.0.lock());
        for (parent, name) in told {
            let dirs = self
                .nodes
                .get(&parent)
                .map(|n| n.dentries.clone())
                .unwrap_or_default();
            for dir in dirs {
                let key = (dir, name.clone());
                self.negative.remove(&key);
                if let Some(dentry) = self.by_name.get(&key).copied() {
                    self.invalidate(vfs, dentry);
                }
            }
        }
    }

    fn unhash(&mut self, dentry: Did) {
        let d = self.dentries.get_mut(&dentry).expect("it is there");
        if std::mem::take(&mut d.hashed) {
            let key = (d.parent.expect("the root stays"), d.name.clone());
            self.by_name.remove(&key);
        }
    }

    /// d_invalidate: the name goes, and everything unused below it.
    pub fn invalidate(&mut self, vfs: &Vfs, dentry: Did) {
        self.unhash(dentry);
        self.shrink(vfs, &mut |kernel, at| kernel.is_below(at, dentry));
    }

    fn is_below(&self, mut at: Did, above: Did) -> bool {
        loop {
            if at == above {
                return true;
            }
            match self.dentries[&at].parent {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }

    /// Drops unused dentries that `wanted` picks, leaves first, and forgets nodes without any.
    pub fn shrink(&mut self, vfs: &Vfs, wanted: &mut dyn FnMut(&Kernel, Did) -> bool) {
        let order: Vec<Did> = self.dentries.keys().copied().collect();
        loop {
            let mut dropped = false;
            for dentry in order.iter().rev() {
                let Some(d) = self.dentries.get(dentry) else {
                    continue;
                };
                if d.users == 0 && d.children == 0 && wanted(self, *dentry) {
                    self.drop_dentry(vfs, *dentry);
                    dropped = true;
                }
            }
            if !dropped {
                return;
            }
        }
    }

    fn drop_dentry(&mut self, vfs: &Vfs, dentry: Did) {
        self.unhash(dentry);
        self.negative.retain(|(dir, _)| *dir != dentry);
        let d = self.dentries.remove(&dentry).expect("it is there");
        if let Some(parent) = d.parent {
            self.dentries
                .get_mut(&parent)
                .expect("a child keeps it")
                .children -= 1;
        }
        let node = self.nodes.get_mut(&d.node).expect("a dentry keeps it");
        node.dentries.retain(|other| *other != dentry);
        if node.dentries.is_empty() {
            let lookups = node.lookups;
            self.nodes.remove(&d.node);
            vfs.forget(d.node, lookups);
        }
    }

    /// Notes an answer that counted a lookup.
    pub fn instantiate(&mut self, parent: Did, name: &[u8], entry: &Entry) -> Did {
        let id = entry.node.node;
        let is_dir = entry.node.attr.kind == Kind::Dir;
        self.negative.remove(&(parent, name.to_vec()));
        let node = self.nodes.entry(id).or_default();
        node.lookups += 1;
        node.is_dir = is_dir;
        if is_dir && let Some(alias) = node.dentries.first().copied() {
            self.move_to(alias, parent, name);
            return alias;
        }
        let dentry = self.next;
        self.next += 1;
        node.dentries.push(dentry);
        self.dentries
            .get_mut(&parent)
            .expect("it is there")
            .children += 1;
        let forever = entry.entry_ttl == FOREVER;
        self.dentries.insert(
            dentry,
            Dentry {
                parent: Some(parent),
                name: name.to_vec(),
                node: id,
                hashed: true,
                forever,
                children: 0,
                users: 0,
            },
        );
        self.by_name.insert((parent, name.to_vec()), dentry);
        dentry
    }

    /// The same for a name that came in a listing.
    pub fn instantiate_listed(&mut self, vfs: &Vfs, parent: Did, name: &[u8], entry: &Entry) {
        self.negative.remove(&(parent, name.to_vec()));
        let known = self.by_name.get(&(parent, name.to_vec())).copied();
        match known {
            Some(dentry) if self.node(dentry) == entry.node.node => {
                let node = self
                    .nodes
                    .get_mut(&entry.node.node)
                    .expect("a dentry keeps it");
                node.lookups += 1;
            }
            known => {
                if let Some(dentry) = known {
                    self.invalidate(vfs, dentry);
                }
                self.instantiate(parent, name, entry);
            }
        }
    }

    /// d_move.
    fn move_to(&mut self, dentry: Did, parent: Did, name: &[u8]) {
        self.unhash(dentry);
        let old = self.dentries[&dentry].parent.expect("the root stays");
        self.dentries
            .get_mut(&old)
            .expect("a child keeps it")
            .children -= 1;
        self.dentries
            .get_mut(&parent)
            .expect("it is there")
            .children += 1;
        let d = self.dentries.get_mut(&dentry).expect("it is there");
        (d.parent, d.name, d.hashed) = (Some(parent), name.to_vec(), true);
        self.negative.remove(&(parent, name.to_vec()));
        self.by_name.insert((parent, name.to_vec()), dentry);
    }

    /// The dentry of a name, by the cache or by asking. `None` where there is none.
    ///
    /// Notifications that have come since the walk to `dir` wait: the kernel holds what it walks.
    pub fn lookup(&mut self, vfs: &Vfs, dir: Did, name: &[u8]) -> Result<Option<Did>, i32> {
        let key = (dir, name.to_vec());
        if self.negative.contains(&key) {
            return Ok(None);
        }
        let cached = self.by_name.get(&key).copied();
        if let Some(dentry) = cached
            && self.dentries[&dentry].forever
        {
            return Ok(Some(dentry));
        }
        let answer = vfs
            .lookup(&CRED, self.node(dir), name)
            .map_err(|errno| errno.0)?;
        match (answer, cached) {
            (Lookup::Found(entry), Some(dentry)) if entry.node.node == self.node(dentry) => {
                if Reserved::of(entry.node.node.file()).is_none() {
                    let node = self.nodes.get_mut(&entry.node.node).expect("it is cached");
                    node.lookups += 1;
                }
                Ok(Some(dentry))
            }
            (answer, cached) => {
                if let Some(dentry) = cached {
                    self.invalidate(vfs, dentry);
                }
                match answer {
                    Lookup::Found(entry) => Ok(Some(self.instantiate(dir, name, &entry))),
                    Lookup::Absent(ttl) => {
                        if ttl == FOREVER {
                            self.negative.insert(key);
                        }
                        Ok(None)
                    }
                }
            }
        }
    }

    /// Walks from the root. ENOENT where a name is missing.
    pub fn walk(&mut self, vfs: &Vfs, path: &[Vec<u8>]) -> Result<Did, i32> {
        self.listen(vfs);
        let mut at = ROOT;
        for name in path {
            at = self.lookup(vfs, at, name)?.ok_or(libc::ENOENT)?;
        }
        Ok(at)
    }

    /// After an unlink or rmdir: the name is gone.
    pub fn removed(&mut self, vfs: &Vfs, dir: Did, name: &[u8]) {
        if let Some(dentry) = self.by_name.get(&(dir, name.to_vec())).copied() {
            self.invalidate(vfs, dentry);
        }
    }

    /// After a rename.
    pub fn renamed(&mut self, vfs: &Vfs, from: (Did, &[u8]), to: (Did, &[u8]), exchange: bool) {
        let dentry = |kernel: &Kernel, (dir, name): (Did, &[u8])| {
            kernel.by_name.get(&(dir, name.to_vec())).copied()
        };
        let (source, target) = (dentry(self, from), dentry(self, to));
        let Some(source) = source else { return };
        if Some(source) == target {
            return;
        }
        match target {
            Some(target) if exchange => {
                self.move_to(target, from.0, from.1);
                self.by_name.remove(&(from.0, from.1.to_vec()));
                self.move_to(source, to.0, to.1);
                self.by_name.insert((from.0, from.1.to_vec()), target);
                return;
            }
            Some(target) => self.invalidate(vfs, target),
            None => {}
        }
        self.move_to(source, to.0, to.1);
    }

    /// An open file keeps its dentry.
    pub fn open(&mut self, dentry: Did) {
        self.dentries.get_mut(&dentry).expect("it is there").users += 1;
    }

    pub fn close(&mut self, vfs: &Vfs, dentry: Did) {
        let d = self
            .dentries
            .get_mut(&dentry)
            .expect("an open file keeps it");
        d.users -= 1;
        let unused = d.users == 0 && d.children == 0 && !d.hashed;
        if unused {
            self.drop_dentry(vfs, dentry);
        }
    }
}
