//! A shared mapping of a file, which is the one thing here that needs `unsafe`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::{MmapMut, MmapOptions};

/// Writes `bytes` at `offset` of `file` through a shared mapping and flushes them (msync).
///
/// `file` must be open for reading and writing and must reach to the end of the range.
pub fn write_shared(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut map = map_shared(file, offset, bytes.len())?;
    map.copy_from_slice(bytes);
    map.flush()
}

/// Maps `len` bytes of `file` from `offset`, shared, for reading and writing.
pub fn map_shared(file: &File, offset: u64, len: usize) -> io::Result<MmapMut> {
    // SAFETY: the file is one of the test's own, inside the mapped range, and nothing truncates it
    // while the mapping lives; races on its content are what the caller tests.
    unsafe { MmapOptions::new().offset(offset).len(len).map_mut(file) }
}
