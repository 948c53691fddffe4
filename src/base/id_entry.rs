//! One exception from the rule that a base object's id is its inode number, and its bytes.

use crate::tree::{FileId, Time};

use super::error::BaseError;
use super::wire::{Damaged, Reader, Writer};
use super::{Ident, Version};

/// In place of an object's own ctime: something of ours was about to move that when the entry was
/// made, so whatever it is when it is looked at next is what we made of it.
pub const MOVING: Time = Time {
    sec: i64::MIN,
    nsec: 0,
};

/// One exception: an object whose id is not its inode number, or that does not show its own ctime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdEntry {
    /// The inode.
    pub ino: u64,
    /// When it was created; an entry holds only for an inode that still has this birth time.
    pub btime: Option<Time>,
    /// Its id.
    pub fid: FileId,
    /// `(shown, real)`: it shows the first as long as its own ctime is the second, or while that is
    /// [`MOVING`].
    pub ctime: Option<(Time, Time)>,
    /// The version from which on it has that id; 0 for exceptions that publish did not make.
    pub since: Version,
}

impl IdEntry {
    /// Which object it is of.
    pub fn ident(&self) -> Ident {
        Ident {
            ino: self.ino,
            btime: self.btime,
        }
    }

    /// Appends the entry's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer {
            buf: std::mem::take(out),
        };
        writer.ident(Ident {
            ino: self.ino,
            btime: self.btime,
        });
        writer.u32(self.fid.0);
        writer.option(self.ctime, |writer, (shown, real)| {
            writer.time(shown);
            writer.time(real);
        });
        writer.u64(self.since);
        *out = writer.buf;
    }

    /// The entry with exactly these bytes.
    pub fn decode(bytes: &[u8]) -> Result<IdEntry, BaseError> {
        let entry = || -> Result<IdEntry, Damaged> {
            let mut reader = Reader::new(bytes);
            let ident = reader.ident()?;
            let fid = FileId(reader.u32()?);
            let ctime = reader.option(|reader| Ok((reader.time()?, reader.time()?)))?;
            let since = reader.u64()?;
            reader.finish()?;
            Ok(IdEntry {
                ino: ident.ino,
                btime: ident.btime,
                fid,
                ctime,
                since,
            })
        };
        entry().map_err(|Damaged(offset)| BaseError::RecordDamaged { offset })
    }
}
