//! Branch names and paths.
//!
//! A name is 1 to [`NAME_BYTES_MAX`] bytes, without `/`, NUL and newline, and does not begin with
//! `.` or `@` (those are reserved in `@branches`). Otherwise any bytes: names are not UTF-8.
//!
//! A path names a branch from `main` on: `main`, `main/fix-a`, `main/fix-a/sub`. Read, the leading
//! `main/` may be missing, so `fix-a/sub` is the same branch; a branch that is itself called `main`
//! is `main/main`.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::quote::{Text, display, excerpt};
use super::{ProtoError, reserved};

/// The longest branch name. Below NAME_MAX (255) so that an entry in the trash can add to it.
pub const NAME_BYTES_MAX: usize = 200;

/// `~before` or `~undone`, then `~` and a 32-bit number.
const TRASH_SUFFIX_BYTES_MAX: usize = 7 + 11;

fn validate(name: &[u8], max_bytes: usize) -> Result<(), ProtoError> {
    let bad = |what| {
        Err(ProtoError::NameByte {
            name: excerpt(name),
            what,
        })
    };
    match name.first() {
        None => return Err(ProtoError::NameEmpty),
        Some(&first @ (b'.' | b'@')) => {
            return Err(ProtoError::NameStart {
                name: excerpt(name),
                first: first as char,
            });
        }
        Some(_) => {}
    }
    if name.len() > max_bytes {
        return Err(ProtoError::NameTooLong {
            len_bytes: name.len(),
            max_bytes,
        });
    }
    for byte in name {
        match byte {
            b'/' => return bad("'/'"),
            0 => return bad("a NUL byte"),
            b'\n' => return bad("a newline"),
            _ => {}
        }
    }
    Ok(())
}

macro_rules! name_type {
    ($name:ident) => {
        impl $name {
            /// The name's bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// The name as a component of a path.
            pub fn as_path(&self) -> &Path {
                Path::new(OsStr::from_bytes(&self.0))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ProtoError;
            fn try_from(name: &[u8]) -> Result<$name, ProtoError> {
                $name::new(name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&display(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", String::from_utf8_lossy(&self.0))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Text::from(self.as_bytes()).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                $name::new(&Text::deserialize(deserializer)?.0).map_err(de::Error::custom)
            }
        }
    };
}

/// A valid branch name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchName(Box<[u8]>);

name_type!(BranchName);

impl BranchName {
    /// Takes `name` if it is valid, else says what is wrong with it.
    pub fn new(name: &[u8]) -> Result<BranchName, ProtoError> {
        validate(name, NAME_BYTES_MAX)?;
        Ok(BranchName(name.into()))
    }
}

/// The name of an entry in `@branches/.trash`: the branch's name, or `NAME~before` for what its
/// parent was before its commit, `NAME~undone` for what that was before the commit was taken back;
/// with a further `~NUMBER` where an older entry has that name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrashName(Box<[u8]>);

name_type!(TrashName);

impl TrashName {
    /// Takes `name` if an entry can have it.
    pub fn new(name: &[u8]) -> Result<TrashName, ProtoError> {
        validate(name, NAME_BYTES_MAX + TRASH_SUFFIX_BYTES_MAX)?;
        Ok(TrashName(name.into()))
    }

    /// The entry that has its branch's own name.
    pub fn plain(name: &BranchName) -> TrashName {
        TrashName(name.0.clone())
    }

    /// The entry of branch `number` when its plain name is taken.
    pub fn numbered(name: &BranchName, number: u32) -> TrashName {
        let suffix = format!("~{number}");
        TrashName([name.as_bytes(), suffix.as_bytes()].concat().into())
    }
}

/// The names from `main` down to a branch; empty for `main` itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BranchPath(Vec<BranchName>);

impl BranchPath {
    /// `main`.
    pub const MAIN: BranchPath = BranchPath(Vec::new());
    const MAIN_NAME: &[u8] = b"main";

    /// Reads `main`, `main/a/b` or `a/b`.
    pub fn parse(text: &[u8]) -> Result<BranchPath, ProtoError> {
        let mut parts = text.split(|&b| b == b'/').peekable();
        parts.next_if_eq(&BranchPath::MAIN_NAME);
        let mut names = Vec::new();
        for part in parts {
            if part.is_empty() && text != b"" {
                return Err(ProtoError::PathPart {
                    path: excerpt(text),
                });
            }
            names.push(BranchName::new(part)?);
        }
        Ok(BranchPath(names))
    }

    /// `main/a/b`, which [`BranchPath::parse`] reads back.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = BranchPath::MAIN_NAME.to_vec();
        for name in &self.0 {
            bytes.push(b'/');
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes
    }

    /// The last name; `main` for the main branch.
    pub fn name(&self) -> &[u8] {
        self.0
            .last()
            .map_or(BranchPath::MAIN_NAME, BranchName::as_bytes)
    }

    /// The branch that this one was forked from; `None` for `main`.
    pub fn parent(&self) -> Option<BranchPath> {
        let (_, parent) = self.0.split_last()?;
        Some(BranchPath(parent.to_vec()))
    }

    /// The child called `name`.
    pub fn child(&self, name: BranchName) -> BranchPath {
        let mut names = self.0.clone();
        names.push(name);
        BranchPath(names)
    }

    /// The names below `main`, outermost first.
    pub fn names(&self) -> &[BranchName] {
        &self.0
    }

    /// What is left of this path below `ancestor`; `None` where it is not below it.
    pub fn below(&self, ancestor: &BranchPath) -> Option<BranchPath> {
        let rest = self.0.strip_prefix(ancestor.0.as_slice())?;
        Some(BranchPath(rest.to_vec()))
    }

    /// Where the branch's root lies below `main`'s: `@branches/a/@branches/b`, empty for `main`.
    pub fn dir(&self) -> PathBuf {
        let mut dir = PathBuf::new();
        for name in &self.0 {
            dir.push(reserved::BRANCHES);
            dir.push(name.as_path());
        }
        dir
    }
}

impl fmt::Display for BranchPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display(&self.to_bytes()))
    }
}

impl fmt::Debug for BranchPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for BranchPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Text(self.to_bytes()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BranchPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BranchPath, D::Error> {
        BranchPath::parse(&Text::deserialize(deserializer)?.0).map_err(de::Error::custom)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any valid name.
    pub fn names() -> impl Strategy<Value = BranchName> {
        prop_oneof![
            "[a-z][a-z0-9-]{0,8}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 1..=NAME_BYTES_MAX),
        ]
        .prop_filter_map("reserved", |bytes| BranchName::new(&bytes).ok())
    }

    /// Any valid path.
    pub fn paths() -> impl Strategy<Value = BranchPath> {
        proptest::collection::vec(names(), 0..4).prop_map(BranchPath)
    }

    #[track_caller]
    fn check(name: &[u8], expect: Result<(), &str>) {
        let got = BranchName::new(name).map(|n| assert_eq!(n.as_bytes(), name));
        assert_eq!(
            got.map_err(|e| e.to_string()),
            expect.map_err(str::to_owned)
        );
    }

    #[test]
    fn names_are_validated() {
        check(b"fix-a", Ok(()));
        check(b"a b\tc", Ok(()));
        check(b"a.b@c~1", Ok(()));
        check(b"\xff\xfe", Ok(()));
        check(b"main", Ok(()));
        check(&[b'x'; 200], Ok(()));
        check(
            &[b'x'; 201],
            Err("a branch name has at most 200 bytes, this one has 201"),
        );
        check(b"", Err("a branch name cannot be empty"));
        check(
            b".hidden",
            Err("a branch name cannot begin with '.': .hidden"),
        );
        check(b"..", Err("a branch name cannot begin with '.': .."));
        check(b"@self", Err("a branch name cannot begin with '@': @self"));
        check(b"a/b", Err("a branch name cannot contain '/': a/b"));
        check(
            b"a\0b",
            Err("a branch name cannot contain a NUL byte: \"a\\000b\""),
        );
        check(
            b"a\nb",
            Err("a branch name cannot contain a newline: \"a\\nb\""),
        );
    }

    #[test]
    fn a_trash_name_fits_a_directory_entry() {
        let name = BranchName::new(&[b'x'; NAME_BYTES_MAX]).unwrap();
        let entry = TrashName::numbered(&name, u32::MAX);
        assert!(entry.as_bytes().len() <= 255);
        assert_eq!(TrashName::new(entry.as_bytes()), Ok(entry));
    }

    #[track_caller]
    fn check_path(text: &str, rendered: &str, dir: &str) {
        let path = BranchPath::parse(text.as_bytes()).unwrap();
        assert_eq!(path.to_string(), rendered);
        assert_eq!(path.dir(), Path::new(dir));
    }

    #[test]
    fn paths_start_at_main() {
        check_path("main", "main", "");
        check_path("fix-a", "main/fix-a", "@branches/fix-a");
        check_path("main/fix-a", "main/fix-a", "@branches/fix-a");
        check_path(
            "fix-a/sub",
            "main/fix-a/sub",
            "@branches/fix-a/@branches/sub",
        );
        check_path("main/main", "main/main", "@branches/main");
    }

    #[test]
    fn paths_with_empty_parts_are_refused() {
        for text in ["/a", "a/", "a//b", "main/"] {
            assert!(matches!(
                BranchPath::parse(text.as_bytes()),
                Err(ProtoError::PathPart { .. })
            ));
        }
        assert_eq!(BranchPath::parse(b""), Err(ProtoError::NameEmpty));
        assert!(matches!(
            BranchPath::parse(b"a/../b"),
            Err(ProtoError::NameStart { .. })
        ));
    }

    proptest! {
        #[test]
        fn paths_are_reversible(path in paths()) {
            prop_assert_eq!(BranchPath::parse(&path.to_bytes()), Ok(path.clone()));
            let json = serde_json::to_string(&path).unwrap();
            prop_assert_eq!(serde_json::from_str::<BranchPath>(&json).unwrap(), path);
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = BranchName::new(&bytes);
            let _ = TrashName::new(&bytes);
            let _ = BranchPath::parse(&bytes);
        }
    }
}
