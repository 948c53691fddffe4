//! How a person names a branch.
//!
//! `main`, `fix-a`, `fix-a/sub` and `main/fix-a/sub` start at `main` wherever one stands; `.` is
//! the branch that one stands in, `./sub` its child. No branch name begins with a dot, so nothing
//! is ambiguous.

use crate::proto::{BranchName, BranchPath, ProtoError};

/// A branch, from `main` or from where one stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    relative: bool,
    path: BranchPath,
}

impl Address {
    /// The branch that one stands in.
    pub fn here() -> Address {
        Address {
            relative: true,
            path: BranchPath::MAIN,
        }
    }

    /// `main`.
    pub fn main() -> Address {
        Address {
            relative: false,
            path: BranchPath::MAIN,
        }
    }

    /// Reads an address.
    pub fn parse(text: &[u8]) -> Result<Address, ProtoError> {
        if text == b"." || text == b"./" {
            return Ok(Address::here());
        }
        match text.strip_prefix(b"./") {
            Some(rest) => {
                let mut path = BranchPath::MAIN;
                for part in rest.split(|&b| b == b'/') {
                    path = path.child(BranchName::new(part)?);
                }
                Ok(Address {
                    relative: true,
                    path,
                })
            }
            None => Ok(Address {
                relative: false,
                path: BranchPath::parse(text)?,
            }),
        }
    }

    /// The branch's path, for one who stands in `here`.
    pub fn resolve(&self, here: &BranchPath) -> BranchPath {
        if !self.relative {
            return self.path.clone();
        }
        self.path
            .names()
            .iter()
            .cloned()
            .fold(here.clone(), |path, name| path.child(name))
    }
}

/// Splits `fix-a/sub` into the address of the parent and the last name's bytes.
///
/// The last name is not validated: in the trash it may be longer than a branch name.
pub fn split_last(text: &[u8]) -> Result<(Address, &[u8]), ProtoError> {
    match text.iter().rposition(|&b| b == b'/') {
        Some(at) => Ok((Address::parse(&text[..at])?, &text[at + 1..])),
        None => Ok((Address::main(), text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, here: &str, expect: &str) {
        let here = BranchPath::parse(here.as_bytes()).unwrap();
        let address = Address::parse(text.as_bytes()).unwrap();
        assert_eq!(address.resolve(&here).to_string(), expect);
    }

    #[test]
    fn addresses_start_at_main_or_here() {
        check("main", "fix-a", "main");
        check("fix-b", "fix-a", "main/fix-b");
        check("fix-b/sub", "fix-a", "main/fix-b/sub");
        check("main/fix-b", "fix-a", "main/fix-b");
        check(".", "fix-a/sub", "main/fix-a/sub");
        check("./x", "fix-a", "main/fix-a/x");
        check("./x/y", "main", "main/x/y");
        check("./main", "main", "main/main");
    }

    #[test]
    fn bad_addresses_are_refused() {
        for text in [
            "",
            "..",
            "../x",
            "/x",
            "x/",
            ".x",
            "@branches/x",
            "./../x",
            ".//x",
        ] {
            assert!(Address::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_last_name_splits_off() {
        let (parent, name) = split_last(b"fix-a/sub~7").unwrap();
        assert_eq!(
            (parent, name),
            (Address::parse(b"fix-a").unwrap(), &b"sub~7"[..])
        );
        assert_eq!(split_last(b"x").unwrap(), (Address::main(), &b"x"[..]));
        assert_eq!(split_last(b"./x").unwrap(), (Address::here(), &b"x"[..]));
    }
}
