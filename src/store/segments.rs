//! Data segments: small pieces of data, packed one after the other.
//!
//! # On disk
//!
//! One address space of 64 bits, cut into files `seg/NNNNNNNN` (hexadecimal) of the same size,
//! which the superblock holds. The bytes are the data and nothing else; what they mean is in the
//! records that name them.
//!
//! # Allocation
//!
//! Addresses only go up and are never used twice, so a stale reference can at worst read zeros. An
//! allocation lies within one file. From 4 KiB on it starts at a multiple of 4 KiB and takes whole
//! blocks; smaller ones are packed at multiples of 8 into chunks of 64 KiB of their own. So a dead
//! large allocation frees all its blocks, and neighbours of one time (which tend to die together)
//! share theirs. After a clean close allocation goes on where it was; after a crash it starts in a
//! new file, since nobody knows how much room was reserved at the end of the old one. To keep the
//! highest number known, the highest file is never removed.
//!
//! Files are sparse and grow by writing: a full disk is [`StoreError::Full`] from the write, the
//! address is then lost and costs nothing.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;

use super::files::{Access, Dir};
use super::handles::{DirKey, Handle, Handles, Key};
use super::{SegAddr, StoreError};

/// The size of a block of the store's filesystem, as far as allocation cares.
pub(super) const BLOCK_BYTES: u64 = 4096;
/// What small allocations are packed into. Data segments are a multiple of this.
pub(super) const CHUNK_BYTES: u64 = 64 << 10;

struct Cursor {
    /// The first address that was never given out; a multiple of [`BLOCK_BYTES`].
    next: u64,
    /// What is left of the current chunk of small allocations.
    small: Range<u64>,
}

/// All data segments of a store.
pub(super) struct Segments {
    pub(super) dir: Dir,
    pub(super) file_bytes: u64,
    cursor: Mutex<Cursor>,
    handles: Arc<Handles>,
}

/// The file name of segment `number`.
pub(super) fn name(number: u32) -> String {
    format!("{number:08x}")
}

/// The numbers of the segments that exist, in order.
pub(super) fn numbers(dir: &Dir) -> Result<Vec<u32>, StoreError> {
    let names = dir.names()?;
    Ok(names
        .iter()
        .filter_map(|name| super::parse_hex(name, 8))
        .map(|n| n as u32)
        .collect())
}

impl Segments {
    /// The segments in `dir`; allocation goes on at `next`, or in a new file where that is `None`.
    pub(super) fn open(
        dir: Dir,
        file_bytes: u64,
        next: Option<u64>,
        handles: Arc<Handles>,
    ) -> Result<Segments, StoreError> {
        let next = match next {
            Some(next) => next,
            None => numbers(&dir)?
                .last()
                .map_or(0, |last| (u64::from(*last) + 1) * file_bytes),
        };
        let cursor = Mutex::new(Cursor { next, small: 0..0 });
        Ok(Segments {
            dir,
            file_bytes,
            cursor,
            handles,
        })
    }

    /// Where allocation goes on after a clean close.
    pub(super) fn next_address(&self) -> u64 {
        self.cursor.lock().next
    }

    /// Every later allocation is at this address or above, every earlier one below.
    pub(super) fn mark(&self) -> u64 {
        let mut cursor = self.cursor.lock();
        cursor.small = 0..0;
        cursor.next
    }

    fn allocate(&self, len: u64) -> Result<u64, StoreError> {
        let max_bytes = self.file_bytes;
        if len > max_bytes {
            return Err(StoreError::AllocationTooLarge {
                len_bytes: len,
                max_bytes,
            });
        }
        let mut cursor = self.cursor.lock();
        let len = SegAddr::whole(len);
        if len >= BLOCK_BYTES {
            return Ok(cursor.take(len, max_bytes));
        }
        if cursor.small.end - cursor.small.start < len {
            let start = cursor.take(CHUNK_BYTES, max_bytes);
            cursor.small = start..start + CHUNK_BYTES;
        }
        let at = cursor.small.start;
        cursor.small.start += len;
        Ok(at)
    }

    /// Allocates `reserve` bytes (or as many as `data` has) and writes `data` at their start.
    pub(super) fn append(&self, data: &[u8], reserve: u64) -> Result<SegAddr, StoreError> {
        let at = SegAddr(self.allocate(reserve.max(data.len() as u64))?);
        let (number, offset) = self.locate(at, data.len() as u64)?;
        let handle = self.handle(number, true)?;
        handle.file.write_at(data, offset)?;
        self.handles.written(&handle);
        Ok(at)
    }

    /// Writes at an address that was allocated.
    pub(super) fn write(&self, at: SegAddr, data: &[u8]) -> Result<(), StoreError> {
        let (number, offset) = self.locate(at, data.len() as u64)?;
        let handle = self.handle(number, true)?;
        let written = handle.file.write_at(data, offset);
        // A write that failed half-way has changed bytes that an older record may name.
        self.handles.written(&handle);
        written
    }

    /// Fills `buf` from an address.
    pub(super) fn read(&self, at: SegAddr, buf: &mut [u8]) -> Result<(), StoreError> {
        let (number, offset) = self.locate(at, buf.len() as u64)?;
        self.handle(number, false)?.file.read_exact_at(buf, offset)
    }

    /// The file that holds an address, and where in it.
    pub(super) fn fd(&self, at: SegAddr) -> Result<(Arc<OwnedFd>, u64), StoreError> {
        let (number, offset) = self.locate(at, 0)?;
        Ok((self.handle(number, false)?.file.fd(), offset))
    }

    fn locate(&self, at: SegAddr, len_bytes: u64) -> Result<(u32, u64), StoreError> {
        let crosses = StoreError::CrossesSegment {
            address: at.0,
            len_bytes,
        };
        let offset = at.0 % self.file_bytes;
        match u32::try_from(at.0 / self.file_bytes) {
            Ok(number) if offset + len_bytes <= self.file_bytes => Ok((number, offset)),
            _ => Err(crosses),
        }
    }

    pub(super) fn handle(&self, number: u32, create: bool) -> Result<Arc<Handle>, StoreError> {
        let open = || {
            let name = name(number);
            if let Some(file) = self.dir.open(&name, Access::Write)? {
                return Ok(Some(file));
            }
            if !create {
                return Ok(None);
            }
            let file = self.dir.open(&name, Access::Create)?;
            self.handles.named(DirKey::Segments);
            Ok(file)
        };
        let missing = || StoreError::Missing {
            file: format!("{}/{}", super::SEGMENT_DIR, name(number)),
        };
        self.handles
            .get(Key::Segment(number), open)?
            .ok_or_else(missing)
    }

    /// Frees the whole blocks within a range of addresses of one segment.
    fn punch(&self, range: Range<u64>) -> Result<(), StoreError> {
        let start = range.start.next_multiple_of(BLOCK_BYTES);
        let end = range.end / BLOCK_BYTES * BLOCK_BYTES;
        if start >= end {
            return Ok(());
        }
        let (number, offset) = self.locate(SegAddr(start), end - start)?;
        match self.handle(number, false) {
            Ok(handle) => handle.file.punch(offset, end - start).map(|_| ()),
            // A segment that the sweep removed whole has nothing left to free.
            Err(StoreError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Like [`Segments::punch`] for a range that may reach over several segments.
    pub(super) fn punch_all(&self, range: Range<u64>) -> Result<(), StoreError> {
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min((at / self.file_bytes + 1) * self.file_bytes);
            self.punch(at..end)?;
            at = end;
        }
        Ok(())
    }

    /// Removes the file of a segment in which nothing is live.
    pub(super) fn remove(&self, number: u32) -> Result<(), StoreError> {
        self.handles.forget(Key::Segment(number));
        self.dir.unlink(&name(number))
    }
}

impl Cursor {
    fn take(&mut self, len: u64, file_bytes: u64) -> u64 {
        if self.next % file_bytes + len > file_bytes {
            self.next = self.next.next_multiple_of(file_bytes);
        }
        let at = self.next;
        self.next += len;
        at
    }
}
