//! Giving space back, but not before the record that frees it is durable.
//!
//! What is released waits for the next barrier. Then it is ready, and a thread of the store punches
//! and deletes it, so that no fsync waits for that. What a crash leaves undone is space only: the
//! sweep finds it.
//!
//! Small segment ranges free a block only together with their neighbours. Ranges that become ready
//! together are joined first; what remains in half-dead blocks is freed by the sweep.
//!
//! **Lock order**: the queue's lock is innermost; no I/O happens under it.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::{BlobId, Data, SegAddr, StoreError};

/// Space that nothing names any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    /// A range of segment addresses; just these bytes, which may be part of an allocation. Whoever
    /// reserves multiples of 8 bytes leaves no padding between neighbours.
    Seg {
        /// The first address.
        at: SegAddr,
        /// The length.
        len_bytes: u64,
    },
    /// A whole blob.
    Blob(BlobId),
    /// A range of a blob.
    BlobRange {
        /// The blob.
        id: BlobId,
        /// The first byte.
        offset: u64,
        /// The length.
        len_bytes: u64,
    },
}

#[derive(Default)]
struct State {
    waiting: Vec<Dead>,
    /// How many were ever taken from the front of `waiting`.
    taken: u64,
    ready: Vec<Dead>,
    busy: bool,
    stopped: bool,
}

/// The queue between [`super::Store::release`] and the thread that executes it.
#[derive(Default)]
pub(super) struct ReleaseQueue {
    state: Mutex<State>,
    changed: Condvar,
}

/// How much of the queue waited at some moment.
#[derive(Clone, Copy)]
pub(super) struct Waiting(u64);

impl ReleaseQueue {
    /// Adds something that waits for a barrier.
    pub(super) fn add(&self, dead: Dead) {
        self.state.lock().waiting.push(dead);
    }

    /// What waits now.
    pub(super) fn waiting(&self) -> Waiting {
        let state = self.state.lock();
        Waiting(state.taken + state.waiting.len() as u64)
    }

    /// What waited then is ready: a barrier that began after it has succeeded.
    pub(super) fn ready(&self, upto: Waiting) {
        let mut state = self.state.lock();
        let count = upto.0.saturating_sub(state.taken) as usize;
        if count > 0 {
            let dead: Vec<Dead> = state.waiting.drain(..count).collect();
            state.ready.extend(dead);
            state.taken = upto.0;
            self.changed.notify_all();
        }
    }

    /// Executes what is ready until [`ReleaseQueue::stop`].
    pub(super) fn serve(&self, data: &Data) {
        let mut state = self.state.lock();
        while !state.stopped {
            if state.ready.is_empty() || state.busy {
                self.changed.wait(&mut state);
                continue;
            }
            let batch = std::mem::take(&mut state.ready);
            state.busy = true;
            drop(state);
            execute(data, batch);
            state = self.state.lock();
            state.busy = false;
            self.changed.notify_all();
        }
    }

    /// Executes what is ready on this thread and waits for what the other has begun.
    pub(super) fn drain(&self, data: &Data) {
        let mut state = self.state.lock();
        loop {
            let batch = std::mem::take(&mut state.ready);
            if batch.is_empty() && !state.busy {
                return;
            }
            if batch.is_empty() {
                self.changed.wait(&mut state);
                continue;
            }
            drop(state);
            execute(data, batch);
            state = self.state.lock();
        }
    }

    /// Ends [`ReleaseQueue::serve`] after the batch that it is at.
    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }
}

/// A queue and the thread that serves it; the thread ends when this is dropped.
pub(super) struct Reclaimer {
    queue: Arc<ReleaseQueue>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reclaimer {
    pub(super) fn start(queue: Arc<ReleaseQueue>, data: Arc<Data>) -> Result<Self, StoreError> {
        let served = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("reclaim".to_owned())
            .spawn(move || served.serve(&data))
            .map_err(|source| StoreError::Io {
                operation: "start a thread for",
                file: super::SEGMENT_DIR.to_owned(),
                source,
            })?;
        Ok(Reclaimer {
            queue,
            thread: Some(thread),
        })
    }
}

impl Drop for Reclaimer {
    fn drop(&mut self) {
        self.queue.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the reclaim thread panicked");
        }
    }
}

/// Whoever drains the queue waits for the batch at hand, so a panic must not keep it at hand.
fn execute(data: &Data, batch: Vec<Dead>) {
    if catch_unwind(AssertUnwindSafe(|| free(data, batch))).is_err() {
        log::error!("freeing space panicked; the next sweep frees what is left");
    }
}

fn free(data: &Data, batch: Vec<Dead>) {
    let mut ranges = Vec::new();
    for dead in batch {
        let done = match dead {
            Dead::Seg { at, len_bytes } => {
                ranges.push(at.0..at.0 + len_bytes);
                Ok(())
            }
            Dead::Blob(id) => data.blobs.remove(id),
            Dead::BlobRange {
                id,
                offset,
                len_bytes,
            } => data.blobs.punch(id, offset, len_bytes),
        };
        warn(done);
    }
    for range in join(ranges) {
        warn(data.segments.punch_all(range));
    }
}

fn warn(done: Result<(), StoreError>) {
    if let Err(error) = done {
        // The space is lost until the next sweep, nothing else.
        log::warn!("cannot free space: {error}");
    }
}

/// Sorts ranges and joins those that touch or overlap.
pub(super) fn join(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}
