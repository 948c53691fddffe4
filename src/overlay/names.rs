//! Making and moving names: create, link, rename.

use std::sync::Arc;

use super::acl;
use super::lookup::{MAX_NAME_BYTES, Named};
use super::removal::Removed;
use super::{FsError, FsResult, Mounted, Overlay, shown_attr};
use crate::branch::{State, now};
use crate::tree::{
    Attr, Change, Content, Dentry, DentryKey, ExtentMap, FileId, Inode, Kind, Name, NodeId, Time,
    Xattrs, is_file_name, is_owner,
};

/// The most names a file can have: ext4's limit, so that what a branch holds can be published.
const MAX_LINKS: u32 = 65_000;

/// What is to be created.
#[derive(Clone, Copy, Debug)]
pub struct Creation<'a> {
    /// Its type.
    pub kind: Kind,
    /// The permission bits that were asked for.
    pub mode: u32,
    /// The caller's umask, which counts where the directory has no default ACL.
    pub umask: u32,
    /// The caller.
    pub uid: u32,
    /// The caller's group.
    pub gid: u32,
    /// For devices.
    pub rdev: u32,
    /// For symbolic links.
    pub target: Option<&'a [u8]>,
}

/// What a rename does where the new name exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// Takes its place.
    Replace,
    /// Fails with `Exists`.
    NoReplace,
    /// Both names change places.
    Exchange,
}

/// A directory whose names change, with its inode being edited.
struct EditedDir {
    node: NodeId,
    inode: Inode,
}

impl EditedDir {
    fn touch(&mut self, time: Time, nlink: i64) {
        self.inode.attr.mtime = time;
        self.inode.attr.ctime = time;
        self.inode.attr.nlink = (i64::from(self.inode.attr.nlink) + nlink).max(1) as u32;
    }

    fn change(self) -> Change {
        Change::Inode {
            file: self.node.file(),
            inode: Arc::new(self.inode),
        }
    }
}

/// A name and what it hides of the base.
struct Slot {
    key: DentryKey,
    named: Option<Named>,
    hides: Option<u64>,
}

impl Slot {
    /// The change that takes the name away.
    fn vacated(&self) -> Change {
        let key = self.key.clone();
        match self.hides {
            Some(_) => Change::Dentry {
                key,
                dentry: Dentry {
                    file: None,
                    hides: self.hides,
                },
            },
            None => Change::NoDentry { key },
        }
    }

    /// The change that gives the name to a file.
    fn given(&self, file: FileId, kind: Kind) -> Change {
        let dentry = Dentry {
            file: Some((file, kind)),
            hides: self.hides,
        };
        Change::Dentry {
            key: self.key.clone(),
            dentry,
        }
    }
}

impl Overlay {
    fn slot(&self, mounted: &Mounted, state: &State, dir: NodeId, name: &[u8]) -> FsResult<Slot> {
        if name.len() > MAX_NAME_BYTES {
            return Err(FsError::NameTooLong);
        }
        if !is_file_name(name) {
            return Err(FsError::Invalid);
        }
        let key = self.key(dir.file(), name);
        let dentry = state.view.dentry(key.by_ref());
        let named = self.named_by(mounted, state, dir, key.by_ref(), dentry)?;
        let hides = match dentry {
            Some(dentry) => dentry.hides,
            None => match &named {
                Some(named) => self.hidden_stamp(mounted, state, dir, key.by_ref(), named)?,
                None => None,
            },
        };
        Ok(Slot { key, named, hides })
    }

    /// A directory that is about to change. Fails with `NotFound` where it was removed.
    fn edited_dir(&self, mounted: &Mounted, state: &State, dir: NodeId) -> FsResult<EditedDir> {
        self.check_writable(state, dir)?;
        if mounted.nodes.lock().orphan(dir).is_some() {
            return Err(FsError::NotFound);
        }
        let inode = self.own_inode(mounted, state, dir)?;
        if !inode.is_dir() {
            return Err(FsError::NotDir);
        }
        Ok(EditedDir { node: dir, inode })
    }

    /// Creates a file of any type and counts a lookup of it.
    pub fn create(
        &self,
        dir: NodeId,
        name: &[u8],
        creation: &Creation<'_>,
    ) -> FsResult<(NodeId, Attr)> {
        if !is_owner(creation.uid) || !is_owner(creation.gid) {
            return Err(FsError::Invalid);
        }
        let _running = self.workspace.begin();
        let mounted = self.mounted(dir)?;
        let mut state = mounted.branch.state.write();
        let mut edited = self.edited_dir(&mounted, &state, dir)?;
        let slot = self.slot(&mounted, &state, dir, name)?;
        if slot.named.is_some() {
            return Err(FsError::Exists);
        }
        self.workspace.check_limits(&state, 0, 1)?;
        let defaults = self.default_acl(&state, &edited.inode)?;
        let file = self.workspace.base.alloc_fid()?;
        let time = now();
        // The view and the node table share one allocation of the name.
        let name = slot.key.name.clone();
        let inode = new_inode(dir.file(), &name, &edited.inode, creation, defaults, time)?;
        let attr = shown_attr(&inode);
        edited.touch(time, i64::from(creation.kind == Kind::Dir));
        let changes = [
            Change::Inode {
                file,
                inode: Arc::new(inode),
            },
            slot.given(file, creation.kind),
            edited.change(),
        ];
        self.change(&mounted, &mut state, &changes)?;
        let node = self.node_of(&state, dir, file);
        mounted.nodes.lock().made(node, dir, &name);
        Ok((node, attr))
    }

    /// Gives a file another name and counts a lookup of it.
    pub fn link(&self, node: NodeId, dir: NodeId, name: &[u8]) -> FsResult<(NodeId, Attr)> {
        let _running = self.workspace.begin();
        let mounted = self.mounted(dir)?;
        if self.mounted(node)?.branch.id != mounted.branch.id {
            return Err(FsError::OtherBranch);
        }
        let mut state = mounted.branch.state.write();
        let mut edited = self.edited_dir(&mounted, &state, dir)?;
        let slot = self.slot(&mounted, &state, dir, name)?;
        if slot.named.is_some() {
            return Err(FsError::Exists);
        }
        if mounted.nodes.lock().orphan(node).is_some() {
            return Err(FsError::NotFound);
        }
        let mut inode = self.own_inode(&mounted, &state, node)?;
        if inode.is_dir() {
            return Err(FsError::NotPermitted);
        }
        if inode.attr.nlink >= MAX_LINKS {
            return Err(FsError::TooManyLinks);
        }
        let time = now();
        inode.attr.nlink += 1;
        inode.attr.ctime = time;
        let (attr, kind) = (shown_attr(&inode), inode.attr.kind);
        edited.touch(time, 0);
        let changes = [
            Change::Inode {
                file: node.file(),
                inode: Arc::new(inode),
            },
            slot.given(node.file(), kind),
            edited.change(),
        ];
        self.change(&mounted, &mut state, &changes)?;
        mounted.nodes.lock().looked_up(node, dir, name);
        Ok((node, attr))
    }

    /// Moves a name, within one branch.
    pub fn rename(
        &self,
        (dir, name): (NodeId, &[u8]),
        (new_dir, new_name): (NodeId, &[u8]),
        mode: RenameMode,
    ) -> FsResult<()> {
        let _running = self.workspace.begin();
        let mounted = self.mounted(dir)?;
        if self.mounted(new_dir)?.branch.id != mounted.branch.id {
            return Err(FsError::OtherBranch);
        }
        let mut state = mounted.branch.state.write();
        let mut from_dir = self.edited_dir(&mounted, &state, dir)?;
        let to_dir = match dir == new_dir {
            true => None,
            false => Some(self.edited_dir(&mounted, &state, new_dir)?),
        };
        let from = self.slot(&mounted, &state, dir, name)?;
        let mut to = self.slot(&mounted, &state, new_dir, new_name)?;
        let source = from.named.as_ref().ok_or(FsError::NotFound)?;
        let (file, kind) = (source.file, source.attr.kind);
        match (&to.named, mode) {
            (Some(_), RenameMode::NoReplace) => return Err(FsError::Exists),
            (None, RenameMode::Exchange) => return Err(FsError::NotFound),
            (Some(target), _) if target.file == file => return Ok(()),
            _ => {}
        }
        let node = self.node_of(&state, dir, file);
        self.check_no_loop(&mounted, &state, node, kind, new_dir)?;
        if mode == RenameMode::Exchange {
            drop((from_dir, to_dir));
            return self.exchange(&mounted, &mut state, (dir, from), (new_dir, to));
        }
        if let Some(target) = &to.named
            && target.attr.kind == Kind::Dir
            && state.view.dentry(to.key.by_ref()).is_none()
        {
            let key = to.key.by_ref();
            to.hides = self.hides_of_removed_dir(&mounted, &state, new_dir, key, target)?;
        }
        let time = now();
        let is_dir = kind == Kind::Dir;
        let mut changes = Vec::new();
        let replaced = match &to.named {
            Some(target) => Some(self.replaced(
                &mounted,
                &state,
                new_dir,
                target,
                is_dir,
                time,
                &mut changes,
            )?),
            None => None,
        };
        let target_was_dir = replaced.as_ref().is_some_and(|r| r.inode.is_dir());
        let mut inode = self.inode_of(&mounted, &state, (dir, name), source)?;
        inode.parent = new_dir.file();
        inode.name = to.key.name.clone();
        inode.attr.ctime = time;
        changes.push(Change::Inode {
            file,
            inode: Arc::new(inode),
        });
        changes.push(from.vacated());
        changes.push(to.given(file, kind));
        let links = i64::from(is_dir);
        let lost = i64::from(target_was_dir);
        match to_dir {
            Some(mut to_dir) => {
                from_dir.touch(time, -links);
                to_dir.touch(time, links - lost);
                changes.extend([from_dir.change(), to_dir.change()]);
            }
            None => {
                from_dir.touch(time, -lost);
                changes.push(from_dir.change());
            }
        }
        self.change(&mounted, &mut state, &changes)?;
        if let Some(replaced) = replaced {
            self.bury(&mounted, &state, (new_dir, new_name), replaced);
        }
        let mut nodes = mounted.nodes.lock();
        nodes.add_name(node, new_dir, new_name);
        nodes.remove_name(node, dir, name);
        Ok(())
    }

    /// What a rename takes the place of.
    #[allow(clippy::too_many_arguments)]
    fn replaced(
        &self,
        mounted: &Mounted,
        state: &State,
        dir: NodeId,
        target: &Named,
        by_dir: bool,
        time: Time,
        changes: &mut Vec<Change>,
    ) -> FsResult<Removed> {
        match (by_dir, target.attr.kind == Kind::Dir) {
            (true, false) => return Err(FsError::NotDir),
            (false, true) => return Err(FsError::IsDir),
            _ => {}
        }
        self.remove_file(mounted, state, dir, target, time, changes)
    }

    /// The inode behind a name, to be changed.
    fn inode_of(
        &self,
        mounted: &Mounted,
        state: &State,
        (dir, name): (NodeId, &[u8]),
        named: &Named,
    ) -> FsResult<Inode> {
        match &named.base {
            Some((found, path)) => {
                let (epoch, version) = (state.meta.epoch, state.view.base_version);
                let place = (dir.file(), name);
                Ok(self
                    .workspace
                    .copied_up(found, path, place, epoch, version)?)
            }
            None => self.own_inode(mounted, state, self.node_of(state, dir, named.file)),
        }
    }

    fn exchange(
        &self,
        mounted: &Mounted,
        state: &mut State,
        (dir, from): (NodeId, Slot),
        (new_dir, to): (NodeId, Slot),
    ) -> FsResult<()> {
        let (Some(a), Some(b)) = (&from.named, &to.named) else {
            return Err(FsError::NotFound);
        };
        let (node_a, node_b) = (
            self.node_of(state, dir, a.file),
            self.node_of(state, new_dir, b.file),
        );
        self.check_no_loop(mounted, state, node_b, b.attr.kind, dir)?;
        let time = now();
        let mut inode_a = self.inode_of(mounted, state, (dir, &from.key.name), a)?;
        let mut inode_b = self.inode_of(mounted, state, (new_dir, &to.key.name), b)?;
        (inode_a.parent, inode_a.name) = (new_dir.file(), to.key.name.clone());
        (inode_b.parent, inode_b.name) = (dir.file(), from.key.name.clone());
        inode_a.attr.ctime = time;
        inode_b.attr.ctime = time;
        let gained = i64::from(inode_b.is_dir()) - i64::from(inode_a.is_dir());
        let mut changes = vec![
            from.given(b.file, b.attr.kind),
            to.given(a.file, a.attr.kind),
            Change::Inode {
                file: a.file,
                inode: Arc::new(inode_a),
            },
            Change::Inode {
                file: b.file,
                inode: Arc::new(inode_b),
            },
        ];
        let mut from_dir = self.edited_dir(mounted, state, dir)?;
        if dir == new_dir {
            from_dir.touch(time, 0);
        } else {
            let mut to_dir = self.edited_dir(mounted, state, new_dir)?;
            from_dir.touch(time, gained);
            to_dir.touch(time, -gained);
            changes.push(to_dir.change());
        }
        changes.push(from_dir.change());
        self.change(mounted, state, &changes)?;
        let mut nodes = mounted.nodes.lock();
        nodes.add_name(node_a, new_dir, &to.key.name);
        nodes.remove_name(node_a, dir, &from.key.name);
        nodes.add_name(node_b, dir, &from.key.name);
        nodes.remove_name(node_b, new_dir, &to.key.name);
        Ok(())
    }

    /// A directory cannot move into itself.
    fn check_no_loop(
        &self,
        mounted: &Mounted,
        state: &State,
        node: NodeId,
        kind: Kind,
        into: NodeId,
    ) -> FsResult<()> {
        if kind != Kind::Dir {
            return Ok(());
        }
        let mut at = into;
        loop {
            if at == node {
                return Err(FsError::Invalid);
            }
            if at.file() == FileId::ROOT {
                return Ok(());
            }
            at = match state.view.inode(at.file()) {
                Some(inode) => self.node_of(state, at, inode.parent),
                None => match mounted.nodes.lock().name(at) {
                    Some((parent, _)) => parent,
                    None => return Ok(()),
                },
            };
        }
    }

    fn default_acl(&self, state: &State, dir: &Inode) -> FsResult<Option<Vec<u8>>> {
        self.xattr_of(state.view.base_version, dir, acl::DEFAULT)
    }
}

fn new_inode(
    dir: FileId,
    name: &Name,
    parent: &Inode,
    creation: &Creation<'_>,
    defaults: Option<Vec<u8>>,
    time: Time,
) -> FsResult<Inode> {
    let Creation {
        kind,
        uid,
        rdev,
        target,
        ..
    } = *creation;
    let mut mode = creation.mode & 0o7777;
    let mut gid = creation.gid;
    if parent.attr.mode & libc::S_ISGID != 0 {
        gid = parent.attr.gid;
        if kind == Kind::Dir {
            mode |= libc::S_ISGID;
        }
    }
    let xattrs = match (kind, defaults) {
        (Kind::Symlink, _) => Xattrs::none(),
        (_, Some(defaults)) => {
            let inherited = acl::inherit(&defaults, mode, kind == Kind::Dir)?;
            mode = inherited.mode;
            inherited.xattrs
        }
        (_, None) => {
            mode &= !creation.umask;
            Xattrs::none()
        }
    };
    let content = match kind {
        Kind::File => Content::File(ExtentMap::new()),
        Kind::Dir => Content::Dir,
        Kind::Symlink => Content::Symlink(target.unwrap_or_default().into()),
        _ => Content::None,
    };
    let attr = Attr {
        kind,
        mode: if kind == Kind::Symlink { 0o777 } else { mode },
        uid,
        gid,
        rdev,
        nlink: if kind == Kind::Dir { 2 } else { 1 },
        size: match kind {
            Kind::Dir => 4096,
            _ => target.map_or(0, |target| target.len() as u64),
        },
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
    };
    Ok(Inode {
        attr,
        parent: dir,
        name: name.clone(),
        content,
        xattrs,
        origin: None,
    })
}
