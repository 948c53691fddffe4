//! What has happened to the branches since the workspace was mounted, for `@self/events`.
//!
//! Append-only in memory, so a reader who follows it sees each event once. Bounded: the oldest half
//! goes when there are too many, which the numbering shows.

use parking_lot::RwLock;

use super::clock;
use crate::tree::Time;

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A branch was forked.
    Fork,
    /// A branch was committed.
    Commit,
    /// A branch was aborted.
    Abort,
    /// A branch lost to a sibling's commit.
    Lost,
    /// A branch got another name.
    Rename,
    /// A branch came back from the trash.
    Restore,
    /// A branch in the trash was removed for good.
    Expire,
    /// main's changes went down into the base.
    Publish,
    /// A commit or publish was refused.
    Conflict,
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
    /// The branch, by its path (`a/b`).
    pub branch: Vec<u8>,
    /// More about it: the old name, the first conflicting path.
    pub detail: Vec<u8>,
}

/// The events.
#[derive(Debug, Default)]
pub struct History {
    events: RwLock<(u64, Vec<Happened>)>,
}

const MOST_EVENTS: usize = 200_000;

impl History {
    /// Adds an event at the present time.
    pub fn add(&self, what: What, branch: Vec<u8>, detail: Vec<u8>) {
        let mut events = self.events.write();
        events.0 += 1;
        let seq = events.0;
        if events.1.len() >= MOST_EVENTS {
            events.1.drain(..MOST_EVENTS / 2);
        }
        events.1.push(Happened { seq, time: clock::now(), what, branch, detail });
    }

    /// Calls `f` with the events, oldest first.
    pub fn read<T>(&self, f: impl FnOnce(&[Happened]) -> T) -> T {
        f(&self.events.read().1)
    }
}
