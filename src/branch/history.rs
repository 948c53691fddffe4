//! What has happened to the branches since the workspace was mounted, for `@self/events`.
//!
//! Append-only in memory, so a reader who follows it sees each event once. Bounded: the oldest half
//! goes when there are too many, which the numbering shows.

use parking_lot::RwLock;

use super::clock;
use crate::tree::{BranchId, Name, Time};

/// The names that lead from main to a branch; none for main itself.
pub type Names = Vec<Name>;

/// The kinds of events, with what belongs to each.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug)]
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
    events: RwLock<(u64, Vec<Happened>)>,
}

const MOST_EVENTS: usize = 200_000;
/// Paths in the event of a refusal.
const MOST_PATHS: usize = 16;

impl History {
    /// Adds an event at the present time.
    pub fn add(&self, mut what: What, branch: Names, number: BranchId) {
        if let What::Conflict { paths } = &mut what {
            paths.truncate(MOST_PATHS);
        }
        let mut events = self.events.write();
        events.0 += 1;
        let seq = events.0;
        if events.1.len() >= MOST_EVENTS {
            events.1.drain(..MOST_EVENTS / 2);
        }
        events.1.push(Happened {
            seq,
            time: clock::now(),
            what,
            branch,
            number,
        });
    }

    /// Calls `f` with the events, oldest first.
    pub fn read<T>(&self, f: impl FnOnce(&[Happened]) -> T) -> T {
        f(&self.events.read().1)
    }
}
