//! The store: bytes on disk.
//!
//! Owns the journal, checkpoints, data segments, blobs and the superblock of one directory. It must
//! not know what a payload means: branches, inodes and names belong to the layers above.
//!
//! # On disk
//!
//! ```text
//! superblock      what kind of store this is              superblock
//! mounted         in use or closed, and since which boot  mounted
//! lock            flock of the process that has it open   lock
//! .gitignore      `*`
//! journal/        records, appended                       journal, frame, reader, recovery
//! checkpoint/     the state at some record                checkpoint
//! seg/            small data, packed                      segments
//! blob/xx/        large data, a sparse file each          blobs
//! old/  stage/    the base layer's; only made here
//! ```
//!
//! # Durability
//!
//! - [`Store::append`]: after it returned, the record survives the death of the process.
//! - [`Store::barrier`]: after it returned, all earlier data and records survive power loss.
//! - After power loss the store holds the records up to the last barrier and none of the later
//!   ones.
//! - Data that is overwritten in place ([`Store::seg_write`], [`Store::blob_write`]) is not
//!   versioned: after power loss an old record may find newer bytes.
//! - A failed sync *poisons*: nothing is promised to be durable any more, so nothing is accepted;
//!   reads go on.
//!
//! Assumed of the disk and filesystem: a synced block stays what it is; fdatasync(2), fsync(2) and
//! syncfs(2) reach the medium; rename(2) is atomic; space that fallocate(2) gave can be written.
//!
//! # Lock order
//!
//! `Rounds` (never held during I/O), the checkpoint state, the handle table, then the innermost
//! ones, which are never held together: the journal, the segment cursor, the dirty list, the
//! release queue.

mod barrier;
mod blobs;
mod checkpoint;
mod error;
mod faults;
mod files;
mod frame;
mod handles;
mod journal;
mod lock;
mod map;
mod mounted;
mod open;
mod reader;
mod records;
mod recovery;
mod release;
mod rescue;
mod segments;
mod size;
mod superblock;
mod sweep;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::io::Errno;

use crate::sys::disk::Disk;

pub use error::{Cause, Damage, StoreError};
pub use open::{Opened, Recovery, StoreOptions};
pub use records::{Record, Records, Source};
pub use release::Dead;
pub use rescue::Rescue;
pub use sweep::{Live, SweepMark, Swept};
pub use verify::{BlobFile, Problem, Report, SegmentFile, verify};
pub use writer::CheckpointWriter;

use blobs::Blobs;
use files::{Dir, File};
use handles::{DirKey, Handles};
use journal::Journal;
use segments::Segments;

/// The largest payload of one record.
pub const MAX_RECORD_BYTES: usize = 8 << 20;

const JOURNAL_DIR: &str = "journal";
const CHECKPOINT_DIR: &str = "checkpoint";
const SEGMENT_DIR: &str = "seg";
const BLOB_DIR: &str = "blob";
const OLD_DIR: &str = "old";
const STAGE_DIR: &str = "stage";

/// The number of a record: 1, 2, 3 and so on through the life of a store. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl std::fmt::Display for Lsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An address in the data segments; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegAddr(pub u64);

impl SegAddr {
    /// How many bytes an allocation of `len_bytes` takes: whole blocks from one block on, multiples
    /// of 8 below.
    pub fn whole(len_bytes: u64) -> u64 {
        match len_bytes >= segments::BLOCK_BYTES {
            true => len_bytes.next_multiple_of(segments::BLOCK_BYTES),
            false => len_bytes.max(1).next_multiple_of(8),
        }
    }
}

/// The id of a blob; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub u64);

/// Bytes on disk, by use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The journal, with the space that is allocated ahead.
    pub journal_bytes: u64,
    /// Checkpoints.
    pub checkpoint_bytes: u64,
    /// Data segments.
    pub segment_bytes: u64,
    /// Blobs.
    pub blob_bytes: u64,
}

/// The data files, shared with the thread that frees space.
struct Data {
    root: Dir,
    handles: Arc<Handles>,
    segments: Segments,
    blobs: Blobs,
}

impl Data {
    fn dir(&self, key: DirKey) -> Option<&Dir> {
        match key {
            DirKey::Segments => Some(&self.segments.dir),
            DirKey::Blobs => Some(&self.blobs.dir),
            DirKey::BlobShard(shard) => self.blobs.open_shard(shard),
        }
    }
}

/// An open store. Dropping it without [`Store::close`] is what a kill does: nothing is synced.
pub struct Store {
    superblock: superblock::Superblock,
    mounted: Mutex<mounted::Mounted>,
    data: Arc<Data>,
    journal: Journal,
    checkpoints: writer::Checkpoints,
    old: Dir,
    stage: Dir,
    rounds: barrier::Rounds,
    synced: AtomicU64,
    poison: OnceLock<Cause>,
    writable: AtomicBool,
    release: Arc<release::ReleaseQueue>,
    // Dropped in this order: the thread ends, then the lock is released.
    _reclaimer: Option<release::Reclaimer>,
    _lock: Option<File>,
}

impl Store {
    /// A random key for hashing names, the same through the life of the store.
    pub fn hash_key(&self) -> [u8; 16] {
        self.superblock.hash_key
    }

    /// The identity of the store.
    pub fn uuid(&self) -> [u8; 16] {
        self.superblock.uuid
    }

    /// When the store was made, in seconds since 1970.
    pub fn created(&self) -> i64 {
        self.superblock.created
    }

    /// Where the store's files are changed.
    pub fn disk(&self) -> &Disk {
        self.data.root.disk()
    }

    /// The directory where the base layer keeps replaced versions.
    pub fn old_dir(&self) -> BorrowedFd<'_> {
        self.old.as_fd()
    }

    /// The directory where the base layer prepares files.
    pub fn stage_dir(&self) -> BorrowedFd<'_> {
        self.stage.as_fd()
    }

    /// Appends one record. It survives the death of this process as soon as the call returns, and
    /// power loss as soon as a [`Store::barrier`] that was called afterwards returns.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing was changed, and it may work again when there is space.
    /// [`StoreError::RecordTooLarge`], [`StoreError::ReadOnly`], [`StoreError::Poisoned`].
    pub fn append(&self, payload: &[u8]) -> Result<Lsn, StoreError> {
        self.check_writable()?;
        self.journal.append(payload).map_err(|error| match error {
            error @ StoreError::Io { .. } => self.poison(error),
            other => other,
        })
    }

    /// The last record of the journal.
    pub fn last_lsn(&self) -> Lsn {
        self.journal.end().last()
    }

    /// Records up to here, and the data that they name, survive power loss.
    pub fn synced_to(&self) -> Lsn {
        Lsn(self.synced.load(Ordering::Acquire))
    }

    fn set_synced(&self, lsn: Lsn) {
        self.synced.fetch_max(lsn.0, Ordering::AcqRel);
    }

    /// Bytes of journal that a mount after a crash would have to replay.
    pub fn journal_bytes_since_checkpoint(&self) -> u64 {
        self.journal.bytes_since_checkpoint()
    }

    /// What ended writing, if something did.
    pub fn poisoned(&self) -> Option<Cause> {
        self.poison.get().cloned()
    }

    fn poison(&self, error: StoreError) -> StoreError {
        self.poison_by(error.to_cause())
    }

    fn poison_by(&self, cause: Cause) -> StoreError {
        let cause = self.poison.get_or_init(|| {
            log::error!("the store takes no more writes: {cause}");
            cause
        });
        StoreError::Poisoned {
            cause: cause.clone(),
        }
    }

    /// Ends writing because the program itself is in doubt: what is in memory may be half done.
    ///
    /// `why` is what went wrong, as a clause: "a request panicked".
    pub fn distrust(&self, why: &'static str) {
        self.poison_by(Cause::Doubt { why });
    }

    fn check_writable(&self) -> Result<(), StoreError> {
        if let Some(cause) = self.poison.get() {
            return Err(StoreError::Poisoned {
                cause: cause.clone(),
            });
        }
        if self.writable.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err(StoreError::ReadOnly)
        }
    }

    /// Writes `data` to a new place in the segments that has room for `reserve_bytes`, or for the
    /// data where that is more. The room beyond the data may be written later with
    /// [`Store::seg_write`].
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::AllocationTooLarge`].
    pub fn seg_append(&self, data: &[u8], reserve_bytes: u32) -> Result<SegAddr, StoreError> {
        self.check_writable()?;
        self.data.segments.append(data, u64::from(reserve_bytes))
    }

    /// Overwrites bytes in place. The range must be within one allocation.
    pub fn seg_write(&self, at: SegAddr, data: &[u8]) -> Result<(), StoreError> {
        self.check_writable()?;
        self.data.segments.write(at, data)
    }

    /// Fills `buf` from an address.
    ///
    /// # Errors
    /// [`StoreError::ShortRead`] or [`StoreError::Missing`] where nothing was ever written.
    pub fn seg_read(&self, at: SegAddr, buf: &mut [u8]) -> Result<(), StoreError> {
        self.data.segments.read(at, buf)
    }

    /// The file that holds an address, and the offset in it; to read from.
    pub fn seg_fd(&self, at: SegAddr) -> Result<(Arc<OwnedFd>, u64), StoreError> {
        self.data.segments.fd(at)
    }

    /// The id of a new blob. It takes no space until the first write.
    pub fn blob_new(&self) -> BlobId {
        self.data.blobs.new_id()
    }

    /// Writes at an offset of a blob, whose file is made when this is the first write.
    pub fn blob_write(&self, id: BlobId, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        self.check_writable()?;
        self.data
            .blobs
            .change(id, |file| file.write_at(data, offset))
    }

    /// Copies a range of another file into a blob, sharing blocks where the filesystem can. Returns
    /// the bytes copied, less than `len_bytes` only where `source` ends.
    pub fn blob_copy_in(
        &self,
        id: BlobId,
        offset: u64,
        source: BorrowedFd<'_>,
        source_offset: u64,
        len_bytes: u64,
    ) -> Result<u64, StoreError> {
        self.check_writable()?;
        let copy = |file: &File| file.copy_from(offset, source, source_offset, len_bytes);
        self.data.blobs.change(id, copy)
    }

    /// Fills `buf` from an offset of a blob.
    ///
    /// # Errors
    /// [`StoreError::ShortRead`] or [`StoreError::Missing`] where nothing was ever written.
    pub fn blob_read(&self, id: BlobId, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        self.data.blobs.read(id, offset, buf)
    }

    /// Frees a range at once; it reads as zeros. To be used only on ranges that no durable record
    /// names; else see [`Store::release`].
    pub fn blob_punch(&self, id: BlobId, offset: u64, len_bytes: u64) -> Result<(), StoreError> {
        self.check_writable()?;
        self.data.blobs.punch(id, offset, len_bytes)
    }

    /// Makes a range read as zeros and extends the blob's file to its end.
    pub fn blob_zero(&self, id: BlobId, offset: u64, len_bytes: u64) -> Result<(), StoreError> {
        self.check_writable()?;
        self.data
            .blobs
            .change(id, |file| file.zero(offset, len_bytes))
    }

    /// Gives a range space on disk and extends the blob's file to its end, as fallocate(2).
    pub fn blob_allocate(&self, id: BlobId, offset: u64, len_bytes: u64) -> Result<(), StoreError> {
        self.check_writable()?;
        self.data
            .blobs
            .change(id, |file| file.allocate(offset, len_bytes))
    }

    /// Sets the length of the blob's file.
    pub fn blob_set_len(&self, id: BlobId, len_bytes: u64) -> Result<(), StoreError> {
        self.check_writable()?;
        self.data.blobs.change(id, |file| file.set_len(len_bytes))
    }

    /// Bytes on disk of a blob; 0 when it was never written.
    pub fn blob_allocated(&self, id: BlobId) -> Result<u64, StoreError> {
        self.data.blobs.allocated(id)
    }

    /// The blob's file, to read from: writes through it would not be known to the barrier.
    pub fn blob_fd(&self, id: BlobId) -> Result<Arc<OwnedFd>, StoreError> {
        self.data.blobs.fd(id)
    }

    /// Gives the blob's file another name, outside the store but on its filesystem.
    pub fn blob_link(
        &self,
        id: BlobId,
        dir: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), StoreError> {
        self.check_writable()?;
        self.data.blobs.link(id, dir, name)
    }

    /// Removes the name of a blob that has another outside the store. `unlink` does it, given the
    /// directory and the name: the file there loses a link.
    pub fn blob_unname(
        &self,
        id: BlobId,
        unlink: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<(), Errno>,
    ) -> Result<(), StoreError> {
        self.check_writable()?;
        self.data.blobs.remove_by(id, unlink)
    }

    /// Gives space back once a barrier that begins after this call has completed. To be called
    /// after the record that frees it was appended.
    pub fn release(&self, what: Dead) {
        self.release.add(what);
    }

    /// Waits until everything is freed that barriers have made ready so far.
    pub fn reclaim(&self) {
        self.release.drain(&self.data);
    }

    /// Bytes on disk of data alone: segments and blobs. Looks at every blob.
    pub fn data_bytes(&self) -> Result<u64, StoreError> {
        let mut bytes = self.data.segments.dir.allocated_bytes()?;
        self.data.blobs.for_each(|_, size| {
            bytes += size.allocated_bytes;
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Bytes on disk. Looks at every blob: takes time proportional to their number.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let mut blob_bytes = 0;
        self.data.blobs.for_each(|_, size| {
            blob_bytes += size.allocated_bytes;
            Ok(())
        })?;
        Ok(Usage {
            journal_bytes: self.journal.dir.allocated_bytes()?,
            checkpoint_bytes: self.checkpoints.dir().allocated_bytes()?,
            segment_bytes: self.data.segments.dir.allocated_bytes()?,
            blob_bytes,
        })
    }

    /// Syncs everything, frees what is ready and notes that the store was closed. Nothing is
    /// accepted afterwards. Must not run beside appends or writes.
    pub fn close(&self) -> Result<(), StoreError> {
        self.check_writable()?;
        self.barrier()?;
        self.reclaim();
        self.data.blobs.settle_removed();
        self.writable.store(false, Ordering::Release);
        // Freeing blob ranges changes files, and a barrier is a record itself.
        while self.data.handles.is_dirty() || !self.journal.is_synced() {
            self.barrier_unchecked()?;
        }
        let mut mounted = self.mounted.lock();
        mounted.counter += 1;
        mounted.clean = true;
        mounted.durable = self.journal.end().last();
        mounted.next_address = self.data.segments.next_address();
        let file = self.data.root.create(mounted::NAME, files::Access::Write)?;
        mounted.write(&file).map_err(|error| self.poison(error))
    }
}

/// The number that a file name of exactly `digits` lower-case hexadecimal digits stands for.
fn parse_hex(name: &str, digits: usize) -> Option<u64> {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if name.len() != digits || !name.bytes().all(hex) {
        return None;
    }
    u64::from_str_radix(name, 16).ok()
}
