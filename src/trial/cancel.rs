//! Ending what runs: by a signal, by a time limit, because somebody else has won.
//!
//! **Invariant**: a process that is registered after its [`Group`] was stopped is killed at once,
//! so there is no moment at which one could slip through.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{SigSet, Signal};

use super::TrialError;
use super::process::Killer;
use super::waiting::Waiting;

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
    /// What a signal ends.
    pub interrupt: Arc<Interrupt>,
    /// A supervisor for the first trial.
    pub spare: Option<Waiting>,
}

impl Prepared {
    /// Takes signals from now on, and has a supervisor wait for the first trial.
    pub fn new() -> Result<Prepared, TrialError> {
        // It is not to inherit what the signals are set to.
        let spare = Waiting::fork()?;
        let interrupt = Interrupt::listen()?;
        Ok(Prepared { interrupt, spare })
    }
}

/// What a signal to this process ends.
#[derive(Debug, Default)]
pub struct Interrupt {
    signal: AtomicI32,
    groups: Mutex<Vec<std::sync::Weak<Group>>>,
}

impl Interrupt {
    /// Takes SIGINT, SIGTERM and SIGHUP from now on. Call it before the process has threads.
    fn listen() -> Result<Arc<Interrupt>, TrialError> {
        let interrupt = Arc::new(Interrupt::default());
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block().map_err(std::io::Error::from)?;
        let told = interrupt.clone();
        std::thread::spawn(move || {
            while let Ok(signal) = signals.wait() {
                told.interrupt(signal as i32);
            }
        });
        Ok(interrupt)
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        Some(self.signal.load(Ordering::Acquire)).filter(|signal| *signal != 0)
    }

    /// A group that a signal ends.
    pub fn group(&self) -> Arc<Group> {
        let group = Arc::new(Group::default());
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|group| group.strong_count() > 0);
        groups.push(Arc::downgrade(&group));
        if self.signal().is_some() {
            group.stop();
        }
        group
    }

    fn interrupt(&self, signal: i32) {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        self.signal.store(signal, Ordering::Release);
        groups
            .iter()
            .filter_map(std::sync::Weak::upgrade)
            .for_each(|group| group.stop());
    }
}
