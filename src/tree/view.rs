//! A view: what a branch shows differently from its version of the base.
//!
//! Two persistent maps, `(directory, name) -> dentry` and `FileId -> inode`. Cloning a view copies
//! two pointers; clones share structure until one of them changes. Only differences from the base
//! are here, so the cost of a lookup depends neither on the base's size nor on how often or how
//! deep the branch was forked.
//!
//! **Invariants**
//! - Every file that a dentry names has an inode in the view.
//! - A dentry whose file is `None` (a whiteout) always hides something of the base.

use std::cmp::Ordering;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};

use super::{Change, Extent, FileId, Inode, Kind, Time, inode::Content};

/// A file name: 1 to 255 bytes without `/` and NUL.
pub type Name = Arc<[u8]>;

/// Where a name is in a view: directories apart, then by hash, so that a listing has stable
/// cookies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DentryKey {
    /// The directory.
    pub dir: FileId,
    /// [`super::name_hash`] of the name.
    pub hash: u64,
    /// The name.
    pub name: Name,
}

/// A [`DentryKey`] by reference, to probe with.
#[derive(Clone, Copy, Debug)]
pub struct DentryRef<'a> {
    /// The directory.
    pub dir: FileId,
    /// [`super::name_hash`] of the name.
    pub hash: u64,
    /// The name.
    pub name: &'a [u8],
}

impl DentryRef<'_> {
    /// The same, owned.
    pub fn to_key(self) -> DentryKey {
        DentryKey {
            dir: self.dir,
            hash: self.hash,
            name: self.name.into(),
        }
    }
}

impl DentryKey {
    /// The same by reference.
    pub fn by_ref(&self) -> DentryRef<'_> {
        DentryRef {
            dir: self.dir,
            hash: self.hash,
            name: &self.name,
        }
    }
}

impl equivalent::Equivalent<DentryKey> for DentryRef<'_> {
    fn equivalent(&self, key: &DentryKey) -> bool {
        equivalent::Comparable::compare(self, key) == Ordering::Equal
    }
}

impl equivalent::Comparable<DentryKey> for DentryRef<'_> {
    fn compare(&self, key: &DentryKey) -> Ordering {
        (self.dir, self.hash, self.name).cmp(&(key.dir, key.hash, &key.name[..]))
    }
}

/// What a view says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dentry {
    /// The file it names, or `None` for a whiteout.
    pub file: Option<(FileId, Kind)>,
    /// The stamp of the base object of this name that the dentry hides, where there is one.
    pub hides: Option<u64>,
}

/// What a change took out of a view.
#[derive(Debug, Default)]
pub struct Replaced {
    /// The extents that it cut out of a file.
    pub extents: Vec<Extent>,
    /// The inode that it dropped or took the place of.
    pub inode: Option<Arc<Inode>>,
}

/// A branch's difference from the base at [`View::base_version`].
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The version of the base that it lies on.
    pub base_version: u64,
    dentries: OrdMap<DentryKey, Dentry>,
    inodes: OrdMap<FileId, Arc<Inode>>,
}

impl View {
    /// Shows the base at `base_version` as it is.
    pub fn on(base_version: u64) -> View {
        View {
            base_version,
            ..View::default()
        }
    }

    /// What the view says of a name; `None` leaves it to the base.
    pub fn dentry(&self, at: DentryRef<'_>) -> Option<&Dentry> {
        self.dentries.get(&at)
    }

    /// The inode of a file that differs from the base.
    pub fn inode(&self, file: FileId) -> Option<&Arc<Inode>> {
        self.inodes.get(&file)
    }

    /// The dentries of a directory after the position `(hash, name)` in the order of listings.
    pub fn dentries_of(
        &self,
        dir: FileId,
        from_hash: u64,
    ) -> impl Iterator<Item = (&DentryKey, &Dentry)> {
        let start = DentryKey {
            dir,
            hash: from_hash,
            name: Arc::from(&b""[..]),
        };
        self.dentries
            .range(start..)
            .take_while(move |(key, _)| key.dir == dir)
    }

    /// Whether nothing differs from the base.
    pub fn is_empty(&self) -> bool {
        self.dentries.is_empty() && self.inodes.is_empty()
    }

    /// Whether both are clones of one view with nothing changed since, in O(1).
    pub fn same_as(&self, other: &View) -> bool {
        self.base_version == other.base_version
            && self.dentries.ptr_eq(&other.dentries)
            && self.inodes.ptr_eq(&other.inodes)
    }

    /// Number of dentries and of inodes.
    pub fn len(&self) -> (usize, usize) {
        (self.dentries.len(), self.inodes.len())
    }

    /// Every inode.
    pub fn inodes(&self) -> impl Iterator<Item = (FileId, &Arc<Inode>)> {
        self.inodes.iter().map(|(file, inode)| (*file, inode))
    }

    /// Every dentry.
    pub fn dentries(&self) -> impl Iterator<Item = (&DentryKey, &Dentry)> {
        self.dentries.iter()
    }

    /// The dentries that differ in `newer`: what they were, what they are. Costs the difference.
    pub fn diff_dentries<'a>(
        &'a self,
        newer: &'a View,
    ) -> impl Iterator<Item = (&'a DentryKey, Option<&'a Dentry>, Option<&'a Dentry>)> {
        self.dentries.diff(&newer.dentries).map(|item| match item {
            DiffItem::Add(key, new) => (key, None, Some(new)),
            DiffItem::Update { old, new } => (new.0, Some(old.1), Some(new.1)),
            DiffItem::Remove(key, old) => (key, Some(old), None),
        })
    }

    /// The inodes that differ in `newer`: what they were, what they are. Costs the difference.
    pub fn diff_inodes<'a>(
        &'a self,
        newer: &'a View,
    ) -> impl Iterator<Item = (FileId, Option<&'a Arc<Inode>>, Option<&'a Arc<Inode>>)> {
        self.inodes.diff(&newer.inodes).map(|item| match item {
            DiffItem::Add(file, new) => (*file, None, Some(new)),
            DiffItem::Update { old, new } => (*new.0, Some(old.1), Some(new.1)),
            DiffItem::Remove(file, old) => (*file, Some(old), None),
        })
    }

    /// The changes that turn this view into `newer` (base version apart).
    pub fn changes_to(&self, newer: &View) -> Vec<Change> {
        let inodes = self.diff_inodes(newer).map(|(file, _, new)| match new {
            Some(inode) => Change::Inode {
                file,
                inode: inode.clone(),
            },
            None => Change::NoInode { file },
        });
        let dentries = self.diff_dentries(newer).map(|(key, _, new)| match new {
            Some(dentry) => Change::Dentry {
                key: key.clone(),
                dentry: *dentry,
            },
            None => Change::NoDentry { key: key.clone() },
        });
        inodes.chain(dentries).collect()
    }

    /// Applies one change and returns what it took out.
    ///
    /// A change comes from an operation that has looked at this very view, or from the journal that
    /// such an operation wrote; one that does not fit is ignored, and `fsck` names it.
    pub fn apply(&mut self, change: &Change) -> Replaced {
        let mut replaced = Replaced::default();
        match change {
            Change::Inode { file, inode } => {
                replaced.inode = self.inodes.insert(*file, inode.clone());
            }
            Change::NoInode { file } => {
                replaced.inode = self.inodes.remove(file);
            }
            Change::Dentry { key, dentry } => {
                self.dentries.insert(key.clone(), *dentry);
            }
            Change::NoDentry { key } => {
                self.dentries.remove(key);
            }
            Change::Write {
                file,
                extent,
                size,
                time,
            } => {
                replaced.extents = self.edit_content(*file, *size, *time, |extents| match extent {
                    Some(extent) => extents.replace(extent.clone()),
                    None => Vec::new(),
                });
            }
            Change::Grow {
                file,
                off,
                more,
                size,
                time,
            } => {
                replaced.extents =
                    self.edit_content(*file, *size, *time, |extents| extents.lengthen(*off, *more));
            }
            Change::Edit {
                file,
                inode,
                removed,
                put,
            } => {
                let Some(slot) = self.inodes.get_mut(file) else {
                    return replaced;
                };
                let mut inode = (**inode).clone();
                if let (Content::File(now), Content::File(was)) =
                    (&mut inode.content, &slot.content)
                {
                    *now = was.clone();
                    now.edit(removed, put);
                }
                replaced.inode = Some(std::mem::replace(slot, Arc::new(inode)));
            }
            Change::NoDentries { dir } => {
                let keys: Vec<DentryKey> = (self.dentries_of(*dir, 0))
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in keys {
                    self.dentries.remove(&key);
                }
            }
        }
        replaced
    }

    fn edit_content(
        &mut self,
        file: FileId,
        size: u64,
        time: Time,
        edit: impl FnOnce(&mut super::ExtentMap) -> Vec<Extent>,
    ) -> Vec<Extent> {
        let Some(slot) = self.inodes.get_mut(&file) else {
            return Vec::new();
        };
        let inode = Arc::make_mut(slot);
        inode.attr.size = size;
        inode.attr.mtime = time;
        inode.attr.ctime = time;
        match &mut inode.content {
            Content::File(extents) => edit(extents),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(dir: u32, name: &str) -> DentryKey {
        DentryKey {
            dir: FileId(dir),
            hash: name.len() as u64,
            name: name.as_bytes().into(),
        }
    }

    fn whiteout() -> Dentry {
        Dentry {
            file: None,
            hides: Some(1),
        }
    }

    #[test]
    fn a_clone_never_sees_later_changes() {
        let mut parent = View::on(0);
        parent.apply(&Change::Dentry {
            key: key(1, "a"),
            dentry: whiteout(),
        });
        let child = parent.clone();
        assert!(child.same_as(&parent));
        parent.apply(&Change::Dentry {
            key: key(1, "bb"),
            dentry: whiteout(),
        });
        assert!(!child.same_as(&parent));
        assert!(child.dentry(key(1, "bb").by_ref()).is_none());
        assert_eq!(child.changes_to(&parent).len(), 1);
    }

    #[test]
    fn a_listing_stays_within_its_directory() {
        let mut view = View::on(0);
        for (dir, name) in [(1, "a"), (2, "b"), (2, "cc"), (2, "ddd"), (3, "e")] {
            view.apply(&Change::Dentry {
                key: key(dir, name),
                dentry: whiteout(),
            });
        }
        let names = |from| {
            view.dentries_of(FileId(2), from)
                .map(|(k, _)| k.name.to_vec())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(0), [b"b".to_vec(), b"cc".to_vec(), b"ddd".to_vec()]);
        assert_eq!(names(2), [b"cc".to_vec(), b"ddd".to_vec()]);
    }

    #[test]
    fn a_difference_costs_what_differs() {
        let mut old = View::on(0);
        for n in 0..20_000 {
            old.apply(&Change::Dentry {
                key: key(n, "a"),
                dentry: whiteout(),
            });
        }
        let mut new = old.clone();
        new.apply(&Change::NoDentry { key: key(500, "a") });
        new.apply(&Change::Dentry {
            key: key(7, "zz"),
            dentry: whiteout(),
        });
        assert_eq!(old.changes_to(&new).len(), 2);
    }
}
