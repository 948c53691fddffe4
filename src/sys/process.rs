//! Forking, and letting go of descriptors that a caller left open.
//!
//! Both break promises that Rust makes to the rest of a process, so both are for the first moments
//! of `main`, while one thread runs and nothing of ours is open.
#![allow(unsafe_code)]

use std::io;

use rustix::process::Pid;

/// Which of the two processes returned from [`fork`].
pub enum Forked {
    /// The caller's process; the child's number.
    Parent(Pid),
    /// The new one.
    Child,
}

/// fork(2).
///
/// Call it before the process has threads: the child has only the calling one, and a lock that any
/// other thread held stays locked in it for ever.
pub fn fork() -> io::Result<Forked> {
    // SAFETY: the contract above is the caller's; glibc makes malloc usable in the child.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(
            Pid::from_raw(pid).expect("fork(2) gives a child a number"),
        )),
    }
}

/// Closes every descriptor from 3 on.
///
/// A daemon that kept what its caller had open would hold the caller's flock(2) locks, pipes and
/// mounts for as long as it runs. Call it first thing in `main`: whatever the process has opened
/// itself by then is closed under its feet.
pub fn close_inherited_fds() -> io::Result<()> {
    // SAFETY: by the contract above no descriptor from 3 on belongs to anything in this process.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
