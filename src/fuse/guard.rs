//! Running a call so that its caller gets an answer whatever happens in it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::vfs::in_flight::Task;
use crate::vfs::metrics::Metrics;
use crate::vfs::ops::{Errno, OpResult, Ops};

/// What a worker needs to finish a request.
pub(super) struct Shared<O> {
    pub(super) ops: Arc<O>,
    pub(super) metrics: Arc<Metrics>,
}

impl<O: Ops> Shared<O> {
    /// Runs `call`, in sight of the watchdog; a panic in it is EIO, and the file system is told.
    pub(super) fn guard<T>(&self, task: Task, call: impl FnOnce() -> OpResult<T>) -> OpResult<T> {
        let _busy = self.metrics.in_flight().enter(task);
        catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
            let text = (panic.downcast_ref::<&str>().copied())
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            log::error!("{} panicked: {text}", task.name());
            if catch_unwind(AssertUnwindSafe(|| self.ops.doubt("a request panicked"))).is_err() {
                log::error!("being told of the panic panicked too");
            }
            Err(Errno(libc::EIO))
        })
    }
}
