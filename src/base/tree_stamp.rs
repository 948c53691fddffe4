//! Stamps of directories with everything in them, for those that a publish removes as a whole.
//!
//! A directory's own [`Stamp`](super::Stamp) says nothing of its content. What somebody added or
//! edited in it behind the mount must not go with it, so whoever removes one notes what was in it.

use std::collections::BTreeSet;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::error::BaseError;
use super::path::check;
use super::{Base, Layout, Version};
use crate::tree::Kind;

/// The stamp of a directory with these names, each with the stamp of its file, or for a directory
/// with the stamp that this gave for it. The order of the names says nothing.
pub fn tree_stamp<'a>(names: impl IntoIterator<Item = (&'a [u8], u64)>) -> u64 {
    let (mut sum, mut count) = (0_u64, 0_u64);
    for (name, stamp) in names {
        let mut hasher = SipHasher13::new();
        hasher.write(name);
        hasher.write_u64(stamp);
        sum = sum.wrapping_add(hasher.finish());
        count += 1;
    }
    let mut hasher = SipHasher13::new();
    hasher.write_u64(sum);
    hasher.write_u64(count);
    hasher.finish()
}

impl Base {
    /// [`tree_stamp`] of the directory at `dir` as it was at version `at`. Reads all of it anew.
    pub fn tree_stamp(&self, at: Version, dir: &[u8]) -> Result<u64, BaseError> {
        check(dir)?;
        self.tree_stamp_in(&self.layout.read(), at, dir)
    }

    pub(super) fn tree_stamp_in(
        &self,
        layout: &Layout,
        at: Version,
        dir: &[u8],
    ) -> Result<u64, BaseError> {
        let mut evented = BTreeSet::new();
        let loc = layout.events.trace((at, u32::MAX), dir, |path| {
            if layout.events.concerns(at) {
                layout.events.names_below(at, path, &mut evented);
            }
        });
        let Some(loc) = loc else {
            return Err(BaseError::NotFound { path: dir.to_vec() });
        };
        let (listing, _) = self.read_dir(layout, at, dir, &loc, &evented)?;
        let mut names = Vec::with_capacity(listing.len());
        for entry in listing.iter() {
            let path = super::path::join(dir, entry.name);
            let stamp = match entry.kind {
                Kind::Dir => self.tree_stamp_in(layout, at, &path)?,
                // Gone a moment later: any number but its own.
                _ => (self.lookup_in(layout, at, &path)?).map_or(0, |found| found.stamp.0),
            };
            names.push((entry.name, stamp));
        }
        Ok(tree_stamp(names))
    }
}

#[cfg(test)]
mod tests {
    use super::tree_stamp;

    #[test]
    fn it_depends_on_names_and_stamps_and_not_on_their_order() {
        let stamp = |names: &[(&'static str, u64)]| {
            tree_stamp(names.iter().map(|(name, stamp)| (name.as_bytes(), *stamp)))
        };
        let both = stamp(&[("a", 1), ("b", 2)]);
        assert_eq!(both, stamp(&[("b", 2), ("a", 1)]));
        for other in [
            &[("a", 1)][..],
            &[("a", 2), ("b", 1)],
            &[("a", 1), ("b", 2), ("c", 3)],
            &[],
        ] {
            assert_ne!(both, stamp(other));
        }
    }
}
