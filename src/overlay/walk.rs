//! Reading a view by paths, without nodes: for diffs and patches.

use super::{FsError, FsResult, Overlay, shown_attr};
use crate::branch::join;
use crate::tree::{Attr, Content, DentryRef, FileId, Kind, View};

/// A file of a view.
struct Seen {
    file: FileId,
    kind: Kind,
    /// Its path in the base, for what the view has no inode of.
    base: Option<Vec<u8>>,
}

impl Overlay {
    fn see(&self, view: &View, path: &[u8]) -> FsResult<Option<Seen>> {
        let mut seen = Seen {
            file: FileId::ROOT,
            kind: Kind::Dir,
            base: view.inode(FileId::ROOT).is_none().then(Vec::new),
        };
        for name in path.split(|&byte| byte == b'/') {
            if name.is_empty() {
                continue;
            }
            match self.see_in(view, &seen, name)? {
                Some(next) => seen = next,
                None => return Ok(None),
            }
        }
        Ok(Some(seen))
    }

    fn see_in(&self, view: &View, dir: &Seen, name: &[u8]) -> FsResult<Option<Seen>> {
        if dir.kind != Kind::Dir {
            return Ok(None);
        }
        if let Some(dentry) = view.dentry(self.workspace.key(dir.file, name)) {
            return Ok(dentry.file.map(|(file, kind)| Seen {
                file,
                kind,
                base: None,
            }));
        }
        let Some(origin) = self.origin(view, dir) else {
            return Ok(None);
        };
        let path = join(&origin, name);
        let Some(found) = self.workspace.below(view, &path)? else {
            return Ok(None);
        };
        let base = view.inode(found.fid).is_none().then_some(path);
        Ok(Some(Seen {
            file: found.fid,
            kind: found.attr.kind,
            base,
        }))
    }

    /// The base path of a directory that shows its base's entries.
    fn origin(&self, view: &View, dir: &Seen) -> Option<Vec<u8>> {
        match view.inode(dir.file) {
            Some(inode) => inode.origin.as_ref().map(|origin| origin.path.to_vec()),
            None => dir.base.clone(),
        }
    }

    /// The attributes and the whole content of the file at `path`: bytes, or a link's target.
    ///
    /// Fails with `TooBig` where a file has more than `most_bytes`: all of it is held in memory.
    pub fn content_at(
        &self,
        view: &View,
        path: &[u8],
        most_bytes: u64,
    ) -> FsResult<Option<(Attr, Vec<u8>)>> {
        let check = |attr: &Attr| match attr.size > most_bytes {
            true => Err(FsError::TooBig),
            false => Ok(()),
        };
        let Some(seen) = self.see(view, path)? else {
            return Ok(None);
        };
        let version = view.base_version;
        let base = &self.workspace.base;
        let mut content = Vec::new();
        let attr = match (&seen.base, view.inode(seen.file)) {
            (_, Some(inode)) => {
                match &inode.content {
                    Content::File(_) => {
                        check(&inode.attr)?;
                        self.read_inode(inode, version, 0, u64::MAX, &mut content)?;
                    }
                    Content::Symlink(target) => content.extend_from_slice(target),
                    Content::Dir | Content::None => {}
                }
                shown_attr(inode)
            }
            (Some(path), None) => {
                let found = self.workspace.below(view, path)?.ok_or(FsError::NotFound)?;
                match found.attr.kind {
                    Kind::File => {
                        check(&found.attr)?;
                        let place = (seen.file, &b""[..]);
                        let origin = self.workspace.copied_up(&found, path, place, 0, version)?;
                        self.read_inode(&origin, version, 0, u64::MAX, &mut content)?;
                    }
                    Kind::Symlink => content = base.read_link(version, path)?,
                    _ => {}
                }
                found.attr
            }
            (None, None) => return Ok(None),
        };
        Ok(Some((attr, content)))
    }

    /// The paths of everything at `top` or below it that is not a directory, sorted.
    pub fn files_below(&self, view: &View, top: &[u8]) -> FsResult<Vec<Vec<u8>>> {
        let mut files = Vec::new();
        let mut todo = vec![top.to_vec()];
        while let Some(path) = todo.pop() {
            let Some(seen) = self.see(view, &path)? else {
                continue;
            };
            if seen.kind != Kind::Dir {
                files.push(path);
                continue;
            }
            let mut child = |name: &[u8], kind| match kind {
                Kind::Dir => todo.push(join(&path, name)),
                _ => files.push(join(&path, name)),
            };
            for (key, dentry) in view.dentries_of(seen.file, 0) {
                if let Some((_, kind)) = dentry.file {
                    child(&key.name, kind);
                }
            }
            let Some(origin) = self.origin(view, &seen) else {
                continue;
            };
            let listing = self.workspace.base.list(view.base_version, &origin)?;
            for name in listing.iter() {
                let key = DentryRef {
                    dir: seen.file,
                    hash: name.hash,
                    name: name.name,
                };
                if view.dentry(key).is_none() {
                    child(name.name, name.kind);
                }
            }
        }
        files.sort();
        Ok(files)
    }
}
