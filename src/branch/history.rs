//! What has happened to the branches of a workspace, for `@self/events` and `@self/log`.
//!
//! Append-only, so a reader who follows it sees each event once. Bounded: the oldest half goes when
//! there are too many, which the numbering shows; what trials have printed goes before that, where
//! it is too much for a checkpoint.
//!
//! *Durability*: an event is a record of the journal, written after that of the operation it tells
//! of and before the barrier that makes a commit durable; checkpoints hold those that are left. A
//! daemon that is killed between the two records loses the event and never the operation.

use std::collections::HashMap;

use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use serde::{Deserialize, Serialize};

use super::{BranchError, Record, Workspace, clock};
use crate::proto::{Trial, TrialPhase};
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
    /// A step of a trial in a branch, as JSON.
    Trial(Box<str>),
    /// A branch's commit was taken back.
    Undo {
        /// How many names and files that changed.
        paths: u64,
    },
    /// A branch's commit was done again.
    Redo {
        /// How many names and files that changed.
        paths: u64,
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
    events: RwLock<Events>,
}

#[derive(Debug, Default)]
struct Events {
    list: Vec<Happened>,
    /// What the trials among them hold.
    trial_bytes: usize,
    /// How far the trial in each branch is.
    trials: HashMap<BranchId, TrialPhase>,
    /// How many have ended, and how long they took together.
    ended: (u64, u64),
}

/// How many trials there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrialCounts {
    /// All.
    pub total: u64,
    /// Those that wait for their turn.
    pub pending: u64,
    /// Those whose command runs.
    pub running: u64,
    /// Those whose command has ended.
    pub ended: u64,
    /// How long the ended ones took.
    pub duration_ms: u64,
}

/// A checkpoint holds every event, at some 50 bytes each.
const MOST_EVENTS: usize = 50_000;
/// What the events of trials hold at most, since a checkpoint holds that too.
const MOST_TRIAL_BYTES: usize = 4 << 20;
/// Paths in the event of a refusal.
const MOST_PATHS: usize = 16;

impl History {
    /// Calls `f` with the events, oldest first.
    pub fn read<T>(&self, f: impl FnOnce(&[Happened]) -> T) -> T {
        f(&self.still())
    }

    /// The events, of which there will be no more until this is dropped.
    pub(super) fn still(&self) -> MappedRwLockReadGuard<'_, Vec<Happened>> {
        RwLockReadGuard::map(self.events.read(), |events| &events.list)
    }

    /// Takes in an event that the journal has.
    pub(super) fn replay(&self, event: Happened) {
        self.events.write().push(event);
    }

    /// The numbers of `@self/metrics`.
    pub fn trial_counts(&self) -> TrialCounts {
        let events = self.events.read();
        let count = |phase| events.trials.values().filter(|p| **p == phase).count() as u64;
        TrialCounts {
            total: events.trials.len() as u64,
            pending: count(TrialPhase::Pending),
            running: count(TrialPhase::Start),
            ended: events.ended.0,
            duration_ms: events.ended.1,
        }
    }
}

impl Workspace {
    /// Adds an event at the present time, to the journal too where that takes records.
    pub(super) fn happened(&self, mut what: What, branch: Names, number: BranchId) {
        if let What::Conflict { paths } = &mut what {
            paths.truncate(MOST_PATHS);
        }
        self.record(&mut self.history.events.write(), what, branch, number);
    }

    /// Adds a step of a trial, unless the trial in that branch cannot come into that phase.
    pub fn trial_happened(
        &self,
        trial: &Trial,
        branch: Names,
        number: BranchId,
    ) -> Result<(), BranchError> {
        let mut events = self.history.events.write();
        let (last, next) = (events.trials.get(&number).copied(), trial.phase);
        if !next.may_follow(last) {
            return Err(BranchError::TrialPhase { number, last, next });
        }
        let what = What::Trial(trial.to_json().into());
        self.record(&mut events, what, branch, number);
        Ok(())
    }

    fn record(&self, events: &mut Events, what: What, branch: Names, number: BranchId) {
        let event = Happened {
            seq: events.list.last().map_or(1, |last| last.seq + 1),
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
        events.push(event);
    }
}

impl Events {
    fn push(&mut self, event: Happened) {
        if self.list.len() >= MOST_EVENTS {
            self.list.drain(..MOST_EVENTS / 2);
            self.count_bytes();
        }
        if let What::Trial(json) = &event.what {
            self.trial_bytes += json.len();
            if let Ok(trial) = Trial::parse(json.as_bytes()) {
                self.take_in(event.number, &trial);
            }
        }
        self.list.push(event);
        if self.trial_bytes > MOST_TRIAL_BYTES {
            self.drop_outputs();
        }
    }

    fn take_in(&mut self, number: BranchId, trial: &Trial) {
        self.trials.insert(number, trial.phase);
        if let (TrialPhase::End, Some(result)) = (trial.phase, &trial.result) {
            self.ended.0 += 1;
            self.ended.1 = self.ended.1.saturating_add(result.duration_ms);
        }
    }

    /// Forgets what the oldest trials have printed, until half of what may be held is left; and,
    /// where that is not enough, the older half of the events.
    fn drop_outputs(&mut self) {
        for event in &mut self.list {
            if self.trial_bytes <= MOST_TRIAL_BYTES / 2 {
                return;
            }
            let What::Trial(json) = &mut event.what else {
                continue;
            };
            if let Ok(mut trial) = Trial::parse(json.as_bytes()) {
                if let Some(result) = &mut trial.result {
                    (result.stdout, result.stderr) = Default::default();
                }
                trial.paths.clear();
                let bare = trial.to_json();
                self.trial_bytes -= json.len().saturating_sub(bare.len());
                *json = bare.into();
            }
        }
        self.list.drain(..self.list.len() / 2);
        self.count_bytes();
    }

    fn count_bytes(&mut self) {
        let held = self.list.iter().map(|event| match &event.what {
            What::Trial(json) => json.len(),
            _ => 0,
        });
        self.trial_bytes = held.sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_trials_have_printed_goes_before_the_events_do() {
        let history = History::default();
        let output = "x".repeat(16 << 10);
        let json = format!(
            r#"{{"pattern":"run","run":"r","index":0,"attempt":0,"phase":"end","result":
               {{"exit_code":0,"duration_ms":1,"peak_memory_bytes":1,"stdout":"{output}"}}}}"#
        );
        for seq in 1..=1000 {
            history.replay(Happened {
                seq,
                time: Time::default(),
                what: What::Trial(json.as_str().into()),
                branch: Vec::new(),
                number: BranchId(seq as u32),
            });
        }
        let events = history.events.read();
        assert!(events.trial_bytes <= MOST_TRIAL_BYTES);
        assert_eq!(events.list.len(), 1000);
        let last = &events.list[999].what;
        assert!(matches!(last, What::Trial(json) if json.contains(&output)));
        assert_eq!(events.ended, (1000, 1000));
    }
}
