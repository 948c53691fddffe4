//! Where the objects of a plan come from: the plan carried out on names alone.
//!
//! Pure. Steps name paths as they are at their moment of the plan; whoever checks a plan before it
//! runs needs to know where such a path is *now*. The simulation is a tree of the differences, as a
//! view is: moving a directory moves one node, so each step costs its path's components.

use std::collections::{BTreeMap, HashMap};

use smallvec::{SmallVec, smallvec};

use super::path::{components, join, split};
use super::plan::Step;

/// What a path of the plan means in terms of the base as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// What is at this path of the base now, if anything.
    Base(Vec<u8>),
    /// An object of the staging directory.
    Staged,
    /// Nothing, whatever the base has there.
    Absent,
}

#[derive(Default)]
struct Node {
    /// `None`: what the parent's origin has under this name.
    own: Option<Origin>,
    children: BTreeMap<Vec<u8>, Node>,
}

/// A plan under way.
#[derive(Default)]
pub(super) struct Simulation {
    root: Node,
    parked: HashMap<u32, Node>,
}

impl Simulation {
    /// What is at `path` at this moment.
    pub(super) fn origin(&self, path: &[u8]) -> Origin {
        let mut origin = Origin::Base(Vec::new());
        let mut node = Some(&self.root);
        for name in components(path) {
            node = node.and_then(|node| node.children.get(name));
            origin = match (node.and_then(|node| node.own.clone()), origin) {
                (Some(own), _) => own,
                (None, Origin::Base(dir)) => Origin::Base(join(&dir, name)),
                (None, Origin::Staged | Origin::Absent) => Origin::Absent,
            };
        }
        origin
    }

    fn node(&mut self, path: &[u8]) -> &mut Node {
        let mut node = &mut self.root;
        for name in components(path) {
            node = node.children.entry(name.to_vec()).or_default();
        }
        node
    }

    /// Takes the object at `path` away, with everything below it.
    fn take(&mut self, path: &[u8]) -> Node {
        let origin = self.origin(path);
        let gone = Node {
            own: Some(Origin::Absent),
            children: BTreeMap::new(),
        };
        let mut node = std::mem::replace(self.node(path), gone);
        node.own = Some(origin);
        node
    }

    /// The object at `path` is removed.
    pub(super) fn remove(&mut self, path: &[u8]) {
        self.take(path);
    }

    /// The object at `from` is moved.
    pub(super) fn rename(&mut self, from: &[u8], to: &[u8]) {
        let node = self.take(from);
        *self.node(to) = node;
    }

    /// The object at `path` is parked.
    pub(super) fn park(&mut self, path: &[u8], slot: u32) {
        let node = self.take(path);
        self.parked.insert(slot, node);
    }

    /// A parked object is put at `path`. What was never parked counts as staged.
    pub(super) fn unpark(&mut self, slot: u32, path: &[u8]) {
        let staged = || Node {
            own: Some(Origin::Staged),
            children: BTreeMap::new(),
        };
        *self.node(path) = self.parked.remove(&slot).unwrap_or_else(staged);
    }

    /// A staged object is put at `path`.
    pub(super) fn place(&mut self, path: &[u8]) {
        *self.node(path) = Node {
            own: Some(Origin::Staged),
            children: BTreeMap::new(),
        };
    }

    /// The file at `from` gets a second name.
    pub(super) fn link(&mut self, from: &[u8], to: &[u8]) {
        let own = Some(self.origin(from));
        *self.node(to) = Node {
            own,
            children: BTreeMap::new(),
        };
    }
}

/// What a step needs of the base, or changes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand<'a> {
    /// An object whose attributes change, be it only the ctime.
    Object {
        path: &'a [u8],
        ino: Option<u64>,
        xattrs: bool,
        leaves: bool,
    },
    /// A place where nothing is.
    Vacant { path: &'a [u8] },
    /// A directory whose entries change.
    Entries { dir: &'a [u8] },
}

/// The operands of a step, at its moment.
pub(super) fn operands(step: &Step) -> SmallVec<[Operand<'_>; 4]> {
    let object = |path, ino, leaves| Operand::Object {
        path,
        ino: Some(ino),
        xattrs: false,
        leaves,
    };
    let entries = |path| Operand::Entries {
        dir: split(path).map_or(&[][..], |(dir, _)| dir),
    };
    match step {
        Step::Evict { path, ino, .. }
        | Step::Park { path, ino, .. }
        | Step::Exchange {
            path, ino_old: ino, ..
        } => {
            smallvec![object(path, *ino, true), entries(path)]
        }
        Step::Unpark { path, .. } | Step::Place { path, .. } => {
            smallvec![Operand::Vacant { path }, entries(path)]
        }
        Step::Move { from, to, ino, .. } => {
            smallvec![
                object(from, *ino, true),
                Operand::Vacant { path: to },
                entries(from),
                entries(to)
            ]
        }
        Step::Link { from, to, ino, .. } => {
            smallvec![
                object(from, *ino, false),
                Operand::Vacant { path: to },
                entries(to)
            ]
        }
        Step::SetAttr { path, ino, .. } => {
            smallvec![Operand::Object {
                path,
                ino: Some(*ino),
                xattrs: true,
                leaves: false
            }]
        }
        Step::Times { path, .. } => {
            smallvec![Operand::Object {
                path,
                ino: None,
                xattrs: false,
                leaves: false
            }]
        }
    }
}

impl Simulation {
    /// Carries a step out.
    pub(super) fn advance(&mut self, step: &Step) {
        match step {
            Step::Evict { path, .. } => self.remove(path),
            Step::Park { path, slot, .. } => self.park(path, *slot),
            Step::Unpark { slot, path, .. } => self.unpark(*slot, path),
            Step::Move { from, to, .. } => self.rename(from, to),
            Step::Exchange { path, .. } | Step::Place { path, .. } => self.place(path),
            Step::Link { from, to, .. } => self.link(from, to),
            Step::SetAttr { .. } | Step::Times { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(path: &str) -> Origin {
        Origin::Base(path.into())
    }

    #[test]
    fn paths_are_followed_through_moves() {
        let mut sim = Simulation::default();
        sim.rename(b"d", b"e/f");
        assert_eq!(sim.origin(b"e/f/x"), base("d/x"));
        assert_eq!(sim.origin(b"d/x"), Origin::Absent);
        sim.rename(b"e/f/x", b"y");
        assert_eq!(
            (sim.origin(b"y"), sim.origin(b"e/f/x")),
            (base("d/x"), Origin::Absent)
        );
        sim.park(b"e", 1);
        sim.place(b"e");
        sim.unpark(1, b"e/back");
        assert_eq!(sim.origin(b"e"), Origin::Staged);
        assert_eq!(sim.origin(b"e/back/g"), base("e/g"));
        assert_eq!(sim.origin(b"e/back/f/z"), base("d/z"));
        assert_eq!(sim.origin(b"e/back/f/x"), Origin::Absent);
        sim.remove(b"y");
        sim.link(b"e/back/g", b"y");
        assert_eq!(sim.origin(b"y"), base("e/g"));
        assert_eq!(sim.origin(b"other/z"), base("other/z"));
    }
}
