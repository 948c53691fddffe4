//! Names and places in a view without the kernel's help: what a name shows, what path a file has.
//!
//! An operation of the kernel comes with nodes, which know where they are. A commit, a diff and a
//! publish start from a view's maps; here they find the way back up. It works because whatever a
//! dentry of a view lies in has an inode in that view, and that inode says where it is.

use super::{BranchError, Workspace};
use crate::base::Found;
use crate::tree::{DentryKey, DentryRef, FileId, Inode, Kind, Name, View, name_hash};

/// What a name shows in a view.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The file.
    pub file: FileId,
    /// Its type.
    pub kind: Kind,
}

/// The names of a directory: the file that each shows.
pub(super) type NamesIn = Vec<(Name, FileId, Kind)>;

/// `dir/name`, or `name` where `dir` is the root.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    if !dir.is_empty() {
        path.extend_from_slice(dir);
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// The directory and the last name of a path that is not the root.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

impl Workspace {
    /// The key of `name` in `dir`.
    pub fn key<'a>(&self, dir: FileId, name: &'a [u8]) -> DentryRef<'a> {
        DentryRef {
            dir,
            hash: name_hash(&self.hash_key, name),
            name,
        }
    }

    /// What the base shows under `path` in the version of `view`.
    pub fn below(&self, view: &View, path: &[u8]) -> Result<Option<Found>, BranchError> {
        Ok(self.base.lookup(view.base_version, path)?)
    }

    /// What a name shows in `view`. `dir_origin` is the base path of its directory, for where the
    /// view has no inode of it.
    pub(super) fn shown(
        &self,
        view: &View,
        key: &DentryKey,
        dir_origin: Option<&[u8]>,
    ) -> Result<Option<Shown>, BranchError> {
        if let Some(dentry) = view.dentry(key.by_ref()) {
            return Ok(dentry.file.map(|(file, kind)| Shown { file, kind }));
        }
        let found = self.hidden(view, key, dir_origin)?;
        Ok(found.map(|found| Shown {
            file: found.fid,
            kind: found.attr.kind,
        }))
    }

    /// What the base has of a name, whatever the view says of it.
    pub(super) fn hidden(
        &self,
        view: &View,
        key: &DentryKey,
        dir_origin: Option<&[u8]>,
    ) -> Result<Option<Found>, BranchError> {
        let hidden = self.hidden_at(view, key, dir_origin)?;
        Ok(hidden.map(|(found, _)| found))
    }

    /// The same with its path in the base.
    pub(super) fn hidden_at(
        &self,
        view: &View,
        key: &DentryKey,
        dir_origin: Option<&[u8]>,
    ) -> Result<Option<(Found, Vec<u8>)>, BranchError> {
        let origin = match view.inode(key.dir) {
            Some(inode) => inode.origin.as_ref().map(|origin| &origin.path[..]),
            None => dir_origin,
        };
        match origin {
            Some(dir) => {
                let path = join(dir, &key.name);
                Ok(self.below(view, &path)?.map(|found| (found, path)))
            }
            None => Ok(None),
        }
    }

    /// The directory that the base has a path in, and the name there.
    pub(super) fn base_place(
        &self,
        view: &View,
        path: &[u8],
    ) -> Result<Option<(FileId, Name)>, BranchError> {
        let (dir, name) = split(path);
        Ok(self.below(view, dir)?.map(|dir| (dir.fid, name.into())))
    }

    /// The path in `view` of the base's directory `base_path`; `None` where the view does not show
    /// it.
    pub(super) fn place_of_base_dir(
        &self,
        view: &View,
        base_path: &[u8],
    ) -> Result<Option<Vec<u8>>, BranchError> {
        if base_path.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let Some(found) = self.below(view, base_path)? else {
            return Ok(None);
        };
        if view.inode(found.fid).is_some() {
            return self.path_of_file(view, found.fid);
        }
        let (dir, name) = split(base_path);
        let dir_id = match self.below(view, dir)? {
            Some(found) => found.fid,
            None => return Ok(None),
        };
        if view
            .dentry(self.key(dir_id, name))
            .is_some_and(|d| d.file.map(|f| f.0) != Some(found.fid))
        {
            return Ok(None);
        }
        Ok(self
            .place_of_base_dir(view, dir)?
            .map(|dir| join(&dir, name)))
    }

    /// The path in `view` of a file that has an inode in it. Of a file with several names it is the
    /// one that it was last changed by, or any other where that has gone.
    pub fn path_of_file(&self, view: &View, file: FileId) -> Result<Option<Vec<u8>>, BranchError> {
        match view.inode(file) {
            Some(inode) if file != FileId::ROOT && !inode.is_dir() => {
                match self.path_by_last_name(view, file, inode)? {
                    Some(path) => Ok(Some(path)),
                    None => self.path_by_any_name(view, file, inode),
                }
            }
            _ => self.path_up(view, file),
        }
    }

    /// The path of a directory that has an inode in `view`, by the names up from it. However deep
    /// it lies, this takes no more of the stack.
    fn path_up(&self, view: &View, dir: FileId) -> Result<Option<Vec<u8>>, BranchError> {
        let mut names = Vec::new();
        let mut at = dir;
        let mut path = Vec::new();
        while at != FileId::ROOT {
            let Some(inode) = view.inode(at).filter(|inode| inode.is_dir()) else {
                return Ok(None);
            };
            // More names than files: it lies within itself, which only a made up journal says.
            if names.len() > view.len().1 {
                return Ok(None);
            }
            names.push(inode.name.clone());
            if inode.parent != FileId::ROOT && view.inode(inode.parent).is_none() {
                let Some(origin) = &inode.origin else {
                    return Ok(None);
                };
                let Some(below) = self.place_of_base_dir(view, split(&origin.path).0)? else {
                    return Ok(None);
                };
                path = below;
                break;
            }
            at = inode.parent;
        }
        for name in names.iter().rev() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        Ok(Some(path))
    }

    fn path_by_last_name(
        &self,
        view: &View,
        file: FileId,
        inode: &Inode,
    ) -> Result<Option<Vec<u8>>, BranchError> {
        if inode.parent != FileId::ROOT && view.inode(inode.parent).is_none() {
            return match &inode.origin {
                Some(origin) => self.path_by_base_name(view, file, &origin.path),
                None => Ok(None),
            };
        }
        let key = self.key(inode.parent, &inode.name).to_key();
        let root: Option<&[u8]> = (inode.parent == FileId::ROOT).then_some(b"");
        if self
            .shown(view, &key, root)?
            .is_none_or(|shown| shown.file != file)
        {
            return Ok(None);
        }
        Ok(self
            .path_up(view, inode.parent)?
            .map(|dir| join(&dir, &inode.name)))
    }

    /// The path in `view` of the base's name `path`, where that still leads to `file`.
    pub(super) fn path_by_base_name(
        &self,
        view: &View,
        file: FileId,
        path: &[u8],
    ) -> Result<Option<Vec<u8>>, BranchError> {
        let (dir, name) = split(path);
        let Some(found) = self.below(view, dir)? else {
            return Ok(None);
        };
        let key = self.key(found.fid, name).to_key();
        if self
            .shown(view, &key, Some(dir))?
            .is_none_or(|shown| shown.file != file)
        {
            return Ok(None);
        }
        Ok(self
            .place_of_base_dir(view, dir)?
            .map(|dir| join(&dir, name)))
    }

    /// Looks through the view and then through the base: only for files with several names, of
    /// which the one that is known has gone.
    fn path_by_any_name(
        &self,
        view: &View,
        file: FileId,
        inode: &Inode,
    ) -> Result<Option<Vec<u8>>, BranchError> {
        for (key, dentry) in view.dentries() {
            if dentry.file.is_some_and(|(named, _)| named == file)
                && let Some(dir) = self.path_up(view, key.dir)?
            {
                return Ok(Some(join(&dir, &key.name)));
            }
        }
        if inode.origin.is_none() {
            return Ok(None);
        }
        let mut todo = vec![Vec::new()];
        while let Some(dir) = todo.pop() {
            let listing = self.base.list(view.base_version, &dir)?;
            for name in listing.iter() {
                let path = join(&dir, name.name);
                if name.kind == Kind::Dir {
                    todo.push(path);
                } else if name.fid == file
                    && let Some(path) = self.path_by_base_name(view, file, &path)?
                {
                    return Ok(Some(path));
                }
            }
        }
        Ok(None)
    }

    /// The base path of a directory in `view` and the names in it; `base` is that path for where
    /// the view has no inode of it.
    pub(super) fn names_in(
        &self,
        view: &View,
        dir: FileId,
        base: Option<&[u8]>,
    ) -> Result<(Option<Vec<u8>>, NamesIn), BranchError> {
        let base = match view.inode(dir) {
            Some(inode) => inode.origin.as_ref().map(|origin| origin.path.to_vec()),
            None => base.map(<[u8]>::to_vec),
        };
        let mut names: NamesIn = view
            .dentries_of(dir, 0)
            .filter_map(|(key, dentry)| dentry.file.map(|(f, kind)| (key.name.clone(), f, kind)))
            .collect();
        if let Some(path) = &base {
            let listing = self.base.list(view.base_version, path)?;
            for name in listing.iter() {
                if view.dentry(self.key(dir, name.name)).is_none() {
                    names.push((name.name.into(), name.fid, name.kind));
                }
            }
        }
        Ok((base, names))
    }

    /// The path in `view` of a directory; `origin` is its base path, for where the view has no
    /// inode of it.
    pub(super) fn path_of_dir(
        &self,
        view: &View,
        dir: FileId,
        origin: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, BranchError> {
        if dir == FileId::ROOT || view.inode(dir).is_some() {
            return self.path_up(view, dir);
        }
        match origin {
            Some(origin) => self.place_of_base_dir(view, origin),
            None => Ok(None),
        }
    }
}

/// The base path of a directory as the newer of two views has it.
pub(super) fn origin_of<'a>(newer: &'a View, older: &'a View, dir: FileId) -> Option<&'a [u8]> {
    if dir == FileId::ROOT {
        return Some(b"");
    }
    let inode = newer.inode(dir).or_else(|| older.inode(dir))?;
    inode.origin.as_ref().map(|origin| &origin.path[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_and_join() {
        for (path, dir, name) in [("a", "", "a"), ("a/b", "a", "b"), ("a/b/c", "a/b", "c")] {
            assert_eq!(split(path.as_bytes()), (dir.as_bytes(), name.as_bytes()));
            assert_eq!(join(dir.as_bytes(), name.as_bytes()), path.as_bytes());
        }
    }
}
