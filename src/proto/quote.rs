//! Bytes written as text: C-style quoting as git does it, and [`Text`] for JSON.
//!
//! Names and paths of files are bytes; the control files are lines of text. Quoted, a name is in
//! double quotes, every byte outside printable ASCII is an escape (`\n`, `\"`, `\\`, octal `\351`).
//! Which names are quoted differs by place, but a quoted one always begins with `"` and a plain one
//! never does, so a reader needs no context. The escapes and the rule of [`git_quoted`] are those
//! of `git diff` with core.quotePath (git-config(1)).

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::ProtoError;

/// The one-letter escapes, as C and git have them.
const LETTERS: [(u8, u8); 9] = [
    (0x07, b'a'),
    (0x08, b'b'),
    (b'\t', b't'),
    (b'\n', b'n'),
    (0x0b, b'v'),
    (0x0c, b'f'),
    (b'\r', b'r'),
    (b'"', b'"'),
    (b'\\', b'\\'),
];

/// `bytes` as `git diff` shows a path: plain where all of it is printable ASCII without `"` and
/// `\`.
pub fn git_quoted(bytes: &[u8]) -> String {
    quote_unless(bytes, is_git_plain(bytes))
}

/// `bytes` for people: plain where it is UTF-8 without control characters, so that nothing of it
/// can move a terminal's cursor.
pub fn display(bytes: &[u8]) -> String {
    let plain = std::str::from_utf8(bytes).is_ok_and(|s| !s.contains(char::is_control));
    quote_unless(bytes, plain && bytes.first() != Some(&b'"'))
}

/// `bytes` as one word of a line: as [`git_quoted`], and quoted too where it is empty or has a
/// space.
pub(super) fn word(bytes: &[u8]) -> String {
    quote_unless(
        bytes,
        is_git_plain(bytes) && !bytes.is_empty() && !bytes.contains(&b' '),
    )
}

/// As [`git_quoted`], and quoted too where `separator` occurs in it.
pub(super) fn quoted_against(bytes: &[u8], separator: &[u8]) -> String {
    let ambiguous = bytes.windows(separator.len()).any(|w| w == separator);
    quote_unless(bytes, is_git_plain(bytes) && !ambiguous)
}

/// The first bytes of `bytes` for an error message, however long and strange they are.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 80;
    match bytes.get(..SHOWN) {
        Some(start) if bytes.len() > SHOWN => format!("{}...", display(start)),
        _ if bytes.is_empty() => "\"\"".to_owned(),
        _ => display(bytes),
    }
}

/// Takes one quoted string from the front of `input`, which begins with `"`.
///
/// Returns its bytes and what follows the closing quote.
pub(super) fn take_quoted(input: &[u8]) -> Result<(Vec<u8>, &[u8]), ProtoError> {
    let fail = |at: usize| ProtoError::Quoting {
        text: excerpt(input),
        offset_bytes: at,
    };
    let mut bytes = Vec::new();
    let mut at = 1;
    loop {
        match input.get(at) {
            None => return Err(fail(at)),
            Some(b'"') => return Ok((bytes, &input[at + 1..])),
            Some(b'\\') => {
                let (byte, len) = unescape(&input[at + 1..]).ok_or_else(|| fail(at))?;
                bytes.push(byte);
                at += 1 + len;
            }
            Some(&byte) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
}

/// The bytes of a whole field: unquoted where it begins with `"`, else as it is.
pub(super) fn unquoted(field: &[u8]) -> Result<Vec<u8>, ProtoError> {
    if field.first() != Some(&b'"') {
        return Ok(field.to_vec());
    }
    let (bytes, rest) = take_quoted(field)?;
    if !rest.is_empty() {
        let offset_bytes = field.len() - rest.len();
        return Err(ProtoError::Quoting {
            text: excerpt(field),
            offset_bytes,
        });
    }
    Ok(bytes)
}

/// Splits a line into words: separated by spaces and tabs, each plain or quoted.
pub(super) fn words(mut line: &[u8]) -> Result<Vec<Vec<u8>>, ProtoError> {
    let mut words = Vec::new();
    loop {
        line = line.trim_ascii_start();
        if line.is_empty() {
            return Ok(words);
        }
        let (word, rest) = take_word(line)?;
        words.push(word);
        line = rest;
    }
}

/// Takes the first word of a line that does not begin with a blank, and what follows it.
pub(super) fn take_word(line: &[u8]) -> Result<(Vec<u8>, &[u8]), ProtoError> {
    if line.first() == Some(&b'"') {
        let (word, rest) = take_quoted(line)?;
        if rest.first().is_some_and(|b| !b.is_ascii_whitespace()) {
            let offset_bytes = line.len() - rest.len();
            return Err(ProtoError::Quoting {
                text: excerpt(line),
                offset_bytes,
            });
        }
        return Ok((word, rest));
    }
    let end = line
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(line.len());
    Ok((line[..end].to_vec(), &line[end..]))
}

fn is_git_plain(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|&b| (b' '..0x7f).contains(&b) && b != b'"' && b != b'\\')
}

/// Only text may be `plain`: every rule above excludes bytes that are not UTF-8.
fn quote_unless(bytes: &[u8], plain: bool) -> String {
    if plain {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    out.push('"');
    for &byte in bytes {
        if let Some(&(_, letter)) = LETTERS.iter().find(|(b, _)| *b == byte) {
            out.push('\\');
            out.push(letter as char);
        } else if (b' '..0x7f).contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("\\{byte:03o}"));
        }
    }
    out.push('"');
    out
}

/// The byte that the escape after a backslash stands for, and the escape's length.
fn unescape(escape: &[u8]) -> Option<(u8, usize)> {
    let first = *escape.first()?;
    if let Some(&(byte, _)) = LETTERS.iter().find(|(_, letter)| *letter == first) {
        return Some((byte, 1));
    }
    let digits = escape.get(..3)?;
    let value = digits.iter().try_fold(0u32, |value, digit| match digit {
        b'0'..=b'7' => Some(value * 8 + u32::from(digit - b'0')),
        _ => None,
    })?;
    u8::try_from(value).ok().map(|byte| (byte, 3))
}

/// Bytes that are usually text, such as a path.
///
/// In JSON: the string itself where it is UTF-8 and does not begin with `"`, else its quoted form,
/// so nothing is lost. `Display` is for people ([`display`]).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(pub Vec<u8>);

impl Text {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as a program's argument.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// The bytes as a path.
    pub fn as_path(&self) -> &Path {
        Path::new(self.as_os_str())
    }
}

impl<T: AsRef<[u8]> + ?Sized> From<&T> for Text {
    fn from(bytes: &T) -> Text {
        Text(bytes.as_ref().to_vec())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display(&self.0))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plain = std::str::from_utf8(&self.0).is_ok() && self.0.first() != Some(&b'"');
        serializer.serialize_str(&quote_unless(&self.0, plain))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        let string = String::deserialize(deserializer)?;
        unquoted(string.as_bytes())
            .map(Text)
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_git(input: &[u8], expect: &str) {
        assert_eq!(git_quoted(input), expect);
        assert_eq!(unquoted(expect.as_bytes()), Ok(input.to_vec()));
    }

    #[test]
    fn quotes_what_git_quotes() {
        check_git(b"src/main.rs", "src/main.rs");
        check_git(b"with space", "with space");
        check_git(b"tab\there", r#""tab\there""#);
        check_git(b"line\nfeed", r#""line\nfeed""#);
        check_git(b"a\"b", r#""a\"b""#);
        check_git(b"a\\b", r#""a\\b""#);
        check_git("é".as_bytes(), r#""\303\251""#);
        check_git(b"\xff\x00\x7f", r#""\377\000\177""#);
    }

    #[track_caller]
    fn check_malformed(input: &str, offset: usize) {
        let error = unquoted(input.as_bytes()).unwrap_err();
        assert!(
            matches!(error, ProtoError::Quoting { offset_bytes, .. } if offset_bytes == offset),
            "{error:?}"
        );
    }

    #[test]
    fn malformed_quoting_names_the_byte() {
        check_malformed(r#"""#, 1);
        check_malformed(r#""abc"#, 4);
        check_malformed(r#""a\"#, 2);
        check_malformed(r#""a\q""#, 2);
        check_malformed(r#""a\400""#, 2);
        check_malformed(r#""a\18""#, 2);
        check_malformed(r#""a"b"#, 3);
    }

    #[test]
    fn people_see_no_control_characters() {
        assert_eq!(display("naïve".as_bytes()), "naïve");
        assert_eq!(display(b"\x1b[31m"), r#""\033[31m""#);
        assert_eq!(display("\u{9b}2J".as_bytes()), r#""\302\2332J""#);
        assert_eq!(display(b"\xff"), r#""\377""#);
    }

    #[test]
    fn an_excerpt_is_short() {
        assert_eq!(excerpt(b"short"), "short");
        assert_eq!(excerpt(&[b'x'; 100_000]).len(), 83);
    }

    proptest! {
        #[test]
        fn every_rule_is_reversible(bytes: Vec<u8>) {
            for quoted in [git_quoted(&bytes), display(&bytes), word(&bytes)] {
                prop_assert_eq!(unquoted(quoted.as_bytes()), Ok(bytes.clone()));
            }
            let json = serde_json::to_string(&Text(bytes.clone())).unwrap();
            prop_assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), Text(bytes));
        }

        #[test]
        fn words_are_reversible(list: Vec<Vec<u8>>) {
            let line = list.iter().map(|w| word(w)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(words(line.as_bytes()), Ok(list));
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = unquoted(&bytes);
            let _ = words(&bytes);
            let _ = unquoted(&[b"\"", &bytes[..]].concat());
        }
    }
}
