//! A shared, writable mapping of a file, for tests of what the kernel does with one.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::{MmapMut, MmapOptions};

/// Maps the first `len` bytes of `file`.
pub(crate) fn map(file: &File, len: usize) -> io::Result<MmapMut> {
    // SAFETY: tests change the file at the same time on purpose, and only read and write plain
    // bytes.
    unsafe { MmapOptions::new().len(len).map_mut(file) }
}
