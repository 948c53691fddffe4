//! The lines of `@self/conflicts`: who else changed what this branch changed.
//!
//! ```text
//! conflict main src/parser.rs     the parent changed it since the fork: a commit answers EBUSY
//! overlap main/fix-b README.md    another live branch changed it too
//! ```
//!
//! The branch is one word, quoted where it has odd bytes or a space; the path is the rest of the
//! line, quoted as git does.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ProtoError;
use super::name::BranchPath;
use super::quote::{Text, excerpt, git_quoted, take_word, unquoted, word};

/// How much a shared path matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConflictKind {
    /// The parent has it: a commit is refused.
    Conflict,
    /// Another live branch has it: nothing is refused yet.
    Overlap,
}

/// A path that this branch and another one changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Whether a commit is refused for it.
    pub kind: ConflictKind,
    /// The other branch.
    pub branch: BranchPath,
    /// The path below the branch's root.
    pub path: Text,
}

impl Conflict {
    /// Reads a line without its newline.
    pub fn parse(line: &[u8]) -> Result<Conflict, ProtoError> {
        let fail = || ProtoError::Line {
            file: "conflicts",
            text: excerpt(line),
        };
        let (kind, rest) = if let Some(rest) = line.strip_prefix(b"conflict ") {
            (ConflictKind::Conflict, rest)
        } else if let Some(rest) = line.strip_prefix(b"overlap ") {
            (ConflictKind::Overlap, rest)
        } else {
            return Err(fail());
        };
        let (branch, rest) = take_word(rest)?;
        let path = unquoted(rest.strip_prefix(b" ").ok_or_else(fail)?)?;
        if path.is_empty() {
            return Err(fail());
        }
        Ok(Conflict {
            kind,
            branch: BranchPath::parse(&branch)?,
            path: Text(path),
        })
    }
}

/// The line, without its newline.
impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ConflictKind::Conflict => "conflict",
            ConflictKind::Overlap => "overlap",
        };
        write!(
            f,
            "{kind} {} {}",
            word(&self.branch.to_bytes()),
            git_quoted(&self.path.0)
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::name::tests::paths;
    use super::*;

    /// Any conflict.
    pub fn conflicts() -> impl Strategy<Value = Conflict> {
        let kinds = prop_oneof![Just(ConflictKind::Conflict), Just(ConflictKind::Overlap)];
        (
            kinds,
            paths(),
            proptest::collection::vec(any::<u8>(), 1..20),
        )
            .prop_map(|(kind, branch, path)| Conflict {
                kind,
                branch,
                path: Text(path),
            })
    }

    #[test]
    fn lines_name_branch_and_path() {
        let branch = BranchPath::parse(b"my branch").unwrap();
        let conflict = Conflict {
            kind: ConflictKind::Overlap,
            branch,
            path: Text::from("a file"),
        };
        let line = r#"overlap "main/my branch" a file"#;
        assert_eq!(conflict.to_string(), line);
        assert_eq!(Conflict::parse(line.as_bytes()), Ok(conflict));
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "",
            "conflict",
            "conflict main",
            "conflict main ",
            "clash main a",
        ] {
            assert!(Conflict::parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn conflicts_are_reversible(conflict in conflicts()) {
            let line = conflict.to_string();
            prop_assert_eq!(&Conflict::parse(line.as_bytes()).unwrap(), &conflict);
            let json = serde_json::to_string(&conflict).unwrap();
            prop_assert_eq!(serde_json::from_str::<Conflict>(&json).unwrap(), conflict);
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = Conflict::parse(&bytes);
            let _ = Conflict::parse(&[b"conflict ", &bytes[..]].concat());
        }
    }
}
