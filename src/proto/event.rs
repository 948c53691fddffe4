//! What happened: a line of `@self/events` (JSON) and of `@self/log` (text).
//!
//! Sequence numbers grow by one over the whole workspace and never repeat, so a reader that was
//! away knows what it missed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::errno::ErrnoText;
use super::name::BranchPath;
use super::quote::{Text, display};
use super::time::Timestamp;
use super::trial::Trial;
use super::{ProtoError, reserved};

/// What happened to a branch, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum EventKind {
    /// It was forked.
    Fork,
    /// Its changes landed in its parent.
    Commit {
        /// The parent's generation from then on.
        generation: u64,
        /// How many paths it changed.
        paths: u64,
    },
    /// It was ended on request.
    Abort,
    /// A sibling committed first.
    Lost {
        /// That sibling.
        winner: BranchPath,
    },
    /// It has another name now.
    Rename {
        /// The path it had.
        from: BranchPath,
    },
    /// It came back from the trash.
    Restore,
    /// Its commit was taken back.
    Undo {
        /// How many paths that changed.
        paths: u64,
    },
    /// Its commit was done again.
    Redo {
        /// How many paths that changed.
        paths: u64,
    },
    /// `main`'s changes are in the base.
    Publish {
        /// The base's version from then on.
        version: u64,
        /// How many paths of the base changed.
        paths: u64,
    },
    /// A commit or publish was refused.
    Conflict {
        /// The errno of the refusal.
        errno: ErrnoText,
        /// Some of the paths in question.
        paths: Vec<Text>,
    },
    /// The trash dropped it.
    Expire,
    /// A command ran in it.
    Trial(Box<Trial>),
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number in the workspace.
    pub seq: u64,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
    /// The branch it happened to.
    pub branch: BranchPath,
    /// That branch's number.
    pub number: u32,
    /// The branch's parent; `None` for `main`.
    pub parent: Option<BranchPath>,
}

impl Event {
    /// Reads a line of `@self/events`.
    pub fn parse(line: &[u8]) -> Result<Event, ProtoError> {
        serde_json::from_slice(line).map_err(|source| ProtoError::Json {
            file: reserved::EVENTS,
            source,
        })
    }

    /// The line of `@self/events`, without its newline.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an event has only string keys")
    }
}

/// The line of `@self/log`, without its newline.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event {
            time,
            branch,
            number,
            parent,
            ..
        } = self;
        let parent = parent.clone().unwrap_or_default();
        write!(f, "{time} ")?;
        match &self.kind {
            EventKind::Fork => write!(f, "fork {branch} (#{number}) from {parent}"),
            EventKind::Commit { generation, paths } => {
                write!(
                    f,
                    "commit {branch} into {parent}, generation {generation}, {paths} paths"
                )
            }
            EventKind::Abort => write!(f, "abort {branch}"),
            EventKind::Lost { winner } => write!(f, "lost {branch}, {winner} was first"),
            EventKind::Rename { from } => write!(f, "rename {from} to {branch}"),
            EventKind::Restore => write!(f, "restore {branch}"),
            EventKind::Undo { paths } => {
                write!(f, "undo {branch} in {parent}, {paths} paths")
            }
            EventKind::Redo { paths } => {
                write!(f, "redo {branch} in {parent}, {paths} paths")
            }
            EventKind::Publish { version, paths } => {
                write!(f, "publish {branch}, base version {version}, {paths} paths")
            }
            EventKind::Conflict { errno, paths } => {
                write!(f, "conflict {branch}, {errno}")?;
                paths
                    .iter()
                    .try_for_each(|path| write!(f, " {}", display(&path.0)))
            }
            EventKind::Expire => write!(f, "expire {branch}"),
            EventKind::Trial(trial) => write!(f, "{} {branch}: {trial}", trial.phase),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::name::tests::paths;
    use super::*;
    use crate::tree::Time;

    #[track_caller]
    fn check(kind: EventKind, json: serde_json::Value, text: &str) {
        let branch = BranchPath::parse(b"fix-a").unwrap();
        let parent = branch.parent();
        let event = Event {
            seq: 9,
            time: Timestamp::default(),
            kind,
            branch,
            number: 3,
            parent,
        };
        let mut expect = serde_json::json!({
            "seq": 9, "time": "1970-01-01T00:00:00.000000000Z",
            "branch": "main/fix-a", "number": 3, "parent": "main",
        });
        expect
            .as_object_mut()
            .unwrap()
            .extend(json.as_object().unwrap().clone());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&event.to_json()).unwrap(),
            expect
        );
        assert_eq!(
            event.to_string(),
            format!("1970-01-01T00:00:00.000000000Z {text}")
        );
        assert_eq!(Event::parse(event.to_json().as_bytes()), Ok(event));
    }

    #[test]
    fn events_as_json_and_as_text() {
        use serde_json::json;
        let other = BranchPath::parse(b"fix-b").unwrap();
        check(
            EventKind::Fork,
            json!({"event": "fork"}),
            "fork main/fix-a (#3) from main",
        );
        check(
            EventKind::Commit {
                generation: 5,
                paths: 2,
            },
            json!({"event": "commit", "generation": 5, "paths": 2}),
            "commit main/fix-a into main, generation 5, 2 paths",
        );
        check(
            EventKind::Abort,
            json!({"event": "abort"}),
            "abort main/fix-a",
        );
        check(
            EventKind::Lost {
                winner: other.clone(),
            },
            json!({"event": "lost", "winner": "main/fix-b"}),
            "lost main/fix-a, main/fix-b was first",
        );
        check(
            EventKind::Rename { from: other },
            json!({"event": "rename", "from": "main/fix-b"}),
            "rename main/fix-b to main/fix-a",
        );
        check(
            EventKind::Restore,
            json!({"event": "restore"}),
            "restore main/fix-a",
        );
        check(
            EventKind::Publish {
                version: 2,
                paths: 7,
            },
            json!({"event": "publish", "version": 2, "paths": 7}),
            "publish main/fix-a, base version 2, 7 paths",
        );
        check(
            EventKind::Conflict {
                errno: ErrnoText(libc::EBUSY),
                paths: vec![Text::from("a\n")],
            },
            json!({"event": "conflict", "errno": "EBUSY", "paths": ["a\n"]}),
            "conflict main/fix-a, EBUSY \"a\\n\"",
        );
        check(
            EventKind::Expire,
            json!({"event": "expire"}),
            "expire main/fix-a",
        );
        let trial = super::super::trial::tests::ended();
        let mut json = serde_json::to_value(&trial).unwrap();
        json["event"] = "trial".into();
        let text = format!("end main/fix-a: {trial}");
        check(EventKind::Trial(Box::new(trial)), json, &text);
    }

    proptest! {
        #[test]
        fn events_are_one_line_and_reversible(
            seq: u64, sec: i64, branch in paths(), winner in paths(), number: u32, path: Vec<u8>,
        ) {
            let time = Timestamp::new(Time { sec, nsec: 1 });
            let parent = branch.parent();
            let errno = ErrnoText(libc::EBUSY);
            for kind in [
                EventKind::Lost { winner },
                EventKind::Commit { generation: seq, paths: seq },
                EventKind::Conflict { errno, paths: vec![Text(path)] },
            ] {
                let (branch, parent) = (branch.clone(), parent.clone());
                let event = Event { seq, time, kind, branch, number, parent };
                prop_assert!(!event.to_json().contains('\n'));
                prop_assert!(!event.to_string().contains('\n'));
                prop_assert_eq!(Event::parse(event.to_json().as_bytes()), Ok(event));
            }
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = Event::parse(&bytes);
        }
    }
}
