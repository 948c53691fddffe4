//! Writing a checkpoint while the store is in use, and what may be removed after it.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::checkpoint::{self, Mark, Sink};
use super::files::Dir;
use super::journal::Position;
use super::{Lsn, Store, StoreError};
use crate::sys::failpoint;

/// The checkpoints that the store relies on.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    newest: Option<Mark>,
    previous: Option<Mark>,
}

/// The checkpoints of an open store.
pub(super) struct Checkpoints {
    dir: Dir,
    kept: Mutex<Kept>,
    running: AtomicBool,
}

impl Checkpoints {
    /// The checkpoints in `dir`, of which recovery has used `newest`.
    pub(super) fn new(dir: Dir, newest: Option<Mark>) -> Checkpoints {
        let kept = Mutex::new(Kept {
            newest,
            previous: None,
        });
        Checkpoints {
            dir,
            kept,
            running: AtomicBool::new(false),
        }
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Removes every checkpoint but those that are relied on.
    pub(super) fn prune(&self) -> Result<(), StoreError> {
        let kept = *self.kept.lock();
        let keep = |lsn| {
            [kept.newest, kept.previous]
                .iter()
                .flatten()
                .any(|m| m.lsn() == lsn)
        };
        for lsn in checkpoint::list(&self.dir)? {
            if !keep(lsn) {
                self.dir.unlink(&checkpoint::name(lsn))?;
            }
        }
        Ok(())
    }

    /// A new checkpoint is durable. Returns where the journal is still needed from.
    fn finished(&self, mark: Mark) -> Position {
        let mut kept = self.kept.lock();
        if kept.newest != Some(mark) {
            kept.previous = kept.newest.replace(mark);
        }
        kept.previous
            .map_or(Position::START, |previous| previous.position)
    }
}

/// A checkpoint that is being written. Dropping it gives it up.
pub struct CheckpointWriter<'a> {
    store: &'a Store,
    mark: Mark,
    mark_bytes: u64,
    sink: Option<Sink>,
}

impl Store {
    /// Begins a checkpoint of the state after the last record. No append may run between this call
    /// and the moment at which the caller has its snapshot; afterwards appends may go on.
    ///
    /// # Errors
    /// [`StoreError::CheckpointRunning`]: there can only be one at a time. [`StoreError::Full`].
    pub fn begin_checkpoint(&self) -> Result<CheckpointWriter<'_>, StoreError> {
        self.check_writable()?;
        if self.checkpoints.running.swap(true, Ordering::AcqRel) {
            return Err(StoreError::CheckpointRunning);
        }
        let (position, mark_bytes) = self.journal.checkpoint_mark();
        let mark = Mark { position };
        // From here on dropping the writer ends the attempt.
        let mut writer = CheckpointWriter {
            store: self,
            mark,
            mark_bytes,
            sink: None,
        };
        writer.sink = Some(Sink::create(&self.checkpoints.dir, &self.uuid(), mark)?);
        Ok(writer)
    }
}

impl CheckpointWriter<'_> {
    /// The last record whose effect belongs into this checkpoint.
    pub fn lsn(&self) -> Lsn {
        self.mark.lsn()
    }

    /// Adds one payload; replay returns them in this order.
    pub fn put(&mut self, payload: &[u8]) -> Result<(), StoreError> {
        self.sink.as_mut().expect("not finished").put(payload)
    }

    /// Makes the checkpoint the one that replay starts from, and removes the parts of the journal
    /// that neither it nor the checkpoint before needs. Runs a barrier.
    pub fn finish(mut self) -> Result<(), StoreError> {
        let store = self.store;
        let sink = self.sink.take().expect("not finished");
        // A failure up to the rename concerns the temporary file alone, which is given up.
        sink.finish()?;
        store.barrier()?;
        failpoint::reach("checkpoint-synced");
        let dir = &store.checkpoints.dir;
        dir.rename(checkpoint::TEMP, &checkpoint::name(self.mark.lsn()))?;
        failpoint::reach("checkpoint-renamed");
        dir.sync().map_err(|error| store.poison(error))?;
        let needed = store.checkpoints.finished(self.mark);
        store.journal.checkpointed(self.mark_bytes);
        store.checkpoints.prune()?;
        failpoint::reach("checkpoint-pruned");
        store.journal.remove_below(needed)
    }
}

impl Drop for CheckpointWriter<'_> {
    fn drop(&mut self) {
        // After a rename there is none; what is left over by a crash is removed by the next open.
        if let Err(error) = self.store.checkpoints.dir.unlink(checkpoint::TEMP) {
            log::warn!("cannot remove an unfinished checkpoint: {error}");
        }
        self.store
            .checkpoints
            .running
            .store(false, Ordering::Release);
    }
}
