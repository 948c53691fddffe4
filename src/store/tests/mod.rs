//! The store as a whole, on real files in a temporary directory.
//!
//! A *kill* is dropping the store without closing it: the page cache keeps what was written. A
//! *power loss* is a kill followed by an open under another boot id, after a test has taken from
//! the files what would not have reached the disk.

mod checkpoints;
mod data;
mod faults;
mod locking;
mod recovery;
mod rescue;
mod verifying;

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::faults::Faults;
use super::files::Dir;
use super::{Opened, Source, Store, StoreError, StoreOptions};

/// An open empty directory, and what keeps it from being removed.
pub(super) fn root_dir() -> (tempfile::TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    let root = Dir::root(open_dir(temp.path()), Faults::none(), Default::default()).unwrap();
    (temp, root)
}

fn open_dir(path: &Path) -> OwnedFd {
    File::open(path).unwrap().into()
}

/// A directory with a store and the way it is opened.
struct World {
    temp: tempfile::TempDir,
    options: StoreOptions,
    faults: Faults,
}

impl World {
    /// Segments small enough for a test to fill several.
    fn new() -> World {
        let options = StoreOptions {
            journal_segment_bytes: 4096,
            data_segment_bytes: 128 << 10,
            read_only: false,
            rescue: false,
            boot_id: Some([1; 16]),
            reclaims: true,
            disk: Default::default(),
        };
        World {
            temp: tempfile::tempdir().unwrap(),
            options,
            faults: Faults::none(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn try_open(&self) -> Result<Opened, StoreError> {
        if self.options.rescue {
            return Store::open(open_dir(self.temp.path()), &self.options);
        }
        Store::open_with(
            open_dir(self.temp.path()),
            &self.options,
            self.faults.clone(),
        )
    }

    /// Opens it. A process that another test has just forked holds what is locked here until it
    /// runs its program.
    fn open(&self) -> Opened {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            match self.try_open() {
                Err(StoreError::Locked { .. }) if std::time::Instant::now() < end => {
                    std::thread::yield_now();
                }
                opened => return opened.unwrap(),
            }
        }
    }

    fn store(&self) -> Store {
        self.open().store
    }

    /// The machine restarts: the next open sees another boot.
    fn lose_power(&mut self) {
        let id = self.options.boot_id.as_mut().unwrap();
        id[0] += 1;
    }

    /// The names in a directory of the store, sorted.
    fn names(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(dir)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The newest segment of the journal.
    fn last_segment(&self) -> PathBuf {
        self.path("journal")
            .join(self.names("journal").pop().unwrap())
    }
}

/// Payload number `n`, of a length that depends on it.
fn payload(n: u64) -> Vec<u8> {
    let mut payload = n.to_le_bytes().to_vec();
    payload.resize(8 + (n as usize * 13) % 60, n as u8);
    payload
}

/// The numbers of the payloads from `source`, which must all be whole.
fn numbers(opened: Opened, source: Source) -> Vec<u64> {
    let records = opened.recovery.records.map(Result::unwrap);
    let of_source = records.filter(|record| record.source == source);
    of_source
        .map(|record| {
            let n = u64::from_le_bytes(record.payload[..8].try_into().unwrap());
            assert_eq!(record.payload, payload(n));
            n
        })
        .collect()
}

fn journaled(opened: Opened) -> Vec<u64> {
    numbers(opened, Source::Journal)
}

fn append(store: &Store, numbers: std::ops::Range<u64>) {
    for n in numbers {
        store.append(&payload(n)).unwrap();
    }
}

fn edit(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

fn flip(path: &Path, offset: u64) {
    let file = edit(path);
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

/// The offset of the first occurrence of `needle` in a file.
fn find(path: &Path, needle: &[u8]) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap() as u64
}
