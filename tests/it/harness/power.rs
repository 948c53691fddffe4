//! A power loss, as far as a running machine can show one.
//!
//! The store's file `mounted` says in which boot it was last used (src/store/mounted.rs draws it).
//! After a kill that number is replaced, so the next mount trusts nothing that no barrier covers.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::Workspace;

/// Where the two slots begin, and where a slot has its boot id and its checksum.
const SLOTS: [u64; 2] = [0, 4096];
const BOOT_ID: std::ops::Range<usize> = 16..32;
const CHECKSUM: std::ops::Range<usize> = 60..64;

impl Workspace {
    /// Kills the daemon and makes its store look as if the machine had gone down with it.
    #[track_caller]
    pub fn lose_power(&self) {
        self.kill();
        let path = self.store().join("mounted");
        let file = File::options().read(true).write(true).open(path);
        let file = file.expect("open STORE/mounted");
        for slot in SLOTS {
            let mut bytes = [0; 64];
            file.read_exact_at(&mut bytes, slot).expect("read a slot");
            bytes[BOOT_ID].copy_from_slice(b"of another boot.");
            let checksum = crc32fast::hash(&bytes[..CHECKSUM.start]);
            bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
            file.write_all_at(&bytes, slot).expect("write a slot");
        }
    }
}
