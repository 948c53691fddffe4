//! A range of a file and where its bytes are: in a base file, a data segment or a blob.
//!
//! **Epochs.** A branch has an epoch number that changes at each fork of it. An extent made in the
//! branch's present epoch is reachable from that branch alone and may be overwritten in place; any
//! other may be shared with a fork and may not.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A base file that content or a directory comes from, as it was when it was copied up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Path below the base's root at the view's base version, without a leading slash.
    pub path: Box<[u8]>,
    /// Inode number in the base.
    pub ino: u64,
    /// Birth time, where the base's filesystem has one: tells a reused inode number apart.
    pub btime: Option<super::Time>,
    /// Hash of what a change behind the mount would alter (inode, size, times).
    pub stamp: u64,
}

/// The largest offset that a file can have (off_t).
const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// Where an extent's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A range of a base file.
    Base {
        /// The file.
        origin: Arc<Origin>,
        /// Offset in it.
        at: u64,
    },
    /// A range of the data segments.
    Segment {
        /// Address in the segments' address space.
        at: u64,
        /// Bytes from `at` on that are set aside for this extent; at least its length.
        room: u32,
    },
    /// A range of a blob.
    Blob {
        /// The blob.
        id: u64,
        /// Offset in it.
        at: u64,
    },
}

impl Source {
    /// The source of what lies `skip` bytes further on.
    fn advanced(&self, skip: u64) -> Source {
        match self {
            Source::Base { origin, at } => Source::Base {
                origin: origin.clone(),
                at: at + skip,
            },
            Source::Segment { at, room } => Source::Segment {
                at: at + skip,
                room: room - skip as u32,
            },
            Source::Blob { id, at } => Source::Blob {
                id: *id,
                at: at + skip,
            },
        }
    }
}

/// `len` bytes of a file from offset `off` on.
///
/// One that is read from a journal is checked: it ends within what a file, a segment or a blob can
/// have, and a segment's room holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Extent {
    /// Offset in the file.
    pub off: u64,
    /// Length in bytes, never 0.
    pub len: u64,
    /// The branch's epoch when it was made.
    pub epoch: u64,
    /// Where the bytes are.
    pub source: Source,
}

/// An [`Extent`] as it is in a journal, not yet checked.
#[derive(Deserialize)]
struct Written {
    off: u64,
    len: u64,
    epoch: u64,
    source: Source,
}

/// An extent that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("an extent of {len} bytes at {off} cannot be")]
struct NoExtent {
    off: u64,
    len: u64,
}

impl TryFrom<Written> for Extent {
    type Error = NoExtent;

    fn try_from(written: Written) -> Result<Extent, NoExtent> {
        let Written {
            off,
            len,
            epoch,
            source,
        } = written;
        let (at, holds) = match &source {
            Source::Base { at, .. } | Source::Blob { at, .. } => (*at, true),
            Source::Segment { at, room } => (*at, u64::from(*room) >= len),
        };
        let ends = |at: u64| at.checked_add(len).is_some_and(|end| end <= FILE_BYTES_MAX);
        match len > 0 && holds && ends(off) && ends(at) {
            true => Ok(Extent {
                off,
                len,
                epoch,
                source,
            }),
            false => Err(NoExtent { off, len }),
        }
    }
}

impl Extent {
    /// The offset behind its last byte.
    pub fn end(&self) -> u64 {
        self.off + self.len
    }

    /// Bytes of the store that it refers to.
    pub fn own_bytes(&self) -> u64 {
        match self.source {
            Source::Base { .. } => 0,
            Source::Segment { .. } | Source::Blob { .. } => self.len,
        }
    }

    /// At least the bytes that it takes in a record.
    pub fn weight(&self) -> usize {
        const VARINTS: usize = 48;
        VARINTS
            + match &self.source {
                Source::Base { origin, .. } => origin.path.len() + 48,
                Source::Segment { .. } | Source::Blob { .. } => 0,
            }
    }

    /// The part of it within `start..end`, which must not be empty.
    pub(super) fn part(&self, start: u64, end: u64) -> Extent {
        let off = self.off.max(start);
        let end = self.end().min(end);
        debug_assert!(off < end);
        let mut source = self.source.advanced(off - self.off);
        if end < self.end()
            && let Source::Segment { room, .. } = &mut source
        {
            *room = (end - off) as u32;
        }
        Extent {
            off,
            len: end - off,
            epoch: self.epoch,
            source,
        }
    }

    /// Whether `next` goes on where this one ends, in the file and at the source.
    pub(super) fn continues_in(&self, next: &Extent) -> bool {
        if self.end() != next.off || self.epoch != next.epoch {
            return false;
        }
        match (&self.source, &next.source) {
            (Source::Base { origin, at }, Source::Base { origin: o, at: a }) => {
                (Arc::ptr_eq(origin, o) || origin == o) && at + self.len == *a
            }
            (Source::Blob { id, at }, Source::Blob { id: i, at: a }) => {
                id == i && at + self.len == *a
            }
            (Source::Segment { at, room }, Source::Segment { at: a, room: r }) => {
                at + self.len == *a
                    && u64::from(*room) == self.len
                    && room.checked_add(*r).is_some()
            }
            _ => false,
        }
    }

    pub(super) fn joined(&self, next: &Extent) -> Extent {
        let mut source = self.source.clone();
        if let (Source::Segment { room, .. }, Source::Segment { room: more, .. }) =
            (&mut source, &next.source)
        {
            *room += more;
        }
        Extent {
            off: self.off,
            len: self.len + next.len,
            epoch: self.epoch,
            source,
        }
    }
}

/// One stretch of a file that is being read: where its bytes are, or `None` for a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset in the file.
    pub off: u64,
    /// Length in bytes, never 0.
    pub len: u64,
    /// The extent (cut to this piece), or a hole.
    pub extent: Option<Extent>,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn blob(off: u64, len: u64, id: u64) -> Extent {
        Extent {
            off,
            len,
            epoch: 1,
            source: Source::Blob { id, at: off },
        }
    }

    #[test]
    fn an_extent_that_cannot_be_is_not_read() {
        let mut bad = vec![
            blob(u64::MAX - 5, 10, 1),
            blob(0, 0, 1),
            blob(0, u64::MAX, 1),
        ];
        bad.push(Extent {
            source: Source::Segment { at: 0, room: 9 },
            ..blob(0, 10, 1)
        });
        for extent in bad {
            let bytes = postcard::to_stdvec(&extent).unwrap();
            assert!(
                postcard::from_bytes::<Extent>(&bytes).is_err(),
                "{extent:?}"
            );
        }
    }
}
