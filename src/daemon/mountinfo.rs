//! Which mounts there are: `/proc/self/mountinfo`, see proc(5).
//!
//! Reading it asks no file system anything, so it never hangs on a dead mount.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::error::DaemonError;

/// The type that a mount of ours shows.
pub(super) const FILE_SYSTEM_TYPE: &str = "fuse.branchfs";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number, unique while it lasts.
    pub id: u64,
    /// The mount that it is in.
    pub parent: u64,
    /// Major and minor number of its `st_dev`. The minor of a FUSE mount is its connection's number
    /// in `/sys/fs/fuse/connections`.
    pub device: (u32, u32),
    /// Where it is.
    pub mountpoint: PathBuf,
    /// Options of this mount, separated by commas.
    pub options: String,
    /// Type with subtype, such as `fuse.branchfs`.
    pub file_system: String,
    /// What was mounted; for a mount of ours the base.
    pub source: OsString,
    /// Options of the file system, separated by commas.
    pub super_options: String,
}

impl Mount {
    /// Whether it is one of ours.
    pub fn is_branchfs(&self) -> bool {
        self.file_system == FILE_SYSTEM_TYPE
    }
}

/// The mounts of this process's namespace, in the kernel's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountTable(pub Vec<Mount>);

impl MountTable {
    /// Reads it.
    pub fn read() -> Result<MountTable, DaemonError> {
        MountTable::read_from("/proc/self/mountinfo")
    }

    /// Reads that of another process's namespace.
    pub(super) fn of_process(pid: u32) -> Result<MountTable, DaemonError> {
        MountTable::read_from(&format!("/proc/{pid}/mountinfo"))
    }

    fn read_from(file: &str) -> Result<MountTable, DaemonError> {
        let text = std::fs::read(file).map_err(|source| DaemonError::MountInfo { source })?;
        MountTable::parse(&text).map_err(|source| DaemonError::MountInfo { source })
    }

    /// Parses the text of a mountinfo file.
    fn parse(text: &[u8]) -> io::Result<MountTable> {
        let lines = text.split(|&b| b == b'\n').filter(|line| !line.is_empty());
        let bad = |line: &[u8]| {
            let line = String::from_utf8_lossy(line).into_owned();
            io::Error::new(io::ErrorKind::InvalidData, line)
        };
        lines
            .map(|line| parse_line(line).ok_or_else(|| bad(line)))
            .collect::<io::Result<_>>()
            .map(MountTable)
    }

    /// The mount that a path lookup of `mountpoint` (absolute, without symlinks) ends in, if one is
    /// mounted exactly there.
    pub fn top_at(&self, mountpoint: &Path) -> Option<&Mount> {
        let there = || self.0.iter().filter(|m| m.mountpoint == mountpoint);
        there().rfind(|mount| !there().any(|above| above.parent == mount.id))
    }

    /// The mounts directly inside the mount `id`.
    pub fn inside(&self, id: u64) -> impl Iterator<Item = &Mount> {
        self.0.iter().filter(move |mount| mount.parent == id)
    }

    /// The mount that `path` (absolute, without symlinks) lies in.
    pub fn containing(&self, path: &Path) -> Option<&Mount> {
        path.ancestors().find_map(|ancestor| self.top_at(ancestor))
    }
}

/// `ID PARENT MAJ:MIN ROOT MOUNTPOINT OPTIONS [TAG...] - TYPE SOURCE SUPER-OPTIONS`.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u64>().ok();
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let _root = fields.next()?;
    let mountpoint = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
    let options = text(fields.next()?);
    fields.find(|&tag| tag == b"-")?;
    let file_system = text(fields.next()?);
    let source = OsString::from_vec(unescape(fields.next()?));
    let super_options = text(fields.next()?);
    Some(Mount {
        id,
        parent,
        device,
        mountpoint,
        options,
        file_system,
        source,
        super_options,
    })
}

/// Undoes the kernel's escapes: a backslash and three octal digits for space, tab, newline,
/// backslash and `#`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|d| byte == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        if let Some(digits) = octal {
            let value = digits.iter().fold(0u32, |n, d| n * 8 + u32::from(d - b'0'));
            out.push(value as u8);
            rest = &tail[3..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:51 / /home/u/a\\040b\\134c rw,nosuid - fuse.branchfs /home/u/a\\040b,x rw,user_id=0
41 40 0:52 / /home/u/a\\040b\\134c rw shared:7 master:2 - fuse.branchfs /other rw
42 41 0:53 / /home/u/a\\040b\\134c/in rw - tmpfs none rw
";

    #[test]
    fn the_topmost_mount_at_a_path_is_found_with_escapes_undone() {
        let table = MountTable::parse(TEXT).unwrap();
        let path = Path::new("/home/u/a b\\c");
        let top = table.top_at(path).expect("something is mounted there");
        assert_eq!(
            (top.id, top.device, top.source.to_str()),
            (41, (0, 52), Some("/other"))
        );
        assert_eq!(table.0[1].source.to_str(), Some("/home/u/a b,x"));
        assert_eq!(table.inside(41).map(|m| m.id).collect::<Vec<_>>(), [42]);
        assert_eq!(
            table.containing(&path.join("in/x/y")).map(|m| m.id),
            Some(42)
        );
        assert_eq!(
            table.containing(Path::new("/home/u")).map(|m| m.id),
            Some(22)
        );
        assert_eq!(table.top_at(Path::new("/home/u")), None);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_an_error_that_shows_it() {
        let error = MountTable::parse(b"22 1 254:0 / /\n").unwrap_err();
        assert_eq!(error.to_string(), "22 1 254:0 / /");
    }
}
