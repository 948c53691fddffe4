//! The names of one base directory at one version, in the order in which readdir hands them out.
//!
//! Compact: 24 bytes and the name itself per entry, so that listings of large directories can be
//! cached. `.` and `..` are never in it.

use crate::tree::{FileId, Kind, name_hash};

struct Entry {
    hash: u64,
    start: u32,
    len: u16,
    kind: Kind,
    fid: FileId,
}

/// One name of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// Its readdir cookie, see [`name_hash`].
    pub hash: u64,
    /// The name.
    pub name: &'a [u8],
    /// The type of what it names.
    pub kind: Kind,
    /// The id of what it names.
    pub fid: FileId,
}

/// All names of a directory, sorted by `(hash, name)`.
#[derive(Default)]
pub struct Listing {
    entries: Vec<Entry>,
    names: Vec<u8>,
}

impl Listing {
    /// How many names there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the directory is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The `index`th name in listing order. Panics beyond [`Listing::len`].
    pub fn get(&self, index: usize) -> Name<'_> {
        let entry = &self.entries[index];
        let Entry {
            hash, kind, fid, ..
        } = *entry;
        Name {
            hash,
            name: self.bytes(entry),
            kind,
            fid,
        }
    }

    fn bytes(&self, entry: &Entry) -> &[u8] {
        &self.names[entry.start as usize..][..entry.len as usize]
    }

    /// All names in listing order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Name<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Where the names with a hash beyond `hash` start: what a readdir that ended there goes on
    /// with.
    pub fn after(&self, hash: u64) -> usize {
        self.entries.partition_point(|entry| entry.hash <= hash)
    }

    /// The entry for `name`, whose hash is `hash`.
    pub fn find(&self, hash: u64, name: &[u8]) -> Option<Name<'_>> {
        let order = |entry: &Entry| (entry.hash, self.bytes(entry)).cmp(&(hash, name));
        self.entries
            .binary_search_by(order)
            .ok()
            .map(|index| self.get(index))
    }

    /// About how much memory it takes.
    pub(super) fn weight_bytes(&self) -> usize {
        size_of::<Self>() + self.entries.len() * size_of::<Entry>() + self.names.len()
    }
}

/// Collects names in any order.
pub(super) struct Builder<'a> {
    key: &'a [u8; 16],
    listing: Listing,
}

impl<'a> Builder<'a> {
    pub(super) fn new(key: &'a [u8; 16]) -> Self {
        Builder {
            key,
            listing: Listing::default(),
        }
    }

    /// Adds a name; each at most once.
    pub(super) fn push(&mut self, name: &[u8], kind: Kind, fid: FileId) {
        let Listing { entries, names } = &mut self.listing;
        let hash = name_hash(self.key, name);
        let start = u32::try_from(names.len()).expect("a directory's names fit 4 GiB");
        let len = u16::try_from(name.len()).expect("a name fits 64 KiB");
        names.extend_from_slice(name);
        entries.push(Entry {
            hash,
            start,
            len,
            kind,
            fid,
        });
    }

    pub(super) fn finish(self) -> Listing {
        let Listing { mut entries, names } = self.listing;
        let bytes = |entry: &Entry| &names[entry.start as usize..][..entry.len as usize];
        entries.sort_unstable_by(|a, b| a.hash.cmp(&b.hash).then_with(|| bytes(a).cmp(bytes(b))));
        entries.shrink_to_fit();
        Listing { entries, names }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(names: &[&[u8]]) -> Listing {
        let mut builder = Builder::new(&[7; 16]);
        for (i, name) in names.iter().enumerate() {
            builder.push(name, Kind::File, FileId(i as u32));
        }
        builder.finish()
    }

    #[test]
    fn names_come_in_hash_order_and_are_found() {
        let names: Vec<Vec<u8>> = (0..500u32).map(|i| i.to_string().into_bytes()).collect();
        let listing = build(&names.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let hashes: Vec<u64> = listing.iter().map(|name| name.hash).collect();
        assert!(hashes.is_sorted());
        for (i, name) in names.iter().enumerate() {
            let hash = name_hash(&[7; 16], name);
            assert_eq!(listing.find(hash, name).unwrap().fid, FileId(i as u32));
            assert!(listing.get(listing.after(hash) - 1).hash == hash);
        }
        assert!(listing.find(name_hash(&[7; 16], b"x"), b"x").is_none());
    }
}
