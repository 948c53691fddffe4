//! What a branch says of itself: the JSON of `@self/status` and the lines of `.ctl`.
//!
//! One struct serves both. Numbers that cost a walk are optional: the serving side leaves them out
//! where they are not at hand, it never walks a tree for them. Unknown fields are skipped when
//! reading, so an older reader understands a newer mount.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::errno::ErrnoText;
use super::limits::Limits;
use super::name::BranchPath;
use super::quote::{Text, display, excerpt};
use super::time::Timestamp;
use super::{ProtoError, reserved};

/// Where a branch is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Alive.
    Open,
    /// Its changes are in its parent. An entry of the trash with this state shows what the parent
    /// was before.
    Committed,
    /// Its commit was taken back. The entry of the trash shows what its parent was before that.
    Undone,
    /// A sibling committed first.
    Lost,
    /// Ended on request.
    Aborted,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Open => "open",
            State::Committed => "committed",
            State::Undone => "undone",
            State::Lost => "lost",
            State::Aborted => "aborted",
        })
    }
}

/// What a commit does to the siblings of the branch that commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Every sibling that was forked before is lost.
    #[default]
    FirstWinner,
    /// Siblings go on; a later commit is checked path by path.
    Merge,
}

impl Policy {
    /// Reads `first-winner` or `merge`.
    pub fn parse(word: &[u8]) -> Result<Policy, ProtoError> {
        match word {
            b"first-winner" => Ok(Policy::FirstWinner),
            b"merge" => Ok(Policy::Merge),
            _ => Err(ProtoError::UnknownPolicy {
                word: excerpt(word),
            }),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Policy::FirstWinner => "first-winner",
            Policy::Merge => "merge",
        })
    }
}

/// How many paths differ from the state at the fork, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChangeCounts {
    /// New paths.
    pub added: u64,
    /// Paths with other content or attributes.
    pub modified: u64,
    /// Paths that are gone.
    pub deleted: u64,
    /// Paths that moved.
    pub renamed: u64,
    /// Paths whose type is another.
    #[serde(rename = "type")]
    pub type_changed: u64,
}

impl ChangeCounts {
    /// All of them together.
    pub fn total(&self) -> u64 {
        self.added + self.modified + self.deleted + self.renamed + self.type_changed
    }
}

/// `2 added, 1 deleted`, or `no changes`.
impl fmt::Display for ChangeCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (count, word) in [
            (self.added, "added"),
            (self.modified, "modified"),
            (self.deleted, "deleted"),
            (self.renamed, "renamed"),
            (self.type_changed, "of another type"),
        ] {
            if count > 0 {
                write!(f, "{separator}{count} {word}")?;
                separator = ", ";
            }
        }
        if separator.is_empty() {
            f.write_str("no changes")
        } else {
            Ok(())
        }
    }
}

/// What a branch holds of its own, beyond what it shares with its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Bytes of content and metadata.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

/// The status of one branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its path from `main`.
    pub branch: BranchPath,
    /// The last name of that path.
    pub name: Text,
    /// Its number, never used twice in a store.
    pub number: u32,
    /// The branch it was forked from; `None` for `main`.
    pub parent: Option<BranchPath>,
    /// Where it is in its life.
    pub state: State,
    /// What a commit of one of its children does to the others.
    pub policy: Policy,
    /// How many commits it has received.
    pub generation: u64,
    /// Its parent's generation when it was forked.
    pub fork_generation: u64,
    /// How many live children it has.
    pub children: u64,
    /// Its changes by kind, where that is known without a walk.
    #[serde(default)]
    pub changed: Option<ChangeCounts>,
    /// What it holds of its own.
    pub usage: Usage,
    /// What it may hold.
    pub limits: Limits,
    /// When it was forked.
    pub created: Timestamp,
    /// When the trash drops it, for a branch that is there.
    #[serde(default)]
    pub expires: Option<Timestamp>,
    /// Why the last command or operation on this branch, or on its `@branches`, was refused.
    #[serde(default)]
    pub last_error: Option<String>,
    /// The errno that went with it.
    #[serde(default)]
    pub last_errno: Option<ErrnoText>,
    /// Why nothing can be written, when a failed append or fsync has closed the store.
    #[serde(default)]
    pub read_only: Option<String>,
    /// Of `main`: why it could not be published the last time; `None` once it could.
    #[serde(default)]
    pub publish_error: Option<String>,
    /// The user's note; empty if there is none.
    #[serde(default)]
    pub note: String,
    /// The entry of its trash that `undo` would be about: the last commit into it.
    #[serde(default)]
    pub undo: Option<Text>,
    /// The entry of its trash that `redo` would be about: the last commit that was taken back.
    #[serde(default)]
    pub redo: Option<Text>,
}

impl Status {
    /// Reads `@self/status`.
    pub fn parse(json: &[u8]) -> Result<Status, ProtoError> {
        serde_json::from_slice(json).map_err(|source| ProtoError::Json {
            file: reserved::STATUS,
            source,
        })
    }

    /// The text of `@self/status`: one line of JSON.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).expect("a status has only string keys");
        text.push('\n');
        text
    }

    /// What reading `.ctl` gives: `key value` lines, nested keys joined with a dot.
    ///
    /// A value with a control character is quoted, so every line is one key. Absent values are
    /// `none`, an empty note leaves its value empty.
    pub fn ctl_lines(&self) -> String {
        let value = serde_json::to_value(self).expect("a status has only string keys");
        let mut text = String::new();
        flatten("", &value, &mut text);
        text
    }
}

fn flatten(key: &str, value: &serde_json::Value, out: &mut String) {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let dot = if key.is_empty() { "" } else { "." };
                flatten(&format!("{key}{dot}{name}"), field, out);
            }
        }
        Value::Null => out.push_str(&format!("{key} none\n")),
        Value::String(text) => out.push_str(&format!("{key} {}\n", line_value(text))),
        other => out.push_str(&format!("{key} {other}\n")),
    }
}

/// A string of the JSON form: names that are quoted there stay as they are.
fn line_value(text: &str) -> String {
    if text.contains(char::is_control) {
        display(text.as_bytes())
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::name::tests::paths;
    use super::*;
    use crate::tree::Time;

    /// Any status.
    pub fn statuses() -> impl Strategy<Value = Status> {
        let numbers = any::<(u32, u64, u64, u64, Option<u64>, Option<u64>)>();
        let texts = any::<(String, Option<String>, Option<String>)>();
        let states = prop_oneof![
            Just(State::Open),
            Just(State::Committed),
            Just(State::Undone),
            Just(State::Lost),
            Just(State::Aborted)
        ];
        (paths(), numbers, texts, states, any::<Option<(u64, u32)>>()).prop_map(
            |(
                branch,
                (number, a, b, c, bytes, inodes),
                (note, last_error, read_only),
                state,
                counts,
            )| {
                Status {
                    name: Text::from(branch.name()),
                    parent: branch.parent(),
                    branch,
                    number,
                    state,
                    policy: if a % 2 == 0 {
                        Policy::Merge
                    } else {
                        Policy::FirstWinner
                    },
                    generation: a,
                    fork_generation: b,
                    children: c,
                    changed: counts.map(|(added, n)| ChangeCounts {
                        added,
                        type_changed: n.into(),
                        ..Default::default()
                    }),
                    usage: Usage {
                        bytes: b,
                        inodes: c,
                    },
                    limits: Limits { bytes, inodes },
                    created: Timestamp::new(Time {
                        sec: i64::from(number),
                        nsec: 7,
                    }),
                    expires: bytes.map(|_| Timestamp::default()),
                    last_errno: last_error.as_ref().map(|_| ErrnoText(libc::ESTALE)),
                    last_error,
                    publish_error: read_only.clone(),
                    read_only,
                    undo: (a % 3 == 0).then(|| Text::from("x~before")),
                    redo: (a % 5 == 0).then(|| Text::from("x~undone")),
                    note,
                }
            },
        )
    }

    fn sample() -> Status {
        Status {
            branch: BranchPath::parse(b"fix-a").unwrap(),
            name: Text::from("fix-a"),
            number: 3,
            parent: Some(BranchPath::MAIN),
            state: State::Open,
            policy: Policy::FirstWinner,
            generation: 0,
            fork_generation: 4,
            children: 0,
            changed: Some(ChangeCounts {
                added: 2,
                ..Default::default()
            }),
            usage: Usage {
                bytes: 4096,
                inodes: 2,
            },
            limits: Limits {
                bytes: None,
                inodes: Some(1000),
            },
            created: Timestamp::default(),
            expires: None,
            last_error: Some("the parent changed\nsrc/x".into()),
            last_errno: Some(ErrnoText(libc::EBUSY)),
            read_only: None,
            publish_error: None,
            note: "try the other parser".into(),
            undo: None,
            redo: None,
        }
    }

    #[test]
    fn the_json_has_the_documented_fields() {
        let json: serde_json::Value = serde_json::from_str(&sample().to_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "branch": "main/fix-a", "name": "fix-a", "number": 3, "parent": "main",
                "state": "open", "policy": "first-winner", "generation": 0,
                "fork_generation": 4, "children": 0,
                "changed": {"added": 2, "modified": 0, "deleted": 0, "renamed": 0, "type": 0},
                "usage": {"bytes": 4096, "inodes": 2},
                "limits": {"bytes": null, "inodes": 1000},
                "created": "1970-01-01T00:00:00.000000000Z", "expires": null,
                "last_error": "the parent changed\nsrc/x", "last_errno": "EBUSY",
                "read_only": null, "publish_error": null, "note": "try the other parser",
                "undo": null, "redo": null,
            })
        );
    }

    #[test]
    fn every_line_of_ctl_is_one_key() {
        let text = sample().ctl_lines();
        for line in [
            "branch main/fix-a",
            "state open",
            "changed.added 2",
            "limits.bytes none",
            "limits.inodes 1000",
            "last_error \"the parent changed\\nsrc/x\"",
            "note try the other parser",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn unknown_and_missing_optional_fields_are_accepted() {
        let mut json: serde_json::Value = serde_json::from_str(&sample().to_json()).unwrap();
        let fields = json.as_object_mut().unwrap();
        fields.insert("of_the_future".into(), 1.into());
        fields.remove("changed");
        let status = Status::parse(json.to_string().as_bytes()).unwrap();
        assert_eq!(
            status,
            Status {
                changed: None,
                ..sample()
            }
        );
    }

    #[test]
    fn counts_read_as_a_phrase() {
        assert_eq!(ChangeCounts::default().to_string(), "no changes");
        let counts = ChangeCounts {
            added: 2,
            deleted: 1,
            ..Default::default()
        };
        assert_eq!(counts.to_string(), "2 added, 1 deleted");
        assert_eq!(counts.total(), 3);
    }

    proptest! {
        #[test]
        fn statuses_are_reversible(status in statuses()) {
            let lines = status.ctl_lines();
            prop_assert_eq!(lines.lines().count(), sample().ctl_lines().lines().count()
                - if status.changed.is_none() { 4 } else { 0 });
            prop_assert_eq!(Status::parse(status.to_json().as_bytes()), Ok(status));
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = Status::parse(&bytes);
        }
    }
}
