//! A file of the store in memory: the journal's segments are written so.

use std::os::fd::AsFd;

use super::files::File;
use crate::sys::disk::{Change, Disk};
use crate::sys::mapping::SharedMapping;

/// A file in memory. A store into it cannot fail.
pub(super) struct Map {
    map: SharedMapping,
    file: File,
    disk: Disk,
}

impl Map {
    /// `map` is of `file`.
    pub(super) fn new(map: SharedMapping, file: File, disk: Disk) -> Map {
        Map { map, file, disk }
    }

    fn store(&mut self, offset: usize, len: usize, store: impl FnOnce(&mut SharedMapping)) {
        let fd = self.file.fd();
        let change = Change::Store {
            file: fd.as_fd(),
            offset: offset as u64,
            len: len as u64,
        };
        let map = &mut self.map;
        let stored = self.disk.change(change, || {
            store(map);
            Ok(())
        });
        assert!(stored.is_ok(), "a store into memory cannot be refused");
    }

    /// As [`SharedMapping::write`].
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        self.store(offset, data.len(), |map| map.write(offset, data));
    }

    /// As [`SharedMapping::publish_u32`].
    pub(super) fn publish_u32(&mut self, offset: usize, value: u32) {
        self.store(offset, 4, |map| map.publish_u32(offset, value));
    }
}
