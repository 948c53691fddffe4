//! Making a call of [`Ops`] for a request: it is guarded, timed and counted, and what waits goes to
//! a worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::guard::Shared;
use super::session::SessionConfig;
use super::workers::Workers;
use crate::vfs::in_flight::Task;
use crate::vfs::metrics::{Metrics, Op};
use crate::vfs::ops::{Errno, OpResult, Ops, Outcome};

/// fuser's file system over ours.
pub(super) struct Adapter<O: Ops> {
    pub(super) shared: Arc<Shared<O>>,
    workers: Workers,
    pub(super) session: SessionConfig,
}

impl<O: Ops> Adapter<O> {
    pub(super) fn new(
        ops: Arc<O>,
        metrics: Arc<Metrics>,
        workers: Workers,
        session: SessionConfig,
    ) -> Adapter<O> {
        Adapter {
            shared: Arc::new(Shared { ops, metrics }),
            workers,
            session,
        }
    }

    /// Makes a call and counts it.
    pub(super) fn call<T>(&self, op: Op, call: impl FnOnce(&O) -> OpResult<T>) -> OpResult<T> {
        let start = Instant::now();
        let result = self
            .shared
            .guard(Task::Request(op), || call(&self.shared.ops));
        self.shared
            .metrics
            .record(op, start.elapsed(), result.is_err());
        result
    }

    /// Makes a call that may leave its rest to a worker; `reply` gets the result wherever it comes
    /// from.
    pub(super) fn call_or_wait<T: 'static>(
        &self,
        op: Op,
        call: impl FnOnce(&O) -> OpResult<Outcome<T>>,
        reply: impl FnOnce(OpResult<T>) + Send + 'static,
    ) {
        let start = Instant::now();
        let result = match self
            .shared
            .guard(Task::Request(op), || call(&self.shared.ops))
        {
            Ok(Outcome::Now(value)) => Ok(value),
            Err(error) => Err(error),
            Ok(Outcome::Later(rest)) => {
                let shared = Arc::clone(&self.shared);
                self.workers.run(Box::new(move || {
                    let result = shared.guard(Task::Job(op), rest);
                    shared.metrics.record(op, start.elapsed(), result.is_err());
                    reply(result);
                }));
                return;
            }
        };
        self.shared
            .metrics
            .record(op, start.elapsed(), result.is_err());
        reply(result);
    }

    /// A call about extended attributes; where there are none the kernel remembers ENOSYS.
    pub(super) fn xattr<T>(&self, op: Op, call: impl FnOnce(&O) -> OpResult<T>) -> OpResult<T> {
        match self.session.no_xattr {
            true => Err(Errno(libc::ENOSYS)),
            false => self.call(op, call),
        }
    }

    /// Refuses an operation for good: the kernel remembers ENOSYS and does not ask again.
    pub(super) fn not_served(&self, op: Op) -> fuser::Errno {
        self.shared.metrics.record(op, Duration::ZERO, true);
        fuser::Errno::ENOSYS
    }
}
