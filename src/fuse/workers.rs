//! The threads that run what may wait, so that those which read requests never do.
//!
//! A job gets an idle thread, or else a new one: there is no fixed number of them. A job may wait
//! for the kernel, and the kernel for the answer of another job (an invalidation waits for the
//! write in flight on the same inode), so a full pool could wait for its own queue. What bounds the
//! number is that a caller is blocked behind every job. Only where a thread cannot be had does a
//! job queue.
//!
//! Threads that find nothing to do for [`IDLE`] end.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long a thread waits for its next job.
const IDLE: Duration = Duration::from_secs(5);

/// Something that may wait.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// The pool; clones share it.
#[derive(Clone, Default)]
pub(super) struct Workers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when a job is queued.
    queued: Condvar,
    /// Signalled when the last job is done.
    quiet: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    idle: usize,
    threads: usize,
    /// Jobs that are queued or running.
    pending: usize,
}

impl Workers {
    /// Runs `job` on a thread of its own choosing, soon.
    pub(super) fn run(&self, job: Job) {
        let mut state = self.0.state.lock();
        state.pending += 1;
        state.queue.push_back(job);
        if state.queue.len() <= state.idle {
            self.0.queued.notify_one();
            return;
        }
        let shared = Arc::clone(&self.0);
        match thread::Builder::new()
            .name("worker".into())
            .spawn(move || shared.work())
        {
            Ok(_) => state.threads += 1,
            Err(error) if state.threads > 0 => log::warn!("no thread for a waiting job: {error}"),
            Err(error) => {
                log::warn!("no thread at all for a waiting job, it runs in line: {error}");
                let job = state.queue.pop_back().expect("it was pushed above");
                drop(state);
                self.0.finish(job);
            }
        }
    }

    /// Waits until nothing is queued or running.
    pub(super) fn drain(&self) {
        let mut state = self.0.state.lock();
        while state.pending > 0 {
            self.0.quiet.wait(&mut state);
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                self.finish(job);
                state = self.state.lock();
                continue;
            }
            state.idle += 1;
            let timed_out = self.queued.wait_for(&mut state, IDLE).timed_out();
            state.idle -= 1;
            if timed_out && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    /// Runs a job to its end, even one that panics.
    fn finish(&self, job: Job) {
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            log::error!("a job panicked outside of the file system's own code");
        }
        let mut state = self.state.lock();
        state.pending -= 1;
        if state.pending == 0 {
            self.quiet.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn jobs_that_wait_for_each_other_all_run() {
        let workers = Workers::default();
        let met = Arc::new(Barrier::new(100));
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let (met, done) = (Arc::clone(&met), Arc::clone(&done));
            workers.run(Box::new(move || {
                met.wait();
                done.fetch_add(1, Ordering::SeqCst);
            }));
        }
        workers.drain();
        assert_eq!(done.load(Ordering::SeqCst), 100);
    }

    #[test]
    fn a_job_that_panics_does_not_keep_the_others_from_running() {
        let workers = Workers::default();
        let done = Arc::new(AtomicUsize::new(0));
        for i in 0..20 {
            let done = Arc::clone(&done);
            workers.run(Box::new(move || {
                assert!(i % 2 == 0, "this job is meant to panic");
                done.fetch_add(1, Ordering::SeqCst);
            }));
        }
        workers.drain();
        assert_eq!(done.load(Ordering::SeqCst), 10);
    }
}
