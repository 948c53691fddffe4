//! File content: read and write. What is done to whole ranges is in `ranges`.
//!
//! **Where a write goes.** Into the extent that holds the range already, where the branch alone has
//! that extent. Else a small file's bytes go to the data segments, where many files share a block,
//! and a large file's to a blob of its own at the same offset. What was there is not copied: the
//! extents around the write go on referring to it.
//!
//! **Invariant**: a blob range or segment range that was given back is never written again, since
//! it is punched later. A file whose blob lost a range therefore starts a new blob.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::attrs::drop_set_id;
use super::{File, FsError, FsResult, Mounted, Overlay};
use crate::base::Ident;
use crate::branch::State;
use crate::store::{BlobId, SegAddr};
use crate::tree::{Change, Content, Extent, Inode, Kind, NodeId, Origin, Piece, Source, Time};

/// Up to this length a file's content is packed into segments.
const SMALL_FILE_BYTES: u64 = 64 << 10;
/// The longest file: what an off_t can say.
pub(super) const MAX_FILE_BYTES: u64 = i64::MAX as u64;

/// Where the bytes of a write have gone.
enum Placed {
    InPlace,
    Grown { off: u64, more: u64 },
    New(Extent),
}

impl Overlay {
    /// Appends up to `len` bytes from `offset` on to `out`; fewer only at the end of the file.
    pub fn read(&self, node: NodeId, offset: u64, len: u32, out: &mut Vec<u8>) -> FsResult<()> {
        let mounted = self.mounted(node)?;
        let state = mounted.branch.state.read();
        let version = state.view.base_version;
        match self.file(&mounted, &state, node)? {
            File::Viewed(inode) => self.read_inode(&inode, version, offset, len.into(), out),
            File::Orphaned(inode, version) => {
                self.read_inode(&inode, version, offset, len.into(), out)
            }
            File::Base(found, path) => {
                require_file(found.attr.kind)?;
                let len = u64::from(len).min(found.attr.size.saturating_sub(offset));
                let file = self.workspace.base.open_file(version, &path)?;
                read_base(&file, &path, offset, len, out)
            }
        }
    }

    /// The same of an inode of a view on base `version`.
    pub fn read_inode(
        &self,
        inode: &Inode,
        version: u64,
        offset: u64,
        len: u64,
        out: &mut Vec<u8>,
    ) -> FsResult<()> {
        require_file(inode.attr.kind)?;
        let Content::File(extents) = &inode.content else {
            return Err(FsError::Invalid);
        };
        let end = offset.saturating_add(len).min(inode.attr.size);
        for piece in extents.pieces(offset, end.max(offset)) {
            self.read_piece(&piece, version, out)?;
        }
        Ok(())
    }

    fn read_piece(&self, piece: &Piece, version: u64, out: &mut Vec<u8>) -> FsResult<()> {
        let store = &self.workspace.store;
        let start = out.len();
        let source = piece.extent.as_ref().map(|extent| &extent.source);
        if let Some(Source::Base { origin, at }) = source {
            let (base, path) = (&self.workspace.base, &origin.path[..]);
            let Origin { ino, btime, .. } = **origin;
            let file = base.open_object(version, path, Ident { ino, btime })?;
            return read_base(&file, path, *at, piece.len, out);
        }
        out.resize(start + piece.len as usize, 0);
        match source {
            Some(Source::Segment { at, .. }) => store.seg_read(SegAddr(*at), &mut out[start..])?,
            Some(Source::Blob { id, at }) => {
                store.blob_read(BlobId(*id), *at, &mut out[start..])?
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes `data` at `offset`; returns the number of bytes. `kill_priv` drops set-id bits.
    pub fn write(&self, node: NodeId, offset: u64, data: &[u8], kill_priv: bool) -> FsResult<u32> {
        if data.is_empty() {
            return Ok(0);
        }
        let end = offset
            .checked_add(data.len() as u64)
            .ok_or(FsError::TooBig)?;
        if end > MAX_FILE_BYTES {
            return Err(FsError::TooBig);
        }
        let _running = self.workspace.begin();
        let mounted = self.mounted(node)?;
        let mut state = mounted.branch.state.write();
        self.check_writable(&state, node)?;
        // Before anything is written in place, not only when that is recorded.
        self.workspace.check_frozen(mounted.branch.id)?;
        match self.file(&mounted, &state, node)? {
            File::Viewed(inode) if !has_privileges(&inode, kill_priv) => {
                require_file(inode.attr.kind)?;
                let time = self.time_of_change(&inode);
                self.write_viewed(&mounted, &mut state, node, inode, offset, data, time)?;
            }
            _ => {
                let (mut inode, _) = self.editable(&mounted, &state, node)?;
                require_file(inode.attr.kind)?;
                let is_orphan = mounted.nodes.lock().orphan(node).is_some();
                let blob = match is_orphan {
                    true => own_blob(&inode, state.meta.epoch),
                    false => state.blobs.get(&node.file()).copied(),
                };
                self.check_space(&state, &inode, offset, data.len() as u64)?;
                let (placed, blob) = self.place(&state, &inode, blob, offset, data)?;
                if let (Some(blob), false) = (blob, is_orphan) {
                    state.blobs.insert(node.file(), blob);
                }
                drop_privileges(&mut inode, kill_priv);
                let cut = put_placed(&mut inode, placed);
                inode.attr.size = inode.attr.size.max(end);
                let time = self.time_of_change(&inode);
                (inode.attr.mtime, inode.attr.ctime) = (time, time);
                self.put_inode(&mounted, &mut state, node, inode)?;
                self.free_but(&state, &cut, blob);
            }
        }
        Ok(data.len() as u32)
    }

    /// The usual write: to a file that the view has, by a small record.
    #[allow(clippy::too_many_arguments)]
    fn write_viewed(
        &self,
        mounted: &Mounted,
        state: &mut State,
        node: NodeId,
        inode: Arc<Inode>,
        offset: u64,
        data: &[u8],
        time: Time,
    ) -> FsResult<()> {
        let file = node.file();
        self.check_space(state, &inode, offset, data.len() as u64)?;
        let blob = state.blobs.get(&file).copied();
        let (placed, blob) = self.place(state, &inode, blob, offset, data)?;
        if let Some(blob) = blob {
            state.blobs.insert(file, blob);
        }
        let size = inode.attr.size.max(offset + data.len() as u64);
        drop(inode);
        let change = match placed {
            Placed::InPlace => Change::Write {
                file,
                extent: None,
                size,
                time,
            },
            Placed::New(extent) => Change::Write {
                file,
                extent: Some(extent),
                size,
                time,
            },
            Placed::Grown { off, more } => Change::Grow {
                file,
                off,
                more,
                size,
                time,
            },
        };
        self.change(mounted, state, &[change])
    }

    /// Whether the branch's limit has room for a write.
    pub(super) fn check_space(
        &self,
        state: &State,
        inode: &Inode,
        off: u64,
        len: u64,
    ) -> FsResult<()> {
        if state.meta.limits.bytes.is_none() {
            return Ok(());
        }
        let Some(extents) = inode.extents() else {
            return Ok(());
        };
        let own = |piece: Piece| piece.extent.map_or(0, |extent| extent.own_bytes());
        let had: u64 = extents.pieces(off, off + len).map(own).sum();
        Ok(self.workspace.check_limits(state, (len - had) as i64, 0)?)
    }

    /// Stores `data`. Returns where it is, and the blob that the file's next write may go to.
    fn place(
        &self,
        state: &State,
        inode: &Inode,
        blob: Option<u64>,
        off: u64,
        data: &[u8],
    ) -> FsResult<(Placed, Option<u64>)> {
        let store = &self.workspace.store;
        let Some(extents) = inode.extents() else {
            return Err(FsError::Invalid);
        };
        let epoch = state.meta.epoch;
        let len = data.len() as u64;
        let end = off + len;
        if let Some(extent) = extents.at(off)
            && extent.epoch == epoch
            && extent.end() >= end
        {
            let skip = off - extent.off;
            match extent.source {
                Source::Segment { at, .. } => {
                    store.seg_write(SegAddr(at + skip), data)?;
                    return Ok((Placed::InPlace, blob));
                }
                Source::Blob { id, at } => {
                    store.blob_write(BlobId(id), at + skip, data)?;
                    return Ok((Placed::InPlace, blob));
                }
                Source::Base { .. } => {}
            }
        }
        self.workspace.take_room(len)?;
        if blob.is_some() || end.max(inode.attr.size) > SMALL_FILE_BYTES {
            let id = blob.unwrap_or_else(|| store.blob_new().0);
            store.blob_write(BlobId(id), off, data)?;
            let source = Source::Blob { id, at: off };
            return Ok((
                Placed::New(Extent {
                    off,
                    len,
                    epoch,
                    source,
                }),
                Some(id),
            ));
        }
        if let Some(extent) = extents.ending_at(off)
            && extent.epoch == epoch
            && let Source::Segment { at, room } = extent.source
            && u64::from(room) >= extent.len + len
        {
            store.seg_write(SegAddr(at + extent.len), data)?;
            return Ok((Placed::Grown { off, more: len }, None));
        }
        // A file that grows by pieces gets room for as much again.
        let grows = off > 0 && off == inode.attr.size;
        let room = if grows {
            end.clamp(len, SMALL_FILE_BYTES)
        } else {
            len
        };
        // All of what the store sets aside: a neighbour's range then touches this one, and space
        // that both give back is freed at once.
        let room = SegAddr::whole(room) as u32;
        let at = store.seg_append(data, room)?.0;
        let source = Source::Segment { at, room };
        Ok((
            Placed::New(Extent {
                off,
                len,
                epoch,
                source,
            }),
            None,
        ))
    }

    /// Gives back what a write replaced, but for ranges of the blob that it went to: those hold it.
    fn free_but(&self, state: &State, cut: &[Extent], blob: Option<u64>) {
        for extent in cut {
            let kept = matches!(extent.source, Source::Blob { id, .. } if Some(id) == blob);
            if !kept {
                self.workspace.free(state, extent);
            }
        }
    }
}

fn put_placed(inode: &mut Inode, placed: Placed) -> Vec<Extent> {
    let Content::File(extents) = &mut inode.content else {
        return Vec::new();
    };
    match placed {
        Placed::InPlace => Vec::new(),
        Placed::Grown { off, more } => extents.lengthen(off, more),
        Placed::New(extent) => extents.replace(extent),
    }
}

/// The blob that an orphan's writes go to.
fn own_blob(inode: &Inode, epoch: u64) -> Option<u64> {
    inode
        .extents()?
        .iter()
        .find_map(|extent| match extent.source {
            Source::Blob { id, at } if extent.epoch == epoch && at == extent.off => Some(id),
            _ => None,
        })
}

const CAPABILITY: &[u8] = b"security.capability";

/// Whether a write has to take something away from the file: set-id bits, file capabilities.
fn has_privileges(inode: &Inode, kill_priv: bool) -> bool {
    let set_id = kill_priv && inode.attr.mode & (libc::S_ISUID | libc::S_ISGID) != 0;
    let capable = match &inode.xattrs {
        crate::tree::Xattrs::Own(own) => own.contains_key(CAPABILITY),
        crate::tree::Xattrs::OfOrigin => false,
    };
    set_id || capable
}

pub(super) fn drop_privileges(inode: &mut Inode, kill_priv: bool) {
    if kill_priv {
        drop_set_id(inode);
    }
    if let crate::tree::Xattrs::Own(own) = &mut inode.xattrs
        && own.contains_key(CAPABILITY)
    {
        Arc::make_mut(own).remove(CAPABILITY);
    }
}

pub(super) fn require_file(kind: Kind) -> FsResult<()> {
    match kind {
        Kind::File => Ok(()),
        Kind::Dir => Err(FsError::IsDir),
        _ => Err(FsError::Invalid),
    }
}

/// A base file that has become shorter behind our back reads as zeros to where it ended.
fn read_base(file: &OwnedFd, path: &[u8], at: u64, len: u64, out: &mut Vec<u8>) -> FsResult<()> {
    let start = out.len();
    out.resize(start + len as usize, 0);
    let mut done = 0;
    while done < len as usize {
        let buf = &mut out[start + done..];
        match crate::base::read_at(file, at + done as u64, buf, path)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(())
}
