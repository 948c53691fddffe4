//! Supervisors that have no order yet.
//!
//! The first trial of a command line has one that was forked before this process had threads: it
//! costs a fraction of executing the program again, and gets ready while the workspace is found.
//! All others are executed, since a process with threads must not go on after a fork.

use std::io;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};

use super::supervise::{self, protocol::Order};
use crate::sys::process::{Forked, exit_at_once, fork, is_alone};
use crate::sys::spawn;

/// Ends a supervisor and its trial from any thread.
#[derive(Debug)]
pub struct Killer(UnixStream);

impl Killer {
    /// Ends it and everything that it started; does nothing where it has ended.
    pub fn kill(&self) {
        hang_up(&self.0);
    }
}

fn hang_up(control: &UnixStream) {
    // It fails where the other end is gone, and so is the process.
    let _ = control.shutdown(Shutdown::Write);
}

/// A process that waits for an order; dropping it ends and reaps it.
#[derive(Debug)]
pub struct Waiting {
    pid: Pid,
    control: UnixStream,
}

impl Waiting {
    /// Forks one, if this process has no threads yet.
    pub fn fork() -> io::Result<Option<Waiting>> {
        if !is_alone()? {
            return Ok(None);
        }
        let (control, theirs) = UnixStream::pair()?;
        match fork()? {
            Forked::Parent(pid) => Ok(Some(Waiting { pid, control })),
            Forked::Child => {
                // Else the end of the other side would not be the end of the socket.
                drop(control);
                exit_at_once(supervise::with_socket(theirs));
            }
        }
    }

    /// Executes one.
    pub fn execute() -> io::Result<Waiting> {
        let (control, theirs) = UnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(supervise::VERB).stdin(OwnedFd::from(theirs));
        let child = command.spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a process has a number");
        Ok(Waiting { pid, control })
    }

    /// Sends it the descriptors of its program, and what to do.
    pub fn give(&self, order: &Order, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let order = serde_json::to_string(order).expect("an order has only string keys") + "\n";
        spawn::send(&self.control, fds, order.as_bytes())
    }

    /// What ends it.
    pub fn killer(&self) -> io::Result<Killer> {
        self.control.try_clone().map(Killer)
    }

    /// Ends it.
    pub fn kill(&self) {
        hang_up(&self.control);
    }

    /// Its control socket.
    pub fn control(&self) -> &UnixStream {
        &self.control
    }

    /// Waits for its end.
    pub fn reap(self) {
        drop(self);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // One that has no order ends with its socket; one that has ended does not care.
        self.kill();
        while let Err(Errno::INTR) = waitpid(Some(self.pid), WaitOptions::empty()) {}
    }
}
