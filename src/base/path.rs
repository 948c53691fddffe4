//! Paths below the base: bytes, relative, `/` between components, `""` the root itself.
//!
//! Pure. [`check`] is the gate for everything that comes from above: what passed has no `.`, `..`,
//! empty or NUL component, so joining it to a directory descriptor cannot lead out.

use super::error::BaseError;

/// Refuses what is not a path below the base.
pub(super) fn check(path: &[u8]) -> Result<(), BaseError> {
    let bad = |name: &[u8]| name.is_empty() || name == b"." || name == b".." || name.contains(&0);
    match path.is_empty() || !components(path).any(bad) {
        true => Ok(()),
        false => Err(BaseError::BadPath {
            path: path.to_vec(),
        }),
    }
}

/// The components of `path`; none for the root.
pub(super) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .take(if path.is_empty() { 0 } else { usize::MAX })
}

/// The directory that holds `path`, and its name there; `None` for the root.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    })
}

/// `dir/name`; either may be empty.
pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    path.extend_from_slice(dir);
    if !dir.is_empty() && !name.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Whether `path` is `dir` or below it.
pub(super) fn is_within(path: &[u8], dir: &[u8]) -> bool {
    match path.strip_prefix(dir) {
        Some(rest) => rest.is_empty() || dir.is_empty() || rest[0] == b'/',
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_pass() {
        for good in [&b""[..], b"a", b"a/b", b"..a/.b", b"\xff/x"] {
            assert!(check(good).is_ok(), "{}", good.escape_ascii());
        }
        for bad in [
            &b"/"[..],
            b"/a",
            b"a/",
            b"a//b",
            b".",
            b"a/..",
            b"../a",
            b"a/./b",
            b"a\0",
        ] {
            assert!(check(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn paths_split_and_join_back() {
        for path in [&b"a"[..], b"a/b", b"a/b/c"] {
            let (dir, name) = split(path).unwrap();
            assert_eq!(join(dir, name), path);
        }
        assert_eq!(split(b""), None);
        assert!(is_within(b"a/b", b"a") && is_within(b"a", b"a") && is_within(b"a", b""));
        assert!(!is_within(b"ab", b"a") && !is_within(b"a", b"a/b"));
    }
}
