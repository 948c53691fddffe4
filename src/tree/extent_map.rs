//! Where the bytes of a file are: its extents, and holes between them.
//!
//! An [`ExtentMap`] is sorted by file offset, its extents do not overlap, and what no extent covers
//! reads as zeros. It is byte-granular: writing one byte into a base file splits one extent and
//! copies nothing. A map of one extent, the usual small file, is stored inline; larger ones are
//! persistent maps, so that a fork shares them, and know what they add up to.

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};

use super::{Extent, Piece, Source};

/// One form for each number of extents, so that maps of the same extents are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Repr {
    #[default]
    Empty,
    One(Box<Extent>),
    Many(Box<Many>),
}

/// Two extents or more, with what they add up to: a file may have hundreds of thousands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Many {
    map: OrdMap<u64, Extent>,
    bytes: u64,
    own_bytes: u64,
}

impl Many {
    fn put(&mut self, extent: Extent) {
        self.bytes += extent.len;
        self.own_bytes += extent.own_bytes();
        if let Some(old) = self.map.insert(extent.off, extent) {
            self.dropped(&old);
        }
    }

    fn remove(&mut self, off: u64) {
        if let Some(old) = self.map.remove(&off) {
            self.dropped(&old);
        }
    }

    fn dropped(&mut self, old: &Extent) {
        self.bytes -= old.len;
        self.own_bytes -= old.own_bytes();
    }
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
            Repr::Many(many) => many.map.len(),
        }
    }

    /// Whether every byte is a hole.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that extents cover.
    pub fn bytes(&self) -> u64 {
        match &self.0 {
            Repr::Empty => 0,
            Repr::One(one) => one.len,
            Repr::Many(many) => many.bytes,
        }
    }

    /// Bytes of the store that the extents refer to.
    pub fn own_bytes(&self) -> u64 {
        match &self.0 {
            Repr::Empty => 0,
            Repr::One(one) => one.own_bytes(),
            Repr::Many(many) => many.own_bytes,
        }
    }

    /// How to make `newer` of this map, where both hold several extents: those to take out (by
    /// their offsets) and those to put in. Costs the difference.
    pub fn edit_to(&self, newer: &ExtentMap) -> Option<(Vec<u64>, Vec<Extent>)> {
        let (Repr::Many(old), Repr::Many(new)) = (&self.0, &newer.0) else {
            return None;
        };
        let (mut removed, mut put) = (Vec::new(), Vec::new());
        for item in old.map.diff(&new.map) {
            match item {
                DiffItem::Add(_, extent) => put.push(extent.clone()),
                DiffItem::Remove(off, _) => removed.push(*off),
                DiffItem::Update { old, new } => {
                    removed.push(*old.0);
                    put.push(new.1.clone());
                }
            }
        }
        Some((removed, put))
    }

    /// Takes out the extents at the offsets `removed` and puts in `put`, each in place of whatever
    /// its range held.
    pub fn edit(&mut self, removed: &[u64], put: &[Extent]) {
        removed.iter().for_each(|off| self.remove(*off));
        for extent in put {
            self.cut(extent.off, extent.end());
            self.put(extent.clone());
        }
    }

    /// The extents in order.
    pub fn iter(&self) -> Box<dyn Iterator<Item = &Extent> + '_> {
        match &self.0 {
            Repr::Empty => Box::new(std::iter::empty()),
            Repr::One(one) => Box::new(std::iter::once(&**one)),
            Repr::Many(many) => Box::new(many.map.values()),
        }
    }

    /// The single extent of a map that has just one.
    pub fn single(&self) -> Option<&Extent> {
        match &self.0 {
            Repr::One(one) => Some(one),
            Repr::Empty | Repr::Many(_) => None,
        }
    }

    /// The extent that covers byte `off`.
    pub fn at(&self, off: u64) -> Option<&Extent> {
        let found = match &self.0 {
            Repr::Empty => None,
            Repr::One(one) => Some(&**one),
            Repr::Many(many) => many.map.get_prev(&off).map(|(_, e)| e),
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
            Repr::Many(many) => {
                let first = match many.map.get_prev(&start) {
                    Some((off, e)) if e.end() > start => *off,
                    _ => start,
                };
                let reached = many.map.range(first..end);
                reached.map(|(_, e)| e.clone()).collect()
            }
        }
    }

    /// The first of the extents and holes of `start..end`, which must not be empty.
    fn first_piece(&self, start: u64, end: u64) -> Piece {
        debug_assert!(start < end);
        if let Some(extent) = self.at(start) {
            let part = extent.part(start, end);
            return Piece {
                off: part.off,
                len: part.len,
                extent: Some(part),
            };
        }
        let next = match &self.0 {
            Repr::Empty => None,
            Repr::One(one) => Some(one.off).filter(|off| *off > start),
            Repr::Many(many) => many.map.get_next(&start).map(|(off, _)| *off),
        };
        Piece {
            off: start,
            len: next.map_or(end, |next| next.min(end)) - start,
            extent: None,
        }
    }

    /// `start..end` as extents and holes without gaps, looked up as they are asked for.
    pub fn pieces(&self, start: u64, end: u64) -> impl Iterator<Item = Piece> + '_ {
        let mut at = start;
        std::iter::from_fn(move || {
            let piece = (at < end).then(|| self.first_piece(at, end))?;
            at += piece.len;
            Some(piece)
        })
    }

    /// Where as many pieces of `start..end` end as weigh `most` together; one of them at least.
    pub fn end_within(&self, start: u64, end: u64, most: usize) -> u64 {
        let (mut at, mut sum) = (start, 0);
        for piece in self.pieces(start, end) {
            sum += piece.extent.as_ref().map_or(0, Extent::weight);
            if sum > most && at > start {
                break;
            }
            at += piece.len;
        }
        at
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
            Repr::Many(many) => {
                many.remove(off);
                if many.map.len() == 1
                    && let Some((_, last)) = many.map.get_min()
                {
                    self.0 = Repr::One(Box::new(last.clone()));
                }
            }
        }
    }

    fn put(&mut self, extent: Extent) {
        match &mut self.0 {
            Repr::Empty => self.0 = Repr::One(Box::new(extent)),
            Repr::One(one) if one.off == extent.off => **one = extent,
            Repr::One(one) => {
                let mut many = Box::new(Many::default());
                many.put((**one).clone());
                many.put(extent);
                self.0 = Repr::Many(many);
            }
            Repr::Many(many) => many.put(extent),
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
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::tree::Origin;
    use crate::tree::extent::tests::blob;

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
                let held = model.iter().flatten().count() as u64;
                prop_assert_eq!((map.bytes(), map.own_bytes()), (held, held));
                let hole = |off, end| Piece { off, len: end - off, extent: None };
                let (mut at, mut whole) = (0, Vec::new());
                for extent in map.iter().cloned() {
                    let Extent { off, len, .. } = extent;
                    whole.extend((at < off).then(|| hole(at, off)));
                    at = extent.end();
                    whole.push(Piece { off, len, extent: Some(extent) });
                }
                whole.extend((at < 100).then(|| hole(at, 100)));
                prop_assert_eq!(map.pieces(0, 100).collect::<Vec<_>>(), whole);
                let list: Vec<_> = map.iter().cloned().collect();
                prop_assert_eq!(&map, &list.iter().cloned().collect::<ExtentMap>());
                for pair in list.windows(2) {
                    prop_assert!(pair[0].end() <= pair[1].off);
                    prop_assert!(!pair[0].continues_in(&pair[1]) , "neighbours are joined");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn an_edit_makes_one_map_of_another(
            first in prop::collection::vec((0u64..60, 1u64..20, 0u64..4), 1..20),
            then in prop::collection::vec((0u64..60, 1u64..20, 0u64..4), 1..20),
        ) {
            let mut old = ExtentMap::new();
            let run = |map: &mut ExtentMap, ops: Vec<(u64, u64, u64)>| {
                for (off, len, id) in ops {
                    match id {
                        0 => map.cut(off, off + len),
                        id => map.replace(blob(off, len, id)),
                    };
                }
            };
            run(&mut old, first);
            let mut new = old.clone();
            run(&mut new, then);
            if let Some((removed, put)) = old.edit_to(&new) {
                old.edit(&removed, &put);
                prop_assert_eq!(&old, &new);
                prop_assert_eq!(old.bytes(), new.bytes());
            } else {
                prop_assert!(old.len() < 2 || new.len() < 2);
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
    fn only_a_segment_with_room_is_lengthened() {
        let mut map = ExtentMap::of(blob(0, 10, 1));
        let before = map.clone();
        for (off, more) in [(10, 5), (7, 1), (10, u64::MAX), (u64::MAX, 1)] {
            assert!(map.lengthen(off, more).is_empty() && map == before);
        }
    }

    #[test]
    fn extents_that_overlap_are_not_read() {
        let overlapping = vec![blob(0, 10, 1), blob(9, 10, 1)];
        let bytes = postcard::to_stdvec(&overlapping).unwrap();
        assert!(postcard::from_bytes::<ExtentMap>(&bytes).is_err());
        let good = vec![blob(0, 10, 1), blob(10, 10, 2)];
        let bytes = postcard::to_stdvec(&good).unwrap();
        let map: ExtentMap = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(map.iter().cloned().collect::<Vec<_>>(), good);
    }
}
