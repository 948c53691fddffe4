//! The tree: nodes and names, without a lock.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::tree::{Attr, Kind, NodeId, Time};
use crate::vfs::ops::{Cred, Errno, OpResult};

/// Any name this long or shorter is fine.
pub(super) const NAME_BYTES: usize = 255;

/// A name in a listing: name, node, type and cookie.
pub(super) type Item = (Vec<u8>, NodeId, Kind, u64);

pub(super) enum Body {
    File(Vec<u8>),
    /// Name to node and cookie.
    Dir(BTreeMap<Vec<u8>, (u64, u64)>),
    Symlink(Vec<u8>),
    Special,
}

pub(super) struct Node {
    pub(super) attr: Attr,
    pub(super) body: Body,
    pub(super) name: Vec<u8>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) lookups: u64,
}

pub(super) struct Tree {
    pub(super) nodes: HashMap<u64, Node>,
    /// The next node and the next cookie.
    pub(super) next: u64,
}

pub(super) fn fail<T>(errno: i32) -> OpResult<T> {
    Err(Errno(errno))
}

pub(super) fn now() -> Time {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970");
    Time {
        sec: now.as_secs() as i64,
        nsec: now.subsec_nanos(),
    }
}

impl Tree {
    pub(super) fn get(&mut self, node: NodeId) -> OpResult<&mut Node> {
        self.nodes.get_mut(&node.0).ok_or(Errno(libc::ESTALE))
    }

    pub(super) fn dir(&mut self, node: NodeId) -> OpResult<&mut BTreeMap<Vec<u8>, (u64, u64)>> {
        match &mut self.get(node)?.body {
            Body::Dir(names) => Ok(names),
            _ => fail(libc::ENOTDIR),
        }
    }

    pub(super) fn file(&mut self, node: NodeId) -> OpResult<&mut Vec<u8>> {
        match &mut self.get(node)?.body {
            Body::File(bytes) => Ok(bytes),
            _ => fail(libc::EINVAL),
        }
    }

    pub(super) fn child(&mut self, parent: NodeId, name: &[u8]) -> OpResult<NodeId> {
        let found = self.dir(parent)?.get(name).copied();
        found
            .map(|(node, _)| NodeId(node))
            .ok_or(Errno(libc::ENOENT))
    }

    pub(super) fn touch(&mut self, node: NodeId) {
        if let Some(node) = self.nodes.get_mut(&node.0) {
            (node.attr.mtime, node.attr.ctime) = (now(), now());
            if let Body::File(bytes) = &node.body {
                node.attr.size = bytes.len() as u64;
                node.attr.blocks = node.attr.size.div_ceil(512);
            }
        }
    }

    pub(super) fn add(&mut self, parent: NodeId, name: &[u8], mut node: Node) -> OpResult<NodeId> {
        if name.len() > NAME_BYTES {
            return fail(libc::ENAMETOOLONG);
        }
        if self.dir(parent)?.contains_key(name) {
            return fail(libc::EEXIST);
        }
        let id = self.next;
        self.next += 1;
        node.name = name.to_vec();
        self.nodes.insert(id, node);
        self.insert(parent, name, id)?;
        self.touch(NodeId(id));
        Ok(NodeId(id))
    }

    pub(super) fn insert(&mut self, parent: NodeId, name: &[u8], node: u64) -> OpResult<()> {
        let cookie = self.next;
        self.next += 1;
        self.dir(parent)?.insert(name.to_vec(), (node, cookie));
        self.touch(parent);
        Ok(())
    }

    pub(super) fn remove(&mut self, parent: NodeId, name: &[u8]) -> OpResult<()> {
        let node = self.child(parent, name)?;
        self.dir(parent)?.remove(name);
        self.touch(parent);
        let removed = self.get(node)?;
        removed.attr.nlink -= 1;
        removed.attr.ctime = now();
        self.reap(node);
        Ok(())
    }

    pub(super) fn reap(&mut self, id: NodeId) {
        let gone = self.nodes.get(&id.0).is_some_and(|node| {
            let unlinked =
                node.attr.nlink == 0 || node.attr.kind == Kind::Dir && node.attr.nlink == 1;
            unlinked && node.lookups == 0
        });
        if gone {
            self.nodes.remove(&id.0);
        }
    }

    pub(super) fn items(&mut self, dir: NodeId, from: u64) -> OpResult<Vec<Item>> {
        let mut items = vec![
            (b".".to_vec(), dir, Kind::Dir, 1),
            (b"..".to_vec(), NodeId(1), Kind::Dir, 2),
        ];
        let names = self.dir(dir)?.clone();
        for (name, (node, cookie)) in names {
            items.push((
                name,
                NodeId(node),
                self.get(NodeId(node))?.attr.kind,
                cookie,
            ));
        }
        items.retain(|item| item.3 > from);
        items.sort_by_key(|item| item.3);
        Ok(items)
    }
}

pub(super) fn node(kind: Kind, mode: u32, cred: &Cred, rdev: u32, body: Body) -> Node {
    let nlink = if kind == Kind::Dir { 2 } else { 1 };
    let (uid, gid, time) = (cred.uid, cred.gid, now());
    let mode = mode & 0o7777;
    Node {
        attr: Attr {
            kind,
            mode,
            uid,
            gid,
            rdev,
            nlink,
            size: 0,
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
        },
        body,
        name: Vec::new(),
        xattrs: BTreeMap::new(),
        lookups: 0,
    }
}
