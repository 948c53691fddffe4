//! Listing directories: `.` and `..`, then reserved names where the mount shows them, then files.

use super::Vfs;
use super::ops::{Cred, DirItem, Entry, Lookup, NodeAttr, OpResult, Ops, Sink};
use crate::ctlfs::Reserved;
use crate::overlay::{ListItem, Take};
use crate::tree::{FileId, Kind, NodeId};

impl Vfs {
    fn dots(
        &self,
        node: NodeId,
        from: u64,
        sink: &mut dyn FnMut(&DirItem<'_>) -> Sink,
    ) -> OpResult<bool> {
        if from >= 2 {
            return Ok(true);
        }
        let parent = match node.file() {
            FileId::ROOT => node,
            _ => self.0.overlay.parent(node)?,
        };
        for (name, node, next) in [(&b"."[..], node, 1), (b"..", parent, 2)] {
            let item = DirItem {
                name,
                node,
                kind: Kind::Dir,
                next,
            };
            if from < next && sink(&item) == Sink::Full {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a name of a branch's root is a user's file that a reserved one covers.
    fn is_covered(node: NodeId, name: &[u8]) -> bool {
        node.file() == FileId::ROOT && Reserved::at_root(name).is_some()
    }

    /// The reserved names of a root, where the mount lists them: positions below all hashes.
    fn reserved_items(&self, node: NodeId) -> Vec<(&'static str, NodeId, Kind)> {
        if node.file() != FileId::ROOT || !self.0.config.show_reserved {
            return Vec::new();
        }
        let incarnation = node.incarnation();
        Reserved::AT_ROOT
            .iter()
            .map(|r| (r.name(), r.node(incarnation), r.kind()))
            .collect()
    }

    /// Hands out the names of a directory: `.` and `..`, reserved names where they are listed,
    /// files.
    pub(super) fn list(
        &self,
        _: &Cred,
        node: NodeId,
        from: u64,
        sink: &mut dyn FnMut(&DirItem<'_>) -> Sink,
    ) -> OpResult<()> {
        if let Some(dir) = Reserved::of(node.file()) {
            return self.0.reserved_list(node, dir, from, sink);
        }
        if !self.dots(node, from, sink)? {
            return Ok(());
        }
        if from <= 2 {
            for (name, node, kind) in self.reserved_items(node) {
                // They all lead on to the files: positions of their own could be those of names.
                if sink(&DirItem {
                    name: name.as_bytes(),
                    node,
                    kind,
                    next: 2,
                }) == Sink::Full
                {
                    return Ok(());
                }
            }
        }
        self.0
            .overlay
            .list(node, from.max(2), &mut |item: &ListItem<'_>| {
                if Vfs::is_covered(node, item.name) {
                    return Take::More;
                }
                let ListItem {
                    name,
                    node,
                    kind,
                    next,
                } = *item;
                match sink(&DirItem {
                    name,
                    node,
                    kind,
                    next,
                }) {
                    Sink::Taken => Take::More,
                    Sink::Full => Take::Full,
                }
            })?;
        Ok(())
    }

    /// The same with attributes.
    pub(super) fn list_plus(
        &self,
        cred: &Cred,
        node: NodeId,
        from: u64,
        sink: &mut dyn FnMut(&DirItem<'_>, &Entry) -> Sink,
    ) -> OpResult<()> {
        if Reserved::of(node.file()).is_some() {
            return self.plus_by_lookup(cred, node, from, sink);
        }
        let own = self.attr_of(node)?;
        let own = Entry {
            node: own,
            entry_ttl: own.attr_ttl,
            generation: 0,
        };
        if !self.dots(node, from, &mut |item| sink(item, &own))? {
            return Ok(());
        }
        if from <= 2 && !self.reserved_items(node).is_empty() {
            for (name, node, kind) in self.reserved_items(node) {
                let Some(file) = Reserved::of(node.file()) else {
                    continue;
                };
                let entry = self.0.reserved_entry(node, file)?;
                let item = DirItem {
                    name: name.as_bytes(),
                    node,
                    kind,
                    next: 2,
                };
                if sink(&item, &entry) == Sink::Full {
                    return Ok(());
                }
            }
        }
        let ttl = own.entry_ttl;
        self.0
            .overlay
            .list_plus(node, from.max(2), &mut |item: &ListItem<'_>, attr| {
                if Vfs::is_covered(node, item.name) {
                    return Take::Skip;
                }
                let ListItem {
                    name,
                    node,
                    kind,
                    next,
                } = *item;
                let node_attr = NodeAttr {
                    node,
                    attr: *attr,
                    attr_ttl: ttl,
                };
                let entry = Entry {
                    node: node_attr,
                    entry_ttl: ttl,
                    generation: 0,
                };
                match sink(
                    &DirItem {
                        name,
                        node,
                        kind,
                        next,
                    },
                    &entry,
                ) {
                    Sink::Taken => Take::More,
                    Sink::Full => Take::Full,
                }
            })?;
        Ok(())
    }

    /// A listing with attributes by one lookup for each name, for directories of a few names.
    fn plus_by_lookup(
        &self,
        cred: &Cred,
        node: NodeId,
        from: u64,
        sink: &mut dyn FnMut(&DirItem<'_>, &Entry) -> Sink,
    ) -> OpResult<()> {
        let own = self.attr_of(node)?;
        let own = Entry {
            node: own,
            entry_ttl: own.attr_ttl,
            generation: 0,
        };
        self.list(cred, node, from, &mut |item| {
            if item.name == b"." || item.name == b".." {
                return sink(item, &own);
            }
            match self.lookup(cred, node, item.name) {
                Ok(Lookup::Found(entry)) => {
                    let took = sink(item, &entry);
                    if took == Sink::Full {
                        self.forget(entry.node.node, 1);
                    }
                    took
                }
                // It has gone between the listing and the look.
                _ => Sink::Taken,
            }
        })
    }
}
