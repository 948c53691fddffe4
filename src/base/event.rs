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
//! with a key after the current one that concern the path or any of its prefixes, take the
//! earliest, apply it, go on from its key; `Created` means that the path did not exist. When no
//! event is left, the path is where the object is now. A rename to a new place is recorded as
//! `Created(to)` before `Renamed(from)`, so that the object itself does not meet its own creation.
//!
//! Since every event is recorded as its operation is done, resolution is right in the middle of a
//! half-done publish too. What is parked in the staging directory has a path that no base path can
//! be: its first component starts with a NUL byte (see [`parked`]).
//!
//! `Attr` events go by inode and not by path: they hold for all hard links, wherever they are now.
//!
//! **Cost**: events are a trie over path components. Resolving walks down only as far as the trie
//! has the path: one map probe per component at most, and none when `at` is the newest version.

use crate::sys::inode::Xattrs;
use crate::tree::{Attr, Kind};

use super::error::BaseError;
use super::path::join;
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

    /// The plan whose name this is.
    pub(super) fn plan_of(name: &[u8]) -> Option<u64> {
        let (plan, _) = std::str::from_utf8(name).ok()?.split_once('-')?;
        u64::from_str_radix(plan, 16).ok()
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
