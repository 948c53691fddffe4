//! Calls of a vfs by path, for tests that tell a story.

use super::kernel::CRED;
use crate::tree::NodeId;
use crate::vfs::Vfs;
use crate::vfs::ops::{Lookup, OpResult, Ops, Outcome};

pub const ROOT: NodeId = NodeId(1);

pub fn find(vfs: &Vfs, path: &str) -> NodeId {
    path.split('/').fold(ROOT, |dir, name| {
        match vfs.lookup(&CRED, dir, name.as_bytes()) {
            Ok(Lookup::Found(entry)) => entry.node.node,
            other => panic!("{name} of {path}: {other:?}"),
        }
    })
}

pub fn read(vfs: &Vfs, path: &str) -> String {
    let node = find(vfs, path);
    let looked = vfs.getattr(&CRED, node, true).and_then(Outcome::wait);
    looked.expect("it has attributes");
    let mut out = Vec::new();
    vfs.read(node, 0, 1 << 20, &mut out).expect("it is read");
    String::from_utf8(out).expect("it is text")
}

pub fn write(vfs: &Vfs, path: &str, text: &str) -> OpResult<u32> {
    let node = find(vfs, path);
    vfs.write(&CRED, node, 0, text.as_bytes(), false, false)
        .and_then(Outcome::wait)
}

pub fn make(vfs: &Vfs, name: &str) -> OpResult<()> {
    vfs.mknod(&CRED, ROOT, name.as_bytes(), 0o100_644, 0, 0)
        .map(drop)
}
