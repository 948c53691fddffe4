//! What a publish is to do: steps in order, and the bytes in which a plan waits for a redo.
//!
//! Pure. The owner makes a [`Plan`]; [`super::Base::seal`] adds what the base was like before and
//! writes the [`Sealed`] plan to `stage/<id>/plan`:
//!
//! ```text
//! "bfsplan2" | crc32 of the rest: u32 | version: u64 | id: u64 | keep_old: u8
//! | steps: u32, each: tag u8, fields in the order of their declaration
//! | befores: u32, each: path, ident, attr, xattrs?
//! ```
//!
//! Numbers are little-endian, byte strings carry a u32 length. A change of the layout changes the
//! magic: a plan is only ever read by the program that was updated while it was half done.

use crate::sys::inode::Xattrs;
use crate::tree::{Attr, FileId, Time};

use super::error::BaseError;
use super::wire::{Damaged, Reader, Writer};
use super::{Ident, Version};

const MAGIC: &[u8; 8] = b"bfsplan2";

/// The identity that an object keeps from its view: its id, and the ctime that it showed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its id.
    pub fid: FileId,
    /// Its ctime.
    pub ctime: Time,
}

/// Attributes to set on an object that stays in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttrSet {
    /// Permission bits; ignored for symbolic links, which have none.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last read.
    pub atime: Time,
    /// Last change of content.
    pub mtime: Time,
    /// Extended attributes to set.
    pub set: Xattrs,
    /// Names of extended attributes to remove.
    pub removed: Vec<Vec<u8>>,
}

/// One step of a plan. Paths are those of the base at that moment of the plan; `ino` is the object
/// that the step expects to deal with. Slots and keeps are numbers that the planner gives out, each
/// once per plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Removes an object, a directory with everything below it: it goes to the old directory.
    Evict {
        /// Which.
        path: Vec<u8>,
        /// Its inode.
        ino: u64,
        /// Its number in the old directory.
        keep: u32,
    },
    /// Moves an object out of the way, into the staging directory.
    Park {
        /// Which.
        path: Vec<u8>,
        /// Its inode.
        ino: u64,
        /// Where to.
        slot: u32,
    },
    /// Moves a parked object to where nothing is.
    Unpark {
        /// From where.
        slot: u32,
        /// Where to.
        path: Vec<u8>,
        /// Its inode.
        ino: u64,
        /// The identity that it keeps, if that is not its own.
        shown: Option<Shown>,
    },
    /// Moves an object to where nothing is.
    Move {
        /// From where.
        from: Vec<u8>,
        /// Where to.
        to: Vec<u8>,
        /// Its inode.
        ino: u64,
        /// The identity that it keeps, if that is not its own.
        shown: Option<Shown>,
    },
    /// A staged object takes the place of another, and that one its place in the old directory.
    Exchange {
        /// The inode of the new object.
        ino_new: u64,
        /// The place.
        path: Vec<u8>,
        /// The inode of the object that is there.
        ino_old: u64,
        /// The number in the old directory of the new object before, of the old one after it.
        keep: u32,
        /// The identity that the new object keeps.
        shown: Option<Shown>,
    },
    /// A staged object goes to where nothing is.
    Place {
        /// The object.
        slot: u32,
        /// Its inode.
        ino: u64,
        /// Where to.
        path: Vec<u8>,
        /// The identity that it keeps.
        shown: Option<Shown>,
    },
    /// Gives a file another name, where nothing is.
    Link {
        /// A name that it has.
        from: Vec<u8>,
        /// The new one.
        to: Vec<u8>,
        /// Its inode.
        ino: u64,
        /// The identity that it shows from now on; without one it keeps the ctime that it shows.
        shown: Option<Shown>,
    },
    /// Sets attributes in place: of directories, and of files whose content stays.
    SetAttr {
        /// Which.
        path: Vec<u8>,
        /// Its inode.
        ino: u64,
        /// To what.
        set: AttrSet,
        /// The identity that it keeps.
        shown: Option<Shown>,
    },
    /// Sets a directory's times, after its entries have changed.
    Times {
        /// Which.
        path: Vec<u8>,
        /// Last read.
        atime: Time,
        /// Last change of its entries.
        mtime: Time,
        /// The identity that it keeps.
        shown: Option<Shown>,
    },
}

/// What turns one version of the base into the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its number, never used twice in the life of a store.
    pub id: u64,
    /// Whether some view is pinned to the version that ends or to an older one, so that what is
    /// replaced must be kept. It is kept anyway while older versions have events.
    pub keep_old: bool,
    /// What to do, in order.
    pub steps: Vec<Step>,
}

/// An object that a plan changes, as it was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// Where it was.
    pub path: Vec<u8>,
    /// Which object.
    pub ident: Ident,
    /// Its attributes as they were shown.
    pub attr: Attr,
    /// Its extended attributes, where the plan changes them.
    pub xattrs: Option<Xattrs>,
}

/// A plan that is on disk and can be carried out, again and again until it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The plan.
    pub plan: Plan,
    /// The version that it leads to.
    pub version: Version,
    /// What it changes, as it was before.
    pub before: Vec<Before>,
}

impl Sealed {
    /// The bytes of the plan file.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.buf.extend_from_slice(MAGIC);
        writer.u32(0);
        writer.u64(self.version);
        writer.u64(self.plan.id);
        writer.u8(self.plan.keep_old as u8);
        writer.u32(u32::try_from(self.plan.steps.len()).expect("steps are counted in 32 bits"));
        self.plan
            .steps
            .iter()
            .for_each(|step| put_step(&mut writer, step));
        writer.u32(u32::try_from(self.before.len()).expect("befores are counted in 32 bits"));
        for before in &self.before {
            writer.bytes(&before.path);
            writer.ident(before.ident);
            writer.attr(&before.attr);
            writer.option(before.xattrs.as_ref(), |writer, xattrs| {
                writer.pairs(xattrs)
            });
        }
        let crc = crc32fast::hash(&writer.buf[12..]);
        writer.buf[8..12].copy_from_slice(&crc.to_le_bytes());
        writer.buf
    }

    /// The plan with exactly these bytes. `id` is for the error.
    pub fn decode(id: u64, bytes: &[u8]) -> Result<Sealed, BaseError> {
        if bytes.len() < 12 || &bytes[..8] != MAGIC {
            return Err(BaseError::PlanDamaged { id, offset: 0 });
        }
        if crc32fast::hash(&bytes[12..]).to_le_bytes() != bytes[8..12] {
            return Err(BaseError::PlanDamaged { id, offset: 8 });
        }
        let damaged = |Damaged(at)| BaseError::PlanDamaged {
            id,
            offset: at + 12,
        };
        read_sealed(&bytes[12..]).map_err(damaged)
    }
}

fn read_sealed(bytes: &[u8]) -> Result<Sealed, Damaged> {
    let mut reader = Reader::new(bytes);
    let version = reader.u64()?;
    let id = reader.u64()?;
    let keep_old = reader.u8()? != 0;
    let mut steps = Vec::new();
    for _ in 0..reader.u32()? {
        steps.push(get_step(&mut reader)?);
    }
    let mut before = Vec::new();
    for _ in 0..reader.u32()? {
        before.push(Before {
            path: reader.bytes()?,
            ident: reader.ident()?,
            attr: reader.attr()?,
            xattrs: reader.option(Reader::pairs)?,
        });
    }
    reader.finish()?;
    Ok(Sealed {
        plan: Plan {
            id,
            keep_old,
            steps,
        },
        version,
        before,
    })
}

fn get_shown(reader: &mut Reader<'_>) -> Result<Option<Shown>, Damaged> {
    reader.option(|reader| {
        Ok(Shown {
            fid: FileId(reader.u32()?),
            ctime: reader.time()?,
        })
    })
}

/// A field of a step, in bytes.
enum Field<'a> {
    Path(&'a [u8]),
    Ino(u64),
    Slot(u32),
    Time(Time),
    Attrs(&'a AttrSet),
    Shown(&'a Option<Shown>),
}

#[rustfmt::skip] // One line per field list, next to get_step.
fn put_step(writer: &mut Writer, step: &Step) {
    use Field::{Attrs, Ino, Path, Shown, Slot};
    let mut put = |tag, fields: &[Field<'_>]| {
        writer.u8(tag);
        fields.iter().for_each(|field| put_field(writer, field));
    };
    match step {
        Step::Evict { path, ino, keep } => put(0, &[Path(path), Ino(*ino), Slot(*keep)]),
        Step::Park { path, ino, slot } => put(1, &[Path(path), Ino(*ino), Slot(*slot)]),
        Step::Unpark { slot, path, ino, shown } => {
            put(2, &[Slot(*slot), Path(path), Ino(*ino), Shown(shown)]);
        }
        Step::Move { from, to, ino, shown } => {
            put(3, &[Path(from), Path(to), Ino(*ino), Shown(shown)]);
        }
        Step::Exchange { ino_new, path, ino_old, keep, shown } => {
            let (new, old) = (Ino(*ino_new), Ino(*ino_old));
            put(4, &[new, Path(path), old, Slot(*keep), Shown(shown)]);
        }
        Step::Place { slot, ino, path, shown } => {
            put(5, &[Slot(*slot), Ino(*ino), Path(path), Shown(shown)]);
        }
        Step::Link { from, to, ino, shown } => {
            put(6, &[Path(from), Path(to), Ino(*ino), Shown(shown)]);
        }
        Step::SetAttr { path, ino, set, shown } => {
            put(7, &[Path(path), Ino(*ino), Attrs(set), Shown(shown)]);
        }
        Step::Times { path, atime, mtime, shown } => {
            put(8, &[Path(path), Field::Time(*atime), Field::Time(*mtime), Shown(shown)]);
        }
    }
}

fn put_field(writer: &mut Writer, field: &Field<'_>) {
    match *field {
        Field::Path(path) => writer.bytes(path),
        Field::Ino(ino) => writer.u64(ino),
        Field::Slot(slot) => writer.u32(slot),
        Field::Time(time) => writer.time(time),
        Field::Attrs(set) => {
            for number in [set.mode, set.uid, set.gid] {
                writer.u32(number);
            }
            writer.time(set.atime);
            writer.time(set.mtime);
            writer.pairs(&set.set);
            let count = u32::try_from(set.removed.len());
            writer.u32(count.expect("the number of xattrs fits 32 bits"));
            set.removed.iter().for_each(|name| writer.bytes(name));
        }
        Field::Shown(shown) => writer.option(shown.as_ref(), |writer, shown| {
            writer.u32(shown.fid.0);
            writer.time(shown.ctime);
        }),
    }
}

fn get_step(reader: &mut Reader<'_>) -> Result<Step, Damaged> {
    Ok(match reader.u8()? {
        0 => Step::Evict {
            path: reader.bytes()?,
            ino: reader.u64()?,
            keep: reader.u32()?,
        },
        1 => Step::Park {
            path: reader.bytes()?,
            ino: reader.u64()?,
            slot: reader.u32()?,
        },
        2 => Step::Unpark {
            slot: reader.u32()?,
            path: reader.bytes()?,
            ino: reader.u64()?,
            shown: get_shown(reader)?,
        },
        3 => Step::Move {
            from: reader.bytes()?,
            to: reader.bytes()?,
            ino: reader.u64()?,
            shown: get_shown(reader)?,
        },
        4 => Step::Exchange {
            ino_new: reader.u64()?,
            path: reader.bytes()?,
            ino_old: reader.u64()?,
            keep: reader.u32()?,
            shown: get_shown(reader)?,
        },
        5 => Step::Place {
            slot: reader.u32()?,
            ino: reader.u64()?,
            path: reader.bytes()?,
            shown: get_shown(reader)?,
        },
        6 => Step::Link {
            from: reader.bytes()?,
            to: reader.bytes()?,
            ino: reader.u64()?,
            shown: get_shown(reader)?,
        },
        7 => Step::SetAttr {
            path: reader.bytes()?,
            ino: reader.u64()?,
            set: get_attr_set(reader)?,
            shown: get_shown(reader)?,
        },
        8 => Step::Times {
            path: reader.bytes()?,
            atime: reader.time()?,
            mtime: reader.time()?,
            shown: get_shown(reader)?,
        },
        _ => return reader.damaged(),
    })
}

fn get_attr_set(reader: &mut Reader<'_>) -> Result<AttrSet, Damaged> {
    Ok(AttrSet {
        mode: reader.u32()?,
        uid: reader.u32()?,
        gid: reader.u32()?,
        atime: reader.time()?,
        mtime: reader.time()?,
        set: reader.pairs()?,
        removed: (0..reader.u32()?)
            .map(|_| reader.bytes())
            .collect::<Result<_, _>>()?,
    })
}
