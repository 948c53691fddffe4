//! Ending what runs: by a signal, at the end of the time, because somebody else has won.
//!
//! **Invariant**: a process that is registered after its [`Group`] was stopped is killed at once,
//! so there is no moment at which one could slip through.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::TrialError;
use super::waiting::{Killer, Waiting};

#[derive(Debug, Default)]
struct Running {
    stopped: bool,
    next: u64,
    killers: HashMap<u64, Killer>,
}

/// Processes that are ended together.
#[derive(Debug, Default)]
pub struct Group(Mutex<Running>);

impl Group {
    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a process; the answer takes it out again.
    pub fn register(&self, killer: Killer) -> u64 {
        let mut running = self.running();
        if running.stopped {
            killer.kill();
        }
        running.next += 1;
        let key = running.next;
        running.killers.insert(key, killer);
        key
    }

    /// Takes out a process that has ended.
    pub fn remove(&self, key: u64) {
        self.running().killers.remove(&key);
    }

    /// Ends all, and all that are still to come.
    pub fn stop(&self) {
        let mut running = self.running();
        running.stopped = true;
        running.killers.values().for_each(Killer::kill);
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.running().stopped
    }
}

/// What is done before this process has threads.
#[derive(Debug)]
pub struct Prepared {
    /// Where signals come in.
    pub signals: SignalFd,
    /// A supervisor for the first trial.
    pub spare: Option<Waiting>,
}

impl Prepared {
    /// Takes SIGINT, SIGTERM and SIGHUP from now on, and has a supervisor wait for the first trial.
    pub fn new() -> Result<Prepared, TrialError> {
        // It is not to inherit what the signals are set to.
        let spare = Waiting::fork()?;
        let mut taken = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            taken.add(signal);
        }
        taken.thread_block().map_err(std::io::Error::from)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&taken, flags).map_err(std::io::Error::from)?;
        Ok(Prepared { signals, spare })
    }
}

/// What ends everything that runs: a signal to this process, or the end of its time.
///
/// Nobody is woken for it: who waits for a process waits for [`Interrupt::fd`] and until
/// [`Interrupt::deadline`] as well, and looks then.
#[derive(Debug)]
pub struct Interrupt {
    signals: SignalFd,
    deadline: Option<Instant>,
    signal: AtomicI32,
    timed_out: AtomicBool,
    groups: Mutex<Vec<Weak<Group>>>,
}

impl Interrupt {
    /// By what comes in at `signals`, and at `deadline`.
    pub fn new(signals: SignalFd, deadline: Option<Instant>) -> Interrupt {
        Interrupt {
            signals,
            deadline,
            signal: AtomicI32::new(0),
            timed_out: AtomicBool::new(false),
            groups: Mutex::default(),
        }
    }

    /// What becomes readable when a signal comes.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// When the time is over, unless it has been seen to be.
    pub fn deadline(&self) -> Option<Instant> {
        let seen = self.timed_out.load(Ordering::Acquire);
        self.deadline.filter(|_| !seen)
    }

    /// Ends all groups if there is cause to; whether there was, now or before.
    pub fn look(&self) -> bool {
        let signal = self.signal();
        if self
            .deadline()
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            self.timed_out.store(true, Ordering::Release);
            self.stop_all();
        }
        self.timed_out() || signal.is_some()
    }

    /// The signal that came, if one did; the groups are ended then.
    pub fn signal(&self) -> Option<i32> {
        while let Ok(Some(came)) = self.signals.read_signal() {
            self.signal
                .store(came.ssi_signo.cast_signed(), Ordering::Release);
            self.stop_all();
        }
        Some(self.signal.load(Ordering::Acquire)).filter(|signal| *signal != 0)
    }

    fn stop_all(&self) {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let groups = groups.iter().filter_map(Weak::upgrade);
        groups.for_each(|group| group.stop());
    }

    /// Whether the time was over when it was last looked.
    pub fn timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Acquire)
    }

    /// A group that is ended with all others.
    pub fn group(&self) -> Arc<Group> {
        let group = Arc::new(Group::default());
        {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            groups.retain(|group| group.strong_count() > 0);
            groups.push(Arc::downgrade(&group));
        }
        if self.look() {
            group.stop();
        }
        group
    }
}
