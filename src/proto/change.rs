//! The lines of `@self/diff`: what a branch changed since its fork.
//!
//! ```text
//! A path           added
//! M path           another content (attributes may differ too)
//! m path           the same content, other attributes (mode, owner, times, xattrs)
//! D path           deleted
//! R old -> new     moved; a moved file with another content has an `M new` line as well
//! T path           another type (a file that is now a symlink, say)
//! ```
//!
//! Paths are relative to the branch's root, a directory's ends with `/`, the root itself is `./`.
//! Odd bytes are quoted as git does; so is a path of an `R` line that contains `->`. A directory
//! that was added, deleted or moved with all that is in it has one line, and an added or deleted
//! one has a line for each path below it too.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ProtoError;
use super::quote::{Text, excerpt, git_quoted, quoted_against, take_quoted, unquoted};

const ARROW: &[u8] = b" -> ";

/// How a path changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum ChangeKind {
    /// `A`: it is new.
    Added,
    /// `M`: its content is another.
    Modified,
    /// `m`: only its attributes are others.
    Attributes,
    /// `D`: it is gone.
    Deleted,
    /// `R`: it was at `from`.
    Renamed {
        /// Where it was, without a trailing slash.
        from: Text,
    },
    /// `T`: its type is another.
    #[serde(rename = "type")]
    TypeChanged,
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// How it changed.
    #[serde(flatten)]
    pub kind: ChangeKind,
    /// The path below the branch's root, without a trailing slash; `.` is the root.
    pub path: Text,
    /// Whether it is (for a deleted one: was) a directory.
    pub dir: bool,
}

impl Change {
    /// The letter that its line begins with.
    pub fn letter(&self) -> char {
        match self.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'M',
            ChangeKind::Attributes => 'm',
            ChangeKind::Deleted => 'D',
            ChangeKind::Renamed { .. } => 'R',
            ChangeKind::TypeChanged => 'T',
        }
    }

    /// Reads a line without its newline.
    pub fn parse(line: &[u8]) -> Result<Change, ProtoError> {
        let fail = || ProtoError::Line {
            file: "diff",
            text: excerpt(line),
        };
        let (letter, rest) = match line {
            [letter, b' ', rest @ ..] => (*letter, rest),
            _ => return Err(fail()),
        };
        let kind = match letter {
            b'A' => ChangeKind::Added,
            b'M' => ChangeKind::Modified,
            b'm' => ChangeKind::Attributes,
            b'D' => ChangeKind::Deleted,
            b'T' => ChangeKind::TypeChanged,
            b'R' => {
                let (from, rest) = take_from(rest)?;
                let new = rest.strip_prefix(ARROW).ok_or_else(fail)?;
                let (from, from_dir) = split_slash(from);
                let (path, dir) = split_slash(unquoted(new)?);
                if from.0.is_empty() || path.0.is_empty() || from_dir != dir {
                    return Err(fail());
                }
                return Ok(Change {
                    kind: ChangeKind::Renamed { from },
                    path,
                    dir,
                });
            }
            _ => return Err(fail()),
        };
        let (path, dir) = split_slash(unquoted(rest)?);
        if path.0.is_empty() {
            return Err(fail());
        }
        Ok(Change { kind, path, dir })
    }
}

/// The old path of an `R` line, and what follows it.
fn take_from(rest: &[u8]) -> Result<(Vec<u8>, &[u8]), ProtoError> {
    if rest.first() == Some(&b'"') {
        return take_quoted(rest);
    }
    let at = rest
        .windows(ARROW.len())
        .position(|w| w == ARROW)
        .unwrap_or(rest.len());
    Ok((rest[..at].to_vec(), &rest[at..]))
}

fn split_slash(mut path: Vec<u8>) -> (Text, bool) {
    let dir = path.last() == Some(&b'/');
    if dir {
        path.pop();
    }
    (Text(path), dir)
}

/// The line, without its newline.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = |path: &Text| {
            let mut path = path.0.clone();
            if self.dir {
                path.push(b'/');
            }
            path
        };
        let path = slash(&self.path);
        match &self.kind {
            ChangeKind::Renamed { from } => {
                let from = quoted_against(&slash(from), b"->");
                write!(f, "R {from} -> {}", quoted_against(&path, b"->"))
            }
            _ => write!(f, "{} {}", self.letter(), git_quoted(&path)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file_paths() -> impl Strategy<Value = Text> {
        let odd = proptest::collection::vec(any::<u8>(), 1..20);
        prop_oneof!["[a-z >-]{1,12}".prop_map(String::into_bytes), odd]
            .prop_filter("a path has no slash at its end", |path| {
                path.last() != Some(&b'/')
            })
            .prop_map(Text)
    }

    /// Any change.
    pub fn changes() -> impl Strategy<Value = Change> {
        let kinds = prop_oneof![
            Just(ChangeKind::Added),
            Just(ChangeKind::Modified),
            Just(ChangeKind::Attributes),
            Just(ChangeKind::Deleted),
            Just(ChangeKind::TypeChanged),
            file_paths().prop_map(|from| ChangeKind::Renamed { from }),
        ];
        (kinds, file_paths(), any::<bool>()).prop_map(|(kind, path, dir)| Change {
            kind,
            path,
            dir,
        })
    }

    #[track_caller]
    fn check(line: &str, kind: ChangeKind, path: &[u8], dir: bool) {
        let change = Change {
            kind,
            path: Text::from(path),
            dir,
        };
        assert_eq!(change.to_string(), line);
        assert_eq!(Change::parse(line.as_bytes()), Ok(change));
    }

    #[test]
    fn lines_of_every_kind() {
        let from = |path: &str| ChangeKind::Renamed {
            from: Text::from(path),
        };
        check("A src/new.rs", ChangeKind::Added, b"src/new.rs", false);
        check("A src/", ChangeKind::Added, b"src", true);
        check("M with space", ChangeKind::Modified, b"with space", false);
        check("m ./", ChangeKind::Attributes, b".", true);
        check(r#"D "a\nb""#, ChangeKind::Deleted, b"a\nb", false);
        check("T link", ChangeKind::TypeChanged, b"link", false);
        check("R a -> b", from("a"), b"b", false);
        check("R old/ -> new/", from("old"), b"new", true);
        check(r#"R "a -> b" -> c"#, from("a -> b"), b"c", false);
        check(r#"R a/ -> "\377/""#, from("a"), b"\xff", true);
        check(r#"R " ->" ->  "#, from(" ->"), b" ", false);
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "",
            "A",
            "A ",
            "A /",
            "X a",
            "Aa",
            "R a",
            "R a b",
            "R  -> b",
            "R \"a\"b -> c",
        ] {
            assert!(Change::parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn the_json_names_the_change() {
        let change = Change::parse(b"R a -> b").unwrap();
        let json = serde_json::to_value(&change).unwrap();
        let expect =
            serde_json::json!({"change": "renamed", "from": "a", "path": "b", "dir": false});
        assert_eq!(json, expect);
    }

    proptest! {
        #[test]
        fn changes_are_reversible(change in changes()) {
            let line = change.to_string();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(&Change::parse(line.as_bytes()).unwrap(), &change);
            let json = serde_json::to_string(&change).unwrap();
            prop_assert_eq!(serde_json::from_str::<Change>(&json).unwrap(), change);
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>, letter in "[AMmDRT]") {
            let _ = Change::parse(&bytes);
            let _ = Change::parse(&[letter.as_bytes(), b" ", &bytes[..]].concat());
        }
    }
}
