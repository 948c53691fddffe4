//! The difference between two views of one lineage, as paths: what `@self/diff` and a commit show.
//!
//! Its cost is that of the changes, not of the tree.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::resolve::{join, origin_of};
use super::{BranchError, Workspace};
use crate::tree::{Content, FileId, Inode, Kind, Source, View};

/// What happened to a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathChangeKind {
    /// It is new.
    Added,
    /// Its content changed, or another file of the same type took its place.
    Modified,
    /// Its mode, owner or extended attributes changed, not its content.
    Attributes,
    /// It is gone.
    Deleted,
    /// It was at another path.
    Renamed {
        /// That path.
        from: Vec<u8>,
    },
    /// A file of another type took its place.
    Type,
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathChange {
    /// Below the branch's root.
    pub path: Vec<u8>,
    /// What happened.
    pub kind: PathChangeKind,
    /// Whether it is (or was) a directory.
    pub is_dir: bool,
}

impl Workspace {
    /// What changed from `old` to `new`, sorted by path.
    pub fn diff(&self, old: &View, new: &View) -> Result<Vec<PathChange>, BranchError> {
        let mut changes = BTreeMap::new();
        // A file with several names may have lost more than one.
        let mut gone: HashMap<FileId, Vec<(Vec<u8>, Kind)>> = HashMap::new();
        // Directories whose place was taken: what is in them is not listed one by one.
        let mut displaced: HashMap<FileId, Vec<u8>> = HashMap::new();
        let mut come: Vec<(FileId, Vec<u8>, Kind)> = Vec::new();
        let mut settled: HashSet<FileId> = HashSet::new();
        let put = |path: Vec<u8>, kind, is_dir, changes: &mut BTreeMap<_, _>| {
            changes.insert(path.clone(), PathChange { path, kind, is_dir });
        };
        for (key, _, _) in old.diff_dentries(new) {
            if key.dir != FileId::ROOT && new.inode(key.dir).is_none() {
                continue;
            }
            let origin = origin_of(new, old, key.dir);
            let was = self.shown(old, key, origin)?;
            let is = self.shown(new, key, origin)?;
            if was.as_ref().map(|s| s.file) == is.as_ref().map(|s| s.file) {
                continue;
            }
            let old_path = self
                .path_of_dir(old, key.dir, origin)?
                .map(|d| join(&d, &key.name));
            let new_path = self
                .path_of_dir(new, key.dir, origin)?
                .map(|d| join(&d, &key.name));
            if let (Some(was), Some(is), Some(path)) = (&was, &is, &new_path) {
                let kind = if was.kind == is.kind {
                    PathChangeKind::Modified
                } else {
                    PathChangeKind::Type
                };
                put(path.clone(), kind, is.kind == Kind::Dir, &mut changes);
                settled.insert(is.file);
                if let (Kind::Dir, Some(old_path)) = (was.kind, old_path) {
                    displaced.insert(was.file, old_path);
                }
                continue;
            }
            if let (Some(was), Some(path)) = (was, old_path) {
                gone.entry(was.file).or_default().push((path, was.kind));
            }
            if let (Some(is), Some(path)) = (is, new_path) {
                come.push((is.file, path, is.kind));
            }
        }
        for (file, path, kind) in come {
            settled.insert(file);
            let from = gone.get_mut(&file).and_then(Vec::pop).map(|(from, _)| from);
            let change = match from.or_else(|| displaced.remove(&file)) {
                Some(from) => PathChangeKind::Renamed { from },
                None => PathChangeKind::Added,
            };
            put(path, change, kind == Kind::Dir, &mut changes);
        }
        for (path, kind) in gone.into_values().flatten() {
            put(
                path,
                PathChangeKind::Deleted,
                kind == Kind::Dir,
                &mut changes,
            );
        }
        for (file, was, is) in old.diff_inodes(new) {
            let Some(is) = is else { continue };
            if settled.contains(&file) || (was.is_none() && is.origin.is_none()) {
                continue;
            }
            let Some(kind) = self.inode_change(old, was.map(|w| &**w), is)? else {
                continue;
            };
            if let Some(path) = self.path_of_file(new, file)? {
                put(path, kind, is.is_dir(), &mut changes);
            }
        }
        Ok(changes.into_values().collect())
    }

    /// What changed of one file besides its names and times.
    pub(super) fn inode_change(
        &self,
        old: &View,
        was: Option<&Inode>,
        is: &Inode,
    ) -> Result<Option<PathChangeKind>, BranchError> {
        let (attr, same_content, same_xattrs) = match was {
            Some(was) => (was.attr, was.content == is.content, was.xattrs == is.xattrs),
            None => {
                let Some(origin) = &is.origin else {
                    return Ok(None);
                };
                let Some(found) = self.below(old, &origin.path)? else {
                    return Ok(None);
                };
                let inherited = matches!(is.xattrs, crate::tree::Xattrs::OfOrigin);
                (found.attr, is_whole_origin(is, found.attr.size), inherited)
            }
        };
        if !same_content || (is.attr.kind == Kind::File && attr.size != is.attr.size) {
            return Ok(Some(PathChangeKind::Modified));
        }
        let shown = |a: &crate::tree::Attr| (a.mode, a.uid, a.gid);
        if !same_xattrs || shown(&attr) != shown(&is.attr) {
            return Ok(Some(PathChangeKind::Attributes));
        }
        Ok(None)
    }
}

/// Whether a file's content is just that of its origin, which has `size` bytes.
pub(super) fn is_whole_origin(inode: &Inode, size: u64) -> bool {
    let Content::File(extents) = &inode.content else {
        return true;
    };
    if inode.attr.size != size {
        return false;
    }
    if size == 0 {
        return true;
    }
    extents.single().is_some_and(|extent| {
        let Source::Base { origin, at: 0 } = &extent.source else {
            return false;
        };
        extent.off == 0 && extent.len == size && Some(origin) == inode.origin.as_ref()
    })
}
