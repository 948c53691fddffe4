//! A file mapped into memory, shared and writable.
//!
//! Bytes stored here are in the page cache at once: another process that reads the file sees them
//! even when this one is killed by the next instruction. They reach the disk whenever the kernel
//! likes; fdatasync(2) of the file forces them out, because on Linux the pages of a shared mapping
//! *are* the file's page cache and fdatasync collects the dirty bits of the page tables first
//! (`page_mkclean` in write-back).
//!
//! **Invariant**: every access is checked against the length at mapping time. A store into a page
//! that the file does not have, or that has no space on disk, would be a SIGBUS: the caller maps
//! only files that are fully allocated and that nobody truncates.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapMut, MmapOptions};

/// A shared writable mapping of the first bytes of a file.
pub struct SharedMapping(MmapMut);

impl SharedMapping {
    /// Maps `len` bytes of the file, which must be at least that long, fully allocated
    /// (fallocate(2)), and changed by nobody else for as long as the mapping lives.
    ///
    /// # Errors
    /// What mmap(2) gives: ENOMEM, EACCES when the file is not open for reading and writing.
    pub fn new(file: BorrowedFd<'_>, len: usize) -> io::Result<SharedMapping> {
        // SAFETY: the caller owns the file exclusively (a store's lock is held) and neither
        // truncates nor maps it a second time, so no other access aliases these bytes.
        let map = unsafe { MmapOptions::new().len(len).map_mut(file.as_raw_fd())? };
        Ok(SharedMapping(map))
    }

    /// Copies `data` to `offset`.
    ///
    /// # Panics
    /// When the range is not within the mapping.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        self.0[offset..offset + data.len()].copy_from_slice(data);
    }

    /// Stores `value`, little-endian, at `offset`, after everything written before.
    ///
    /// Whoever finds the value in the file after this process was killed also finds all bytes that
    /// were written earlier.
    ///
    /// # Panics
    /// When `offset` is not a multiple of 4 or not within the mapping.
    pub fn publish_u32(&mut self, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(4), "unaligned offset {offset}");
        let word: *mut u8 = self.0[offset..offset + 4].as_mut_ptr();
        // SAFETY: the slice above proves that 4 bytes are there, the mapping starts at a page and
        // the offset is aligned, and `&mut self` excludes every other access for this call.
        let word = unsafe { AtomicU32::from_ptr(word.cast()) };
        word.store(value.to_le(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn stores_are_in_the_file_at_once() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let mut map = SharedMapping::new(file.as_fd(), 4096).unwrap();
        map.write(8, b"payload");
        map.publish_u32(4, 0x0403_0201);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(&bytes[..15], b"\0\0\0\0\x01\x02\x03\x04payload");
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn a_store_beyond_the_end_panics() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        SharedMapping::new(file.as_fd(), 4096)
            .unwrap()
            .write(4090, b"too long");
    }
}
