//! One supervised process from the pattern's side: start it, collect what it says, end it.
//!
//! **Invariant**: when [`Process::wait`] returns, nothing that the process started runs any more,
//! and its pipes are read to their end. What it prints is kept up to [`KEPT_BYTES`] from the end,
//! however much it is, and read all the time, so it never blocks on a full pipe.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::cancel::Interrupt;
use super::supervise::protocol::{Order, Report, Step};
use super::waiting::{Killer, Waiting};
use crate::proto::Score;

/// How much of an output is kept.
pub const KEPT_BYTES: usize = 64 << 10;

/// Where a process's standard streams lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Nothing to read; what it prints is kept.
    Captured,
    /// As captured, and shown as it comes.
    Shown,
    /// The terminal of the pattern, of which nothing is kept.
    Inherited,
}

/// How a process ended, and what it said.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// Its exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why it did not begin.
    pub not_started: Option<(Step, i32)>,
    /// Whether its time was over.
    pub timed_out: bool,
    /// Whether it was ended from here for another reason, or not even begun.
    pub cancelled: bool,
    /// How long it ran.
    pub duration: Duration,
    /// The most memory that one process of it held.
    pub peak_bytes: u64,
    /// The end of its standard output.
    pub stdout: Vec<u8>,
    /// The end of its standard error.
    pub stderr: Vec<u8>,
    /// What it wrote to descriptor 3.
    pub score_text: Vec<u8>,
}

impl Ended {
    /// Whether it ended by itself with exit code 0.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0) && !self.timed_out && !self.cancelled && self.not_started.is_none()
    }

    /// The exit code as a shell gives it.
    pub fn exit_code(&self) -> i32 {
        match (self.not_started, self.timed_out) {
            (Some((_, libc::ENOENT)), _) => 127,
            (Some(_), _) => 126,
            (None, true) => 124,
            (None, false) => self
                .code
                .unwrap_or_else(|| 128 + self.signal.unwrap_or(libc::SIGKILL)),
        }
    }

    /// The score that it wrote, if that is one: the last line that is not blank.
    pub fn score(&self) -> Option<Score> {
        let text = String::from_utf8_lossy(&self.score_text);
        let line = text.lines().rfind(|line| !line.trim().is_empty())?;
        line.trim().parse().ok().and_then(Score::new)
    }
}

/// A process that runs.
pub struct Process {
    supervisor: Waiting,
    started: Instant,
    pipes: Vec<Pipe>,
}

/// One stream that is read.
struct Pipe {
    from: OwnedFd,
    kept: Vec<u8>,
    /// 1 or 2 where it is shown as well.
    shown: Option<u8>,
    open: bool,
}

impl Process {
    /// Gives `order` to a supervisor: to `spare` if there is one, else to a new one.
    pub fn start(order: &Order, streams: Streams, spare: Option<Waiting>) -> io::Result<Process> {
        let started = Instant::now();
        let shown = |number| matches!(streams, Streams::Shown).then_some(number);
        let mut pipes = Vec::new();
        let mut ends = Vec::new();
        let mut pipe = |shown: Option<u8>| -> io::Result<()> {
            let (from, end) = pipe_with(PipeFlags::CLOEXEC)?;
            pipes.push(Pipe::new(from, shown));
            ends.push(end);
            Ok(())
        };
        pipe(None)?;
        if order.captured {
            pipe(shown(1))?;
            pipe(shown(2))?;
        }
        let mut fds: Vec<BorrowedFd<'_>> = ends.iter().map(AsFd::as_fd).collect();
        if !order.own_session {
            fds.push(rustix::stdio::stdin());
        }
        let supervisor = match spare {
            Some(spare) => spare,
            None => Waiting::execute()?,
        };
        if let Err(error) = supervisor.give(order, &fds) {
            // It died at once; what it had to say is on its standard error.
            log::debug!("a supervisor takes no order: {error}");
        }
        Ok(Process {
            supervisor,
            started,
            pipes,
        })
    }

    /// A handle that ends it.
    pub fn killer(&self) -> io::Result<Killer> {
        self.supervisor.killer()
    }

    /// Waits for its end; ends it at `deadline`. Looks at `interrupt` whenever there is cause to.
    /// `look` is called every so often where it is given, and ends the process by answering `true`.
    ///
    /// Gives back a supervisor that has nothing left to do but to exit.
    pub fn wait(
        mut self,
        deadline: Option<Instant>,
        interrupt: &Interrupt,
        look: Option<&dyn Fn() -> bool>,
    ) -> (Ended, Option<Waiting>) {
        let mut ended = Ended::default();
        let mut said = Vec::new();
        let mut deadline = deadline;
        let is_over = loop {
            let soon = look.map(|_| Instant::now() + Duration::from_millis(20));
            let times = [deadline, interrupt.deadline(), soon];
            if !self.read_some(times.into_iter().flatten().min(), interrupt, &mut said) {
                break false;
            }
            if says_over(&said) {
                break true;
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                ended.timed_out = true;
                deadline = None;
                self.supervisor.kill();
            }
            interrupt.look();
            if look.is_some_and(|look| look()) {
                self.supervisor.kill();
            }
        };
        ended.duration = self.started.elapsed();
        let exiting = if is_over {
            Some(self.supervisor)
        } else {
            // Where it did not say so, all are gone when it is.
            self.supervisor.reap();
            None
        };
        let mut outputs = self.pipes.into_iter().map(Pipe::finish);
        ended.score_text = outputs.next().unwrap_or_default();
        ended.stdout = outputs.next().unwrap_or_default();
        ended.stderr = outputs.next().unwrap_or_default();
        ended.hear(&said);
        (ended, exiting)
    }

    /// Reads what there is; whether the control socket is still open.
    fn read_some(
        &mut self,
        until: Option<Instant>,
        interrupt: &Interrupt,
        said: &mut Vec<u8>,
    ) -> bool {
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let sources: Vec<BorrowedFd<'_>> = [self.supervisor.control().as_fd(), interrupt.fd()]
            .into_iter()
            .chain(self.pipes.iter().filter(|p| p.open).map(|p| p.from.as_fd()))
            .collect();
        let mut fds: Vec<PollFd<'_>> = sources
            .iter()
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return false,
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut pipes = self.pipes.iter_mut().filter(|pipe| pipe.open);
        for is_ready in &ready[2..] {
            let pipe = pipes.next().expect("as many as were polled");
            if *is_ready {
                pipe.read();
            }
        }
        if !ready[0] {
            return true;
        }
        let mut buffer = [0; 4096];
        match self.supervisor.control().read(&mut buffer) {
            Ok(0) => false,
            Ok(len) => {
                said.extend_from_slice(&buffer[..len]);
                true
            }
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
        }
    }
}

/// Whether the last report of a supervisor has come.
fn says_over(said: &[u8]) -> bool {
    let lines = said.strip_suffix(b"\n").unwrap_or_default();
    let last = lines
        .rsplit(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    matches!(serde_json::from_slice(last), Ok(Report::Over { .. }))
}

impl Ended {
    /// Takes over what the supervisor reported.
    fn hear(&mut self, said: &[u8]) {
        for line in said.split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Report::Failed { step, errno }) => self.not_started = Some((step, errno)),
                Ok(Report::Ended { code, signal }) => (self.code, self.signal) = (code, signal),
                Ok(Report::Over { peak_bytes }) => self.peak_bytes = peak_bytes,
                Err(_) => {}
            }
        }
        if self.code.is_none() && self.signal.is_none() && self.not_started.is_none() {
            self.signal = Some(libc::SIGKILL);
        }
    }
}

impl Pipe {
    fn new(from: OwnedFd, shown: Option<u8>) -> Pipe {
        Pipe {
            from,
            kept: Vec::new(),
            shown,
            open: true,
        }
    }

    /// Reads once; the pipe is known to have something, or to be at its end.
    fn read(&mut self) {
        let mut buffer = [0; 64 << 10];
        match rustix::io::read(&self.from, &mut buffer) {
            Ok(0) => self.open = false,
            Ok(len) => self.take(&buffer[..len]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => self.open = false,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        match self.shown {
            Some(1) => show(rustix::stdio::stdout(), bytes),
            Some(_) => show(rustix::stdio::stderr(), bytes),
            None => {}
        }
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > 2 * KEPT_BYTES {
            self.kept.drain(..self.kept.len() - KEPT_BYTES);
        }
    }

    /// Reads what is left in it, and gives the end of all.
    fn finish(mut self) -> Vec<u8> {
        // Every writer is gone; should one not be, nobody waits for it.
        if rustix::io::ioctl_fionbio(&self.from, true).is_ok() {
            while self.open {
                let before = self.kept.len();
                self.read();
                if self.open && self.kept.len() == before {
                    break;
                }
            }
        }
        let len = self.kept.len();
        self.kept.split_off(len.saturating_sub(KEPT_BYTES))
    }
}

/// Writes past the buffers of this process, which another thread may hold locked. That nobody reads
/// is no reason to stop a trial.
fn show(to: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_score(text: &str, expect: Option<f64>) {
        let ended = Ended {
            score_text: text.into(),
            ..Ended::default()
        };
        assert_eq!(ended.score().map(Score::value), expect, "{text:?}");
    }

    #[test]
    fn the_last_line_is_the_score_if_it_is_a_number() {
        check_score("0.5", Some(0.5));
        check_score("1\n2\n\n", Some(2.0));
        check_score(" -3e2 \n", Some(-300.0));
        check_score("", None);
        check_score("good", None);
        check_score("nan", None);
        check_score("inf\n", None);
        check_score("0.5\ngarbage\n", None);
    }
}
