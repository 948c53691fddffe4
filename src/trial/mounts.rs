//! The table of mounts, as far as trials need it (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mounted filesystem's device, and where it is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Its device: major and minor number.
    pub device: (u32, u32),
    /// Its mount point.
    pub point: PathBuf,
}

/// The device that `path` is on; nobody is asked but the kernel.
pub fn device_at(path: &Path) -> Option<(u32, u32)> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::SYMLINK_NOFOLLOW;
    let stat = statx(CWD, path, flags, StatxFlags::empty()).ok()?;
    Some((stat.stx_dev_major, stat.stx_dev_minor))
}

/// Reads a table.
pub fn parse(mountinfo: &[u8]) -> Vec<Mounted> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    lines.filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ').skip(2);
    let (device, point) = (fields.next()?, fields.nth(1)?);
    let (major, minor) = std::str::from_utf8(device).ok()?.split_once(':')?;
    Some(Mounted {
        device: (major.parse().ok()?, minor.parse().ok()?),
        point: PathBuf::from(OsString::from_vec(unescape(point))),
    })
}

/// Blanks, tabs, newlines, backslashes and what else may be escaped: a backslash and three octal
/// digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, byte) {
            (b'\\', Some(byte)) => {
                plain.push(byte);
                rest = &after[3..];
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn mount_points_are_read_whatever_their_names() {
        let mountinfo = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
            37 35 0:44 / /a\\040b\\134c\\011 rw - fuse.branchfs x rw\n\
            38 35 0:44 /sub /\xff rw - fuse.branchfs x rw\n";
        let expect = [
            ((98, 0), &b"/mnt2"[..]),
            ((0, 44), b"/a b\\c\t"),
            ((0, 44), b"/\xff"),
        ]
        .map(|(device, point)| Mounted {
            device,
            point: PathBuf::from(OsStr::from_bytes(point)),
        });
        assert_eq!(parse(mountinfo), expect);
    }

    #[test]
    fn the_device_of_a_path_is_that_of_its_mount() {
        let table = parse(&std::fs::read("/proc/self/mountinfo").unwrap());
        let of_proc = table
            .iter()
            .rfind(|mount| mount.point == Path::new("/proc"));
        assert_eq!(device_at(Path::new("/proc")), of_proc.map(|m| m.device));
        assert_eq!(device_at(Path::new("/no/such/path")), None);
    }
}
