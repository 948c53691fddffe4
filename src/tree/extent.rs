//! Where the bytes of a file are: extents over a base file, a data segment or a blob, and holes.
//!
//! An [`ExtentMap`] is sorted by file offset, its extents do not overlap, and what no extent covers
//! reads as zeros. It is byte-granular: writing one byte into a base file splits one extent and
//! copies nothing. A map of one extent, the usual small file, is stored inline; larger ones are
//! persistent maps, so that a fork shares them.
//!
//! **Epochs.** A branch has an epoch number that changes at each fork of it. An extent made in the
//! branch's present epoch is reachable from that branch alone and may be overwritten in place; any
//! other may be shared with a fork and may not.

use std::sync::Arc;

use imbl::OrdMap;
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

    /// The part of it within `start..end`, which must not be empty.
    fn part(&self, start: u64, end: u64) -> Extent {
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
    fn continues_in(&self, next: &Extent) -> bool {
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

    fn joined(&self, next: &Extent) -> Extent {
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

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Repr {
    #[default]
    Empty,
    One(Box<Extent>),
    Many(OrdMap<u64, Extent>),
}

/// The extents of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtentMap(Repr);

impl ExtentMap {
    /// No extents: every byte is a hole.
    pub fn new() -> ExtentMap {
        ExtentMap::default()
    }

    /// The map with one extent.
    pub fn of(extent: Extent) -> ExtentMap {
        ExtentMap(Repr::One(Box::new(extent)))
    }

    /// Number of extents.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Empty => 0,
            Repr::One(_) => 1,
            Repr::Many(map) => map.len(),
        }
    }

    /// Whether every byte is a hole.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The extents in order.
    pub fn iter(&self) -> Box<dyn Iterator<Item = &Extent> + '_> {
        match &self.0 {
            Repr::Empty => Box::new(std::iter::empty()),
            Repr::One(one) => Box::new(std::iter::once(&**one)),
            Repr::Many(map) => Box::new(map.values()),
        }
    }

    /// The single extent of a map that has just one.
    pub fn single(&self) -> Option<&Extent> {
        match &self.0 {
            Repr::One(one) => Some(one),
            Repr::Many(map) if map.len() == 1 => map.get_min().map(|(_, e)| e),
            _ => None,
        }
    }

    /// The extent that covers byte `off`.
    pub fn at(&self, off: u64) -> Option<&Extent> {
        let found = match &self.0 {
            Repr::Empty => None,
            Repr::One(one) => Some(&**one),
            Repr::Many(map) => map.get_prev(&off).map(|(_, e)| e),
        };
        found.filter(|e| e.off <= off && off < e.end())
    }

    /// The extent that ends just before byte `off`.
    pub fn ending_at(&self, off: u64) -> Option<&Extent> {
        off.checked_sub(1)
            .and_then(|last| self.at(last))
            .filter(|e| e.end() == off)
    }

    /// The extents that reach into `start..end`, whole, in order.
    fn overlapping(&self, start: u64, end: u64) -> Vec<Extent> {
        if start >= end {
            return Vec::new();
        }
        match &self.0 {
            Repr::Empty => Vec::new(),
            Repr::One(one) if one.off < end && start < one.end() => vec![(**one).clone()],
            Repr::One(_) => Vec::new(),
            Repr::Many(map) => {
                let first = match map.get_prev(&start) {
                    Some((off, e)) if e.end() > start => *off,
                    _ => start,
                };
                map.range(first..end).map(|(_, e)| e.clone()).collect()
            }
        }
    }

    /// `start..end` as a gapless list of extents and holes.
    pub fn pieces(&self, start: u64, end: u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut at = start;
        for extent in self.overlapping(start, end) {
            let part = extent.part(start, end);
            if part.off > at {
                pieces.push(Piece {
                    off: at,
                    len: part.off - at,
                    extent: None,
                });
            }
            at = part.end();
            pieces.push(Piece {
                off: part.off,
                len: part.len,
                extent: Some(part),
            });
        }
        if at < end {
            pieces.push(Piece {
                off: at,
                len: end - at,
                extent: None,
            });
        }
        pieces
    }

    /// Makes `start..end` a hole and returns what was cut out of it.
    pub fn cut(&mut self, start: u64, end: u64) -> Vec<Extent> {
        let overlapping = self.overlapping(start, end);
        let mut cut = Vec::with_capacity(overlapping.len());
        for extent in overlapping {
            self.remove(extent.off);
            if extent.off < start {
                self.put(extent.part(extent.off, start));
            }
            if extent.end() > end {
                self.put(extent.part(end, extent.end()));
            }
            cut.push(extent.part(start, end));
        }
        cut
    }

    /// Puts `extent` in place of whatever its range held, joining it with its neighbours where they
    /// continue each other, and returns what it replaced.
    pub fn replace(&mut self, extent: Extent) -> Vec<Extent> {
        let cut = self.cut(extent.off, extent.end());
        let mut extent = extent;
        if let Some(before) = self.ending_at(extent.off).cloned()
            && before.continues_in(&extent)
        {
            self.remove(before.off);
            extent = before.joined(&extent);
        }
        if let Some(after) = self.at(extent.end()).cloned()
            && extent.continues_in(&after)
        {
            self.remove(after.off);
            extent = extent.joined(&after);
        }
        self.put(extent);
        cut
    }

    /// Lengthens the extent that ends at `off` by `more` bytes, within its segment's room.
    ///
    /// Does nothing where no segment extent with that room ends there, which a journal may claim.
    pub fn lengthen(&mut self, off: u64, more: u64) -> Vec<Extent> {
        let Some(mut extent) = self.ending_at(off).cloned() else {
            return Vec::new();
        };
        let len = extent.len.saturating_add(more);
        let fits = |room| u64::from(room) >= len && off.checked_add(more).is_some();
        if !matches!(extent.source, Source::Segment { room, .. } if fits(room)) {
            return Vec::new();
        }
        let cut = self.cut(off, off + more);
        extent.len = len;
        self.put(extent);
        cut
    }

    /// Rewrites every extent's source; used when what they refer to has moved.
    pub fn map_sources(&self, f: &mut dyn FnMut(&Extent) -> Option<Source>) -> ExtentMap {
        let mut map = ExtentMap::new();
        for extent in self.iter() {
            let source = f(extent).unwrap_or_else(|| extent.source.clone());
            map.put(Extent {
                source,
                ..extent.clone()
            });
        }
        map
    }

    fn remove(&mut self, off: u64) {
        match &mut self.0 {
            Repr::Empty => {}
            Repr::One(one) if one.off == off => self.0 = Repr::Empty,
            Repr::One(_) => {}
            Repr::Many(map) => {
                map.remove(&off);
                if map.is_empty() {
                    self.0 = Repr::Empty;
                }
            }
        }
    }

    fn put(&mut self, extent: Extent) {
        match &mut self.0 {
            Repr::Empty => self.0 = Repr::One(Box::new(extent)),
            Repr::One(one) if one.off == extent.off => **one = extent,
            Repr::One(one) => {
                let mut map = OrdMap::unit(one.off, (**one).clone());
                map.insert(extent.off, extent);
                self.0 = Repr::Many(map);
            }
            Repr::Many(map) => {
                map.insert(extent.off, extent);
            }
        }
    }
}

impl FromIterator<Extent> for ExtentMap {
    fn from_iter<I: IntoIterator<Item = Extent>>(extents: I) -> ExtentMap {
        let mut map = ExtentMap::new();
        for extent in extents {
            map.put(extent);
        }
        map
    }
}

impl Serialize for ExtentMap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().collect::<Vec<_>>())
    }
}

impl<'de> Deserialize<'de> for ExtentMap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let extents = Vec::<Extent>::deserialize(deserializer)?;
        match extents.is_sorted_by(|a, b| a.end() <= b.off) {
            true => Ok(extents.into_iter().collect()),
            false => Err(serde::de::Error::custom("extents that overlap")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blob(off: u64, len: u64, id: u64) -> Extent {
        Extent {
            off,
            len,
            epoch: 1,
            source: Source::Blob { id, at: off },
        }
    }

    fn covers(map: &ExtentMap, size: u64) -> Vec<Option<(u64, u64)>> {
        let mut bytes = Vec::new();
        for piece in map.pieces(0, size) {
            for i in 0..piece.len {
                bytes.push(piece.extent.as_ref().map(|e| match e.source {
                    Source::Blob { id, at } => (id, at + i),
                    _ => unreachable!(),
                }));
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn behaves_like_an_array_of_bytes(
            ops in prop::collection::vec((0u64..60, 1u64..20, 0u64..4), 1..40),
        ) {
            let mut map = ExtentMap::new();
            let mut model = vec![None; 100];
            for (off, len, id) in ops {
                let replaced = match id {
                    0 => map.cut(off, off + len),
                    id => map.replace(blob(off, len, id)),
                };
                let had = model[off as usize..(off + len) as usize].iter().flatten().count() as u64;
                prop_assert_eq!(replaced.iter().map(|e| e.len).sum::<u64>(), had);
                for at in off..off + len {
                    model[at as usize] = (id != 0).then_some((id, at));
                }
                prop_assert_eq!(&covers(&map, 100), &model);
                let list: Vec<_> = map.iter().cloned().collect();
                for pair in list.windows(2) {
                    prop_assert!(pair[0].end() <= pair[1].off);
                    prop_assert!(!pair[0].continues_in(&pair[1]) , "neighbours are joined");
                }
            }
        }
    }

    #[test]
    fn one_byte_into_a_base_file_makes_three_extents() {
        let origin = Arc::new(Origin {
            path: b"f"[..].into(),
            ino: 9,
            btime: None,
            stamp: 0,
        });
        let whole = Extent {
            off: 0,
            len: 1 << 32,
            epoch: 0,
            source: Source::Base { origin, at: 0 },
        };
        let mut map = ExtentMap::of(whole);
        map.replace(blob(1 << 20, 1, 7));
        assert_eq!(map.len(), 3);
        assert_eq!(map.at((1 << 20) + 1).unwrap().off, (1 << 20) + 1);
    }

    #[test]
    fn a_segment_extent_grows_into_its_room() {
        let source = Source::Segment { at: 64, room: 100 };
        let mut map = ExtentMap::of(Extent {
            off: 0,
            len: 10,
            epoch: 1,
            source,
        });
        map.lengthen(10, 20);
        assert_eq!(map.single().map(|e| e.len), Some(30));
        map.cut(5, 6);
        let tail = map.at(29).unwrap();
        assert_eq!(tail.source, Source::Segment { at: 70, room: 94 });
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
        let overlapping = vec![blob(0, 10, 1), blob(9, 10, 1)];
        let bytes = postcard::to_stdvec(&overlapping).unwrap();
        assert!(postcard::from_bytes::<ExtentMap>(&bytes).is_err());
        let good = vec![blob(0, 10, 1), blob(10, 10, 2)];
        let bytes = postcard::to_stdvec(&good).unwrap();
        let map: ExtentMap = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(map.iter().cloned().collect::<Vec<_>>(), good);
    }

    #[test]
    fn only_a_segment_with_room_is_lengthened() {
        let mut map = ExtentMap::of(blob(0, 10, 1));
        let before = map.clone();
        for (off, more) in [(10, 5), (7, 1), (10, u64::MAX), (u64::MAX, 1)] {
            assert!(map.lengthen(off, more).is_empty() && map == before);
        }
    }
}
