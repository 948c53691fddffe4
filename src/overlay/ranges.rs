//! Whole ranges of a file: truncate, fallocate, seek, copy.
//!
//! None of them moves bytes where it can be said by extents: a hole is cut, a copy within a branch
//! is shared. What is shared is marked so on both sides, and neither overwrites it in place.

use std::sync::Arc;

use super::data::{MAX_FILE_BYTES, drop_privileges, require_file};
use super::{File, FsError, FsResult, Overlay};
use crate::branch::State;
use crate::tree::{Change, Content, Extent, ExtentMap, Inode, NodeId, Source};

/// How much of a range is copied at once where it cannot be shared.
const COPY_BYTES: usize = 1 << 20;
/// How much one call copies at most where it cannot be shared: its thread serves others too, and
/// copy_file_range(2) may copy less than was asked for.
const COPY_MAX_BYTES: u64 = 64 << 20;
/// What the extents weigh that one call shares at most: they are in one record of the journal.
const SHARE_MAX_WEIGHT: usize = 1 << 20;

/// Which end of the data lseek(2) looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that may be data.
    Data,
    /// The next hole.
    Hole,
}

/// What fallocate(2) does to a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocate {
    /// Makes sure that it can be written; the file grows to its end.
    Reserve {
        /// The file does not grow.
        keep_size: bool,
    },
    /// Makes it a hole.
    Punch,
    /// Makes it read as zeros; the file grows to its end.
    Zero {
        /// The file does not grow.
        keep_size: bool,
    },
}

impl Overlay {
    /// Changes the length of a file; returns what was cut off.
    pub(super) fn resize(&self, inode: &mut Inode, size: u64) -> FsResult<Vec<Extent>> {
        if size > MAX_FILE_BYTES {
            return Err(FsError::TooBig);
        }
        let Content::File(extents) = &mut inode.content else {
            return Err(FsError::Invalid);
        };
        inode.attr.size = size;
        Ok(extents.cut(size, u64::MAX))
    }

    /// fallocate(2). `unprivileged` callers make it drop set-id bits.
    pub fn fallocate(
        &self,
        node: NodeId,
        offset: u64,
        len: u64,
        mode: Allocate,
        unprivileged: bool,
    ) -> FsResult<()> {
        let end = offset.checked_add(len).ok_or(FsError::TooBig)?;
        if len == 0 {
            return Err(FsError::Invalid);
        }
        if end > MAX_FILE_BYTES {
            return Err(FsError::TooBig);
        }
        let _running = self.workspace.begin();
        let mounted = self.mounted(node)?;
        let mut state = mounted.branch.state.write();
        self.check_writable(&state, node)?;
        let (mut inode, _) = self.editable(&mounted, &state, node)?;
        require_file(inode.attr.kind)?;
        let Content::File(extents) = &mut inode.content else {
            return Err(FsError::Invalid);
        };
        let cut = match mode {
            Allocate::Reserve { .. } => {
                self.check_room(len)?;
                Vec::new()
            }
            Allocate::Punch | Allocate::Zero { .. } => extents.cut(offset, end),
        };
        if let Allocate::Reserve { keep_size: false } | Allocate::Zero { keep_size: false } = mode {
            inode.attr.size = inode.attr.size.max(end);
        }
        let time = self.time_of_change(&inode);
        (inode.attr.mtime, inode.attr.ctime) = (time, time);
        drop_privileges(&mut inode, unprivileged);
        self.put_inode(&mounted, &mut state, node, inode)?;
        self.cut_off(&mut state, node, &cut);
        Ok(())
    }

    /// After ranges of a file were cut: they are given back, and its blob takes no more writes.
    pub(super) fn cut_off(&self, state: &mut State, node: NodeId, cut: &[Extent]) {
        if !cut.is_empty() {
            state.blobs.remove(&node.file());
            self.free_all(state, cut);
        }
    }

    /// lseek(2) for data and holes. Fails with `NoOffset` at or beyond the end.
    pub fn seek(&self, node: NodeId, offset: u64, what: Seek) -> FsResult<u64> {
        let mounted = self.mounted(node)?;
        let state = mounted.branch.state.read();
        let version = state.view.base_version;
        let (inode, version) = match self.file(&mounted, &state, node)? {
            File::Viewed(inode) => (inode, version),
            File::Orphaned(inode, version) => (inode, version),
            File::Base(found, path) => {
                require_file(found.attr.kind)?;
                if offset >= found.attr.size {
                    return Err(FsError::NoOffset);
                }
                return self.seek_base(version, &path, offset, found.attr.size, what);
            }
        };
        let size = inode.attr.size;
        if offset >= size {
            return Err(FsError::NoOffset);
        }
        let Content::File(extents) = &inode.content else {
            return Err(FsError::Invalid);
        };
        for piece in extents.pieces(offset, size) {
            let hit = match (&piece.extent, what) {
                (None, Seek::Data) | (Some(_), Seek::Hole)
                    if !matches!(
                        piece.extent.as_ref().map(|e| &e.source),
                        Some(Source::Base { .. })
                    ) =>
                {
                    continue;
                }
                (
                    Some(Extent {
                        source: Source::Base { origin, at },
                        ..
                    }),
                    _,
                ) => {
                    let end = at + piece.len;
                    let found = self.seek_base(version, &origin.path, *at, end, what);
                    match found {
                        Ok(found) if found < end => piece.off + (found - at),
                        Ok(_) | Err(FsError::NoOffset) => continue,
                        Err(error) => return Err(error),
                    }
                }
                _ => piece.off,
            };
            return Ok(hit);
        }
        match what {
            Seek::Data => Err(FsError::NoOffset),
            Seek::Hole => Ok(size),
        }
    }

    /// Data or a hole within a base file, up to `end`.
    fn seek_base(
        &self,
        version: u64,
        path: &[u8],
        offset: u64,
        end: u64,
        what: Seek,
    ) -> FsResult<u64> {
        let file = self.workspace.base.open_file(version, path)?;
        let from = match what {
            Seek::Data => rustix::fs::SeekFrom::Data(offset),
            Seek::Hole => rustix::fs::SeekFrom::Hole(offset),
        };
        match (rustix::fs::seek(&file, from), what) {
            (Ok(found), _) => Ok(found.min(end)),
            (Err(rustix::io::Errno::NXIO), Seek::Data) => Err(FsError::NoOffset),
            (Err(rustix::io::Errno::NXIO), Seek::Hole) => Ok(end),
            // A filesystem that does not know says that all of it is data.
            (Err(_), Seek::Data) => Ok(offset),
            (Err(_), Seek::Hole) => Ok(end),
        }
    }

    /// copy_file_range(2): within a branch by sharing extents, between two by copying.
    pub fn copy_range(
        &self,
        (from, from_offset): (NodeId, u64),
        (to, to_offset): (NodeId, u64),
        len: u64,
        unprivileged: bool,
    ) -> FsResult<u64> {
        let mounted = self.mounted(to)?;
        let shareable = self.mounted(from)?.branch.id == mounted.branch.id && from != to;
        if !shareable {
            return self.copy_bytes((from, from_offset), (to, to_offset), len, unprivileged);
        }
        let _running = self.workspace.begin();
        let mut state = mounted.branch.state.write();
        self.check_writable(&state, to)?;
        let either_orphan = {
            let nodes = mounted.nodes.lock();
            nodes.orphan(from).is_some() || nodes.orphan(to).is_some()
        };
        if either_orphan {
            drop(state);
            return self.copy_bytes((from, from_offset), (to, to_offset), len, unprivileged);
        }
        let (mut source, _) = self.editable(&mounted, &state, from)?;
        let (mut target, _) = self.editable(&mounted, &state, to)?;
        require_file(source.attr.kind)?;
        require_file(target.attr.kind)?;
        let end = from_offset.saturating_add(len).min(source.attr.size);
        let Content::File(source_extents) = &mut source.content else {
            return Err(FsError::Invalid);
        };
        let end = source_extents.end_within(from_offset, end, SHARE_MAX_WEIGHT);
        let len = end.saturating_sub(from_offset);
        let to_end = to_offset.checked_add(len).ok_or(FsError::TooBig)?;
        if len == 0 {
            return Ok(0);
        }
        if to_end > MAX_FILE_BYTES {
            return Err(FsError::TooBig);
        }
        self.check_space(&state, &target, to_offset, len)?;
        let cut = share(source_extents, &mut target, from_offset, end, to_offset)?;
        let time = self.time_of_change(&target);
        target.attr.size = target.attr.size.max(to_end);
        (target.attr.mtime, target.attr.ctime) = (time, time);
        drop_privileges(&mut target, unprivileged);
        let viewed = state.view.inode(from.file()).is_some();
        let mut changes = vec![Change::Inode {
            file: to.file(),
            inode: Arc::new(target),
        }];
        if viewed {
            changes.push(Change::Inode {
                file: from.file(),
                inode: Arc::new(source),
            });
        }
        self.change(&mounted, &mut state, &changes)?;
        // Neither side may be overwritten in place any more where it is shared.
        state.blobs.remove(&from.file());
        self.cut_off(&mut state, to, &cut);
        Ok(len)
    }

    /// Whether the store's filesystem has space for `len` more bytes.
    fn check_room(&self, len: u64) -> FsResult<()> {
        let space = self.workspace.base.statvfs()?;
        if space.f_bavail.saturating_mul(space.f_frsize) < len {
            let file = "a reservation".to_owned();
            return Err(crate::store::StoreError::Full { file }.into());
        }
        Ok(())
    }

    fn copy_bytes(
        &self,
        (from, from_offset): (NodeId, u64),
        (to, to_offset): (NodeId, u64),
        len: u64,
        unprivileged: bool,
    ) -> FsResult<u64> {
        let overlap = from_offset < to_offset.saturating_add(len)
            && to_offset < from_offset.saturating_add(len);
        if from == to && overlap {
            return Err(FsError::Invalid);
        }
        let len = len.min(COPY_MAX_BYTES);
        let mut buffer = Vec::new();
        let mut done = 0;
        while done < len {
            buffer.clear();
            let want = (len - done).min(COPY_BYTES as u64) as u32;
            let copied = self
                .read(from, from_offset + done, want, &mut buffer)
                .and_then(|()| self.write(to, to_offset + done, &buffer, unprivileged));
            match copied {
                Ok(0) => break,
                Ok(bytes) => done += u64::from(bytes),
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

/// Makes a range of `target` refer to what a range of `source` refers to, and marks both shared.
/// Returns what it replaced.
fn share(
    source: &mut ExtentMap,
    target: &mut Inode,
    start: u64,
    end: u64,
    to: u64,
) -> FsResult<Vec<Extent>> {
    let Content::File(extents) = &mut target.content else {
        return Err(FsError::Invalid);
    };
    let mut cut = extents.cut(to, to + (end - start));
    let pieces: Vec<_> = source.pieces(start, end).collect();
    for piece in pieces {
        let Some(extent) = piece.extent else { continue };
        let shared = Extent { epoch: 0, ..extent };
        cut.extend(extents.replace(Extent {
            off: to + (piece.off - start),
            ..shared.clone()
        }));
        source.replace(shared);
    }
    Ok(cut)
}
