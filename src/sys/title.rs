//! The command line that ps(1) shows of this process.
#![allow(unsafe_code)]

use std::io;

/// Replaces what `/proc/self/cmdline` shows by `title`, cut to the room that the arguments had.
///
/// Call it where nothing reads the arguments afterwards and the process has one thread.
pub fn set(title: &[u8]) -> io::Result<()> {
    let (start, end) = arguments()?;
    let room = end - start;
    let length = title.len().min(room.saturating_sub(1));
    // SAFETY: the kernel put the arguments there, in memory of this process's stack that may be
    // written and that stays; by the contract above nobody else looks at it now. The last byte
    // stays NUL, so whoever reads an argument finds its end.
    unsafe {
        let place = std::ptr::with_exposed_provenance_mut::<u8>(start);
        std::ptr::write_bytes(place, 0, room);
        std::ptr::copy_nonoverlapping(title.as_ptr(), place, length);
    }
    Ok(())
}

/// From where to where they are: `arg_start` and `arg_end` of proc_pid_stat(5).
fn arguments() -> io::Result<(usize, usize)> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let (_, after_name) = stat.rsplit_once(") ").ok_or_else(bad)?;
    // What follows the name is the third field; these are the 48th and the 49th.
    let mut fields = after_name.trim_end().split(' ').skip(45);
    let mut number = || fields.next()?.parse::<usize>().ok();
    match (number(), number()) {
        (Some(start), Some(end)) if 0 < start && start < end => Ok((start, end)),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_where_the_arguments_are() {
        let (start, end) = arguments().unwrap();
        let shown = std::fs::read("/proc/self/cmdline").unwrap();
        assert_eq!(end - start, shown.len());
    }
}
