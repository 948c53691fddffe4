//! Taking names away: unlink, rmdir, and the file that a rename replaces.

use std::sync::Arc;

use super::lookup::Named;
use super::nodes::Orphan;
use super::{FsError, FsResult, Mounted, Overlay};
use crate::base::tree_stamp;
use crate::branch::{Changed, State, join, now};
use crate::tree::{
    Change, Content, Dentry, DentryKey, DentryRef, FileId, Inode, Kind, NodeId, Time, View,
};

/// A file that is losing a name.
pub(super) struct Removed {
    /// Its node.
    pub node: NodeId,
    /// It, with one name less.
    pub inode: Inode,
}

impl Overlay {
    /// Takes a name from a file that is not a directory.
    pub fn unlink(&self, dir: NodeId, name: &[u8]) -> FsResult<()> {
        self.remove(dir, name, false)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, dir: NodeId, name: &[u8]) -> FsResult<()> {
        self.remove(dir, name, true)
    }

    fn remove(&self, dir: NodeId, name: &[u8], want_dir: bool) -> FsResult<()> {
        let _running = self.workspace.begin();
        let mounted = self.mounted(dir)?;
        let mut state = mounted.branch.state.write();
        self.check_writable(&state, dir)?;
        let named = self
            .named(&mounted, &state, dir, name)?
            .ok_or(FsError::NotFound)?;
        match (want_dir, named.attr.kind == Kind::Dir) {
            (true, false) => return Err(FsError::NotDir),
            (false, true) => return Err(FsError::IsDir),
            _ => {}
        }
        let time = now();
        let mut changes = Vec::new();
        let removed = self.remove_file(&mounted, &state, dir, &named, time, &mut changes)?;
        let key = self.key(dir.file(), name);
        let hides = match state.view.dentry(key.by_ref()) {
            Some(dentry) => dentry.hides,
            None if want_dir => {
                self.hides_of_removed_dir(&mounted, &state, dir, key.by_ref(), &named)?
            }
            None => self.hidden_stamp(&mounted, &state, dir, key.by_ref(), &named)?,
        };
        changes.push(match hides {
            Some(_) => Change::Dentry {
                key,
                dentry: Dentry { file: None, hides },
            },
            None => Change::NoDentry { key },
        });
        let mut parent = self.own_inode(&mounted, &state, dir)?;
        parent.attr.mtime = time;
        parent.attr.ctime = time;
        if want_dir {
            parent.attr.nlink = parent.attr.nlink.saturating_sub(1).max(1);
        }
        changes.push(Change::Inode {
            file: dir.file(),
            inode: Arc::new(parent),
        });
        self.change(&mounted, &mut state, &changes)?;
        self.bury(&mounted, &state, (dir, name), removed);
        Ok(())
    }

    /// What the name of an empty directory hides of the base once it is removed or replaced: the
    /// directory with what was in it, as it was when that was removed.
    pub(super) fn hides_of_removed_dir(
        &self,
        mounted: &Mounted,
        state: &State,
        dir: NodeId,
        key: DentryRef<'_>,
        named: &Named,
    ) -> FsResult<Option<u64>> {
        let hidden = match &named.base {
            Some(base) => Some(base.clone()),
            None => self.hidden(mounted, state, dir, key)?,
        };
        let Some((found, path)) = hidden else {
            return Ok(None);
        };
        // Where a directory was moved out of it, it does not go as a whole: its own stamp alone.
        let own = Ok(Some(found.stamp.0));
        if found.fid != named.file {
            return own;
        }
        let (base, version) = (&self.workspace.base, state.view.base_version);
        let listing = base.list(version, &path)?;
        let mut names = Vec::with_capacity(listing.len());
        for entry in listing.iter() {
            let key = DentryRef {
                dir: named.file,
                hash: entry.hash,
                name: entry.name,
            };
            let Some(stamp) = state.view.dentry(key).and_then(|dentry| dentry.hides) else {
                return own;
            };
            if entry.kind == Kind::Dir {
                let child = base.lookup(version, &join(&path, entry.name))?;
                if child.is_none_or(|child| child.stamp.0 == stamp) {
                    return own;
                }
            }
            names.push((entry.name, stamp));
        }
        Ok(Some(tree_stamp(names)))
    }

    /// Adds to `changes` what a file's loss of one name does to its inode, and for a directory to
    /// what is left in it. Fails with `NotEmpty`.
    pub(super) fn remove_file(
        &self,
        mounted: &Mounted,
        state: &State,
        dir: NodeId,
        named: &Named,
        time: Time,
        changes: &mut Vec<Change>,
    ) -> FsResult<Removed> {
        let node = self.node_of(state, dir, named.file);
        let mut inode = match &named.base {
            Some((found, path)) => {
                let name = super::Name::from(crate::branch::split(path).1);
                let (epoch, version) = (state.meta.epoch, state.view.base_version);
                let place = (dir.file(), &name[..]);
                self.workspace
                    .copied_up(found, path, place, epoch, version)?
            }
            None => self.own_inode(mounted, state, node)?,
        };
        inode.attr.ctime = time;
        let file = named.file;
        let viewed = state.view.inode(file).is_some();
        if named.attr.kind == Kind::Dir {
            self.check_empty(state, &inode, file)?;
            if state.view.dentries_of(file, 0).next().is_some() {
                changes.push(Change::NoDentries { dir: file });
            }
            inode.attr.nlink = 0;
        } else {
            inode.attr.nlink = inode.attr.nlink.saturating_sub(1);
        }
        if inode.attr.nlink > 0 {
            changes.push(Change::Inode {
                file,
                inode: Arc::new(inode.clone()),
            });
        } else if viewed {
            changes.push(Change::NoInode { file });
        }
        Ok(Removed { node, inode })
    }

    fn check_empty(&self, state: &State, inode: &Inode, dir: FileId) -> FsResult<()> {
        if state
            .view
            .dentries_of(dir, 0)
            .any(|(_, dentry)| dentry.file.is_some())
        {
            return Err(FsError::NotEmpty);
        }
        if let Some(origin) = &inode.origin {
            let listing = self
                .workspace
                .base
                .list(state.view.base_version, &origin.path)?;
            let shows = listing.iter().any(|name| {
                let key = crate::tree::DentryRef {
                    dir,
                    hash: name.hash,
                    name: name.name,
                };
                state.view.dentry(key).is_none()
            });
            if shows {
                return Err(FsError::NotEmpty);
            }
        }
        Ok(())
    }

    /// After a name was taken: the node forgets it, and without names becomes an orphan or is gone.
    pub(super) fn bury(
        &self,
        mounted: &Mounted,
        state: &State,
        (dir, name): (NodeId, &[u8]),
        removed: Removed,
    ) {
        let Removed { node, inode } = removed;
        let gone = inode.attr.nlink == 0;
        let inode = Arc::new(inode);
        let mut nodes = mounted.nodes.lock();
        nodes.remove_name(node, dir, name);
        if !gone {
            return;
        }
        let base_version = state.view.base_version;
        if nodes.make_orphan(
            node,
            Orphan {
                inode: inode.clone(),
                base_version,
            },
        ) {
            self.workspace.pin(base_version);
        } else if let Content::File(extents) = &inode.content {
            drop(nodes);
            extents
                .iter()
                .for_each(|extent| self.workspace.free(state, extent));
        }
    }

    /// Keeps for those who have them open the files of `state` that a commit replaces or removes.
    /// Called with the parent's state locked, before it changes.
    pub fn keep_open(&self, state: &State, changed: &Changed, next: &View) {
        let Some(mounted) = self.by_branch.get(&changed.branch.id).map(|m| m.clone()) else {
            return;
        };
        let mut leaving: Vec<FileId> = changed.replaced.clone();
        let mut dir_removed = false;
        for (dir, name) in &changed.names {
            let key = self.key(*dir, name);
            let node = NodeId::new(state.incarnation_of(*dir), *dir);
            if !mounted.nodes.lock().is_known(node) && *dir != FileId::ROOT {
                continue;
            }
            let Ok(Some(named)) = self.named(&mounted, state, node, name) else {
                continue;
            };
            let stays = next
                .inode(named.file)
                .is_some_and(|_| names_it(next, &key, named.file))
                || next
                    .inode(named.file)
                    .is_some_and(|inode| inode.attr.nlink > 0);
            if !stays {
                leaving.push(named.file);
                dir_removed |= named.attr.kind == Kind::Dir;
            }
        }
        for file in leaving {
            let node = NodeId::new(state.incarnation_of(file), file);
            self.keep_node(&mounted, state, node);
        }
        // Directories stay the nodes that they are, wherever the commit moves them.
        for dir in changed.dirs.iter().filter(|dir| **dir != FileId::ROOT) {
            let Some(inode) = next.inode(*dir) else {
                continue;
            };
            let node = NodeId::new(state.incarnation_of(*dir), *dir);
            let parent = NodeId::new(state.incarnation_of(inode.parent), inode.parent);
            mounted.nodes.lock().rename_to(node, parent, &inode.name);
        }
        if dir_removed {
            let known = mounted.nodes.lock().known(state.meta.incarnation);
            for node in known {
                if self.is_below_orphan(&mounted, node) {
                    self.keep_node(&mounted, state, node);
                }
            }
        }
    }

    fn keep_node(&self, mounted: &Mounted, state: &State, node: NodeId) {
        if !mounted.nodes.lock().is_known(node) {
            return;
        }
        let Ok(mut inode) = self.own_inode(mounted, state, node) else {
            return;
        };
        inode.attr.nlink = 0;
        let base_version = state.view.base_version;
        let mut nodes = mounted.nodes.lock();
        if nodes.orphan(node).is_none()
            && nodes.make_orphan(
                node,
                Orphan {
                    inode: Arc::new(inode),
                    base_version,
                },
            )
        {
            self.workspace.pin(base_version);
        }
    }

    fn is_below_orphan(&self, mounted: &Mounted, node: NodeId) -> bool {
        let nodes = mounted.nodes.lock();
        let mut at = node;
        while let Some((parent, _)) = nodes.name(at) {
            if nodes.orphan(parent).is_some() {
                return true;
            }
            at = parent;
        }
        false
    }
}

fn names_it(view: &View, key: &DentryKey, file: FileId) -> bool {
    view.dentry(key.by_ref())
        .is_some_and(|dentry| dentry.file.map(|f| f.0) == Some(file))
}
