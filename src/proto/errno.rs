//! Errno values by name.
//!
//! Owns the names of the errnos that branchfs answers; what they mean for an operation is told by
//! whoever explains one. A value without a name here is written as its number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::ProtoError;
use super::quote::excerpt;

macro_rules! names {
    ($($name:ident)*) => { [$((stringify!($name), libc::$name)),*] };
}

const NAMES: [(&str, i32); 31] = names!(
    EACCES EAGAIN EBADF EBUSY ECONNABORTED EDQUOT EEXIST EFBIG EINTR EINVAL EIO EISDIR ELOOP
    EMFILE ENAMETOOLONG ENFILE ENODATA ENOENT ENOMEM ENOSPC ENOSYS ENOTCONN ENOTDIR ENOTEMPTY
    ENXIO EOPNOTSUPP EPERM EROFS ESTALE ETIMEDOUT EXDEV
);

/// A positive errno value, written by its name (`ESTALE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrnoText(pub i32);

impl fmt::Display for ErrnoText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, value)| *value == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for ErrnoText {
    type Err = ProtoError;

    fn from_str(text: &str) -> Result<ErrnoText, ProtoError> {
        let named = NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, value)| *value);
        named
            .or_else(|| text.parse().ok())
            .map(ErrnoText)
            .ok_or_else(|| ProtoError::Errno {
                text: excerpt(text.as_bytes()),
            })
    }
}

impl Serialize for ErrnoText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ErrnoText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ErrnoText, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_reads_back() {
        for value in 1..200 {
            assert_eq!(ErrnoText(value).to_string().parse(), Ok(ErrnoText(value)));
        }
        assert_eq!(ErrnoText(libc::ESTALE).to_string(), "ESTALE");
        assert!("ENOTHING".parse::<ErrnoText>().is_err());
    }
}
