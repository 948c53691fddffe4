//! A thread that looks after the others: nobody waits for ever for a daemon that cannot go on.
//!
//! A caller of a request that has been taken cannot even be killed before it is answered. So a
//! request that takes long is logged, and where it *stands still* the connection is cut: every
//! caller gets an error at once, and the next mount finds all that was acknowledged.
//!
//! **Standing still** means that its thread has used no processor time for [`Patience::still`],
//! and that no job has either which has run long itself, and which it may therefore wait for. A
//! publish of very much data, or a disk that is slow but moves, is not that. Time is counted in
//! looks of this thread, so neither a suspended machine nor a stopped process counts.
//!
//! After the cut the process has as long again to end in order; then, where it is the daemon's own,
//! it ends all the same, which frees the store for the next mount.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::vfs::in_flight::{Busy, InFlight};
use crate::vfs::metrics::Metrics;

/// How long the watchdog waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two looks.
    pub look: Duration,
    /// Looks after which a request is late, which is logged.
    pub late: u32,
    /// Looks after which a late request that does not move stands still.
    pub still: u32,
    /// Whether the process ends where nothing else helps.
    pub end_process: bool,
}

impl Default for Patience {
    /// Looks every second; late after half a minute, still after five minutes without a move.
    fn default() -> Patience {
        Patience {
            look: Duration::from_secs(1),
            late: 30,
            still: 300,
            end_process: false,
        }
    }
}

/// The thread; it ends when this is dropped.
pub(super) struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches what `metrics` knows to be in flight; `cut` ends the connection.
    pub(super) fn start(
        patience: Patience,
        metrics: Arc<Metrics>,
        cut: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Watchdog> {
        let (stop, stopped) = channel();
        let thread = thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || watch(patience, &metrics, cut, &stopped))?;
        Ok(Watchdog {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the watchdog panicked");
        }
    }
}

fn watch(patience: Patience, metrics: &Metrics, cut: impl FnOnce(), stopped: &Receiver<()>) {
    let mut judge = Judge::new(patience);
    let found = loop {
        if stopped.recv_timeout(patience.look) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let found = judge.look(metrics.in_flight(), processor_time);
        metrics.set_late(judge.late());
        if let Some(found) = found {
            break found;
        }
    };
    log::error!(
        "{} (thread {}) stands still: the connection is cut, so that nobody waits for it; \
         mount again",
        found.task.name(),
        found.thread
    );
    cut();
    let grace = patience.look * patience.still;
    if stopped.recv_timeout(grace) == Err(RecvTimeoutError::Timeout) && patience.end_process {
        log::error!("the process ends with requests that stand still");
        std::process::exit(1);
    }
}

/// The processor time of a thread of this process in ns; `None` where the kernel does not say, as
/// of a thread that has ended.
fn processor_time(thread: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// What is known of a busy thread from earlier looks.
struct Known {
    busy: Busy,
    processor_time: Option<u64>,
    /// Looks that found it at the same task.
    seen: u32,
    /// Looks that found it at the same task without a move.
    still: u32,
}

/// Tells the late from those that stand still.
struct Judge {
    patience: Patience,
    known: HashMap<u32, Known>,
}

impl Judge {
    fn new(patience: Patience) -> Judge {
        Judge {
            patience,
            known: HashMap::new(),
        }
    }

    /// How many requests are late.
    fn late(&self) -> u64 {
        let late = |known: &&Known| known.seen >= self.patience.late;
        self.known.values().filter(late).count() as u64
    }

    /// Takes in what is busy now, and finds one that stands still.
    fn look(
        &mut self,
        in_flight: &InFlight,
        processor_time: impl Fn(u32) -> Option<u64>,
    ) -> Option<Busy> {
        let Patience {
            look, late, still, ..
        } = self.patience;
        let busy = in_flight.look().into_iter().map(|busy| (busy.thread, busy));
        let busy: HashMap<u32, Busy> = busy.collect();
        self.known
            .retain(|thread, known| busy.get(thread) == Some(&known.busy));
        for (thread, busy) in busy {
            let known = self.known.entry(thread).or_insert(Known {
                busy,
                processor_time: None,
                seen: 0,
                still: 0,
            });
            known.seen = known.seen.saturating_add(1);
            if known.seen < late {
                continue;
            }
            if known.seen == late {
                let name = busy.task.name();
                log::warn!("{name} (thread {thread}) takes {:?} so far", look * late);
            }
            let now = processor_time(thread);
            // Who cannot be asked is not accused.
            known.still = match now.is_some() && now == known.processor_time {
                true => known.still.saturating_add(1),
                false => 0,
            };
            known.processor_time = now;
        }
        let long = |known: &&Known| known.seen >= late;
        let moves = |known: &Known| known.busy.task.may_wait() && known.still < still;
        if self.known.values().filter(long).any(moves) {
            return None;
        }
        let stands = |known: &&Known| known.still >= still;
        (self.known.values().filter(long).find(stands)).map(|known| known.busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::in_flight::Task;
    use crate::vfs::metrics::Op;
    use std::sync::Barrier;

    const PATIENCE: Patience = Patience {
        look: Duration::from_millis(1),
        late: 3,
        still: 5,
        end_process: false,
    };

    /// Runs `check` while a thread is at each of the tasks; it gets their numbers.
    fn with_busy(tasks: &[Task], check: impl FnOnce(&InFlight, &[u32])) {
        let in_flight = InFlight::default();
        let barrier = Barrier::new(tasks.len() + 1);
        thread::scope(|scope| {
            for &task in tasks {
                let (in_flight, barrier) = (&in_flight, &barrier);
                scope.spawn(move || {
                    let _entered = in_flight.enter(task);
                    barrier.wait();
                    barrier.wait();
                });
            }
            barrier.wait();
            let seen = in_flight.look();
            let thread = |task| {
                let busy = seen.iter().find(|busy| busy.task == task);
                busy.expect("its thread is busy").thread
            };
            let threads: Vec<u32> = tasks.iter().map(|&task| thread(task)).collect();
            check(&in_flight, &threads);
            barrier.wait();
        });
    }

    #[test]
    fn a_request_that_does_not_move_is_late_and_then_stands_still() {
        with_busy(&[Task::Request(Op::Write)], |in_flight, _| {
            let mut judge = Judge::new(PATIENCE);
            let found: Vec<bool> = (0..8)
                .map(|_| judge.look(in_flight, |_| Some(7)).is_some())
                .collect();
            assert_eq!(found.iter().position(|found| *found), Some(7));
            assert_eq!(judge.late(), 1);
        });
    }

    #[test]
    fn one_that_moves_or_cannot_be_asked_is_late_and_nothing_else() {
        let clock = std::cell::Cell::new(0);
        let tick = |_| {
            clock.set(clock.get() + 1);
            Some(clock.get())
        };
        with_busy(&[Task::Job(Op::Write)], |in_flight, _| {
            let (mut moving, mut unknown) = (Judge::new(PATIENCE), Judge::new(PATIENCE));
            for _ in 0..100 {
                assert_eq!(moving.look(in_flight, tick), None);
                assert_eq!(unknown.look(in_flight, |_| None), None);
            }
            assert_eq!((moving.late(), unknown.late()), (1, 1));
        });
    }

    #[test]
    fn a_job_that_moves_excuses_those_that_may_wait_for_it() {
        let tasks = [
            Task::Request(Op::Write),
            Task::Job(Op::Fsync),
            Task::Background,
        ];
        with_busy(&tasks, |in_flight, threads| {
            let mut judge = Judge::new(PATIENCE);
            let clock = std::cell::Cell::new(0);
            let publishes = |thread| {
                clock.set(clock.get() + 1);
                Some(if thread == threads[2] { clock.get() } else { 0 })
            };
            for _ in 0..100 {
                assert_eq!(judge.look(in_flight, publishes), None);
            }
            let found = (0..8).find_map(|_| judge.look(in_flight, |_| Some(0)));
            assert!(found.is_some(), "nothing moves any more");
        });
    }

    #[test]
    fn the_next_request_of_a_thread_starts_anew() {
        let in_flight = InFlight::default();
        let mut judge = Judge::new(PATIENCE);
        for _ in 0..100 {
            let _entered = in_flight.enter(Task::Request(Op::Read));
            assert_eq!(judge.look(&in_flight, |_| Some(0)), None);
        }
        assert_eq!(judge.late(), 0);
    }

    #[test]
    fn a_thread_that_works_is_seen_to_move() {
        let thread = rustix::thread::gettid()
            .as_raw_nonzero()
            .get()
            .unsigned_abs();
        let before = processor_time(thread).expect("the kernel keeps schedstat");
        let mut sum = 0_u64;
        while processor_time(thread) == Some(before) {
            sum = std::hint::black_box(sum + 1);
        }
    }
}
