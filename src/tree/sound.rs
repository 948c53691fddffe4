//! Whether a change can be one that an operation made: what holds of each by itself.
//!
//! A journal may come from anywhere. What it says of a file must not lead to what no operation
//! does: a name with a slash, a directory with extents, an owner or a time that no kernel takes.

use super::{Attr, Change, Content, ExtentMap, Inode, Kind, Name, Time};

/// The largest size that a file can have (off_t).
const SIZE_MAX: u64 = i64::MAX as u64;

impl Time {
    /// Whether the nanoseconds are within a second.
    pub fn is_sound(&self) -> bool {
        self.nsec < 1_000_000_000
    }
}

/// Whether these bytes can name a file: 1 to 255 bytes without `/` and NUL, not `.` or `..`.
pub fn is_file_name(name: &[u8]) -> bool {
    let bytes = (1..=255).contains(&name.len()) && !name.contains(&b'/') && !name.contains(&0);
    bytes && name != b"." && name != b".."
}

/// Whether this can own a file: 0xffff_ffff is nobody (chown(2)).
pub fn is_owner(id: u32) -> bool {
    id != u32::MAX
}

impl Attr {
    fn is_sound(&self) -> bool {
        let times = [self.atime, self.mtime, self.ctime];
        let owned = is_owner(self.uid) && is_owner(self.gid);
        owned && self.size <= SIZE_MAX && times.iter().all(Time::is_sound)
    }
}

impl Inode {
    fn is_sound(&self) -> bool {
        let fits = match &self.content {
            Content::File(_) => self.attr.kind == Kind::File,
            Content::Symlink(_) => self.attr.kind == Kind::Symlink,
            Content::Dir => self.attr.kind == Kind::Dir,
            Content::None => {
                let kinds = [Kind::File, Kind::Symlink, Kind::Dir];
                !kinds.contains(&self.attr.kind)
            }
        };
        // The root has no name, and what was unlinked may keep none.
        let name: &Name = &self.name;
        fits && self.attr.is_sound() && (name.is_empty() || is_file_name(name))
    }
}

impl Change {
    /// Whether the change by itself can have been made.
    pub fn is_sound(&self) -> bool {
        match self {
            Change::Inode { inode, .. } => inode.is_sound(),
            Change::NoInode { .. } | Change::NoDentries { .. } => true,
            Change::Edit { inode, .. } => {
                inode.is_sound() && inode.extents().is_some_and(ExtentMap::is_empty)
            }
            Change::Dentry { key, .. } | Change::NoDentry { key } => is_file_name(&key.name),
            Change::Write { size, time, .. } | Change::Grow { size, time, .. } => {
                *size <= SIZE_MAX && time.is_sound()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b", &[b'x'; 256]] {
            assert!(!is_file_name(bad), "{}", bad.escape_ascii());
        }
        for good in [&b"a"[..], b"...", b"\xff\n", &[b'x'; 255]] {
            assert!(is_file_name(good), "{}", good.escape_ascii());
        }
    }
}
