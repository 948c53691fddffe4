//! The part of a merge that is about what goes: files and directories that the branch removed,
//! links that either side made or took, and directories that would end up in themselves.
//!
//! A directory that the branch removed was empty there. In the parent it may hold what came or
//! changed since the fork, in the view or in a version of the base that a publish has made since;
//! so what is in it is compared name by name. That costs what the branch's user did to empty it.

use super::BranchError;
use super::merge::{Merging, same_but_for_times};
use super::resolve::join;
use crate::base::Found;
use crate::tree::{Change, DentryKey, FileId, Inode, Kind, View};

impl Merging<'_> {
    /// The branch removed `file`, which the parent still shows under `key`: a conflict where the
    /// parent changed it, or anything below it. `dirs` are the base paths of the key's directory at
    /// the fork and for the parent, `path` is for the message.
    pub(super) fn removed(
        &mut self,
        key: &DentryKey,
        (file, kind): (FileId, Kind),
        dirs: (Option<&[u8]>, Option<&[u8]>),
        path: Vec<u8>,
    ) -> Result<(), BranchError> {
        let below = |dir: Option<&[u8]>| dir.map(|dir| join(dir, &key.name));
        let (then, now) = (below(dirs.0), below(dirs.1));
        self.removed_file((file, kind), (then.as_deref(), now.as_deref()), path)
    }

    fn removed_file(
        &mut self,
        (file, kind): (FileId, Kind),
        (then, now): (Option<&[u8]>, Option<&[u8]>),
        path: Vec<u8>,
    ) -> Result<(), BranchError> {
        if kind == Kind::Dir {
            return self.removed_dir(file, (then, now), path);
        }
        *self.names_lost.entry(file).or_default() += 1;
        if self.changed_since_fork(file, then, now)?
            || self.linked_and_published(file, then, now)?
        {
            self.conflicts.push(path);
        }
        Ok(())
    }

    /// Whether the parent has given a file more names than the fork had, and published that. Of
    /// what is not published, [`Merging::drop_removed`] knows.
    fn linked_and_published(
        &self,
        file: FileId,
        then: Option<&[u8]>,
        now: Option<&[u8]>,
    ) -> Result<bool, BranchError> {
        let is_published = self.child.base_version != self.parent.base_version;
        if !is_published || self.parent.inode(file).is_some() {
            return Ok(false);
        }
        let links = |found: Found| found.attr.nlink;
        let before = match self.fork.inode(file) {
            Some(inode) => Some(inode.attr.nlink),
            None => self.base_file(self.fork, then)?.map(links),
        };
        let now = self.base_file(self.parent, now)?.map(links);
        Ok(now.zip(before).is_some_and(|(now, before)| now > before))
    }

    fn base_file(&self, view: &View, path: Option<&[u8]>) -> Result<Option<Found>, BranchError> {
        match path {
            Some(path) => self.workspace.below(view, path),
            None => Ok(None),
        }
    }

    /// Whether the parent has another version of a file than the fork had; base paths as above.
    fn changed_since_fork(
        &self,
        file: FileId,
        then: Option<&[u8]>,
        now: Option<&[u8]>,
    ) -> Result<bool, BranchError> {
        match (self.fork.inode(file), self.parent.inode(file)) {
            (Some(was), Some(now)) => Ok(!same_but_for_times(was, now)),
            (Some(was), None) => self.parent_changed(file, Some(was), was),
            (None, Some(inode)) => match &inode.origin {
                Some(origin) if self.child.base_version == self.parent.base_version => {
                    self.differs_from_base(origin, inode)
                }
                Some(_) => {
                    let Some(then) = then else { return Ok(true) };
                    let was = self.workspace.below(self.fork, then)?;
                    Ok(was.is_none_or(|was| self.differs(inode, &was.attr)))
                }
                None => Ok(true),
            },
            (None, None) => {
                if self.child.base_version == self.parent.base_version {
                    return Ok(false);
                }
                let then = self.base_file(self.fork, then)?;
                let now = self.base_file(self.parent, now)?;
                Ok(then.map(|found| found.stamp) != now.map(|found| found.stamp))
            }
        }
    }

    /// Whether an inode of the parent says anything else than a base file did.
    fn differs(&self, now: &Inode, was: &crate::tree::Attr) -> bool {
        !super::diff::is_whole_origin(now, was.size)
            || (now.attr.mode, now.attr.uid, now.attr.gid) != (was.mode, was.uid, was.gid)
            || !matches!(now.xattrs, crate::tree::Xattrs::OfOrigin)
    }

    fn removed_dir(
        &mut self,
        dir: FileId,
        (then, now): (Option<&[u8]>, Option<&[u8]>),
        path: Vec<u8>,
    ) -> Result<(), BranchError> {
        let (then, was) = self.workspace.names_in(self.fork, dir, then)?;
        let (now, is) = self.workspace.names_in(self.parent, dir, now)?;
        for (name, file, kind) in was.iter().filter(|name| !is.contains(name)) {
            // The parent took a name of a file that goes on: it would lose one link twice.
            if *kind != Kind::Dir && self.child.inode(*file).is_some() {
                self.conflicts.push(join(&path, name));
            }
        }
        for (name, file, kind) in is {
            let path = join(&path, &name);
            if !was.contains(&(name.clone(), file, kind)) {
                self.conflicts.push(path);
                continue;
            }
            let [then, now] = [&then, &now].map(|d| d.as_ref().map(|dir| join(dir, &name)));
            // What the branch moved out of it is not removed.
            if self.child.inode(file).is_none() {
                self.removed_file((file, kind), (then.as_deref(), now.as_deref()), path)?;
            }
        }
        let gone = self.parent.dentries_of(dir, 0).map(|(key, _)| key.clone());
        self.changes
            .extend(gone.map(|key| Change::NoDentry { key }));
        if self.parent.inode(dir).is_some() {
            self.changes.push(Change::NoInode { file: dir });
        }
        Ok(())
    }

    /// Whether the parent has, under another name, a file that the branch removed and that had
    /// `name` in the directory with this base path at the fork.
    pub(super) fn moved_by_parent(
        &mut self,
        file: FileId,
        dir: Option<&[u8]>,
        name: &[u8],
    ) -> Result<bool, BranchError> {
        if self.parent.inode(file).is_some() {
            // Whether there is a further name is known when all that are lost were counted.
            self.names_lost.entry(file).or_default();
            return Ok(false);
        }
        if self.child.base_version == self.parent.base_version {
            return Ok(false);
        }
        let moved = match dir {
            Some(dir) => self.carried(&join(dir, name))?,
            None => None,
        };
        let places = match moved {
            Some(path) => vec![path],
            // Another object may have come in its place.
            None => (self.workspace.base).republished(self.child.base_version, file)?,
        };
        for path in places {
            let shown = self.workspace.path_by_base_name(self.parent, file, &path)?;
            if shown.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Files that the branch removed go where the parent has no further name of them.
    pub(super) fn drop_removed(&mut self) -> Result<(), BranchError> {
        for (file, lost) in std::mem::take(&mut self.names_lost) {
            // What has no name is only open.
            let Some(inode) = self.parent.inode(file).filter(|i| i.attr.nlink > 0) else {
                continue;
            };
            if inode.attr.nlink > lost {
                let inode = inode.clone();
                self.conflict_at_file(file, &inode)?;
                continue;
            }
            self.changes.push(Change::NoInode { file });
        }
        Ok(())
    }

    /// The links of a file that the branch changed: both sides may have made and taken some.
    /// `None`: none would be left.
    pub(super) fn merged_links(
        &self,
        file: FileId,
        was: Option<&Inode>,
        is: &Inode,
    ) -> Result<Option<u32>, BranchError> {
        let base = match (was, &is.origin) {
            (None, Some(origin)) => self.workspace.below(self.child, &origin.path)?,
            _ => None,
        };
        let before = was
            .map(|was| was.attr.nlink)
            .or(base.map(|found| found.attr.nlink));
        let Some(before) = before else {
            return Ok(Some(is.attr.nlink));
        };
        let now = match self.parent.inode(file) {
            Some(now) => Some(now.attr.nlink),
            None => self.links_in_base(file, is)?,
        };
        let is_published = self.child.base_version != self.parent.base_version;
        if now.is_none() && before > 1 && is_published {
            // Its names went one by one, and how many are left nobody knows.
            return Ok(None);
        }
        let merged =
            i64::from(now.unwrap_or(before)) + i64::from(is.attr.nlink) - i64::from(before);
        Ok(u32::try_from(merged).ok().filter(|nlink| *nlink > 0))
    }

    /// The links of a file that the parent has no inode of.
    fn links_in_base(&self, file: FileId, is: &Inode) -> Result<Option<u32>, BranchError> {
        let carried = match &is.origin {
            Some(origin) => self.carried(&origin.path)?,
            None => None,
        };
        let found = match carried {
            Some(path) => self.workspace.below(self.parent, &path)?,
            None => None,
        };
        let found = match found {
            None => self.published(file, is)?.map(|(_, found)| found),
            found => found,
        };
        Ok(found.map(|found| found.attr.nlink))
    }

    /// A directory that the branch moved must not be above itself: both sides may have moved one
    /// into the other.
    pub(super) fn check_loops(&mut self) -> Result<(), BranchError> {
        let mut merged = self.parent.clone();
        let mut dirs = Vec::new();
        for change in &self.changes {
            merged.apply(change);
            if let Change::Inode { file, inode } = change
                && inode.is_dir()
            {
                dirs.push(*file);
            }
        }
        for dir in dirs {
            let mut seen = std::collections::HashSet::new();
            let mut at = dir;
            while at != FileId::ROOT && seen.insert(at) {
                match merged.inode(at) {
                    Some(inode) => at = inode.parent,
                    None => break,
                }
            }
            if at != FileId::ROOT
                && seen.contains(&at)
                && merged.inode(at).is_some()
                && let Some(inode) = self.child.inode(dir).cloned()
            {
                self.conflict_at_file(dir, &inode)?;
            }
        }
        Ok(())
    }
}
