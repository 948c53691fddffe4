//! Having the kernel begin to write a file, without waiting.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

/// Begins to write what the page cache holds of a file. A hint: an fsync(2) that follows finds the
/// more done, and is what tells of errors.
pub fn start_writing(file: BorrowedFd<'_>) {
    // SAFETY: a system call on an open descriptor, which takes no memory of ours.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}
