//! Starting a program with descriptors at numbers of the caller's choice.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the program that `command` starts have each descriptor at the number beside it.
///
/// The descriptors close with `command`. None of the numbers may be that of one of the descriptors
/// themselves, which is so for numbers below 10 where descriptors were made by
/// [`above_standard`].
pub fn hand_over(command: &mut Command, fds: Vec<(OwnedFd, RawFd)>) {
    let assign = move || {
        for (fd, number) in &fds {
            // SAFETY: dup2(2) is async-signal-safe, and the target numbers belong to nothing that
            // runs in this process between fork and exec.
            if unsafe { libc::dup2(fd.as_raw_fd(), *number) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes async-signal-safe calls only and allocates nothing.
    unsafe { command.pre_exec(assign) };
}

/// `fd` at a number from 10 on, so that it is out of the way of [`hand_over`]'s targets.
pub fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 10)?)
}

/// Takes over the descriptor `number`, which this process was started with.
///
/// Call it once per number, before anything else could have that number.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: F_GETFD only looks; it tells whether the number is open at all.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and by the contract above nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
