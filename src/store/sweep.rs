//! Mark and sweep: freeing what no record names.
//!
//! A crash between a write and its record, or between a record and the release that follows it,
//! leaves space that nothing names. The caller takes a mark, gathers what is live, and everything
//! older than the mark that is not live is freed.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::segments::{self, BLOCK_BYTES};
use super::{BlobId, Store, StoreError};
use crate::sys::failpoint;

/// What is in use, as the caller has gathered it.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Ranges of segment addresses, as they were allocated (with their reserve). Any order.
    pub segments: Vec<Range<u64>>,
    /// Blobs. Any order.
    pub blobs: Vec<BlobId>,
}

/// A moment in the life of the store: see [`Store::sweep_mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepMark {
    address: u64,
    blob: BlobId,
}

/// What a sweep has freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs deleted.
    pub blobs: u64,
    /// Segment files deleted.
    pub segment_files: u64,
    /// Bytes on disk that were freed.
    pub freed_bytes: u64,
}

impl Store {
    /// Marks now: allocations up to here are subject to the sweep, later ones are not.
    ///
    /// To be taken before the caller gathers what is live, at a moment when no operation is between
    /// an allocation and the record that names it: what is allocated and not yet named looks dead.
    pub fn sweep_mark(&self) -> SweepMark {
        SweepMark {
            address: self.data.segments.mark(),
            blob: self.data.blobs.mark(),
        }
    }

    /// Frees everything from before the mark that is not live, after a barrier.
    ///
    /// What the caller dropped from `live` must have been freed by records that are appended
    /// already: the barrier makes them durable. A crash during the sweep is harmless.
    pub fn sweep(&self, live: Live, mark: SweepMark) -> Result<Swept, StoreError> {
        self.barrier()?;
        let mut swept = Swept::default();
        self.sweep_blobs(live.blobs, mark.blob, &mut swept)?;
        failpoint::reach("reclaim-blobs");
        self.sweep_segments(
            super::release::join(live.segments),
            mark.address,
            &mut swept,
        )?;
        Ok(swept)
    }

    /// The inode numbers of the blobs that have another name outside the store.
    pub fn linked_blobs(&self) -> Result<Vec<u64>, StoreError> {
        let mut linked = Vec::new();
        self.data.blobs.for_each(|_, size| {
            linked.extend((size.links > 1).then_some(size.ino));
            Ok(())
        })?;
        Ok(linked)
    }

    /// Removes the blobs that have another name outside the store. To be called when every publish
    /// is finished: then no view names such a blob any more. `unlink` as for
    /// [`Store::blob_unname`].
    pub fn remove_linked_blobs(
        &self,
        unlink: impl Fn(BorrowedFd<'_>, &[u8]) -> Result<(), Errno>,
    ) -> Result<(), StoreError> {
        self.check_writable()?;
        let blobs = &self.data.blobs;
        blobs.for_each(|id, size| match size.links > 1 {
            true => blobs.remove_by(id, &unlink),
            false => Ok(()),
        })
    }

    fn sweep_blobs(
        &self,
        mut live: Vec<BlobId>,
        mark: BlobId,
        swept: &mut Swept,
    ) -> Result<(), StoreError> {
        live.sort_unstable();
        let blobs = &self.data.blobs;
        blobs.for_each(|id, size| {
            if id < mark && live.binary_search(&id).is_err() {
                blobs.remove(id)?;
                swept.blobs += 1;
                swept.freed_bytes += size.allocated_bytes;
            }
            Ok(())
        })
    }

    fn sweep_segments(
        &self,
        live: Vec<Range<u64>>,
        mark: u64,
        swept: &mut Swept,
    ) -> Result<(), StoreError> {
        let segments = &self.data.segments;
        let numbers = segments::numbers(&segments.dir)?;
        let highest = numbers.last().copied();
        for number in numbers {
            let start = u64::from(number) * segments.file_bytes;
            let end = start + segments.file_bytes;
            let first = live.partition_point(|range| range.end <= start);
            let inside = live[first..].iter().take_while(|range| range.start < end);
            let dead = gaps(inside, start..end.min(mark));
            let handle = segments.handle(number, false)?;
            let before = handle.file.size()?.allocated_bytes;
            let empty = dead.first() == Some(&(start..end));
            if empty && Some(number) != highest {
                segments.remove(number)?;
                swept.segment_files += 1;
                swept.freed_bytes += before;
                continue;
            }
            for range in dead {
                self.punch_data(number, range.start - start..range.end - start)?;
            }
            let after = handle.file.size()?.allocated_bytes;
            swept.freed_bytes += before.saturating_sub(after);
        }
        Ok(())
    }

    /// Punches the whole blocks of a range of a segment's file that are not holes already.
    fn punch_data(&self, number: u32, dead: Range<u64>) -> Result<(), StoreError> {
        let file = &self.data.segments.handle(number, false)?.file;
        let end = dead.end / BLOCK_BYTES * BLOCK_BYTES;
        let mut at = dead.start.next_multiple_of(BLOCK_BYTES);
        while at < end {
            let Some((data, hole)) = file.next_data(at)? else {
                break;
            };
            let (from, to) = (data.max(at), hole.next_multiple_of(BLOCK_BYTES).min(end));
            if from >= to {
                break;
            }
            file.punch(from, to - from)?;
            at = to;
        }
        Ok(())
    }
}

/// What of `whole` is in none of the sorted, disjoint `live` ranges.
fn gaps<'a>(live: impl Iterator<Item = &'a Range<u64>>, whole: Range<u64>) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    let mut at = whole.start;
    for range in live {
        if at < range.start.min(whole.end) {
            gaps.push(at..range.start.min(whole.end));
        }
        at = at.max(range.end);
    }
    if at < whole.end {
        gaps.push(at..whole.end);
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init)]
    fn gaps_are_what_is_not_live() {
        let check = |live: &[Range<u64>], expect: &[Range<u64>]| {
            assert_eq!(gaps(live.iter(), 10..20), expect, "live {live:?}");
        };
        check(&[], &[10..20]);
        check(&[0..12, 15..16], &[12..15, 16..20]);
        check(&[18..30], &[10..18]);
        check(&[0..40], &[]);
        check(&[25..30], &[10..20]);
    }
}
