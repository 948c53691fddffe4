//! What the kernel says is mounted, read from `/proc/self/mountinfo`.
//!
//! Reading that file never enters a mounted filesystem, so it is safe with a mount that hangs.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Where it is.
    pub target: PathBuf,
    /// The type, such as `fuse.branchfs`.
    pub kind: String,
    /// What findmnt calls SOURCE.
    pub source: String,
    /// The minor device number, which is the number of a FUSE connection.
    pub minor: u32,
}

/// All mounts of this namespace, oldest first.
pub fn all() -> Vec<Mount> {
    let table = fs::read("/proc/self/mountinfo").expect("read /proc/self/mountinfo");
    table.split(|&b| b == b'\n').filter_map(parse).collect()
}

/// The topmost mount at exactly `target`.
pub fn at(target: &Path) -> Option<Mount> {
    all().into_iter().rev().find(|m| m.target == target)
}

/// How many mounts are stacked at exactly `target`.
pub fn count_at(target: &Path) -> usize {
    all().iter().filter(|m| m.target == target).count()
}

fn parse(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let dash = fields.iter().position(|f| *f == b"-")?;
    let device = String::from_utf8_lossy(fields.get(2)?).into_owned();
    Some(Mount {
        target: PathBuf::from(OsString::from_vec(unescape(fields.get(4)?))),
        kind: String::from_utf8_lossy(fields.get(dash + 1)?).into_owned(),
        source: String::from_utf8_lossy(&unescape(fields.get(dash + 2)?)).into_owned(),
        minor: device.split_once(':')?.1.parse().ok()?,
    })
}

/// Undoes the `\040` notation of proc(5).
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| byte == b'\\').and_then(|d| {
            let text = std::str::from_utf8(d).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        out.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    out
}

#[test]
fn the_table_of_mounts_is_read_with_its_escapes() {
    let line =
        br"36 35 0:77 / /mnt/a\040b rw,noatime shared:1 - fuse.branchfs src\011x rw,user_id=0";
    let mount = parse(line).expect("a line of mountinfo");
    assert_eq!(mount.target, Path::new("/mnt/a b"));
    assert_eq!(
        (mount.kind.as_str(), mount.source.as_str()),
        ("fuse.branchfs", "src\tx")
    );
    assert_eq!(mount.minor, 77);
    assert!(at(Path::new("/")).is_some(), "the root is mounted");
}
