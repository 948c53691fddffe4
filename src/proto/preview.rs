//! What reading `.commit` and `.abort` gives: what a write would do, and whether it is accepted.
//!
//! ```text
//! commit main/fix-a into main
//! refused EBUSY the parent changed src/parser.rs since the fork
//! conflict main src/parser.rs
//! A src/new.rs
//! M src/parser.rs
//! ```
//!
//! The first line says what would be done, the second is `accepted` or `refused ERRNO SENTENCE`;
//! the lines of `@self/conflicts` and of `@self/diff` follow. On `main`, `.commit` shows what a
//! publish would write into the base.

use std::fmt;

use super::ProtoError;
use super::change::Change;
use super::conflict::Conflict;
use super::errno::ErrnoText;
use super::name::BranchPath;
use super::quote::{display, excerpt, take_word, unquoted, word};

/// What a write would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Land the changes in the parent.
    Commit,
    /// Move the branch to the trash.
    Abort,
    /// Land `main`'s changes in the base.
    Publish,
}

/// Whether it would be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, as things are now.
    Accepted,
    /// No.
    Refused {
        /// What the write would answer.
        errno: ErrnoText,
        /// Why.
        reason: String,
    },
}

/// The text of `.commit` or `.abort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// What would be done.
    pub action: Action,
    /// To which branch.
    pub branch: BranchPath,
    /// Whether it would be done.
    pub verdict: Verdict,
    /// What stands in the way, or may soon.
    pub conflicts: Vec<Conflict>,
    /// What would land or be discarded.
    pub changes: Vec<Change>,
}

impl Preview {
    /// Reads a preview.
    pub fn parse(text: &[u8]) -> Result<Preview, ProtoError> {
        let fail = |line: &[u8]| ProtoError::Line {
            file: "preview",
            text: excerpt(line),
        };
        let mut lines = text.split(|&b| b == b'\n');
        let head = lines.next().unwrap_or_default();
        let (action, rest) = take_word(head)?;
        let action = match action.as_slice() {
            b"commit" => Action::Commit,
            b"abort" => Action::Abort,
            b"publish" => Action::Publish,
            _ => return Err(fail(head)),
        };
        let (branch, _) = take_word(rest.strip_prefix(b" ").ok_or_else(|| fail(head))?)?;
        let branch = BranchPath::parse(&branch)?;
        if header(action, &branch).as_bytes() != head {
            return Err(fail(head));
        }
        let verdict = verdict(lines.next().unwrap_or_default())?;
        let (mut conflicts, mut changes) = (Vec::new(), Vec::new());
        for line in lines.filter(|line| !line.is_empty()) {
            if line.get(1) == Some(&b' ') {
                changes.push(Change::parse(line)?);
            } else {
                conflicts.push(Conflict::parse(line)?);
            }
        }
        Ok(Preview {
            action,
            branch,
            verdict,
            conflicts,
            changes,
        })
    }
}

fn header(action: Action, branch: &BranchPath) -> String {
    let name = word(&branch.to_bytes());
    match (action, branch.parent()) {
        (Action::Commit, Some(parent)) => {
            format!("commit {name} into {}", word(&parent.to_bytes()))
        }
        (Action::Commit, None) => format!("commit {name}"),
        (Action::Abort, _) => format!("abort {name}"),
        (Action::Publish, _) => format!("publish {name}"),
    }
}

fn verdict(line: &[u8]) -> Result<Verdict, ProtoError> {
    if line == b"accepted" {
        return Ok(Verdict::Accepted);
    }
    let fail = || ProtoError::Line {
        file: "preview",
        text: excerpt(line),
    };
    let (errno, rest) = take_word(line.strip_prefix(b"refused ").ok_or_else(fail)?)?;
    let errno = String::from_utf8_lossy(&errno).parse()?;
    let reason = unquoted(rest.strip_prefix(b" ").ok_or_else(fail)?)?;
    let not_utf8 = ProtoError::NotUtf8 {
        what: "the reason",
        text: excerpt(&reason),
    };
    Ok(Verdict::Refused {
        errno,
        reason: String::from_utf8(reason).or(Err(not_utf8))?,
    })
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", header(self.action, &self.branch))?;
        match &self.verdict {
            Verdict::Accepted => writeln!(f, "accepted")?,
            Verdict::Refused { errno, reason } => {
                writeln!(f, "refused {errno} {}", display(reason.as_bytes()))?;
            }
        }
        self.conflicts
            .iter()
            .try_for_each(|conflict| writeln!(f, "{conflict}"))?;
        self.changes
            .iter()
            .try_for_each(|change| writeln!(f, "{change}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::change::tests::changes;
    use super::super::conflict::tests::conflicts;
    use super::super::name::tests::paths;
    use super::*;

    #[test]
    fn a_refusal_names_what_is_in_the_way() {
        let text = "\
commit main/fix-a into main
refused EBUSY the parent changed src/x since the fork
conflict main src/x
A new
M src/x
";
        let preview = Preview::parse(text.as_bytes()).unwrap();
        assert_eq!(preview.to_string(), text);
        assert_eq!(preview.conflicts.len(), 1);
        assert_eq!(preview.changes.len(), 2);
        let reason = "the parent changed src/x since the fork".to_owned();
        assert_eq!(
            preview.verdict,
            Verdict::Refused {
                errno: ErrnoText(libc::EBUSY),
                reason
            }
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "commit",
            "commit main/a into main",
            "commit main/a into main/b\naccepted\n",
            "commit main/a into main\nmaybe\n",
            "commit main/a into main\nrefused\n",
            "commit main/a into main\naccepted\nwhat is this\n",
        ] {
            assert!(Preview::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn previews_are_reversible(
            action in prop_oneof![Just(Action::Commit), Just(Action::Abort), Just(Action::Publish)],
            branch in paths(),
            refusal: Option<String>,
            conflicts in proptest::collection::vec(conflicts(), 0..3),
            changes in proptest::collection::vec(changes(), 0..3),
        ) {
            let verdict = match refusal {
                Some(reason) => Verdict::Refused { errno: ErrnoText(libc::ESTALE), reason },
                None => Verdict::Accepted,
            };
            let preview = Preview { action, branch, verdict, conflicts, changes };
            prop_assert_eq!(Preview::parse(preview.to_string().as_bytes()), Ok(preview));
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = Preview::parse(&bytes);
            let _ = Preview::parse(&[b"commit main/a into main\n", &bytes[..]].concat());
        }
    }
}
