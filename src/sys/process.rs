//! Forking, and letting go of descriptors that a caller left open.
//!
//! Both break promises that Rust makes to the rest of a process, so both are for the first moments
//! of `main`, while one thread runs and nothing of ours is open. A thread with a table of
//! descriptors of its own breaks them for that thread alone.
#![allow(unsafe_code)]

use std::io;
use std::sync::mpsc;
use std::thread;

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

/// Whether this process has one thread, so that [`fork`] may be called.
pub fn is_alone() -> io::Result<bool> {
    Ok(std::fs::read_dir("/proc/self/task")?.count() == 1)
}

/// _exit(2): the end of a forked child that is not to run what its parent has registered for its
/// own end, nor to write out what that has buffered.
pub fn exit_at_once(code: u8) -> ! {
    // SAFETY: it does not return, and touches no memory of this process.
    unsafe { libc::_exit(code.into()) }
}

/// Closes every descriptor from 3 on.
///
/// A daemon that kept what its caller had open would hold the caller's flock(2) locks, pipes and
/// mounts for as long as it runs. Call it first thing in `main`: whatever the process has opened
/// itself by then is closed under its feet.
pub fn close_inherited_fds() -> io::Result<()> {
    close_from_3(0)
}

/// A thread whose table of descriptors is its own, with nothing in it: the first three are
/// `/dev/null`, since whoever reads what this process prints waits for all tables to let go of
/// that.
///
/// A thread that waits for ever in the kernel keeps the table it shares, and everything open in it,
/// beyond the end of its process. This one keeps what `work` opened itself. Any other descriptor,
/// a log's included, is closed as `work` sees it; what it opens nobody else sees.
pub fn spawn_with_own_fds(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    let (ready, is_ready) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(name.into()).spawn(move || {
        let unshared = close_from_3(libc::CLOSE_RANGE_UNSHARE).and_then(|()| silence());
        let failed = unshared.is_err();
        if ready.send(unshared).is_ok() && !failed {
            work();
        }
    })?;
    let gone = || io::Error::other("the thread ended at once");
    is_ready.recv().map_err(|_| gone())??;
    Ok(thread)
}

/// Makes the first three descriptors of the calling thread's table `/dev/null`.
fn silence() -> io::Result<()> {
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// close_range(2), which not every libc wraps.
fn close_from_3(flags: libc::c_uint) -> io::Result<()> {
    let last = libc::c_uint::MAX;
    // SAFETY: by the contracts above nothing that uses this table owns a descriptor from 3 on.
    match unsafe { libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, last, flags) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_thread_with_its_own_descriptors_has_none_of_ours_and_leaves_ours_alone() {
        let ours = std::fs::File::open("/proc/self/maps").unwrap();
        let link = format!("/proc/thread-self/fd/{}", ours.as_raw_fd());
        let seen = link.clone();
        let (tell, told) = mpsc::channel();
        let thread = spawn_with_own_fds("alone", move || {
            let printed = std::fs::read_link("/proc/thread-self/fd/1").unwrap();
            tell.send((std::fs::read_link(&seen).is_ok(), printed))
                .unwrap();
        });
        thread.unwrap().join().unwrap();
        let (has_ours, printed) = told.recv().unwrap();
        assert!(!has_ours, "it has our descriptor");
        assert_eq!(printed, std::path::Path::new("/dev/null"));
        assert!(std::fs::read_link(&link).is_ok(), "ours is closed");
        assert!(ours.metadata().is_ok());
    }
}
