//! The log of events: finding out what a path or an inode was at an old version.
//!
//! Pure; `event` has the rules. Paths are a trie over their components, attributes a map by inode.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use smallvec::SmallVec;

use crate::sys::inode::Xattrs;
use crate::tree::{Attr, Kind};

use super::event::{Area, Event, EventRecord, Key, Loc, OldName};
use super::path::{components, join};
use super::{Ident, Version};

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Created,
    Renamed(Box<[u8]>),
    Kept(OldName, Ident, Kind),
}

#[derive(Default)]
struct Node {
    /// Ordered by key.
    steps: SmallVec<[(Key, Step); 1]>,
    children: BTreeMap<Box<[u8]>, Node>,
}

impl Node {
    fn next(&self, after: Key) -> Option<&(Key, Step)> {
        self.steps
            .get(self.steps.partition_point(|(key, _)| *key <= after))
    }

    /// Whether anything happened here or further down after `key`.
    fn happened(&self, after: Key) -> bool {
        self.next(after).is_some() || self.children.values().any(|child| child.happened(after))
    }

    fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.children.is_empty()
    }

    /// Drops the steps that `keep` refuses and the nodes that are empty then.
    fn retain(&mut self, keep: &impl Fn(Version) -> bool, kept: &mut Vec<(OldName, Ident, Kind)>) {
        self.steps.retain(|((version, _), step)| {
            let stays = keep(*version);
            if let (false, Step::Kept(name, ident, kind)) = (stays, &*step) {
                kept.push((*name, *ident, *kind));
            }
            stays
        });
        self.children.retain(|_, child| {
            child.retain(keep, kept);
            !child.is_empty()
        });
    }
}

struct OldAttr {
    key: Key,
    ident: Ident,
    attr: Attr,
    xattrs: Option<Xattrs>,
}

/// All events that some view may still need.
#[derive(Default)]
pub(super) struct EventLog {
    root: Node,
    attrs: HashMap<u64, SmallVec<[OldAttr; 1]>>,
    /// How many names in the old directory an inode has that is no directory.
    kept_links: HashMap<u64, u32>,
    /// Published files that the owner's store still has a name of.
    in_store: HashSet<u64>,
    /// Names that were kept and do not count any more.
    gone_early: HashSet<OldName>,
    /// The newest version that has events, or a later one.
    newest: Version,
    /// The oldest version that has events, or an earlier one.
    oldest: Version,
}

impl EventLog {
    fn is_empty(&self) -> bool {
        self.root.is_empty() && self.attrs.is_empty()
    }

    /// Whether there are events of versions before this one.
    pub(super) fn has_before(&self, version: Version) -> bool {
        !self.is_empty() && self.oldest < version
    }

    /// Whether a view at `at` may differ from what is on disk now.
    pub(super) fn concerns(&self, at: Version) -> bool {
        at < self.newest
    }

    /// Adds an event. Adding it again, or another one for the same path and key, replaces it.
    pub(super) fn push(&mut self, record: EventRecord) {
        self.oldest = if self.is_empty() {
            record.version
        } else {
            self.oldest.min(record.version)
        };
        self.newest = self.newest.max(record.version);
        let key = (record.version, record.seq);
        let (path, step) = match record.event {
            Event::Created { path } => (path, Step::Created),
            Event::Renamed { from, to } => (from, Step::Renamed(to.into())),
            Event::Kept {
                path,
                name,
                ident,
                kind,
            } => (path, Step::Kept(name, ident, kind)),
            Event::Attr {
                ident,
                attr,
                xattrs,
            } => {
                let attrs = self.attrs.entry(ident.ino).or_default();
                attrs.retain(|old| old.key != key);
                let at = attrs.partition_point(|old| old.key < key);
                attrs.insert(
                    at,
                    OldAttr {
                        key,
                        ident,
                        attr,
                        xattrs,
                    },
                );
                return;
            }
        };
        let mut node = &mut self.root;
        for name in components(&path) {
            node = node.children.entry(name.into()).or_default();
        }
        let at = node.steps.partition_point(|(other, _)| *other < key);
        let replaced = (node.steps.get(at).is_some_and(|(other, _)| *other == key))
            .then(|| node.steps.remove(at).1);
        node.steps.insert(at, (key, step.clone()));
        if let Some(Step::Kept(_, ident, kind)) = replaced {
            self.count_kept(ident, kind, false);
        }
        if let Step::Kept(_, ident, kind) = step {
            self.count_kept(ident, kind, true);
        }
    }

    fn count_kept(&mut self, ident: Ident, kind: Kind, more: bool) {
        if kind == Kind::Dir {
            return;
        }
        let count = self.kept_links.entry(ident.ino).or_insert(0);
        *count = if more {
            *count + 1
        } else {
            count.saturating_sub(1)
        };
        if *count == 0 {
            self.kept_links.remove(&ident.ino);
        }
    }

    /// Whether a name at or below `path` was made, moved, replaced or removed after version `at`.
    pub(super) fn happened_below(&self, at: Version, path: &[u8]) -> bool {
        let mut node = &self.root;
        for name in components(path) {
            match node.children.get(name) {
                Some(child) => node = child,
                None => return false,
            }
        }
        node.happened((at, u32::MAX))
    }

    /// How many of an inode's names are in the old directory or the owner's store, where only we
    /// see them.
    pub(super) fn kept_links(&self, ino: u64) -> u32 {
        let kept = self.kept_links.get(&ino).copied().unwrap_or(0);
        kept + u32::from(self.in_store.contains(&ino))
    }

    /// Says whether the owner's store has a name of a published file.
    pub(super) fn set_in_store(&mut self, ino: u64, is_named: bool) {
        match is_named {
            true => self.in_store.insert(ino),
            false => self.in_store.remove(&ino),
        };
    }

    /// A kept name of this object is gone from the old directory, though its event is still here.
    pub(super) fn unkept_early(&mut self, name: OldName, ident: Ident) {
        if self.gone_early.insert(name) {
            self.unkept(ident);
        }
    }

    /// Whether a kept name stopped counting before its event was dropped. Forgets it.
    pub(super) fn was_unkept_early(&mut self, name: OldName) -> bool {
        self.gone_early.remove(&name)
    }

    /// A kept name of this object is gone from the old directory.
    pub(super) fn unkept(&mut self, ident: Ident) {
        self.count_kept(ident, Kind::File, false);
    }

    /// A name without an event was found in the old directory.
    pub(super) fn kept_again(&mut self, ident: Ident, kind: Kind) {
        self.count_kept(ident, kind, true);
    }

    /// Where the object is now that was at `path` at the end of version `at`; `None`: there was
    /// none.
    pub(super) fn resolve(&self, at: Version, path: &[u8]) -> Option<Loc> {
        self.trace((at, u32::MAX), path, |_| ())
    }

    /// [`EventLog::resolve`] from any point in time. `seen` is shown every base path that the
    /// object had on the way, the first included.
    pub(super) fn trace(
        &self,
        mut cursor: Key,
        path: &[u8],
        mut seen: impl FnMut(&[u8]),
    ) -> Option<Loc> {
        seen(path);
        if !self.concerns(cursor.0) && cursor.1 == u32::MAX {
            return Some(Loc::of_path(path.to_vec()));
        }
        let mut path = path.to_vec();
        while let Some((key, step, rest)) = self.earliest(cursor, &path) {
            let rest = path.get(rest..).unwrap_or_default();
            path = match step {
                Step::Created => return None,
                Step::Kept(name, ..) => {
                    return Some(Loc {
                        area: Area::Old,
                        path: join(&name.bytes(), rest),
                    });
                }
                Step::Renamed(to) => join(to, rest),
            };
            seen(&path);
            cursor = key;
        }
        Some(Loc::of_path(path))
    }

    /// The earliest event after `cursor` on `path` or a prefix of it, and where the rest starts.
    fn earliest(&self, cursor: Key, path: &[u8]) -> Option<(Key, &Step, usize)> {
        let mut best: Option<(Key, &Step, usize)> = None;
        let mut node = &self.root;
        let mut rest = 0;
        for name in components(path) {
            let Some(child) = node.children.get(name) else {
                break;
            };
            node = child;
            rest += name.len() + 1;
            if let Some((key, step)) = node.next(cursor)
                && best.is_none_or(|(other, ..)| *key < other)
            {
                best = Some((*key, step, rest));
            }
        }
        best
    }

    /// Adds the names directly below `dir` that have events after `at`.
    pub(super) fn names_below(&self, at: Version, dir: &[u8], names: &mut BTreeSet<Vec<u8>>) {
        let mut node = &self.root;
        for name in components(dir) {
            match node.children.get(name) {
                Some(child) => node = child,
                None => return,
            }
        }
        let changed = node
            .children
            .iter()
            .filter(|(_, node)| node.next((at, u32::MAX)).is_some());
        names.extend(changed.map(|(name, _)| name.to_vec()));
    }

    fn attrs_after(&self, at: Version, ident: Ident) -> impl Iterator<Item = &OldAttr> {
        let attrs = self.attrs.get(&ident.ino).into_iter().flatten();
        attrs.filter(move |old| old.key.0 > at && old.ident == ident)
    }

    /// The attributes that the inode showed at `at`, where they have changed since.
    pub(super) fn attr(&self, at: Version, ident: Ident) -> Option<&Attr> {
        self.attrs_after(at, ident).next().map(|old| &old.attr)
    }

    /// The extended attributes that the inode had at `at`, where they have changed since.
    pub(super) fn xattrs(&self, at: Version, ident: Ident) -> Option<&Xattrs> {
        self.attrs_after(at, ident)
            .find_map(|old| old.xattrs.as_ref())
    }

    /// Drops the events of `oldest` and earlier versions, and hands back what they had kept.
    pub(super) fn drop_through(&mut self, oldest: Version) -> Vec<(OldName, Ident, Kind)> {
        if self.is_empty() || oldest < self.oldest {
            return Vec::new();
        }
        let kept = self.retain(|version| version > oldest);
        self.oldest = oldest + 1;
        kept
    }

    /// Drops the events of all versions that `keep` refuses, and hands back what they had kept.
    pub(super) fn retain(&mut self, keep: impl Fn(Version) -> bool) -> Vec<(OldName, Ident, Kind)> {
        let mut kept = Vec::new();
        self.root.retain(&keep, &mut kept);
        self.attrs.retain(|_, attrs| {
            attrs.retain(|old| keep(old.key.0));
            !attrs.is_empty()
        });
        if self.is_empty() {
            self.newest = 0;
        } else if !keep(self.newest) {
            // An upper bound is enough: it only spares views that cannot differ the walk.
            self.newest -= 1;
        }
        kept
    }

    /// Every event, ordered by version and place.
    pub(super) fn records(&self) -> Vec<EventRecord> {
        let mut records = Vec::new();
        let mut stack = vec![(Vec::new(), &self.root)];
        while let Some((path, node)) = stack.pop() {
            for ((version, seq), step) in &node.steps {
                let path = path.clone();
                let event = match step.clone() {
                    Step::Created => Event::Created { path },
                    Step::Renamed(to) => Event::Renamed {
                        from: path,
                        to: to.into_vec(),
                    },
                    Step::Kept(name, ident, kind) => Event::Kept {
                        path,
                        name,
                        ident,
                        kind,
                    },
                };
                records.push(EventRecord {
                    version: *version,
                    seq: *seq,
                    event,
                });
            }
            stack.extend(
                node.children
                    .iter()
                    .map(|(name, node)| (join(&path, name), node)),
            );
        }
        for old in self.attrs.values().flatten() {
            let OldAttr {
                key: (version, seq),
                ident,
                attr,
                xattrs,
            } = old;
            let (ident, attr, xattrs) = (*ident, *attr, xattrs.clone());
            let event = Event::Attr {
                ident,
                attr,
                xattrs,
            };
            records.push(EventRecord {
                version: *version,
                seq: *seq,
                event,
            });
        }
        records.sort_by_key(|record| (record.version, record.seq));
        records
    }
}
