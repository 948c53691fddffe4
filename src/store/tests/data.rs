//! Data segments, blobs, release and sweep.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::store::{BlobId, Dead, Live, SegAddr};

const BLOCK: u64 = 4096;

fn read(store: &Store, at: SegAddr, len: usize) -> Vec<u8> {
    let mut buf = vec![0xff; len];
    store.seg_read(at, &mut buf).unwrap();
    buf
}

fn blob(store: &Store, data: &[u8]) -> BlobId {
    let id = store.blob_new();
    store.blob_write(id, 0, data).unwrap();
    id
}

fn segment_bytes(store: &Store) -> u64 {
    store.usage().unwrap().segment_bytes
}

#[test]
fn small_allocations_are_packed_and_large_ones_are_aligned() {
    let world = World::new();
    let store = world.store();
    let small: Vec<SegAddr> = (1..100)
        .map(|n| store.seg_append(&vec![n as u8; n], 0).unwrap())
        .collect();
    for (n, pair) in small.windows(2).enumerate() {
        assert_eq!(pair[1].0 - pair[0].0, (n as u64 + 1).next_multiple_of(8));
    }
    let mut last = 0;
    for n in [4096, 5000, 70_000, 128 << 10, 4097] {
        let at = store.seg_append(&vec![7; n], 0).unwrap();
        assert_eq!(at.0 % BLOCK, 0);
        assert_eq!(
            at.0 / (128 << 10),
            (at.0 + n as u64 - 1) / (128 << 10),
            "in one file"
        );
        assert!(at.0 >= last);
        last = at.0 + n as u64;
        assert!(read(&store, at, n) == vec![7; n]);
    }
    for (n, at) in (1..100).zip(small) {
        assert_eq!(read(&store, at, n), vec![n as u8; n]);
    }
    let error = store.seg_append(b"x", (128 << 10) + 1).unwrap_err();
    assert!(
        matches!(error, StoreError::AllocationTooLarge { .. }),
        "{error}"
    );
    let across = SegAddr((128 << 10) - 4);
    assert!(matches!(
        store.seg_write(across, &[0; 8]),
        Err(StoreError::CrossesSegment { .. })
    ));
}

#[test]
fn the_reserve_can_be_written_and_belongs_to_nobody_else() {
    let world = World::new();
    let store = world.store();
    let first = store.seg_append(b"abc", 100).unwrap();
    let second = store.seg_append(b"next", 0).unwrap();
    assert_eq!(second.0 - first.0, 104);
    store.seg_write(SegAddr(first.0 + 3), &[b'd'; 97]).unwrap();
    assert_eq!(&read(&store, first, 5), b"abcdd");
    assert_eq!(&read(&store, second, 4), b"next");
    let (fd, offset) = store.seg_fd(second).unwrap();
    let mut buf = [0; 4];
    assert_eq!(rustix::io::pread(&fd, &mut buf, offset).unwrap(), 4);
    assert_eq!(&buf, b"next");
}

#[test]
fn what_was_never_written_is_an_error_and_not_zeros() {
    let world = World::new();
    let store = world.store();
    let at = store.seg_append(b"abc", 8192).unwrap();
    let mut buf = [0; 64];
    assert!(matches!(
        store.seg_read(at, &mut buf),
        Err(StoreError::ShortRead { .. })
    ));
    let nowhere = SegAddr(1 << 40);
    assert!(matches!(
        store.seg_read(nowhere, &mut buf),
        Err(StoreError::Missing { .. })
    ));
    let id = store.blob_new();
    assert!(matches!(
        store.blob_read(id, 0, &mut buf),
        Err(StoreError::Missing { .. })
    ));
    store.blob_write(id, 0, b"short").unwrap();
    assert!(matches!(
        store.blob_read(id, 0, &mut buf),
        Err(StoreError::ShortRead { .. })
    ));
}

#[test]
fn addresses_and_ids_are_never_used_twice() {
    let mut world = World::new();
    let (mut top, mut last_id) = (0, BlobId(0));
    for round in 0..8 {
        let store = world.store();
        let at = store.seg_append(b"x", 5000).unwrap();
        assert!(at.0 >= top, "round {round}");
        top = at.0 + 5000;
        let id = blob(&store, b"x");
        assert!(id > last_id, "round {round}");
        last_id = id;
        // Nothing is live: everything but the highest segment goes.
        store.sweep(Live::default(), store.sweep_mark()).unwrap();
        if round % 2 == 0 {
            store.close().unwrap();
        }
        if round % 3 == 0 {
            world.lose_power();
        }
    }
    let store = world.store();
    store.close().unwrap();
    drop(store);
    let store = world.store();
    let before = store.seg_append(b"x", 5000).unwrap();
    store.close().unwrap();
    drop(store);
    let after = world.store().seg_append(b"x", 5000).unwrap();
    assert_eq!(
        after.0,
        before.0 + 8192,
        "after a clean close allocation goes on in the file"
    );
}

#[test]
fn concurrent_appends_get_places_of_their_own() {
    let world = World::new();
    let store = world.store();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let store = &store;
            scope.spawn(move || {
                let places: Vec<_> = (0..500)
                    .map(|n| (n, store.seg_append(&vec![thread; 1 + n % 90], 0).unwrap()))
                    .collect();
                for (n, at) in places {
                    assert_eq!(read(store, at, 1 + n % 90), vec![thread; 1 + n % 90]);
                }
            });
        }
    });
}

#[test]
fn a_blob_is_a_sparse_file() {
    let world = World::new();
    let store = world.store();
    let id = store.blob_new();
    assert_eq!(store.blob_allocated(id).unwrap(), 0);
    store.blob_write(id, 1 << 30, &[7; 8192]).unwrap();
    assert!(store.blob_allocated(id).unwrap() <= 64 << 10);
    let mut buf = [1; 8];
    store.blob_read(id, 4096, &mut buf).unwrap();
    assert_eq!(buf, [0; 8]);
    store.blob_punch(id, 1 << 30, 4096).unwrap();
    store.blob_zero(id, (1 << 30) + 8192, 10).unwrap();
    let mut buf = [1; 8192 + 10];
    store.blob_read(id, 1 << 30, &mut buf).unwrap();
    assert!(buf[..4096] == [0; 4096] && buf[4096..8192] == [7; 4096] && buf[8192..] == [0; 10]);
    store.blob_allocate(id, 0, 1 << 20).unwrap();
    assert!(store.blob_allocated(id).unwrap() >= 1 << 20);
    store.blob_set_len(id, 5).unwrap();
    let mut buf = [1; 5];
    store.blob_read(id, 0, &mut buf).unwrap();
    assert_eq!(buf, [0; 5]);
}

#[test]
fn a_blob_is_copied_into_and_linked_out() {
    let world = World::new();
    let store = world.store();
    let from = blob(&store, &(0..=255).collect::<Vec<u8>>());
    let to = store.blob_new();
    let source = store.blob_fd(from).unwrap();
    assert_eq!(
        store
            .blob_copy_in(to, 10, source.as_fd(), 100, 1000)
            .unwrap(),
        156
    );
    let mut buf = [0; 4];
    store.blob_read(to, 10, &mut buf).unwrap();
    assert_eq!(buf, [100, 101, 102, 103]);
    store.blob_link(to, store.stage_dir(), c"out").unwrap();
    store.release(Dead::Blob(to));
    store.barrier().unwrap();
    store.reclaim();
    assert!(matches!(
        store.blob_read(to, 0, &mut buf),
        Err(StoreError::Missing { .. })
    ));
    assert_eq!(
        std::fs::read(world.path("stage/out")).unwrap()[10..14],
        [100, 101, 102, 103]
    );
    assert_eq!(
        std::fs::metadata(world.path("stage/out")).unwrap().nlink(),
        1
    );
}

#[test]
fn space_is_released_only_after_a_barrier() {
    let world = World::new();
    let store = world.store();
    let (dead, live) = (blob(&store, &[1; 100]), blob(&store, &[2; 20_000]));
    let at = store.seg_append(&[3; 3 * 4096], 0).unwrap();
    store.append(b"frees them").unwrap();
    store.release(Dead::Blob(dead));
    store.release(Dead::BlobRange {
        id: live,
        offset: 0,
        len_bytes: 8192,
    });
    store.release(Dead::Seg {
        at,
        len_bytes: 3 * 4096,
    });
    store.reclaim();
    let mut buf = [0; 100];
    store.blob_read(dead, 0, &mut buf).unwrap();
    assert_eq!(buf, [1; 100]);
    assert_eq!(read(&store, at, 3), [3; 3]);
    store.barrier().unwrap();
    store.reclaim();
    assert!(matches!(
        store.blob_read(dead, 0, &mut buf),
        Err(StoreError::Missing { .. })
    ));
    assert_eq!(read(&store, at, 3), [0; 3]);
    assert_eq!(segment_bytes(&store), 0);
    store.blob_read(live, 8100, &mut buf).unwrap();
    assert!(buf[..92] == [0; 92] && buf[92..] == [2; 8]);
}

#[test]
fn small_neighbours_that_die_together_free_their_blocks() {
    let world = World::new();
    let store = world.store();
    let all: Vec<SegAddr> = (0..200)
        .map(|n| store.seg_append(&[n as u8; 100], 104).unwrap())
        .collect();
    let before = segment_bytes(&store);
    for at in &all[..150] {
        store.release(Dead::Seg {
            at: *at,
            len_bytes: 104,
        });
    }
    store.append(b"frees them").unwrap();
    store.barrier().unwrap();
    store.reclaim();
    assert!(
        segment_bytes(&store) <= before - 3 * BLOCK,
        "{} of {before}",
        segment_bytes(&store)
    );
    for (n, at) in all.iter().enumerate().skip(150) {
        assert_eq!(read(&store, *at, 100), [n as u8; 100]);
    }
}

#[test]
fn the_sweep_frees_what_is_not_live_and_older_than_the_mark() {
    let world = World::new();
    let store = world.store();
    let size = 8192u64;
    let all: Vec<SegAddr> = (0..64)
        .map(|n| store.seg_append(&[n; 8192], 0).unwrap())
        .collect();
    let small: Vec<SegAddr> = (0..64)
        .map(|n| store.seg_append(&[n; 64], 0).unwrap())
        .collect();
    let blobs: Vec<BlobId> = (0..10).map(|n| blob(&store, &[n; 5000])).collect();
    let live = Live {
        segments: all[40..44]
            .iter()
            .rev()
            .map(|at| at.0..at.0 + size)
            .chain(std::iter::once(small[3].0..small[3].0 + 64))
            .collect(),
        blobs: vec![blobs[7], blobs[2]],
    };
    let mark = store.sweep_mark();
    let (late, late_small) = (
        store.seg_append(&[9; 8192], 0).unwrap(),
        store.seg_append(&[9; 64], 0).unwrap(),
    );
    let late_blob = blob(&store, &[9; 10]);
    let before = store.usage().unwrap();
    let swept = store.sweep(live, mark).unwrap();
    assert_eq!(swept.blobs, 8);
    assert!(swept.segment_files >= 2, "{swept:?}");
    let after = store.usage().unwrap();
    let freed = before.segment_bytes - after.segment_bytes + before.blob_bytes - after.blob_bytes;
    assert_eq!(swept.freed_bytes, freed);
    assert!(after.segment_bytes <= 10 * size, "{after:?}");
    for (n, at) in all.iter().enumerate().skip(40).take(4) {
        assert!(read(&store, *at, 8192) == [n as u8; 8192]);
    }
    assert_eq!(read(&store, small[3], 64), [3; 64]);
    assert!(read(&store, late, 8192) == [9; 8192]);
    assert_eq!(read(&store, late_small, 64), [9; 64]);
    let mut buf = [0; 10];
    for (id, n) in [(blobs[2], 2), (blobs[7], 7), (late_blob, 9)] {
        store.blob_read(id, 0, &mut buf).unwrap();
        assert_eq!(buf, [n; 10]);
    }
    let again = store.sweep(Live::default(), mark).unwrap();
    assert_eq!(again.blobs, 2);
}

#[test]
fn more_blobs_than_descriptors_can_be_dirty() {
    let world = World::new();
    let store = world.store();
    let blobs: Vec<BlobId> = (0..1500u32)
        .map(|n| blob(&store, &n.to_le_bytes()))
        .collect();
    store.barrier().unwrap();
    for (n, id) in blobs.iter().enumerate() {
        let mut buf = [0; 4];
        store.blob_read(*id, 0, &mut buf).unwrap();
        assert_eq!(u32::from_le_bytes(buf), n as u32);
    }
    assert!(store.data.handles.open_count() <= 1024);
}

/// Notes which directories lost a name, and which have been synced since.
#[derive(Default)]
struct Unsynced(parking_lot::Mutex<std::collections::BTreeSet<u64>>);

impl crate::sys::disk::Backend for Unsynced {
    fn begin(&self, _: &crate::sys::disk::Change<'_>) -> Result<(), rustix::io::Errno> {
        Ok(())
    }

    fn done(&self, change: &crate::sys::disk::Change<'_>) {
        use crate::sys::disk::Change;
        let number = |fd| rustix::fs::fstat(fd).expect("fstat").st_ino;
        match change {
            Change::Unlink(at) => drop(self.0.lock().insert(number(at.dir))),
            Change::SyncNames(dir) => drop(self.0.lock().remove(&number(*dir))),
            Change::SyncAll(_) => self.0.lock().clear(),
            _ => {}
        }
    }
}

/// After a power cut it was a second name of a file that had been published.
#[test]
fn no_name_of_a_removed_blob_comes_back_after_a_close() {
    let unsynced = std::sync::Arc::new(Unsynced::default());
    let mut world = World::new();
    world.options.disk = crate::sys::disk::Disk::behind(unsynced.clone());
    let store = world.store();
    let id = store.blob_new();
    store.blob_write(id, 0, b"published").unwrap();
    store.barrier().unwrap();
    store.release(crate::store::Dead::Blob(id));
    store.close().unwrap();
    assert_eq!(store.blob_allocated(id).unwrap(), 0, "it is removed");
    assert!(unsynced.0.lock().is_empty(), "and stays so");
}
