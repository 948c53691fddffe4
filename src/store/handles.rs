//! Open data files, and which of them have to be synced.
//!
//! Descriptors are kept in a table of limited size, the least recently used goes first. A file that
//! was written to is *dirty* until a sync that began after the write; a dirty file's descriptor
//! stays open even when the table drops it, because the kernel reports a failed write-back to
//! descriptors that were open then. When more than [`MAX_DIRTY`] files are dirty the next sync
//! takes the whole filesystem instead (syncfs(2)): one flush in place of one per file, about 4 ms
//! each.
//!
//! **Invariant**: a file is marked dirty after the write returned and before its caller learns of
//! it; a sync clears the mark before it starts. So whatever returned before a barrier was called is
//! covered by it.
//!
//! **Lock order**: the table's shards, then the dirty list; neither is held during I/O other than
//! opening.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foldhash::HashMap;
use parking_lot::{Mutex, RwLock};

use super::StoreError;
use super::files::{Dir, File};

/// How many dirty files and directories are synced one by one.
const MAX_DIRTY: usize = 8;
const SHARDS: usize = 16;
/// Descriptors that the table holds at most.
const MAX_OPEN: u64 = 1024;

/// A data file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A data segment.
    Segment(u32),
    /// A blob.
    Blob(u64),
}

/// A directory whose names may need a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DirKey {
    /// `seg/`
    Segments,
    /// `blob/`
    Blobs,
    /// `blob/xx/`
    BlobShard(u8),
}

/// An open data file.
pub(super) struct Handle {
    pub(super) file: File,
    dirty: AtomicBool,
}

struct Slot {
    handle: Arc<Handle>,
    used: AtomicU64,
}

#[derive(Default)]
struct Dirty {
    files: Vec<Arc<Handle>>,
    dirs: BTreeSet<DirKey>,
    /// More than the lists name is dirty.
    everything: bool,
}

/// What one sync has to cover.
pub(super) struct DirtySet {
    /// Files that were written.
    pub(super) files: Vec<Arc<Handle>>,
    /// Directories with new names.
    pub(super) dirs: Vec<DirKey>,
    /// Take the whole filesystem instead.
    pub(super) everything: bool,
}

/// The table of open data files.
pub(super) struct Handles {
    shards: [RwLock<HashMap<Key, Slot>>; SHARDS],
    per_shard: usize,
    clock: AtomicU64,
    dirty: Mutex<Dirty>,
}

impl Handles {
    /// A table for a process that may have `open_files` files open.
    pub(super) fn new(open_files: u64) -> Handles {
        let total = (open_files / 8).clamp(SHARDS as u64, MAX_OPEN);
        Handles {
            shards: Default::default(),
            per_shard: total as usize / SHARDS,
            clock: AtomicU64::new(0),
            dirty: Mutex::default(),
        }
    }

    fn shard(&self, key: Key) -> &RwLock<HashMap<Key, Slot>> {
        let number = match key {
            Key::Segment(number) => u64::from(number),
            Key::Blob(id) => id,
        };
        &self.shards[number as usize % SHARDS]
    }

    /// The open file, opened with `open` when the table does not have it. `None` where `open`
    /// finds no file.
    pub(super) fn get(
        &self,
        key: Key,
        open: impl FnOnce() -> Result<Option<File>, StoreError>,
    ) -> Result<Option<Arc<Handle>>, StoreError> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let shard = self.shard(key);
        if let Some(slot) = shard.read().get(&key) {
            slot.used.store(now, Ordering::Relaxed);
            return Ok(Some(Arc::clone(&slot.handle)));
        }
        let mut slots = shard.write();
        if let Some(slot) = slots.get(&key) {
            return Ok(Some(Arc::clone(&slot.handle)));
        }
        let Some(file) = open()? else { return Ok(None) };
        if slots.len() >= self.per_shard {
            let oldest = slots
                .iter()
                .min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed));
            let oldest = oldest.map(|(key, _)| *key);
            oldest.map(|key| slots.remove(&key));
        }
        let handle = Arc::new(Handle {
            file,
            dirty: AtomicBool::new(false),
        });
        slots.insert(
            key,
            Slot {
                handle: Arc::clone(&handle),
                used: AtomicU64::new(now),
            },
        );
        Ok(Some(handle))
    }

    /// Drops the file from the table: it was removed.
    pub(super) fn forget(&self, key: Key) {
        self.shard(key).write().remove(&key);
    }

    /// A write to the file has returned.
    pub(super) fn written(&self, handle: &Arc<Handle>) {
        if handle.dirty.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut dirty = self.dirty.lock();
        if dirty.everything || dirty.files.len() + dirty.dirs.len() >= MAX_DIRTY {
            dirty.everything = true;
            handle.dirty.store(false, Ordering::SeqCst);
        } else {
            dirty.files.push(Arc::clone(handle));
        }
    }

    /// A name was made in the directory.
    pub(super) fn named(&self, dir: DirKey) {
        self.dirty.lock().dirs.insert(dir);
    }

    /// Anything on disk may be dirty: an earlier process was killed.
    pub(super) fn all_dirty(&self) {
        self.dirty.lock().everything = true;
    }

    /// Whether anything needs a sync.
    pub(super) fn is_dirty(&self) -> bool {
        let dirty = self.dirty.lock();
        dirty.everything || !dirty.files.is_empty() || !dirty.dirs.is_empty()
    }

    /// Takes what is dirty; from now on writes count for the sync after this one.
    pub(super) fn take_dirty(&self) -> DirtySet {
        let dirty = std::mem::take(&mut *self.dirty.lock());
        for handle in &dirty.files {
            handle.dirty.store(false, Ordering::SeqCst);
        }
        let everything = dirty.everything || dirty.files.len() + dirty.dirs.len() > MAX_DIRTY;
        DirtySet {
            files: dirty.files,
            dirs: dirty.dirs.into_iter().collect(),
            everything,
        }
    }

    /// How many files are open; for tests.
    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }
}

/// Makes a set durable. `dir` gives the directory of a key.
pub(super) fn sync<'a>(
    set: &DirtySet,
    root: &Dir,
    dir: impl Fn(DirKey) -> Option<&'a Dir>,
) -> Result<(), StoreError> {
    if set.everything {
        return root.sync_filesystem();
    }
    for handle in &set.files {
        handle.file.sync()?;
    }
    for dir in set.dirs.iter().filter_map(|key| dir(*key)) {
        dir.sync()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::files::Access;
    use crate::store::tests::root_dir;

    #[test]
    fn the_table_stays_small_and_dirty_files_stay_open() {
        let (_keep, root) = root_dir();
        let handles = Handles::new(0);
        for id in 0..100 {
            let open = || root.open(&id.to_string(), Access::Create);
            let handle = handles.get(Key::Blob(id), open).unwrap().unwrap();
            if id < 3 {
                handle.file.write_at(b"x", 0).unwrap();
                handles.written(&handle);
                handles.written(&handle);
            }
        }
        assert!(
            handles.open_count() <= SHARDS,
            "{} open",
            handles.open_count()
        );
        let set = handles.take_dirty();
        assert_eq!((set.files.len(), set.everything), (3, false));
        assert!(!handles.is_dirty());
        handles.written(&set.files[0]);
        assert!(
            handles.is_dirty(),
            "a write after the take counts for the next sync"
        );
    }

    #[test]
    fn many_dirty_files_become_one_sync_of_everything() {
        let (_keep, root) = root_dir();
        let handles = Handles::new(4096);
        let write = |id: u64| {
            let open = || root.open(&id.to_string(), Access::Create);
            handles.written(&handles.get(Key::Blob(id), open).unwrap().unwrap());
        };
        (0..100).for_each(write);
        let set = handles.take_dirty();
        assert!(set.everything);
        write(99);
        assert!(
            handles.is_dirty(),
            "a file that the list had no room for is marked again"
        );
        assert!(!handles.take_dirty().everything);
    }
}
