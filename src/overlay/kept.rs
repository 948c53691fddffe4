//! Where others may change the base, a file that a branch has changed keeps its name in the branch,
//! whatever becomes of the name in the base: the work in it could not be reached otherwise.
//!
//! A view has no dentry of such a name, since the branch changed the file and not the name. Its
//! inode says where it was copied up from, so an index of these by directory and name takes the
//! place of a dentry. The index follows the view by the difference to the view it saw last.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lookup::Named;
use super::{FsResult, Mounted, Overlay};
use crate::branch::{State, join};
use crate::tree::{DentryRef, FileId, Inode, Kind, Name, NodeId, View};

/// A directory, and a name in it in the order of listings.
type Place = (FileId, u64, Name);

/// Such a name in a listing.
pub(super) struct KeptName {
    pub hash: u64,
    pub name: Name,
    pub file: FileId,
    pub kind: Kind,
}

/// The names under which files were copied up.
#[derive(Default)]
pub(super) struct KeptNames {
    seen: Option<View>,
    names: BTreeMap<Place, FileId>,
}

impl KeptNames {
    fn follow(&mut self, view: &View, place: impl Fn(&Inode) -> Option<Place>) {
        let empty = View::on(view.base_version);
        let seen = self.seen.as_ref().unwrap_or(&empty);
        for (file, was, is) in seen.diff_inodes(view) {
            let [was, is] = [was, is].map(|inode| inode.and_then(|inode| place(inode)));
            if was == is {
                continue;
            }
            if let Some(place) = was
                && self.names.get(&place) == Some(&file)
            {
                self.names.remove(&place);
            }
            if let Some(place) = is {
                self.names.insert(place, file);
            }
        }
        self.seen = Some(view.clone());
    }
}

impl Overlay {
    /// Calls `look` with the names that files of `state` keep.
    fn with_kept<T>(
        &self,
        mounted: &Mounted,
        state: &State,
        look: impl FnOnce(&BTreeMap<Place, FileId>) -> T,
    ) -> T {
        let mut kept = mounted.kept.lock();
        kept.follow(&state.view, |inode| {
            if inode.is_dir() || inode.origin.is_none() {
                return None;
            }
            let hash = self.workspace.key(inode.parent, &inode.name).hash;
            Some((inode.parent, hash, inode.name.clone()))
        });
        look(&kept.names)
    }

    /// The file that was copied up from the base path `path`, which `key` names and the view says
    /// nothing of.
    pub(super) fn kept_name<'a>(
        &self,
        mounted: &Mounted,
        state: &'a State,
        key: DentryRef<'_>,
        path: &[u8],
    ) -> Option<(FileId, &'a Arc<Inode>)> {
        if self.exclusive {
            return None;
        }
        let place = (key.dir, key.hash, Name::from(key.name));
        let file = self.with_kept(mounted, state, |names| names.get(&place).copied())?;
        let inode = state.view.inode(file)?;
        let origin = inode.origin.as_ref()?;
        (&origin.path[..] == path).then_some((file, inode))
    }

    /// All such names in the directory `dir` with the base path `base` behind a position, in order.
    pub(super) fn kept_names_in(
        &self,
        mounted: &Mounted,
        state: &State,
        (dir, base): (FileId, &[u8]),
        from: u64,
    ) -> Vec<KeptName> {
        if self.exclusive {
            return Vec::new();
        }
        let begin = (dir, from.saturating_add(1), Name::from(&b""[..]));
        let places = self.with_kept(mounted, state, |names| {
            let inside = names.range(begin..).take_while(|(place, _)| place.0 == dir);
            inside
                .map(|(place, file)| (place.clone(), *file))
                .collect::<Vec<_>>()
        });
        let kept = places.into_iter().filter_map(|((_, hash, name), file)| {
            let key = self.workspace.key(dir, &name);
            if state.view.dentry(key).is_some() {
                return None;
            }
            let inode = state.view.inode(file)?;
            let is_its = inode.origin.as_ref()?.path[..] == join(base, &name)[..];
            let kind = inode.attr.kind;
            is_its.then_some(KeptName {
                hash,
                name,
                file,
                kind,
            })
        });
        kept.collect()
    }

    /// What a name hides that leads to `named` and that the view says nothing of. Another object
    /// than the file was copied from is not what the branch takes away.
    pub(super) fn hidden_stamp(
        &self,
        mounted: &Mounted,
        state: &State,
        dir: NodeId,
        key: DentryRef<'_>,
        named: &Named,
    ) -> FsResult<Option<u64>> {
        if let Some((found, _)) = &named.base {
            return Ok(Some(found.stamp.0));
        }
        let Some((found, _)) = self.hidden(mounted, state, dir, key)? else {
            return Ok(None);
        };
        let inode = state.view.inode(named.file);
        let origin = inode.and_then(|inode| inode.origin.as_ref());
        let another = origin
            .filter(|origin| (origin.ino, origin.btime) != (found.ident.ino, found.ident.btime));
        Ok(Some(another.map_or(found.stamp.0, |origin| origin.stamp)))
    }
}
