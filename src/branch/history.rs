//! What has happened to the branches of a workspace, for `@self/events` and `@self/log`.
//!
//! Append-only, so a reader who follows it sees each event once. Bounded: the oldest half goes when
//! there are too many, which the numbering shows.
//!
//! *Durability*: an event is a record of the journal, written after that of the operation it tells
//! of and before the barrier that makes a commit durable; checkpoints hold those that are left. A
//! daemon that is killed between the two records loses the event and never the operation.

use parking_lot::{RwLock, RwLockReadGuard};
use serde::{Deserialize, Serialize};

use super::{BranchError, Record, Workspace, clock};
use crate::tree::{BranchId, Name, Time};

/// The names that lead from main to a branch; none for main itself.
pub type Names = Vec<Name>;

/// The kinds of events, with what belongs to each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A branch was forked.
    Fork,
    /// A branch was committed.
    Commit {
        /// The parent's generation from then on.
        generation: u64,
        /// How many names and files it changed.
        paths: u64,
    },
    /// A branch was aborted.
    Abort,
    /// A branch lost to a sibling's commit.
    Lost {
        /// That sibling.
        winner: Names,
    },
    /// A branch got another name.
    Rename {
        /// Where it was.
        from: Names,
    },
    /// A branch came back from the trash.
    Restore,
    /// A branch in the trash was removed for good.
    Expire,
    /// main's changes went down into the base.
    Publish {
        /// The base's version from then on.
        version: u64,
        /// How many names and files changed.
        paths: u64,
    },
    /// A commit or publish was refused.
    Conflict {
        /// Some of the paths.
        paths: Vec<Vec<u8>>,
    },
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Happened {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// When.
    pub time: Time,
    /// What.
    pub what: What,
    /// The branch, by its names.
    pub branch: Names,
    /// The branch's number.
    pub number: BranchId,
}

/// The events.
#[derive(Debug, Default)]
pub struct History {
    events: RwLock<Vec<Happened>>,
}

/// A checkpoint holds every event, at some 50 bytes each.
const MOST_EVENTS: usize = 50_000;
/// Paths in the event of a refusal.
const MOST_PATHS: usize = 16;

impl History {
    /// Calls `f` with the events, oldest first.
    pub fn read<T>(&self, f: impl FnOnce(&[Happened]) -> T) -> T {
        f(&self.still())
    }

    /// The events, of which there will be no more until this is dropped.
    pub(super) fn still(&self) -> RwLockReadGuard<'_, Vec<Happened>> {
        self.events.read()
    }

    /// Takes in an event that the journal has.
    pub(super) fn replay(&self, event: Happened) {
        push(&mut self.events.write(), event);
    }
}

impl Workspace {
    /// Adds an event at the present time, to the journal too where that takes records.
    pub(super) fn happened(&self, mut what: What, branch: Names, number: BranchId) {
        if let What::Conflict { paths } = &mut what {
            paths.truncate(MOST_PATHS);
        }
        let mut events = self.history.events.write();
        let event = Happened {
            seq: events.last().map_or(1, |last| last.seq + 1),
            time: clock::now(),
            what,
            branch,
            number,
        };
        let record = Record::Event {
            event: Box::new(event.clone()),
        };
        match self.log(&record) {
            // Nothing else is recorded on a read-only mount either.
            Ok(()) | Err(BranchError::ReadOnly) => {}
            Err(error) => log::error!("an event could not be recorded: {error}"),
        }
        push(&mut events, event);
    }
}

fn push(events: &mut Vec<Happened>, event: Happened) {
    if events.len() >= MOST_EVENTS {
        events.drain(..MOST_EVENTS / 2);
    }
    events.push(event);
}
