//! Listing a directory: the view's dentries and the base's names, merged in hash order.
//!
//! A position is the hash of the last name handed out, so it means the same whatever was added or
//! removed in between. Names of one hash are handed out together or not at all.

use super::kept::KeptName;
use super::{FsError, FsResult, Mounted, Overlay};
use crate::branch::State;
use crate::tree::{Attr, FileId, Kind, NodeId};

/// A name in a listing.
pub struct ListItem<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The node.
    pub node: NodeId,
    /// Its type.
    pub kind: Kind,
    /// The position behind it.
    pub next: u64,
}

/// What to do after an item was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It was taken, go on.
    More,
    /// It is not wanted, go on.
    Skip,
    /// There was no room for it.
    Full,
}

/// What the view says of a name.
struct Above<'a> {
    hash: u64,
    name: &'a [u8],
    file: Option<(FileId, Kind)>,
}

/// What the view says of names in `dir` behind a position, `kept` among them, in order.
fn names_above<'a>(
    state: &'a State,
    dir: FileId,
    from: u64,
    kept: &'a [KeptName],
) -> Box<dyn Iterator<Item = Above<'a>> + 'a> {
    let dentries = state.view.dentries_of(dir, from.saturating_add(1));
    let said = dentries.map(|(key, dentry)| Above {
        hash: key.hash,
        name: &key.name,
        file: dentry.file,
    });
    if kept.is_empty() {
        return Box::new(said);
    }
    let kept = kept.iter().map(|kept| Above {
        hash: kept.hash,
        name: &kept.name,
        file: Some((kept.file, kept.kind)),
    });
    let mut all: Vec<Above<'_>> = said.chain(kept).collect();
    all.sort_by(|a, b| (a.hash, a.name).cmp(&(b.hash, b.name)));
    Box::new(all.into_iter())
}

impl Overlay {
    /// Offers the names of `dir` behind position `from` in order.
    pub fn list(
        &self,
        dir: NodeId,
        from: u64,
        sink: &mut dyn FnMut(&ListItem<'_>) -> Take,
    ) -> FsResult<()> {
        let mounted = self.mounted(dir)?;
        let state = mounted.branch.state.read();
        self.list_locked(&mounted, &state, dir, from, sink)
    }

    /// The same with attributes; each item that was taken counts a lookup.
    pub fn list_plus(
        &self,
        dir: NodeId,
        from: u64,
        sink: &mut dyn FnMut(&ListItem<'_>, &Attr) -> Take,
    ) -> FsResult<()> {
        let mounted = self.mounted(dir)?;
        let state = mounted.branch.state.read();
        self.list_locked(&mounted, &state, dir, from, &mut |item| {
            // A name may vanish from a shared base between the listing and the look.
            let Ok(Some(named)) = self.named(&mounted, &state, dir, item.name) else {
                return Take::Skip;
            };
            // Nor may it still be the file whose number the listing has.
            let item = &ListItem {
                node: self.node_of(&state, dir, named.file),
                kind: named.attr.kind,
                ..*item
            };
            let took = sink(item, &named.attr);
            if took == Take::More {
                mounted.nodes.lock().looked_up(item.node, dir, item.name);
            }
            took
        })
    }

    /// The node of the directory that `dir` is in; the root's is the root.
    pub fn parent(&self, dir: NodeId) -> FsResult<NodeId> {
        let mounted = self.mounted(dir)?;
        let state = mounted.branch.state.read();
        if dir.file() == FileId::ROOT {
            return Ok(dir);
        }
        if let Some(inode) = state.view.inode(dir.file()) {
            return Ok(self.node_of(&state, dir, inode.parent));
        }
        let name = mounted.nodes.lock().name(dir);
        Ok(name.map_or(dir, |(parent, _)| parent))
    }

    fn list_locked(
        &self,
        mounted: &Mounted,
        state: &State,
        dir: NodeId,
        from: u64,
        sink: &mut dyn FnMut(&ListItem<'_>) -> Take,
    ) -> FsResult<()> {
        self.check_live(state, dir)?;
        let base = match self.dir_path(mounted, state, dir) {
            Ok(Some(path)) => {
                let listing = self.workspace.base.list(state.view.base_version, &path)?;
                Some((path, listing))
            }
            Ok(None) => None,
            // A removed directory that somebody still has open is empty.
            Err(FsError::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut below = base.iter().flat_map(|(_, listing)| {
            (listing.after(from)..listing.len()).map(|index| listing.get(index))
        });
        let kept = match &base {
            Some((path, _)) => self.kept_names_in(mounted, state, (dir.file(), path), from),
            None => Vec::new(),
        };
        let mut above = names_above(state, dir.file(), from, &kept);
        let mut next_below = below.next();
        let mut next_above = above.next();
        let mut batch: Vec<(u64, Vec<u8>, FileId, Kind)> = Vec::new();
        loop {
            let order = match (&next_above, &next_below) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(above), Some(name)) => (above.hash, above.name).cmp(&(name.hash, name.name)),
            };
            let item = if order.is_le() {
                let Above { hash, name, file } = next_above.take().expect("it was compared");
                file.map(|(file, kind)| (hash, name.to_vec(), file, kind))
            } else {
                let name = next_below.as_ref().expect("it was compared");
                Some((name.hash, name.name.to_vec(), name.fid, name.kind))
            };
            if order.is_le() {
                next_above = above.next();
            }
            if order.is_ge() {
                next_below = below.next();
            }
            let Some(item) = item else { continue };
            if batch.first().is_some_and(|first| first.0 != item.0)
                && !self.offer(state, dir, &mut batch, sink)
            {
                return Ok(());
            }
            batch.push(item);
        }
        self.offer(state, dir, &mut batch, sink);
        Ok(())
    }

    /// Offers names of one hash. All but the last lead back to before them, so that none is lost
    /// where only some of them fit.
    fn offer(
        &self,
        state: &State,
        dir: NodeId,
        batch: &mut Vec<(u64, Vec<u8>, FileId, Kind)>,
        sink: &mut dyn FnMut(&ListItem<'_>) -> Take,
    ) -> bool {
        let last = batch.len().saturating_sub(1);
        for (at, (hash, name, file, kind)) in batch.drain(..).enumerate() {
            let next = if at == last { hash } else { hash - 1 };
            let node = self.node_of(state, dir, file);
            if sink(&ListItem {
                name: &name,
                node,
                kind,
                next,
            }) == Take::Full
            {
                return false;
            }
        }
        true
    }
}
