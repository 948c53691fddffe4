//! Blobs: one sparse file for each large file's own data.
//!
//! # On disk
//!
//! `blob/xx/NNNNNNNNNNNNNNNN`, the blob's id in hexadecimal, in one of 256 directories by the id's
//! lowest byte. The bytes are the data, at the offsets that the records name; the rest is hole.
//!
//! An id is `open number << 36 | counter`: the `mounted` file numbers the opens of a store durably,
//! so no id is ever given out twice, whatever a crash made of the blob's file or of its records.
//!
//! A blob's file is made by its first write.

use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::io::Errno;

use super::files::{Access, Dir, File};
use super::handles::{DirKey, Handle, Handles, Key};
use super::size::Size;
use super::{BlobId, StoreError};

const COUNTER_BITS: u32 = 36;

/// All blobs of a store.
pub(super) struct Blobs {
    pub(super) dir: Dir,
    shards: [OnceLock<Dir>; 256],
    next: AtomicU64,
    handles: Arc<Handles>,
    /// Shards from which names went that may come back after a power cut.
    removed: Mutex<BTreeSet<u8>>,
}

fn shard_name(shard: u8) -> String {
    format!("{shard:02x}")
}

fn file_name(id: BlobId) -> String {
    format!("{:016x}", id.0)
}

impl Blobs {
    /// The blobs in `dir`, for the open of the store that has this number.
    pub(super) fn open(dir: Dir, open_number: u64, handles: Arc<Handles>) -> Blobs {
        let next = AtomicU64::new(open_number << COUNTER_BITS);
        Blobs {
            dir,
            shards: [const { OnceLock::new() }; 256],
            next,
            handles,
            removed: Mutex::default(),
        }
    }

    /// An id that no blob ever had.
    pub(super) fn new_id(&self) -> BlobId {
        BlobId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Every later id is this one or above, every earlier one below.
    pub(super) fn mark(&self) -> BlobId {
        BlobId(self.next.load(Ordering::SeqCst))
    }

    /// The directory of a shard; `None` where no blob is in it and `create` is false.
    pub(super) fn shard(&self, shard: u8, create: bool) -> Result<Option<&Dir>, StoreError> {
        let cell = &self.shards[shard as usize];
        if let Some(dir) = cell.get() {
            return Ok(Some(dir));
        }
        let name = shard_name(shard);
        let mut dir = self.dir.subdir(&name)?;
        if dir.is_none() && create {
            if self.dir.make_dir(&name)? {
                self.handles.named(DirKey::Blobs);
            }
            dir = self.dir.subdir(&name)?;
        }
        Ok(dir.map(|dir| cell.get_or_init(|| dir)))
    }

    /// The directory of a shard, if it is open.
    pub(super) fn open_shard(&self, shard: u8) -> Option<&Dir> {
        self.shards[shard as usize].get()
    }

    fn open_file(&self, id: BlobId, create: bool) -> Result<Option<File>, StoreError> {
        let shard = id.0 as u8;
        let Some(dir) = self.shard(shard, create)? else {
            return Ok(None);
        };
        let name = file_name(id);
        if let Some(file) = dir.open(&name, Access::Write)? {
            return Ok(Some(file));
        }
        if !create {
            return Ok(None);
        }
        let file = dir.open(&name, Access::Create)?;
        self.handles.named(DirKey::BlobShard(shard));
        Ok(file)
    }

    fn find(&self, id: BlobId, create: bool) -> Result<Option<Arc<Handle>>, StoreError> {
        self.handles
            .get(Key::Blob(id.0), || self.open_file(id, create))
    }

    fn existing(&self, id: BlobId) -> Result<Arc<Handle>, StoreError> {
        self.find(id, false)?.ok_or_else(|| self.missing(id))
    }

    fn missing(&self, id: BlobId) -> StoreError {
        let file = format!(
            "{}/{}/{}",
            super::BLOB_DIR,
            shard_name(id.0 as u8),
            file_name(id)
        );
        StoreError::Missing { file }
    }

    /// Runs `change` on the blob's file, which is made when it is not there, and marks it dirty.
    pub(super) fn change<T>(
        &self,
        id: BlobId,
        change: impl FnOnce(&File) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let handle = self.find(id, true)?.ok_or_else(|| self.missing(id))?;
        let changed = change(&handle.file);
        // A change that failed half-way may have touched bytes that an older record names.
        self.handles.written(&handle);
        changed
    }

    /// Fills `buf` from an offset.
    pub(super) fn read(&self, id: BlobId, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        self.existing(id)?.file.read_exact_at(buf, offset)
    }

    /// The blob's descriptor.
    pub(super) fn fd(&self, id: BlobId) -> Result<Arc<OwnedFd>, StoreError> {
        Ok(self.existing(id)?.file.fd())
    }

    /// Bytes on disk; 0 for a blob that was never written.
    pub(super) fn allocated(&self, id: BlobId) -> Result<u64, StoreError> {
        self.find(id, false)?
            .map_or(Ok(0), |handle| Ok(handle.file.size()?.allocated_bytes))
    }

    /// Frees the range. A blob that does not exist has nothing to free.
    pub(super) fn punch(&self, id: BlobId, offset: u64, len: u64) -> Result<(), StoreError> {
        let Some(handle) = self.find(id, false)? else {
            return Ok(());
        };
        if len > 0 && !handle.file.punch(offset, len)? {
            // Not freed, but what was asked for must read as zeros.
            let inside = handle
                .file
                .size()?
                .len_bytes
                .saturating_sub(offset)
                .min(len);
            handle.file.zero(offset, inside)?;
        }
        self.handles.written(&handle);
        Ok(())
    }

    /// Gives the blob's file another name outside the store.
    pub(super) fn link(
        &self,
        id: BlobId,
        dir: BorrowedFd<'_>,
        name: &std::ffi::CStr,
    ) -> Result<(), StoreError> {
        let shard = self
            .shard(id.0 as u8, false)?
            .ok_or_else(|| self.missing(id))?;
        shard.link_out(&file_name(id), dir, name)
    }

    /// Removes the blob's file, if there is one.
    pub(super) fn remove(&self, id: BlobId) -> Result<(), StoreError> {
        self.handles.forget(Key::Blob(id.0));
        match self.shard(id.0 as u8, false)? {
            Some(dir) => dir.unlink(&file_name(id))?,
            None => return Ok(()),
        }
        self.removed.lock().insert(id.0 as u8);
        Ok(())
    }

    /// Removes the blob's file, if there is one, by a call of the owner's.
    pub(super) fn remove_by(
        &self,
        id: BlobId,
        unlink: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<(), Errno>,
    ) -> Result<(), StoreError> {
        self.handles.forget(Key::Blob(id.0));
        if let Some(dir) = self.shard(id.0 as u8, false)? {
            dir.unlink_by(&file_name(id), unlink)?;
            self.removed.lock().insert(id.0 as u8);
        }
        Ok(())
    }

    /// The next barrier makes durable what was removed so far. A name that comes back does no harm
    /// while the store is in use, since the next open looks for such; after a close none does.
    pub(super) fn settle_removed(&self) {
        for shard in std::mem::take(&mut *self.removed.lock()) {
            self.handles.named(DirKey::BlobShard(shard));
        }
    }

    /// Calls `each` with every blob that has a file, in no particular order, and how large
    /// that is.
    pub(super) fn for_each(
        &self,
        mut each: impl FnMut(BlobId, Size) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for shard in 0..=255 {
            let Some(dir) = self.shard(shard, false)? else {
                continue;
            };
            for name in dir.names()? {
                if let Some(id) = super::parse_hex(&name, 16) {
                    each(BlobId(id), dir.size(&name)?)?;
                }
            }
        }
        Ok(())
    }
}
