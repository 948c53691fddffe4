//! Byte and inode limits: the text of `@self/limits`, and changes to it.
//!
//! ```text
//! bytes 1073741824
//! inodes none
//! ```
//!
//! Written, either line may be missing and keeps what it was; `=` may stand for the space; bytes
//! take a suffix K, M, G or T (powers of 1024).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ProtoError;
use super::quote::excerpt;

/// What a branch may use; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of content and metadata that the branch holds of its own.
    pub bytes: Option<u64>,
    /// Files and directories that the branch holds of its own.
    pub inodes: Option<u64>,
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "bytes {}", LimitText(self.bytes))?;
        writeln!(f, "inodes {}", LimitText(self.inodes))
    }
}

/// New values for some limits; `None` keeps a limit, `Some(None)` removes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsChange {
    /// The new limit on bytes.
    pub bytes: Option<Option<u64>>,
    /// The new limit on inodes.
    pub inodes: Option<Option<u64>>,
}

impl LimitsChange {
    /// Reads what was written to `@self/limits`.
    pub fn parse(text: &[u8]) -> Result<LimitsChange, ProtoError> {
        let mut change = LimitsChange::default();
        for line in text.split(|&b| b == b'\n').map(<[u8]>::trim_ascii) {
            if !line.is_empty() {
                change.set(line)?;
            }
        }
        Ok(change)
    }

    /// Adds one `key value` or `key=value`.
    pub fn set(&mut self, pair: &[u8]) -> Result<(), ProtoError> {
        let at = pair
            .iter()
            .position(|&b| b == b'=' || b.is_ascii_whitespace());
        let (key, value) = pair.split_at(at.unwrap_or(pair.len()));
        let value = value.get(1..).unwrap_or(b"").trim_ascii();
        let (key, slot, parsed) = match key {
            b"bytes" => ("bytes", &mut self.bytes, limit(value, parse_size)),
            b"inodes" => ("inodes", &mut self.inodes, limit(value, count)),
            _ => return Err(ProtoError::UnknownLimit { word: excerpt(key) }),
        };
        if slot.is_some() {
            return Err(ProtoError::LimitTwice { key });
        }
        *slot = Some(parsed?);
        Ok(())
    }

    /// The limits after this change.
    pub fn apply(self, limits: Limits) -> Limits {
        Limits {
            bytes: self.bytes.unwrap_or(limits.bytes),
            inodes: self.inodes.unwrap_or(limits.inodes),
        }
    }
}

/// What to write to `@self/limits` or, as words, after `limit` in `.ctl`.
impl fmt::Display for LimitsChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (key, value) in [("bytes", self.bytes), ("inodes", self.inodes)] {
            if let Some(value) = value {
                write!(f, "{separator}{key}={}", LimitText(value))?;
                separator = " ";
            }
        }
        Ok(())
    }
}

struct LimitText(Option<u64>);

impl fmt::Display for LimitText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value}"),
            None => f.write_str("none"),
        }
    }
}

fn limit(
    text: &[u8],
    number: fn(&[u8]) -> Result<u64, ProtoError>,
) -> Result<Option<u64>, ProtoError> {
    if text == b"none" {
        Ok(None)
    } else {
        number(text).map(Some)
    }
}

/// A size in bytes: `1048576`, `1024K`, `1M`; no sign, no fraction, no space.
pub fn parse_size(text: &[u8]) -> Result<u64, ProtoError> {
    let fail = || ProtoError::Number {
        text: excerpt(text),
        what: "size in bytes",
    };
    let shift = match text.last().map(u8::to_ascii_uppercase) {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        _ => 0,
    };
    let number = if shift == 0 {
        text
    } else {
        &text[..text.len() - 1]
    };
    let value = decimal(number).ok_or_else(fail)?;
    value.checked_mul(1 << shift).ok_or_else(fail)
}

fn count(text: &[u8]) -> Result<u64, ProtoError> {
    decimal(text).ok_or_else(|| ProtoError::Number {
        text: excerpt(text),
        what: "count",
    })
}

/// Decimal digits that fit in 64 bits.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any change.
    pub fn changes() -> impl Strategy<Value = LimitsChange> {
        any::<(Option<Option<u64>>, Option<Option<u64>>)>()
            .prop_map(|(bytes, inodes)| LimitsChange { bytes, inodes })
    }

    type NewLimit = Option<Option<u64>>;

    #[track_caller]
    fn check(text: &str, expect: Result<(NewLimit, NewLimit), &str>) {
        let got = LimitsChange::parse(text.as_bytes()).map(|c| (c.bytes, c.inodes));
        assert_eq!(
            got.map_err(|e| e.to_string()),
            expect.map_err(str::to_owned)
        );
    }

    #[test]
    fn limits_are_read() {
        check(
            "bytes 1048576\ninodes 1000\n",
            Ok((Some(Some(1 << 20)), Some(Some(1000)))),
        );
        check("bytes=1M", Ok((Some(Some(1 << 20)), None)));
        check("bytes 2g\n", Ok((Some(Some(2 << 30)), None)));
        check("inodes none", Ok((None, Some(None))));
        check("bytes \t 0 \n\n", Ok((Some(Some(0)), None)));
        check("", Ok((None, None)));
        check("bytes", Err("\"\" is no size in bytes"));
        check("bytes -1", Err("-1 is no size in bytes"));
        check("bytes 1.5G", Err("1.5G is no size in bytes"));
        check("bytes K", Err("K is no size in bytes"));
        check(
            "bytes 99999999999T",
            Err("99999999999T is no size in bytes"),
        );
        check(
            "bytes 18446744073709551616",
            Err("18446744073709551616 is no size in bytes"),
        );
        check("inodes 1K", Err("1K is no count"));
        check(
            "files 3",
            Err("unknown limit files; the limits are bytes and inodes"),
        );
        check("bytes 1\nbytes 2", Err("the limit bytes is given twice"));
    }

    proptest! {
        #[test]
        fn limits_are_reversible(bytes: Option<u64>, inodes: Option<u64>) {
            let limits = Limits { bytes, inodes };
            let change = LimitsChange::parse(limits.to_string().as_bytes()).unwrap();
            prop_assert_eq!(change.apply(Limits::default()), limits);
            let json = serde_json::to_string(&limits).unwrap();
            prop_assert_eq!(serde_json::from_str::<Limits>(&json).unwrap(), limits);
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = LimitsChange::parse(&bytes);
            let _ = LimitsChange::parse(&[b"bytes ", &bytes[..]].concat());
        }
    }
}
