//! What stat(2) says of a file of the store.

/// How large a file is, and which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Length in bytes.
    pub(super) len_bytes: u64,
    /// Bytes on disk.
    pub(super) allocated_bytes: u64,
    /// Names.
    pub(super) links: u64,
    /// Inode number.
    pub(super) ino: u64,
}

impl Size {
    pub(super) fn of(stat: &rustix::fs::Stat) -> Size {
        let ino = stat.st_ino;
        // As the base sees it, or the two would not agree on which file is whose.
        #[cfg(test)]
        let ino = crate::sys::disk::shown(stat.st_dev, ino).map_or(ino, |shown| shown.ino);
        Size {
            len_bytes: stat.st_size as u64,
            allocated_bytes: stat.st_blocks as u64 * 512,
            links: stat.st_nlink,
            ino,
        }
    }
}
