//! The difference between two views of one lineage, as paths: what `@self/diff` and a commit show.
//!
//! Its cost is that of the changes, not of the tree.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::resolve::{Shown, join, origin_of};
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

/// A file at a path of one side that is not at that path of the other.
struct Placed {
    path: Vec<u8>,
    kind: Kind,
}

/// What the names of two views say of files, on the way to changes of paths.
#[derive(Default)]
struct Moves {
    changes: Vec<PathChange>,
    /// A file with several names may have lost more than one.
    gone: HashMap<FileId, Vec<Placed>>,
    come: Vec<(FileId, Placed)>,
    /// Files whose change is told by their names.
    settled: HashSet<FileId>,
}

impl Moves {
    /// The file `was` is now `is`, another one, at the paths given (which differ where a directory
    /// above was moved).
    fn name(&mut self, was: Option<(FileId, Placed)>, is: Option<(FileId, Placed)>) {
        match (was, is) {
            // As an editor saves: the path goes on to have a file, whatever became of the old one.
            (Some((_, was)), Some((file, is))) if was.kind == is.kind && is.kind != Kind::Dir => {
                self.settled.insert(file);
                self.changes.push(change(is, PathChangeKind::Modified));
            }
            (was, is) => {
                if let Some((file, was)) = was {
                    self.gone.entry(file).or_default().push(was);
                }
                self.come.extend(is);
            }
        }
    }

    /// Pairs what is gone with what has come: a file that is in both was moved. Another one whose
    /// path is taken over by a new file has changed its type (or is another directory).
    fn pair(mut self) -> (Vec<PathChange>, HashSet<FileId>) {
        let mut new = BTreeMap::new();
        for (file, is) in self.come {
            self.settled.insert(file);
            match self.gone.get_mut(&file).and_then(Vec::pop) {
                Some(was) => {
                    let kind = PathChangeKind::Renamed { from: was.path };
                    self.changes.push(change(is, kind));
                }
                None => {
                    new.insert(is.path, is.kind);
                }
            }
        }
        for was in self.gone.into_values().flatten() {
            let (kind, placed) = match new.remove(&was.path) {
                None => (PathChangeKind::Deleted, was),
                Some(kind) => {
                    let same = kind == was.kind;
                    let now = Placed { kind, ..was };
                    match same {
                        true => (PathChangeKind::Modified, now),
                        false => (PathChangeKind::Type, now),
                    }
                }
            };
            self.changes.push(change(placed, kind));
        }
        let added = new.into_iter().map(|(path, kind)| Placed { path, kind });
        let added = added.map(|placed| change(placed, PathChangeKind::Added));
        self.changes.extend(added);
        (self.changes, self.settled)
    }
}

fn change(Placed { path, kind }: Placed, what: PathChangeKind) -> PathChange {
    PathChange {
        path,
        kind: what,
        is_dir: kind == Kind::Dir,
    }
}

impl Workspace {
    /// What changed from `old` to `new`, sorted by path. One path has two changes where a file that
    /// was moved took the place of one that is gone.
    pub fn diff(&self, old: &View, new: &View) -> Result<Vec<PathChange>, BranchError> {
        let mut moves = Moves::default();
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
            let place = |view, shown: Option<Shown>| -> Result<_, BranchError> {
                let Some(Shown { file, kind }) = shown else {
                    return Ok(None);
                };
                let dir = self.path_of_dir(view, key.dir, origin)?;
                let path = dir.map(|dir| join(&dir, &key.name));
                Ok(path.map(|path| (file, Placed { path, kind })))
            };
            moves.name(place(old, was)?, place(new, is)?);
        }
        self.find_moved_dirs(&mut moves, old, new)?;
        let (mut changes, settled) = moves.pair();
        for (file, was, is) in old.diff_inodes(new) {
            let Some(is) = is else { continue };
            if settled.contains(&file) || (was.is_none() && is.origin.is_none()) {
                continue;
            }
            let Some(kind) = self.inode_change(old, was.map(|w| &**w), is)? else {
                continue;
            };
            if let Some(path) = self.path_of_file(new, file)? {
                let is_dir = is.is_dir();
                changes.push(PathChange { path, kind, is_dir });
            }
        }
        changes.sort_by(|a, b| (&a.path, is_renamed(a)).cmp(&(&b.path, is_renamed(b))));
        Ok(changes)
    }

    /// Directories that came from one that is gone: it left no names, and theirs with it.
    fn find_moved_dirs(
        &self,
        moves: &mut Moves,
        old: &View,
        new: &View,
    ) -> Result<(), BranchError> {
        let come = moves.come.iter().filter(|(_, is)| is.kind == Kind::Dir);
        for (dir, is) in come {
            if moves.gone.contains_key(dir) {
                continue;
            }
            let origin = new.inode(*dir).and_then(|inode| inode.origin.as_ref());
            let origin = origin.map(|origin| &origin.path[..]);
            if old.inode(*dir).is_none() && origin.is_none() {
                continue;
            }
            if let Some(path) = self.path_of_dir(old, *dir, origin)? {
                let was = Placed {
                    path,
                    kind: is.kind,
                };
                moves.gone.insert(*dir, vec![was]);
            }
        }
        Ok(())
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

/// Of one path, what is gone comes before what took its place.
fn is_renamed(change: &PathChange) -> bool {
    matches!(change.kind, PathChangeKind::Renamed { .. })
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
