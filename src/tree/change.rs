//! Changes of a view, and how they fit into records.
//!
//! An operation is a list of changes. A record of the journal has a largest size, and a file may be
//! in more pieces than fit there: [`shortened`] says what an operation did to such a file by the
//! difference, and [`parts`] spreads any number of changes over several records.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Content, Dentry, DentryKey, Extent, ExtentMap, FileId, Inode, Time, View, Xattrs, xattr_bytes,
};

/// One change of a view. An operation is a list of them, journaled as one record, then applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Puts an inode in place of what was there.
    Inode {
        /// The file.
        file: FileId,
        /// Its new state.
        inode: Arc<Inode>,
    },
    /// Drops an inode.
    NoInode {
        /// The file.
        file: FileId,
    },
    /// Sets a dentry.
    Dentry {
        /// Where.
        key: DentryKey,
        /// To what.
        dentry: Dentry,
    },
    /// Drops a dentry: the base shows through again, or nothing does.
    NoDentry {
        /// Where.
        key: DentryKey,
    },
    /// Content written into a file whose inode is in the view already.
    Write {
        /// The file.
        file: FileId,
        /// The extent that holds what was written; `None` where it was overwritten in place.
        extent: Option<Extent>,
        /// Length of the file afterwards.
        size: u64,
        /// Time of the write, for mtime and ctime.
        time: Time,
    },
    /// An extent of a data segment grew into its room.
    Grow {
        /// The file.
        file: FileId,
        /// Where in the file the extent ended.
        off: u64,
        /// By how much it grew.
        more: u64,
        /// Length of the file afterwards.
        size: u64,
        /// Time of the write, for mtime and ctime.
        time: Time,
    },
    /// A file in many pieces: another inode, whose content is what it was but for some extents.
    Edit {
        /// The file.
        file: FileId,
        /// Its new state, without extents.
        inode: Arc<Inode>,
        /// The extents that go, by their offsets.
        removed: Vec<u64>,
        /// The extents that come, each in place of what its range held.
        put: Vec<Extent>,
    },
    /// Drops every dentry of a directory.
    NoDentries {
        /// The directory.
        dir: FileId,
    },
}

/// With more extents than this a file is described by what changes of it.
const FEW: usize = 32;
/// What the changes of one of several records weigh together.
const PART_BYTES: usize = 128 << 10;

impl Change {
    /// The file whose inode it puts in place of another, and that.
    fn inode(&self) -> Option<(FileId, &Arc<Inode>)> {
        match self {
            Change::Inode { file, inode } => Some((*file, inode)),
            _ => None,
        }
    }

    /// At least the bytes that it takes in a record.
    fn weight(&self) -> usize {
        const VARINTS: usize = 64;
        VARINTS
            + match self {
                Change::Inode { inode, .. } => {
                    let extents = inode.extents().into_iter().flat_map(ExtentMap::iter);
                    weight(inode) + extents.map(Extent::weight).sum::<usize>()
                }
                Change::Edit {
                    inode,
                    removed,
                    put,
                    ..
                } => {
                    let put = put.iter().map(Extent::weight).sum::<usize>();
                    weight(inode) + removed.len() * 10 + put
                }
                Change::Dentry { key, .. } | Change::NoDentry { key } => key.name.len(),
                Change::Write { extent, .. } => extent.as_ref().map_or(0, Extent::weight),
                Change::NoInode { .. } | Change::Grow { .. } | Change::NoDentries { .. } => 0,
            }
    }

    /// The same as several changes, each of which fits a part where one alone does not.
    fn split(self) -> Vec<Change> {
        let Some((file, whole)) = self.inode() else {
            return vec![self];
        };
        let few = whole.extents().is_none_or(|extents| extents.len() <= FEW);
        if few || self.weight() <= PART_BYTES {
            return vec![self];
        }
        let inode = Arc::new(without_extents(whole));
        let room = PART_BYTES
            .saturating_sub(weight(&inode))
            .max(PART_BYTES / 2);
        let mut changes = vec![Change::Inode {
            file,
            inode: inode.clone(),
        }];
        let extents = whole.extents().into_iter().flat_map(ExtentMap::iter);
        for put in packed(extents.cloned(), Extent::weight, room) {
            changes.push(Change::Edit {
                file,
                inode: inode.clone(),
                removed: Vec::new(),
                put,
            });
        }
        changes
    }
}

/// What an inode weighs without its extents.
fn weight(inode: &Inode) -> usize {
    let xattrs = match &inode.xattrs {
        Xattrs::OfOrigin => 0,
        Xattrs::Own(own) => xattr_bytes(own) + 8 * own.len(),
    };
    let origin = inode.origin.as_ref().map_or(0, |o| o.path.len() + 48);
    let target = match &inode.content {
        Content::Symlink(target) => target.len(),
        _ => 0,
    };
    128 + inode.name.len() + xattrs + origin + target
}

fn without_extents(inode: &Inode) -> Inode {
    Inode {
        content: Content::File(ExtentMap::new()),
        ..inode.clone()
    }
}

/// The items in groups that weigh at most `most`, but for single ones that weigh more.
fn packed<T>(
    items: impl Iterator<Item = T>,
    weight: impl Fn(&T) -> usize,
    most: usize,
) -> Vec<Vec<T>> {
    let (mut groups, mut sum) = (Vec::<Vec<T>>::new(), 0);
    for item in items {
        let more = weight(&item);
        match groups.last_mut() {
            Some(group) if sum + more <= most => {
                sum += more;
                group.push(item);
            }
            _ => {
                sum = more;
                groups.push(vec![item]);
            }
        }
    }
    groups
}

/// The changes in lists that fit a record each. Applied one after the other they do the same.
pub fn parts(changes: impl IntoIterator<Item = Change>) -> Vec<Vec<Change>> {
    let split = changes.into_iter().flat_map(Change::split);
    packed(split, Change::weight, PART_BYTES)
}

/// The same changes of `view`, where those of files in many pieces say the difference only.
pub fn shortened<'a>(changes: &'a [Change], view: &View) -> Cow<'a, [Change]> {
    let is_long = |change: &Change| {
        let inode = change.inode().and_then(|(_, inode)| inode.extents());
        inode.is_some_and(|extents| extents.len() > FEW)
    };
    if !changes.iter().any(is_long) {
        return Cow::Borrowed(changes);
    }
    let edit = |change: &Change| {
        let (file, new) = change.inode()?;
        // What another change of the list does to the file is no part of the view yet.
        let once = |other: &&Change| other.inode().is_some_and(|(other, _)| other == file);
        if changes.iter().filter(once).count() > 1 {
            return None;
        }
        let (removed, put) = view.inode(file)?.extents()?.edit_to(new.extents()?)?;
        let shorter = removed.len() + put.len() < new.extents()?.len();
        shorter.then(|| Change::Edit {
            file,
            inode: Arc::new(without_extents(new)),
            removed,
            put,
        })
    };
    let short = |change: &Change| edit(change).unwrap_or_else(|| change.clone());
    Cow::Owned(changes.iter().map(short).collect())
}
