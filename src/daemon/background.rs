//! Going into the background: fork, and telling the parent when the mount answers.
//!
//! The parent waits on a pipe. The daemon writes one byte 0 when its mount has answered, or any
//! other byte and the text of its error; a pipe that closes without either means that the daemon
//! died.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::process::{Pid, WaitOptions};

use super::error::DaemonError;
use crate::sys::process::{Forked, fork};

const READY: u8 = 0;
const FAILED: u8 = 1;

/// Where [`split`] returned.
pub(super) enum Side {
    /// In the caller's process.
    Parent(Waiting),
    /// In the daemon: a session of its own, which answers for itself through this.
    Daemon(Ready),
}

/// Forks. Call it before the process has threads.
pub(super) fn split() -> Result<Side, DaemonError> {
    let failed = |step| move |source| DaemonError::Process { step, source };
    let flags = rustix::pipe::PipeFlags::CLOEXEC;
    let (reader, writer) =
        rustix::pipe::pipe_with(flags).map_err(|e| failed("make a pipe")(e.into()))?;
    match fork().map_err(failed("fork"))? {
        Forked::Parent(pid) => Ok(Side::Parent(Waiting {
            pid,
            pipe: File::from(reader),
        })),
        Forked::Child => {
            rustix::process::setsid().map_err(|e| failed("start a session")(e.into()))?;
            Ok(Side::Daemon(Ready(Some(File::from(writer)))))
        }
    }
}

/// The parent's end.
pub(super) struct Waiting {
    pid: Pid,
    pipe: File,
}

impl Waiting {
    /// Waits until the daemon's mount answers, or for its error.
    pub(super) fn wait(mut self) -> Result<(), DaemonError> {
        let mut said = Vec::new();
        let read = |source| DaemonError::Process {
            step: "read what the daemon says",
            source,
        };
        self.pipe.read_to_end(&mut said).map_err(read)?;
        match said.split_first() {
            Some((&READY, _)) => Ok(()),
            Some((_, text)) => Err(DaemonError::Daemon {
                said: String::from_utf8_lossy(text).into_owned(),
            }),
            None => {
                let waited = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
                let status = waited
                    .ok()
                    .flatten()
                    .map_or(0, |(_, status)| status.as_raw());
                Err(DaemonError::DaemonDied { status })
            }
        }
    }
}

/// The daemon's end; in the foreground there is nobody to tell.
pub(super) struct Ready(Option<File>);

impl Ready {
    /// For a daemon that stays in the foreground.
    pub(super) fn nobody() -> Ready {
        Ready(None)
    }

    /// The mount answers: lets the parent go, and the terminal too.
    ///
    /// stdin and stdout become `/dev/null`, and so does stderr unless there is a `log` to append
    /// to.
    pub(super) fn ready(&mut self, log: Option<&Path>) -> io::Result<()> {
        let Some(mut pipe) = self.0.take() else {
            return Ok(());
        };
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        match log {
            Some(path) => {
                let log = File::options().append(true).create(true).open(path)?;
                rustix::stdio::dup2_stderr(&log)?;
            }
            None => rustix::stdio::dup2_stderr(&null)?,
        }
        pipe.write_all(&[READY])
    }

    /// The mount could not be made: the parent prints why.
    pub(super) fn failed(&mut self, said: &str) {
        let Some(mut pipe) = self.0.take() else {
            return;
        };
        // A parent that is gone needs no answer.
        let _ = pipe.write_all(&[&[FAILED], said.as_bytes()].concat());
    }

    /// Whether the parent was told that all is well.
    pub(super) fn is_told(&self) -> bool {
        self.0.is_none()
    }
}
