//! Giving freed memory back to the system.
#![allow(unsafe_code)]

/// Returns to the system what the allocator holds of freed memory.
///
/// glibc does so by itself only at the end of its heap: one live allocation behind a million freed
/// ones keeps them all. Where the allocator is another one this does nothing. It takes about a
/// millisecond per 100 MB, during which allocating threads may wait.
pub fn trim() {
    // SAFETY: malloc_trim(3) may be called at any time from any thread.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}
