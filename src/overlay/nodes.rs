//! The nodes of one branch that the kernel knows, with their names and their last rights.
//!
//! A node is here from its first lookup until the kernel has forgotten it and no known node lies in
//! it. For a file that the view has no inode of, the names are the only way to its path: up from
//! node to node until one has an inode with an origin, or the root.
//!
//! **Orphans**: an inode that no name in the view leads to any more (unlinked, or replaced by a
//! commit) lives on here, with its content, until the kernel forgets it.
//!
//! *Lock order*: the branch's state first, then this table. Nothing is called with it locked.

use std::sync::Arc;

use foldhash::HashMap;
use smallvec::SmallVec;

use crate::tree::{Inode, Name, NodeId};

/// What is left of a file without names.
#[derive(Clone, Debug)]
pub struct Orphan {
    /// Everything of it.
    pub inode: Arc<Inode>,
    /// The base version that its base extents refer to.
    pub base_version: u64,
}

/// One node.
#[derive(Debug, Default)]
struct Node {
    lookups: u64,
    /// How many nodes name this one as their parent.
    pins: u32,
    names: SmallVec<[(NodeId, Name); 1]>,
    orphan: Option<Box<Orphan>>,
}

/// A node table.
#[derive(Debug, Default)]
pub struct Nodes {
    nodes: HashMap<NodeId, Node>,
}

impl Nodes {
    /// Counts a lookup of `node` by this name.
    pub fn looked_up(&mut self, node: NodeId, parent: NodeId, name: &[u8]) {
        self.count(node, parent, name, || name.into());
    }

    /// Counts the first lookup of a file that was made just now, whose name is kept elsewhere too.
    pub fn made(&mut self, node: NodeId, parent: NodeId, name: &Name) {
        self.count(node, parent, name, || name.clone());
    }

    fn count(&mut self, node: NodeId, parent: NodeId, name: &[u8], own: impl FnOnce() -> Name) {
        let entry = self.nodes.entry(node).or_default();
        entry.lookups += 1;
        if entry.orphan.is_some() {
            return;
        }
        if entry
            .names
            .iter()
            .any(|(d, n)| *d == parent && **n == *name)
        {
            return;
        }
        entry.names.push((parent, own()));
        self.nodes.entry(parent).or_default().pins += 1;
    }

    /// Counts one more lookup of a node that is known already (an orphan that is linked again).
    pub fn looked_up_again(&mut self, node: NodeId) {
        self.nodes.entry(node).or_default().lookups += 1;
    }

    /// The kernel drops `lookups` references. Returns the orphan that this ends.
    pub fn forget(&mut self, node: NodeId, lookups: u64) -> Option<Box<Orphan>> {
        let entry = self.nodes.get_mut(&node)?;
        entry.lookups = entry.lookups.saturating_sub(lookups);
        if entry.lookups > 0 {
            return None;
        }
        let orphan = entry.orphan.take();
        self.drop_if_unused(node);
        orphan
    }

    fn drop_if_unused(&mut self, mut node: NodeId) {
        // A chain of parents that only their children kept goes with the last of them.
        let mut todo: SmallVec<[NodeId; 4]> = SmallVec::new();
        loop {
            let unused = self
                .nodes
                .get(&node)
                .is_some_and(|n| n.lookups == 0 && n.pins == 0 && n.orphan.is_none());
            if unused && let Some(gone) = self.nodes.remove(&node) {
                for (parent, _) in gone.names {
                    if let Some(parent) = self.pinned_parent(parent) {
                        todo.push(parent);
                    }
                }
            }
            match todo.pop() {
                Some(next) => node = next,
                None => break,
            }
        }
    }

    /// Takes one pin off a parent, if it is known.
    fn pinned_parent(&mut self, parent: NodeId) -> Option<NodeId> {
        let entry = self.nodes.get_mut(&parent)?;
        entry.pins = entry.pins.saturating_sub(1);
        Some(parent)
    }

    /// A name of the node: its directory and the name there.
    pub fn name(&self, node: NodeId) -> Option<(NodeId, Name)> {
        self.nodes.get(&node)?.names.first().cloned()
    }

    /// Every name that the node was reached by and still has.
    pub fn names(&self, node: NodeId) -> Vec<(NodeId, Name)> {
        self.nodes
            .get(&node)
            .map(|n| n.names.to_vec())
            .unwrap_or_default()
    }

    /// Whether the kernel knows the node.
    pub fn is_known(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.lookups > 0)
    }

    /// Takes a name from a node: it was unlinked or moved.
    pub fn remove_name(&mut self, node: NodeId, dir: NodeId, name: &[u8]) {
        let Some(entry) = self.nodes.get_mut(&node) else {
            return;
        };
        let before = entry.names.len();
        entry.names.retain(|(d, n)| !(*d == dir && **n == *name));
        if entry.names.len() < before
            && let Some(parent) = self.pinned_parent(dir)
        {
            self.drop_if_unused(parent);
        }
    }

    /// Gives a known node a name: it was linked or moved there.
    pub fn add_name(&mut self, node: NodeId, dir: NodeId, name: &[u8]) {
        let Some(entry) = self.nodes.get_mut(&node) else {
            return;
        };
        if !entry.names.iter().any(|(d, n)| *d == dir && **n == *name) {
            entry.names.push((dir, name.into()));
            self.nodes.entry(dir).or_default().pins += 1;
        }
    }

    /// A node, where it is in the table, has just this name now.
    pub fn rename_to(&mut self, node: NodeId, dir: NodeId, name: &[u8]) {
        let old = self.names(node);
        self.add_name(node, dir, name);
        for (old_dir, old_name) in old {
            if old_dir != dir || *old_name != *name {
                self.remove_name(node, old_dir, &old_name);
            }
        }
    }

    /// Makes a known node an orphan. Returns whether it is one now.
    pub fn make_orphan(&mut self, node: NodeId, orphan: Orphan) -> bool {
        match self.nodes.get_mut(&node) {
            Some(entry) if entry.lookups > 0 => {
                entry.orphan = Some(Box::new(orphan));
                true
            }
            _ => false,
        }
    }

    /// The orphan at a node.
    pub fn orphan(&self, node: NodeId) -> Option<&Orphan> {
        self.nodes.get(&node)?.orphan.as_deref()
    }

    /// The orphan at a node, to change it.
    pub fn orphan_mut(&mut self, node: NodeId) -> Option<&mut Orphan> {
        self.nodes.get_mut(&node)?.orphan.as_deref_mut()
    }

    /// The node is a file with a name again.
    pub fn adopt(&mut self, node: NodeId) -> Option<Box<Orphan>> {
        self.nodes.get_mut(&node)?.orphan.take()
    }

    /// Every node that the kernel knows under an incarnation.
    pub fn known(&self, incarnation: u32) -> Vec<NodeId> {
        self.nodes
            .iter()
            .filter(|(node, entry)| node.incarnation() == incarnation && entry.lookups > 0)
            .map(|(node, _)| *node)
            .collect()
    }

    /// Every node that the kernel knows.
    pub fn all_known(&self) -> Vec<NodeId> {
        self.nodes
            .iter()
            .filter(|(_, entry)| entry.lookups > 0)
            .map(|(node, _)| *node)
            .collect()
    }

    /// Every orphan.
    pub fn orphans(&self) -> impl Iterator<Item = &Orphan> {
        self.nodes
            .values()
            .filter_map(|entry| entry.orphan.as_deref())
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the kernel knows nothing here.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Gives memory back after many nodes went.
    pub fn shrink(&mut self) {
        if self.nodes.capacity() > 4096 && self.nodes.len() * 4 < self.nodes.capacity() {
            self.nodes.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::FileId;

    fn node(file: u32) -> NodeId {
        NodeId::new(0, FileId(file))
    }

    #[test]
    fn a_directory_stays_while_a_node_in_it_is_known() {
        let mut nodes = Nodes::default();
        nodes.looked_up(node(10), node(1), b"d");
        nodes.looked_up(node(11), node(10), b"f");
        nodes.forget(node(10), 1);
        assert_eq!(
            nodes.name(node(10)).map(|n| n.1.to_vec()),
            Some(b"d".to_vec())
        );
        nodes.forget(node(11), 1);
        assert!(nodes.is_empty());
    }

    #[test]
    fn forgets_are_counted() {
        let mut nodes = Nodes::default();
        for _ in 0..3 {
            nodes.looked_up(node(10), node(1), b"f");
        }
        nodes.forget(node(10), 2);
        assert!(nodes.is_known(node(10)));
        nodes.forget(node(10), 1);
        assert!(!nodes.is_known(node(10)));
    }

    #[test]
    fn a_rename_moves_the_pin_to_the_new_parent() {
        let mut nodes = Nodes::default();
        nodes.looked_up(node(10), node(1), b"d");
        nodes.looked_up(node(11), node(10), b"f");
        nodes.remove_name(node(11), node(10), b"f");
        nodes.add_name(node(11), node(1), b"g");
        nodes.forget(node(10), 1);
        assert!(nodes.name(node(10)).is_none());
        assert_eq!(nodes.names(node(11)).len(), 1);
    }
}
