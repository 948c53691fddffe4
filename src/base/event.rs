//! The events by which one version of the base became the next, and finding old things by them.
//!
//! Publishing version v executes operations one after the other; each is recorded under the key
//! `(v, seq)`. The keys are totally ordered, and an event says what its operation did to one path:
//!
//! | event | the path before the operation | where that is after it |
//! | --- | --- | --- |
//! | `Created(path)` | nothing | - |
//! | `Renamed(from -> to)` | an object | at `to`, with everything below it |
//! | `Kept(path -> name)` | an object | at `old/name`, with everything below it, for good |
//! | `Attr(inode)` | its attributes were these | anywhere |
//!
//! **Resolution** of a path as of the end of version `at`: walk forward in time. Among the events
//! with a key after the current one that concern the path or any of its prefixes, take the earliest,
//! apply it, go on from its key; `Created` means that the path did not exist. When no event is left,
//! the path is where the object is now. A rename to a new place is recorded as `Created(to)` before
//! `Renamed(from)`, so that the object itself does not meet its own creation.
//!
//! Since every event is recorded as its operation is done, resolution is right in the middle of a
//! half-done publish too. What is parked in the staging directory has a path that no base path can
//! be: its first component starts with a NUL byte (see [`parked`]).
//!
//! `Attr` events go by inode and not by path: they hold for all hard links, wherever they are now.
//!
//! **Cost**: events are a trie over path components. Resolving walks down only as far as the trie
//! has the path: one map probe per component at most, and none when `at` is the newest version.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use smallvec::SmallVec;

use crate::sys::inode::Xattrs;
use crate::tree::{Attr, Kind};

use super::error::BaseError;
use super::path::{components, join};
use super::wire::{Damaged, Reader, Writer};
use super::{Ident, Version};

/// The name of a kept object in the old directory: the plan that kept it, and which of its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OldName {
    /// The plan's id.
    pub plan: u64,
    /// The number that the plan's step gave it.
    pub keep: u32,
}

impl OldName {
    /// The file name.
    pub(super) fn bytes(self) -> Vec<u8> {
        format!("{:x}-{:x}", self.plan, self.keep).into_bytes()
    }
}

/// What one operation of a publish did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing was at the path.
    Created {
        /// The path.
        path: Vec<u8>,
    },
    /// The object moved.
    Renamed {
        /// From here.
        from: Vec<u8>,
        /// To there.
        to: Vec<u8>,
    },
    /// The object was replaced or removed, and moved to the old directory.
    Kept {
        /// Where it was.
        path: Vec<u8>,
        /// Its name there.
        name: OldName,
        /// Which object.
        ident: Ident,
        /// Its type.
        kind: Kind,
    },
    /// The attributes of an inode were these.
    Attr {
        /// The inode.
        ident: Ident,
        /// As it showed them.
        attr: Attr,
        /// Its extended attributes, where they change.
        xattrs: Option<Xattrs>,
    },
}

/// When an operation happened: the version that it led to, and its place in it.
pub(super) type Key = (Version, u32);

/// An event with its place in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// The version whose publish it belongs to.
    pub version: Version,
    /// Its place among that version's events.
    pub seq: u32,
    /// What happened.
    pub event: Event,
}

impl EventRecord {
    /// Appends the record's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer {
            buf: std::mem::take(out),
        };
        writer.u64(self.version);
        writer.u32(self.seq);
        match &self.event {
            Event::Created { path } => {
                writer.u8(0);
                writer.bytes(path);
            }
            Event::Renamed { from, to } => {
                writer.u8(1);
                writer.bytes(from);
                writer.bytes(to);
            }
            Event::Kept {
                path,
                name,
                ident,
                kind,
            } => {
                writer.u8(2);
                writer.bytes(path);
                writer.u64(name.plan);
                writer.u32(name.keep);
                writer.ident(*ident);
                writer.u8(*kind as u8);
            }
            Event::Attr {
                ident,
                attr,
                xattrs,
            } => {
                writer.u8(3);
                writer.ident(*ident);
                writer.attr(attr);
                writer.option(xattrs.as_ref(), |writer, xattrs| writer.pairs(xattrs));
            }
        }
        *out = writer.buf;
    }

    /// The record with exactly these bytes.
    pub fn decode(bytes: &[u8]) -> Result<EventRecord, BaseError> {
        Self::read(bytes).map_err(|Damaged(offset)| BaseError::RecordDamaged { offset })
    }

    fn read(bytes: &[u8]) -> Result<EventRecord, Damaged> {
        let mut reader = Reader::new(bytes);
        let (version, seq) = (reader.u64()?, reader.u32()?);
        let event = match reader.u8()? {
            0 => Event::Created {
                path: reader.bytes()?,
            },
            1 => Event::Renamed {
                from: reader.bytes()?,
                to: reader.bytes()?,
            },
            2 => Event::Kept {
                path: reader.bytes()?,
                name: OldName {
                    plan: reader.u64()?,
                    keep: reader.u32()?,
                },
                ident: reader.ident()?,
                kind: reader.kind()?,
            },
            3 => Event::Attr {
                ident: reader.ident()?,
                attr: reader.attr()?,
                xattrs: reader.option(Reader::pairs)?,
            },
            _ => return reader.damaged(),
        };
        reader.finish()?;
        Ok(EventRecord {
            version,
            seq,
            event,
        })
    }
}

/// The path under which an object that is parked in a plan's staging directory is found.
pub(super) fn parked(plan: u64, slot: u32) -> Vec<u8> {
    format!("\0{plan:x}/{slot:x}").into_bytes()
}

/// Where an object is now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Loc {
    pub(super) area: Area,
    /// Relative to the area's directory.
    pub(super) path: Vec<u8>,
}

/// The directories that objects of the base can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Area {
    Root,
    Old,
    Stage,
}

impl Loc {
    /// The location of a base path, or of a parked one.
    pub(super) fn of_path(path: Vec<u8>) -> Loc {
        match path.strip_prefix(b"\0") {
            Some(parked) => Loc {
                area: Area::Stage,
                path: parked.to_vec(),
            },
            None => Loc {
                area: Area::Root,
                path,
            },
        }
    }

    /// A name below this location.
    pub(super) fn child(&self, name: &[u8]) -> Loc {
        Loc {
            area: self.area,
            path: join(&self.path, name),
        }
    }
}

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
    /// The newest version that has events.
    newest: Version,
}

impl EventLog {
    /// Whether a view at `at` may differ from what is on disk now.
    pub(super) fn concerns(&self, at: Version) -> bool {
        at < self.newest
    }

    /// Adds an event. Adding it again, or another one for the same path and key, replaces it.
    pub(super) fn push(&mut self, record: EventRecord) {
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

    /// How many of an inode's names are in the old directory, where only we see them.
    pub(super) fn kept_links(&self, ino: u64) -> u32 {
        self.kept_links.get(&ino).copied().unwrap_or(0)
    }

    /// A kept name of this object is gone from the old directory.
    pub(super) fn unkept(&mut self, ident: Ident) {
        self.count_kept(ident, Kind::File, false);
    }

    /// A name without an event was found in the old directory.
    pub(super) fn kept_again(&mut self, ident: Ident, kind: Kind) {
        self.count_kept(ident, kind, true);
    }

    /// Where the object is now that was at `path` at the end of version `at`; `None`: there was none.
    pub(super) fn resolve(&self, at: Version, path: &[u8]) -> Option<Loc> {
        self.trace((at, u32::MAX), path, |_| ())
    }

    /// [`EventLog::resolve`] from any point in time. `seen` is shown every base path that the object
    /// had on the way, the first included.
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

    /// Drops the events of all versions that `keep` refuses, and hands back what they had kept.
    pub(super) fn retain(&mut self, keep: impl Fn(Version) -> bool) -> Vec<(OldName, Ident, Kind)> {
        let mut kept = Vec::new();
        self.root.retain(&keep, &mut kept);
        self.attrs.retain(|_, attrs| {
            attrs.retain(|old| keep(old.key.0));
            !attrs.is_empty()
        });
        if self.root.is_empty() && self.attrs.is_empty() {
            self.newest = 0;
        } else if !keep(self.newest) {
            // An upper bound is enough: it only spares views that cannot differ the walk.
            self.newest -= 1;
        }
        kept
    }

    /// The events of one version, in order.
    pub(super) fn records_of(&self, version: Version) -> Vec<EventRecord> {
        let mut records = self.records();
        records.retain(|record| record.version == version);
        records
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
