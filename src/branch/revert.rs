//! Going back from one view to an earlier one of the same lineage, on the same version of the base.
//!
//! The result shows what the earlier view showed, and differs from the later one only as if a user
//! had changed it back there: so it can be merged like the view of any branch that was forked from
//! the later one. That is why it is not just the earlier view. What the later one no longer has
//! comes as new files, since numbers of files that are gone may be others' by now; what the earlier
//! one left to the base has an inode that says so.
//!
//! Contents are not copied, the extents are shared. Times are those of the earlier view but for
//! ctime. The cost is that of the difference, and of what is below directories that come back.

use std::collections::HashMap;
use std::sync::Arc;

use super::resolve::{join, origin_of};
use super::{BranchError, Workspace, clock};
use crate::base::Found;
use crate::tree::{Change, Dentry, DentryKey, FileId, Inode, Kind, Name, Time, View, Xattrs};

/// A directory that comes back: what it was, the base path that it had, what it is now.
struct Again {
    was: FileId,
    base: Option<Vec<u8>>,
    is: FileId,
}

struct Reverting<'a> {
    workspace: &'a Workspace,
    /// The later view.
    from: &'a View,
    /// The earlier one.
    to: &'a View,
    /// What becomes of `from`.
    view: View,
    /// The new numbers of files that come back.
    again: HashMap<FileId, FileId>,
    /// Directories among them that are still empty.
    todo: Vec<Again>,
    /// Files whose inodes were put into `view`.
    touched: Vec<FileId>,
    time: Time,
}

impl Workspace {
    /// `from` changed so that it shows what `to` shows, which lies on the same version of the base
    /// and which `from` has come from.
    pub(super) fn reverted(&self, from: &View, to: &View) -> Result<View, BranchError> {
        debug_assert_eq!(from.base_version, to.base_version);
        let mut reverting = Reverting {
            workspace: self,
            from,
            to,
            view: from.clone(),
            again: HashMap::new(),
            todo: Vec::new(),
            touched: Vec::new(),
            time: clock::now(),
        };
        reverting.inodes()?;
        reverting.names()?;
        reverting.fill()?;
        Ok(reverting.finished())
    }
}

impl Reverting<'_> {
    /// Files that `from` has and that are others in `to`, or not there.
    fn inodes(&mut self) -> Result<(), BranchError> {
        for (file, was, is) in self.from.diff_inodes(self.to) {
            let Some(was) = was.filter(|was| has_name(was)) else {
                continue;
            };
            match is {
                Some(is) => self.put(file, (**is).clone()),
                None => match self.of_base(file, was)? {
                    Some(inode) => self.put(file, inode),
                    None => {
                        self.view.apply(&Change::NoInode { file });
                    }
                },
            }
        }
        Ok(())
    }

    /// The inode of a file that `to` leaves to the base and of which `from` has `was`; `None` for
    /// one that `to` does not have.
    fn of_base(&self, file: FileId, was: &Inode) -> Result<Option<Inode>, BranchError> {
        let Some(origin) = &was.origin else {
            return Ok(None);
        };
        let found = self.workspace.below(self.to, &origin.path)?;
        let Some(found) = found.filter(|found| found.fid == file) else {
            return Ok(None);
        };
        self.copied_up(&found, &origin.path).map(Some)
    }

    /// The inode of what the base has at `path`, as `to` leaves it there.
    fn copied_up(&self, found: &Found, path: &[u8]) -> Result<Inode, BranchError> {
        let place = self.workspace.base_place(self.to, path)?;
        let (dir, name) = place.unwrap_or((FileId::ROOT, Name::from(&b""[..])));
        let version = self.to.base_version;
        self.workspace
            .copied_up(found, path, (dir, &name), 0, version)
    }

    fn put(&mut self, file: FileId, mut inode: Inode) {
        inode.attr.ctime = self.time;
        let inode = Arc::new(inode);
        self.view.apply(&Change::Inode { file, inode });
        self.touched.push(file);
    }

    /// Names in directories that both views have, and those that go with theirs.
    fn names(&mut self) -> Result<(), BranchError> {
        for (key, _, _) in self.from.diff_dentries(self.to) {
            let is_root = key.dir == FileId::ROOT;
            let dir_was = self.from.inode(key.dir);
            if !is_root && dir_was.is_none() {
                // The directory comes back with all that was in it.
                continue;
            }
            let is_new = dir_was.is_some_and(|dir| dir.origin.is_none());
            if !is_root && is_new && self.to.inode(key.dir).is_none() {
                self.view.apply(&Change::NoDentry { key: key.clone() });
                continue;
            }
            let origin = origin_of(self.to, self.from, key.dir);
            let shown = self.workspace.shown(self.to, key, origin)?;
            let path = origin.map(|dir| join(dir, &key.name));
            let file = match shown {
                Some(shown) => {
                    let file = self.file((shown.file, shown.kind), path)?;
                    Some((file, shown.kind))
                }
                None => None,
            };
            let said = [self.to, self.from].map(|view| view.dentry(key.by_ref()));
            let mut hides = said.iter().flatten().find_map(|dentry| dentry.hides);
            if hides.is_none() {
                let hidden = self.workspace.hidden(self.to, key, origin)?;
                hides = hidden.map(|found| found.stamp.0);
            }
            self.name(key.clone(), Dentry { file, hides });
            self.stamp_dir(key.dir);
        }
        Ok(())
    }

    /// A directory in which names change has an inode that differs from the one in `from`, like
    /// everywhere: who merges or publishes names looks for it. The two may be equal where the
    /// commit's own change of the directory was the earlier one of two.
    fn stamp_dir(&mut self, dir: FileId) {
        let was = self.from.inode(dir);
        if let Some(inode) = self.view.inode(dir).filter(|inode| was == Some(inode)) {
            let inode = (**inode).clone();
            self.put(dir, inode);
        }
    }

    fn name(&mut self, key: DentryKey, dentry: Dentry) {
        self.view.apply(&match dentry {
            Dentry {
                file: None,
                hides: None,
            } => Change::NoDentry { key },
            dentry => Change::Dentry { key, dentry },
        });
    }

    /// The number in the new view of a file that `to` shows; `path` is where the base has it, where
    /// that is all that `to` says of it.
    fn file(
        &mut self,
        (file, kind): (FileId, Kind),
        path: Option<Vec<u8>>,
    ) -> Result<FileId, BranchError> {
        if self.from.inode(file).is_some_and(|inode| has_name(inode)) {
            return Ok(file);
        }
        if let Some(again) = self.again.get(&file) {
            return Ok(*again);
        }
        let mut inode = match (self.to.inode(file), path) {
            (Some(inode), _) => (**inode).clone(),
            (None, Some(path)) => {
                let found = self.workspace.below(self.to, &path)?;
                let found = found.ok_or_else(|| BranchError::BaseChanged {
                    paths: vec![path.clone()],
                })?;
                self.copied_up(&found, &path)?
            }
            (None, None) => unreachable!("a file that neither the view nor the base has"),
        };
        if inode.xattrs == Xattrs::OfOrigin {
            let own = self.workspace.xattrs_of(self.to.base_version, &inode)?;
            inode.xattrs = Xattrs::Own(Arc::new(own));
        }
        let origin = inode.origin.take();
        let is = self.workspace.base.alloc_fid()?;
        self.again.insert(file, is);
        self.put(is, inode);
        if kind == Kind::Dir {
            self.todo.push(Again {
                was: file,
                base: origin.map(|origin| origin.path.to_vec()),
                is,
            });
        }
        Ok(is)
    }

    /// Puts what they had into the directories that come back.
    fn fill(&mut self) -> Result<(), BranchError> {
        while let Some(Again { was, base, is }) = self.todo.pop() {
            let (base, names) = self.workspace.names_in(self.to, was, base.as_deref())?;
            for (name, file, kind) in names {
                let path = base.as_ref().map(|dir| join(dir, &name));
                let file = self.file((file, kind), path)?;
                let key = self.workspace.key(is, &name).to_key();
                let file = Some((file, kind));
                self.name(key, Dentry { file, hides: None });
            }
        }
        Ok(())
    }

    /// The view, with the new numbers of the directories that files are in.
    fn finished(mut self) -> View {
        for file in std::mem::take(&mut self.touched) {
            let Some(inode) = self.view.inode(file) else {
                continue;
            };
            if let Some(parent) = self.again.get(&inode.parent) {
                let mut inode = (**inode).clone();
                inode.parent = *parent;
                let inode = Arc::new(inode);
                self.view.apply(&Change::Inode { file, inode });
            }
        }
        self.view
    }
}

/// Whether a file has a name: one that is only open has none.
fn has_name(inode: &Inode) -> bool {
    inode.is_dir() || inode.attr.nlink > 0
}
