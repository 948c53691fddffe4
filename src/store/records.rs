//! The records of a store, in the order in which they have to be replayed.

use super::checkpoint::Source as CheckpointSource;
use super::frame::Kind;
use super::reader::{Reader, Step};
use super::{Lsn, StoreError};

/// Where a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The checkpoint: a piece of the state.
    Checkpoint,
    /// The journal: a change.
    Journal,
}

/// One payload that was given to [`super::Store::append`] or [`super::CheckpointWriter::put`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it comes from.
    pub source: Source,
    /// Its number; that of the checkpoint for all records in it.
    pub lsn: Lsn,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// A checkpoint and the chain of the journal after it.
struct Chain {
    checkpoint: Option<CheckpointSource>,
    journal: Reader,
    last: Lsn,
}

/// An iterator over the records: first those of the checkpoint, then the journal's after it.
pub struct Records(Inner);

enum Inner {
    Chain(Box<Chain>),
    Found(std::vec::IntoIter<Record>),
}

impl Records {
    pub(super) fn new(checkpoint: Option<CheckpointSource>, journal: Reader, last: Lsn) -> Records {
        Records(Inner::Chain(Box::new(Chain {
            checkpoint,
            journal,
            last,
        })))
    }

    /// What a damaged store still holds.
    pub(super) fn found(records: Vec<Record>) -> Records {
        Records(Inner::Found(records.into_iter()))
    }
}

impl Chain {
    fn next_of_checkpoint(&mut self) -> Result<Option<Record>, StoreError> {
        let Some(source) = &mut self.checkpoint else {
            return Ok(None);
        };
        let lsn = source.mark().lsn();
        if let Some(payload) = source.next()? {
            let payload = payload.to_vec();
            return Ok(Some(Record {
                source: Source::Checkpoint,
                lsn,
                payload,
            }));
        }
        self.checkpoint = None;
        Ok(None)
    }

    fn next_of_journal(&mut self) -> Result<Option<Record>, StoreError> {
        while self.journal.position().last() < self.last {
            match self.journal.step()? {
                Step::Record(Kind::Payload, lsn) => {
                    let payload = self.journal.payload().to_vec();
                    return Ok(Some(Record {
                        source: Source::Journal,
                        lsn,
                        payload,
                    }));
                }
                Step::Record(..) => {}
                Step::Broken(broken) => return Err(broken.to_error()),
                Step::End => break,
            }
        }
        Ok(None)
    }

    fn next(&mut self) -> Option<Result<Record, StoreError>> {
        let record = match self.next_of_checkpoint() {
            Ok(None) => self.next_of_journal(),
            other => other,
        };
        if record.is_err() {
            // Whatever follows a record that cannot be read must not be replayed.
            self.checkpoint = None;
            self.last = Lsn(0);
        }
        record.transpose()
    }
}

impl Iterator for Records {
    type Item = Result<Record, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Inner::Chain(chain) => chain.next(),
            Inner::Found(records) => records.next().map(Ok),
        }
    }
}
