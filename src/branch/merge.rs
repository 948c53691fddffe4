//! What a commit changes in its parent, and which paths both sides changed.
//!
//! Three states meet: the parent at the fork, the branch now, the parent now. A *name* is in
//! conflict where the parent shows another file under it than it did at the fork; a *file* where
//! its content, mode, owner or attributes did; directories only by mode, owner and attributes,
//! since two sides may well add different names to one directory. Removing a directory in which the
//! other side changed something is a conflict too.
//!
//! The parent may lie on a newer version of the base than the branch (main, after a publish). Then
//! what refers to base paths is carried over to where those objects are now: see `carry`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::diff::is_whole_origin;
use super::resolve::{join, origin_of, split};
use super::{BranchError, State, Workspace, unchanged};
use crate::tree::{
    Change, Dentry, DentryKey, FileId, Inode, Kind, Name, Origin, Time, View, Xattrs,
};

/// The outcome of comparing a branch with its parent.
pub struct Merge {
    /// Paths that both sides changed.
    pub conflicts: Vec<Vec<u8>>,
    /// What to apply to the parent's view; `None` where it becomes a clone of the branch's.
    pub changes: Option<Vec<Change>>,
}

impl Merge {
    /// The view that the parent gets.
    pub fn result(&self, parent: &View, child: &View) -> View {
        let Some(changes) = &self.changes else {
            return child.clone();
        };
        let mut view = parent.clone();
        for change in changes {
            view.apply(change);
        }
        view
    }

    /// The error of a commit with these conflicts.
    pub fn refusal(&self, branch: &Name) -> Option<BranchError> {
        if self.conflicts.is_empty() {
            return None;
        }
        Some(BranchError::Conflict {
            name: branch.clone(),
            paths: self.conflicts.clone(),
        })
    }
}

/// The three views, and what has been found out so far.
pub(super) struct Merging<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) fork: &'a View,
    pub(super) child: &'a View,
    pub(super) parent: &'a View,
    pub(super) conflicts: Vec<Vec<u8>>,
    pub(super) changes: Vec<Change>,
    /// How many of a file's names the branch took away from the parent, where it removed the file.
    pub(super) names_lost: HashMap<FileId, u32>,
}

impl Workspace {
    /// Compares `child` with its parent. Costs what both have changed since the fork.
    pub(super) fn merge(&self, parent: &State, child: &State) -> Result<Merge, BranchError> {
        self.merge_views(&parent.view, (&child.fork_view, &child.view))
    }

    /// Compares what changed between two views with what `parent` has changed since the first.
    pub(super) fn merge_views(
        &self,
        parent: &View,
        (fork, child): (&View, &View),
    ) -> Result<Merge, BranchError> {
        if unchanged(parent, fork) {
            return Ok(Merge {
                conflicts: Vec::new(),
                changes: None,
            });
        }
        let mut merging = Merging {
            workspace: self,
            fork,
            child,
            parent,
            conflicts: Vec::new(),
            changes: Vec::new(),
            names_lost: HashMap::new(),
        };
        merging.inodes()?;
        merging.names()?;
        merging.drop_removed()?;
        merging.check_loops()?;
        let Merging {
            mut conflicts,
            changes,
            ..
        } = merging;
        conflicts.sort();
        conflicts.dedup();
        Ok(Merge {
            conflicts,
            changes: Some(changes),
        })
    }
}

impl Merging<'_> {
    pub(super) fn conflict_at_file(
        &mut self,
        file: FileId,
        inode: &Inode,
    ) -> Result<(), BranchError> {
        let path = match self.workspace.path_of_file(self.child, file)? {
            Some(path) => path,
            None => inode.name.to_vec(),
        };
        self.conflicts.push(path);
        Ok(())
    }

    fn inodes(&mut self) -> Result<(), BranchError> {
        for (file, was, is) in self.fork.diff_inodes(self.child) {
            let was = was.map(|inode| &**inode);
            match is {
                Some(is) if is.is_dir() => self.dir(file, was, is)?,
                Some(is) => {
                    if self.parent_changed(file, was, is)? || self.name_changed(file, is)? {
                        self.conflict_at_file(file, is)?;
                    }
                    let mut inode = self.carry(file, is)?;
                    if let Some(nlink) = self.merged_links(file, was, is)? {
                        Arc::make_mut(&mut inode).attr.nlink = nlink;
                    } else {
                        self.conflict_at_file(file, is)?;
                    }
                    self.changes.push(Change::Inode { file, inode });
                }
                None => {
                    let was = was.expect("a difference has a side");
                    let moved = self.parent.inode(file).is_some_and(|now| {
                        (now.parent, &now.name) != (was.parent, &was.name)
                            || (!now.is_dir() && now.attr.nlink != was.attr.nlink)
                    });
                    if moved || (!was.is_dir() && self.parent_changed(file, Some(was), was)?) {
                        self.conflict_at_file(file, was)?;
                    }
                    self.changes.push(Change::NoInode { file });
                }
            }
        }
        Ok(())
    }

    /// Whether the name that the branch still has of a file leads elsewhere in the parent now.
    fn name_changed(&self, file: FileId, is: &Inode) -> Result<bool, BranchError> {
        let key = self.workspace.key(is.parent, &is.name).to_key();
        // A directory that no view has is the base's, and the file's name in it too.
        let known = [self.child, self.fork].map(|view| view.inode(is.parent).is_some());
        let origin = match (&is.origin, origin_of(self.child, self.fork, is.parent)) {
            (_, Some(origin)) => Some(origin.to_vec()),
            (Some(origin), None) if known == [false; 2] => Some(split(&origin.path).0.to_vec()),
            _ => None,
        };
        // A name that went with its directory leads nowhere, though the base may still have it.
        let leads = |view: &View, origin: Option<&[u8]>| -> Result<bool, BranchError> {
            if self
                .workspace
                .path_of_dir(view, is.parent, origin)?
                .is_none()
            {
                return Ok(false);
            }
            let shown = self.workspace.shown(view, &key, origin)?;
            Ok(shown.is_some_and(|shown| shown.file == file))
        };
        if !leads(self.fork, origin.as_deref())? || !leads(self.child, origin.as_deref())? {
            return Ok(false);
        }
        let carried = match &origin {
            Some(origin) => self.carried(origin)?,
            None => self.published_dir(is.parent)?,
        };
        Ok(!leads(self.parent, carried.as_deref())?)
    }

    /// Whether the parent has changed a file since the fork. `inode` is any version of it that the
    /// child knows, for its origin.
    pub(super) fn parent_changed(
        &self,
        file: FileId,
        was: Option<&Inode>,
        inode: &Inode,
    ) -> Result<bool, BranchError> {
        let now = self.parent.inode(file);
        match (was, now) {
            (Some(was), Some(now)) => Ok(!same_but_for_times(was, now)),
            (None, Some(now)) => match &inode.origin {
                Some(origin) => self.differs_from_base(origin, now),
                None => Ok(false),
            },
            (Some(was), None) => {
                // It may have been published since, and be the base's now.
                let Some((path, found)) = self.published(file, inode)? else {
                    return Ok(true);
                };
                Ok(found.attr.mtime != was.attr.mtime
                    || found.attr.size != was.attr.size
                    || found.attr.mode != was.attr.mode
                    || (found.attr.uid, found.attr.gid) != (was.attr.uid, was.attr.gid)
                    || !self.has_published_xattrs(&path, was)?)
            }
            (None, None) => {
                let Some(origin) = &inode.origin else {
                    return Ok(false);
                };
                if self.child.base_version == self.parent.base_version {
                    return Ok(false);
                }
                let then = self.workspace.below(self.child, &origin.path)?;
                let Some(path) = self.carried(&origin.path)? else {
                    return Ok(true);
                };
                let now = self.workspace.below(self.parent, &path)?;
                Ok(then.map(|f| f.stamp) != now.map(|f| f.stamp))
            }
        }
    }

    /// Whether the parent's copy of a base file says anything else than the base did at the fork.
    pub(super) fn differs_from_base(
        &self,
        origin: &Origin,
        now: &Inode,
    ) -> Result<bool, BranchError> {
        let Some(then) = self.workspace.below(self.child, &origin.path)? else {
            return Ok(true);
        };
        // The whole content of another object, which a publish has put in its place since, is not
        // what it was.
        let same_object = now
            .origin
            .as_ref()
            .is_some_and(|now| now.stamp == then.stamp.0);
        Ok(!same_object
            || !is_whole_origin(now, then.attr.size)
            || now.attr.mode != then.attr.mode
            || (now.attr.uid, now.attr.gid) != (then.attr.uid, then.attr.gid)
            || !matches!(now.xattrs, Xattrs::OfOrigin))
    }

    fn dir(
        &mut self,
        file: FileId,
        was: Option<&Inode>,
        is: &Arc<Inode>,
    ) -> Result<(), BranchError> {
        let base = match (was, &is.origin) {
            (None, Some(origin)) => self.workspace.below(self.child, &origin.path)?,
            _ => None,
        };
        let before = was.map(|w| w.attr).or(base.map(|found| found.attr));
        let Some(before) = before else {
            self.changes.push(Change::Inode {
                file,
                inode: is.clone(),
            });
            return Ok(());
        };
        let mut inode = (*self.carry(file, is)?).clone();
        let now = match (self.parent.inode(file), &inode.origin) {
            (Some(now), _) => Some((now.attr, Some(now))),
            (None, Some(origin)) => {
                let found = self.workspace.below(self.parent, &origin.path)?;
                let place = self
                    .workspace
                    .place_of_base_dir(self.parent, &origin.path)?;
                found
                    .filter(|_| place.is_some())
                    .map(|found| (found.attr, None))
            }
            (None, None) => self
                .published(file, is)?
                .map(|(_, found)| (found.attr, None)),
        };
        let Some((now, parent_inode)) = now else {
            self.conflict_at_file(file, is)?;
            return Ok(());
        };
        let owned = |attr: &crate::tree::Attr| (attr.mode, attr.uid, attr.gid);
        let child_changed = owned(&before) != owned(&is.attr);
        if child_changed && owned(&before) != owned(&now) && owned(&now) != owned(&is.attr) {
            self.conflict_at_file(file, is)?;
        }
        let kept = if child_changed { is.attr } else { now };
        inode.attr.nlink = (now.nlink + is.attr.nlink).saturating_sub(before.nlink);
        (inode.attr.mode, inode.attr.uid, inode.attr.gid) = owned(&kept);
        inode.attr.mtime = merged_time(before.mtime, is.attr.mtime, now.mtime);
        inode.attr.ctime = is.attr.ctime.max(now.ctime);
        if let Some(parent_inode) = parent_inode {
            inode.origin = parent_inode.origin.clone();
        }
        // The branch's own attributes win where it set any, the parent's where it did not.
        let untouched = |xattrs: &Xattrs| match was {
            Some(was) => *xattrs == was.xattrs,
            None => *xattrs == Xattrs::OfOrigin,
        };
        let theirs = parent_inode.map_or(Xattrs::OfOrigin, |inode| inode.xattrs.clone());
        if untouched(&is.xattrs) {
            inode.xattrs = theirs;
        } else if self.xattrs_differ((was, is), (parent_inode.map(|now| &**now), &inode))? {
            self.conflict_at_file(file, is)?;
        }
        let place = match (was, &is.origin) {
            (Some(was), _) => Some((was.parent, was.name.clone())),
            (None, Some(origin)) => self.workspace.base_place(self.child, &origin.path)?,
            (None, None) => None,
        };
        if place == Some((is.parent, is.name.clone())) {
            // The branch left it where it was; the parent may have moved it.
            let now = match (parent_inode, &inode.origin) {
                (Some(now), _) => Some((now.parent, now.name.clone())),
                (None, Some(origin)) => self.workspace.base_place(self.parent, &origin.path)?,
                (None, None) => None,
            };
            (inode.parent, inode.name) = now.unwrap_or((is.parent, is.name.clone()));
        }
        self.changes.push(Change::Inode {
            file,
            inode: Arc::new(inode),
        });
        Ok(())
    }

    fn names(&mut self) -> Result<(), BranchError> {
        let mut alive = HashSet::new();
        for (key, _, _) in self.fork.diff_dentries(self.child) {
            if key.dir != FileId::ROOT && self.child.inode(key.dir).is_none() {
                // Names of a directory that the branch removed go with it.
                if self.parent.dentry(key.by_ref()).is_some() {
                    self.changes.push(Change::NoDentry { key: key.clone() });
                }
                continue;
            }
            let origin = origin_of(self.child, self.fork, key.dir);
            let was = self
                .workspace
                .shown(self.fork, key, origin)?
                .map(|s| (s.file, s.kind));
            let is = self
                .workspace
                .shown(self.child, key, origin)?
                .map(|s| (s.file, s.kind));
            let carried = match origin {
                Some(origin) => self.carried(origin)?,
                None => self.published_dir(key.dir)?,
            };
            let now = self.workspace.shown(self.parent, key, carried.as_deref())?;
            let now = now.map(|s| (s.file, s.kind));
            let name = |merging: &Self| -> Result<Vec<u8>, BranchError> {
                let dir = merging
                    .workspace
                    .path_of_dir(merging.child, key.dir, origin)?;
                Ok(join(&dir.unwrap_or_default(), &key.name))
            };
            if now != was && now != is {
                let path = name(self)?;
                self.conflicts.push(path);
            }
            if alive.insert(key.dir)
                && !self.dir_alive(key.dir, was.is_some(), carried.as_deref())?
            {
                let path = name(self)?;
                self.conflicts.push(path);
            }
            if let Some((file, kind)) = was
                && is != was
            {
                match (self.child.inode(file).is_some(), now == was) {
                    // Both sides took the file from this name: it may have two places now.
                    (true, false) => {
                        let path = name(self)?;
                        self.conflicts.push(path);
                    }
                    (false, true) => {
                        let path = name(self)?;
                        self.removed(key, (file, kind), (origin, carried.as_deref()), path)?;
                    }
                    (false, false) => {
                        if self.moved_by_parent(file, origin, &key.name)? {
                            let path = name(self)?;
                            self.conflicts.push(path);
                        }
                    }
                    (true, true) => {}
                }
            }
            self.set_name(key, is, carried.as_deref())?;
        }
        Ok(())
    }

    /// Whether the parent still has the directory.
    fn dir_alive(
        &self,
        dir: FileId,
        existed: bool,
        carried: Option<&[u8]>,
    ) -> Result<bool, BranchError> {
        if dir == FileId::ROOT || self.parent.inode(dir).is_some() {
            return Ok(true);
        }
        match carried {
            Some(path) => Ok(self
                .workspace
                .place_of_base_dir(self.parent, path)?
                .is_some()),
            None => Ok(!existed && self.fork.inode(dir).is_none()),
        }
    }

    fn set_name(
        &mut self,
        key: &DentryKey,
        is: Option<(FileId, Kind)>,
        dir: Option<&[u8]>,
    ) -> Result<(), BranchError> {
        let hidden = self.workspace.hidden_at(self.parent, key, dir)?;
        let hides = match hidden {
            // A directory that went with all that was in it, as far as the parent knows that.
            Some((found, path))
                if found.attr.kind == Kind::Dir
                    && is.is_none_or(|(file, _)| file != found.fid)
                    && self.child.inode(found.fid).is_none() =>
            {
                let version = self.parent.base_version;
                Some(self.workspace.base.tree_stamp(version, &path)?)
            }
            hidden => hidden.map(|(found, _)| found.stamp.0),
        };
        let key = key.clone();
        self.changes.push(match (is, hides) {
            (None, None) => Change::NoDentry { key },
            (file, hides) => Change::Dentry {
                key,
                dentry: Dentry { file, hides },
            },
        });
        Ok(())
    }
}

/// The time of a directory that was `before` at the fork: that of the side that changed it, which
/// may have set it back, or the later one where both did.
fn merged_time(before: Time, child: Time, parent: Time) -> Time {
    match (child == before, parent == before) {
        (true, _) => parent,
        (false, true) => child,
        (false, false) => child.max(parent),
    }
}

/// Whether two versions of a file differ in nothing that a user would call a change.
pub(super) fn same_but_for_times(a: &Inode, b: &Inode) -> bool {
    a.content == b.content
        && a.xattrs == b.xattrs
        && a.attr.size == b.attr.size
        && (a.attr.mode, a.attr.uid, a.attr.gid) == (b.attr.mode, b.attr.uid, b.attr.gid)
}
