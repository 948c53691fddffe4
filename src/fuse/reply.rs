//! Turning results into fuser's replies.

use std::time::{Duration, SystemTime};

use fuser::{
    FileAttr, FileType, Generation, INodeNo, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyXattr,
};

use super::convert::{attr, errno};
use crate::vfs::ops::{Entry, NodeAttr, OpResult};

/// What lookups and creating calls answer.
pub(super) fn send_entry(reply: ReplyEntry) -> impl FnOnce(OpResult<Entry>) {
    move |result| match result {
        Ok(entry) => {
            let NodeAttr { attr_ttl, .. } = entry.node;
            let generation = Generation(entry.generation);
            reply.entry_with_ttls(&attr_ttl, &entry.entry_ttl, &attr(&entry.node), generation);
        }
        Err(error) => reply.error(errno(error)),
    }
}

/// A name that is known to be absent for a while: an entry whose node is 0.
pub(super) fn send_absent(reply: ReplyEntry, ttl: Duration) {
    if ttl.is_zero() {
        return reply.error(fuser::Errno::ENOENT);
    }
    let epoch = SystemTime::UNIX_EPOCH;
    let nothing = FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: epoch,
        mtime: epoch,
        ctime: epoch,
        crtime: epoch,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    };
    reply.entry_with_ttls(&Duration::ZERO, &ttl, &nothing, Generation(0));
}

/// What getattr and setattr answer.
pub(super) fn send_attr(reply: ReplyAttr, result: OpResult<NodeAttr>) {
    match result {
        Ok(node) => reply.attr(&node.attr_ttl, &attr(&node)),
        Err(error) => reply.error(errno(error)),
    }
}

/// Success or an errno.
pub(super) fn send_empty(reply: ReplyEmpty) -> impl FnOnce(OpResult<()>) {
    move |result| match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(error)),
    }
}

/// getxattr(2) and listxattr(2): `size` 0 asks for the length alone.
pub(super) fn send_xattr(reply: ReplyXattr, size: u32, result: OpResult<Vec<u8>>) {
    match result {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(fuser::Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(error) => reply.error(errno(error)),
    }
}
