//! The barrier: one after the other, data, then a record that says so, then the journal.
//!
//! # One round
//!
//! 1. Note what is waiting to be released, then the last record, `covers`, then take the dirty
//!    files. In this order everything that waits was freed by a record up to `covers`, and all data
//!    that records up to `covers` name is in the files taken.
//! 2. Sync the data files, and the directories in which some are new.
//! 3. Append a barrier record `(covers, synced)`. Records that other threads appended meanwhile
//!    come before it and are *not* covered: their data may have been written after step 2.
//! 4. Sync the journal.
//!
//! After a power loss a barrier record that is in the chain proves that the data of the records up
//! to `covers` is on disk, since it was appended after step 2; the chain itself proves the records.
//! `synced` is what the round before had made durable: should the chain break below that, it is
//! damage and not a torn end.
//!
//! # Group commit
//!
//! Rounds are numbered. Who calls waits for the first round that starts after the call; whoever
//! finds none running leads the next. So concurrent callers share a sync, and nobody is told
//! "durable" by a round that began too early.
//!
//! **Lock order**: no lock is held during a sync; [`Rounds`]' lock is taken before any other.

use parking_lot::{Condvar, Mutex};

use super::frame::Barrier;
use super::handles;
use super::{Store, StoreError};

#[derive(Default)]
struct State {
    started: u64,
    finished: u64,
    running: bool,
}

/// The rounds of a store.
#[derive(Default)]
pub(super) struct Rounds {
    state: Mutex<State>,
    ended: Condvar,
}

impl Rounds {
    /// Returns once a round that began after this call has succeeded; runs it if nobody does.
    pub(super) fn run(
        &self,
        mut round: impl FnMut() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let wanted = state.started + 1;
        loop {
            if state.finished >= wanted {
                return Ok(());
            }
            if state.running {
                self.ended.wait(&mut state);
                continue;
            }
            state.running = true;
            state.started += 1;
            let number = state.started;
            drop(state);
            let result = round();
            state = self.state.lock();
            state.running = false;
            if result.is_ok() {
                state.finished = number;
            }
            // After a failure each waiter leads a round of its own and learns its own error.
            self.ended.notify_all();
            result?;
        }
    }
}

impl Store {
    /// Makes durable all data written and all records appended before the call.
    ///
    /// Concurrent callers share one sync. Costs nothing when there is nothing to do.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] when a sync fails, now and ever after: the kernel may have dropped
    /// the pages that it could not write. [`StoreError::Full`] when the record of the barrier finds
    /// no room; the data is durable then, and a later call may succeed.
    pub fn barrier(&self) -> Result<(), StoreError> {
        self.check_writable()?;
        self.barrier_unchecked()
    }

    pub(super) fn barrier_unchecked(&self) -> Result<(), StoreError> {
        self.rounds.run(|| self.round())
    }

    fn round(&self) -> Result<(), StoreError> {
        if let Some(cause) = self.poisoned() {
            return Err(StoreError::Poisoned { cause });
        }
        let waiting = self.release.waiting();
        let covers = self.journal.end().last();
        if !self.data.handles.is_dirty() && self.journal.is_synced() {
            self.release.ready(waiting);
            return Ok(());
        }
        let dirty = self.data.handles.take_dirty();
        handles::sync(&dirty, &self.data.root, |key| self.data.dir(key))
            .map_err(|error| self.poison(error))?;
        let barrier = Barrier {
            covers,
            synced: self.synced_to(),
        };
        let set = self.journal.append_barrier(barrier)?;
        self.journal
            .sync(&set)
            .map_err(|error| self.poison(error))?;
        self.set_synced(set.upto);
        self.release.ready(waiting);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn callers_during_a_round_share_the_next_one() {
        let rounds = Rounds::default();
        let count = AtomicU64::new(0);
        let waiting = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let result = rounds.run(|| {
                if count.fetch_add(1, Ordering::SeqCst) == 0 {
                    for _ in 0..8 {
                        scope.spawn(|| {
                            waiting.fetch_add(1, Ordering::SeqCst);
                            rounds.run(|| {
                                count.fetch_add(1, Ordering::SeqCst);
                                Ok(())
                            })
                        });
                    }
                    while waiting.load(Ordering::SeqCst) < 8 {
                        std::thread::yield_now();
                    }
                }
                Ok(())
            });
            result.unwrap();
        });
        let count = count.load(Ordering::SeqCst);
        assert!((2..=9).contains(&count), "{count} rounds");
    }

    #[test]
    fn a_failed_round_is_not_success_for_anybody() {
        let rounds = Rounds::default();
        let fail = || Err(StoreError::ReadOnly);
        assert!(rounds.run(fail).is_err());
        assert!(rounds.run(fail).is_err());
        assert!(rounds.run(|| Ok(())).is_ok());
    }
}
