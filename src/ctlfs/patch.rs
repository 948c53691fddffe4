//! `@self/patch`: a branch's changes as `git apply` takes them.
//!
//! Text files get unified hunks; files with a NUL byte, or too large to compare line by line, a
//! binary patch with the whole new content (`GIT binary patch`, literal). Symbolic links are files
//! of mode 120000. What git does not know (empty directories, owners, fifos) is left out.

use std::fmt::Write;

use super::patch_files::{PatchFile, patch_files};
use crate::overlay::{FsResult, Overlay};
use crate::proto::git_quoted;
use crate::tree::{Kind, View};

/// Above this size a changed file is shown as binary.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// The most that a patch may be about: all of it is in memory, on both sides.
const MOST_BYTES: u64 = 256 << 20;
const CONTEXT_LINES: usize = 3;
/// The bits of git's modes that say file or link.
const TYPE: u32 = 0o170000;
const LINK: u32 = 0o120000;

/// One side of a change.
struct Side {
    mode: u32,
    content: Vec<u8>,
}

/// The patch from `old` to `new`. Fails with `TooBig` where that is about more than 256 MiB.
///
/// All that goes comes first, since git apply looks at each path's
/// changes in the order of the patch.
pub fn patch(overlay: &Overlay, old: &View, new: &View) -> FsResult<Vec<u8>> {
    let (mut gone, mut rest) = (Vec::new(), Vec::new());
    let changes = overlay.workspace.diff(old, new)?;
    let mut left = MOST_BYTES;
    for PatchFile { old: from, new: to } in patch_files(overlay, (old, new), &changes)? {
        let was = side(overlay, old, from.as_deref(), &mut left)?;
        let is = side(overlay, new, to.as_deref(), &mut left)?;
        let Some(any) = from.as_ref().or(to.as_ref()).cloned() else {
            continue;
        };
        let (from, to) = (from.unwrap_or_else(|| any.clone()), to.unwrap_or(any));
        match (was, is) {
            (Some(was), Some(is)) if keeps_type(&was, &is, from == to) => {
                write_file(&from, &to, Some(was), Some(is), &mut rest);
            }
            (was, is) => {
                write_file(&from, &from, was, None, &mut gone);
                write_file(&to, &to, None, is, &mut rest);
            }
        }
    }
    gone.append(&mut rest);
    Ok(gone)
}

/// Whether git takes both sides for one file. It has no change of type. A link that moved goes and
/// comes as well: git apply finds links that get out of the way by their modes, which a plain move
/// does not have.
fn keeps_type(was: &Side, is: &Side, same_path: bool) -> bool {
    was.mode & TYPE == is.mode & TYPE && (same_path || is.mode & TYPE != LINK)
}

fn side(
    overlay: &Overlay,
    view: &View,
    path: Option<&[u8]>,
    left: &mut u64,
) -> FsResult<Option<Side>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let Some((attr, content)) = overlay.content_at(view, path, *left)? else {
        return Ok(None);
    };
    *left = left.saturating_sub(content.len() as u64);
    let mode = match attr.kind {
        Kind::File if attr.mode & 0o100 != 0 => 0o100755,
        Kind::File => 0o100644,
        Kind::Symlink => LINK,
        _ => return Ok(None),
    };
    Ok(Some(Side { mode, content }))
}

fn write_file(from: &[u8], to: &[u8], was: Option<Side>, is: Option<Side>, out: &mut Vec<u8>) {
    let prefixed = |prefix: &[u8], path: &[u8]| git_quoted(&[prefix, path].concat());
    let (a, b) = (prefixed(b"a/", from), prefixed(b"b/", to));
    let mut head = format!("diff --git {a} {b}\n");
    match (&was, &is) {
        (None, None) => return,
        (None, Some(is)) => {
            let _ = writeln!(head, "new file mode {:o}", is.mode);
        }
        (Some(was), None) => {
            let _ = writeln!(head, "deleted file mode {:o}", was.mode);
        }
        (Some(was), Some(is)) if was.mode != is.mode => {
            let _ = writeln!(head, "old mode {:o}\nnew mode {:o}", was.mode, is.mode);
        }
        _ => {}
    }
    if from != to {
        let same = was.as_ref().map(|s| &s.content) == is.as_ref().map(|s| &s.content);
        if same {
            head.push_str("similarity index 100%\n");
        }
        let _ = writeln!(
            head,
            "rename from {}\nrename to {}",
            git_quoted(from),
            git_quoted(to)
        );
    }
    let old = was.as_ref().map_or(&b""[..], |side| &side.content);
    let new = is.as_ref().map_or(&b""[..], |side| &side.content);
    if old == new {
        let mode_changed = was.as_ref().map(|s| s.mode) != is.as_ref().map(|s| s.mode);
        if mode_changed || from != to || old.is_empty() && was.is_none() != is.is_none() {
            out.extend_from_slice(head.as_bytes());
        }
        return;
    }
    out.extend_from_slice(head.as_bytes());
    if is_binary(old) || is_binary(new) {
        write_binary(old, new, out);
        return;
    }
    let name = |side: &Option<Side>, name: &str| match side {
        Some(_) => name.to_owned(),
        None => "/dev/null".to_owned(),
    };
    // A name with a blank is ended by a tab, as git does, so that it is not taken for a date.
    let tab = |name: String| {
        if name.contains(' ') {
            name + "\t"
        } else {
            name
        }
    };
    let (a, b) = (tab(name(&was, &a)), tab(name(&is, &b)));
    out.extend_from_slice(format!("--- {a}\n+++ {b}\n").as_bytes());
    write_hunks(old, new, out);
}

fn is_binary(content: &[u8]) -> bool {
    content.len() as u64 > MAX_TEXT_BYTES || content.contains(&0)
}

fn write_hunks(old: &[u8], new: &[u8], out: &mut Vec<u8>) {
    let diff = similar::TextDiff::from_lines(old, new);
    for hunk in diff
        .unified_diff()
        .context_radius(CONTEXT_LINES)
        .iter_hunks()
    {
        out.extend_from_slice(format!("{}\n", hunk.header()).as_bytes());
        for change in hunk.iter_changes() {
            out.push(match change.tag() {
                similar::ChangeTag::Equal => b' ',
                similar::ChangeTag::Delete => b'-',
                similar::ChangeTag::Insert => b'+',
            });
            let line: &[u8] = change.value();
            out.extend_from_slice(line);
            if !line.ends_with(b"\n") {
                out.extend_from_slice(b"\n\\ No newline at end of file\n");
            }
        }
    }
}

/// Both directions, as `git apply` and `git apply -R` want them, with the full object ids that they
/// insist on for binary files.
fn write_binary(old: &[u8], new: &[u8], out: &mut Vec<u8>) {
    let index = format!("index {}..{}\n", object_id(old), object_id(new));
    out.extend_from_slice(index.as_bytes());
    out.extend_from_slice(b"GIT binary patch\n");
    for content in [new, old] {
        out.extend_from_slice(format!("literal {}\n", content.len()).as_bytes());
        write_base85(&deflate(content), out);
        out.push(b'\n');
    }
}

/// git's name of a blob with this content: the SHA-1 of a header and the content.
fn object_id(content: &[u8]) -> String {
    use sha1::Digest;
    let mut hasher = sha1::Sha1::new();
    hasher.update(format!("blob {}\0", content.len()).as_bytes());
    hasher.update(content);
    hasher
        .finalize()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn deflate(content: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(content, 6)
}

/// Lines of up to 52 bytes, each with its length as a letter (git's diff format).
fn write_base85(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 85] =
        b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
    for line in bytes.chunks(52) {
        let len = line.len() as u8;
        out.push(if len <= 26 {
            b'A' + len - 1
        } else {
            b'a' + len - 27
        });
        for group in line.chunks(4) {
            let mut word = [0; 4];
            word[..group.len()].copy_from_slice(group);
            let mut value = u32::from_be_bytes(word);
            let mut digits = [0; 5];
            for digit in digits.iter_mut().rev() {
                *digit = DIGITS[(value % 85) as usize];
                value /= 85;
            }
            out.extend_from_slice(&digits);
        }
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_blob_has_the_id_that_git_gives_it() {
        assert_eq!(object_id(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    }

    #[test]
    fn a_line_without_an_end_says_so() {
        let mut out = Vec::new();
        write_hunks(b"a\nb", b"a\nc", &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c\n\\ No newline at end of \
             file\n"
        );
    }

    #[test]
    fn base85_is_what_git_writes() {
        let mut out = Vec::new();
        write_base85(&[0, 0, 0, 0, 255], &mut out);
        assert_eq!(out, b"E00000{{R30\n");
    }
}
