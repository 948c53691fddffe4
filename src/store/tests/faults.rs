//! A full disk, failing syncs, and what is still promised then.

use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;

use super::super::error::Cause;
use super::*;
use crate::store::{Dead, Lsn};

/// Notes every operation and its file.
fn record(world: &World) -> Arc<Mutex<Vec<String>>> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&log);
    world.faults.set(move |operation, file| {
        sink.lock().push(format!("{operation} {file}"));
        None
    });
    log
}

#[test]
fn a_full_disk_is_an_error_before_anything_changed_and_passes() {
    let world = World::new();
    let store = world.store();
    append(&store, 0..10);
    world
        .faults
        .set(|operation, _| (operation == "allocate").then_some(Errno::NOSPC));
    let mut n = 10;
    let error = loop {
        match store.append(&payload(n)) {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(store.poisoned().is_none());
    assert_eq!(store.last_lsn(), Lsn(n));
    // What is there can still be made durable, again and again.
    for _ in 0..100 {
        store.seg_append(b"x", 0).unwrap();
        store.barrier().unwrap();
    }
    assert_eq!(store.synced_to(), store.last_lsn());
    assert!(matches!(
        store.append(&payload(n)),
        Err(StoreError::Full { .. })
    ));
    world.faults.clear();
    append(&store, n..n + 5);
    drop(store);
    assert_eq!(journaled(world.open()), (0..n + 5).collect::<Vec<_>>());
}

#[test]
fn every_fill_of_a_segment_leaves_room_for_its_barriers() {
    for last in 0..64 {
        let world = World::new();
        let store = world.store();
        append(&store, 0..1);
        let room = store.journal.room();
        store.append(&vec![1; room - last]).unwrap();
        world
            .faults
            .set(|operation, _| (operation == "allocate").then_some(Errno::NOSPC));
        while store.append(b"").is_ok() {
            store.barrier().unwrap();
        }
        store.barrier().unwrap();
        assert!(store.append(b"").is_err());
    }
}

#[test]
fn a_full_disk_for_data_changes_no_record() {
    let world = World::new();
    let store = world.store();
    let id = store.blob_new();
    store.blob_write(id, 0, b"before").unwrap();
    world.faults.set(|operation, file| {
        let data = file.starts_with("seg/") || file.starts_with("blob/");
        (data && ["write", "create"].contains(&operation)).then_some(Errno::NOSPC)
    });
    assert!(matches!(
        store.seg_append(b"x", 0),
        Err(StoreError::Full { .. })
    ));
    assert!(matches!(
        store.blob_write(id, 0, b"x"),
        Err(StoreError::Full { .. })
    ));
    assert!(matches!(
        store.blob_write(store.blob_new(), 0, b"x"),
        Err(StoreError::Full { .. })
    ));
    world.faults.clear();
    let at = store.seg_append(b"after", 0).unwrap();
    let mut buf = [0; 5];
    store.seg_read(at, &mut buf).unwrap();
    assert_eq!(&buf, b"after");
}

#[test]
fn a_checkpoint_on_a_full_disk_leaves_the_last_one() {
    let world = World::new();
    let store = world.store();
    append(&store, 0..20);
    store.begin_checkpoint().unwrap().finish().unwrap();
    append(&store, 20..40);
    world.faults.set(|operation, file| {
        (operation == "write" && file.starts_with("checkpoint/")).then_some(Errno::NOSPC)
    });
    let mut writer = store.begin_checkpoint().unwrap();
    writer.put(&payload(1)).unwrap();
    assert!(matches!(writer.finish(), Err(StoreError::Full { .. })));
    world.faults.clear();
    assert_eq!(world.names("checkpoint"), [format!("{:016x}", 20)]);
    append(&store, 40..50);
    drop(store);
    assert_eq!(journaled(world.open()), (20..50).collect::<Vec<_>>());
}

/// A sync of a file whose name starts with `prefix` fails: that poisons, and reads go on.
fn check_poison(operation: &'static str, prefix: &'static str) {
    let world = World::new();
    let store = world.store();
    let at = store.seg_append(b"data", 0).unwrap();
    store.append(&payload(0)).unwrap();
    world.faults.set(move |done, file| {
        (done == operation && file.starts_with(prefix)).then_some(Errno::IO)
    });
    let is_poison = |error| matches!(error, StoreError::Poisoned { .. });
    store.release(Dead::Seg {
        at,
        len_bytes: 4096,
    });
    assert!(is_poison(store.barrier().unwrap_err()));
    world.faults.clear();
    // The kernel forgets a failed write-back: a second sync would succeed and mean nothing.
    assert!(is_poison(store.barrier().unwrap_err()));
    assert!(is_poison(store.append(b"x").unwrap_err()));
    assert!(is_poison(store.seg_append(b"x", 0).unwrap_err()));
    assert!(is_poison(store.begin_checkpoint().err().unwrap()));
    assert!(is_poison(store.close().unwrap_err()));
    let cause = store.poisoned().unwrap();
    let failed = matches!(
        &cause,
        Cause::Failed { file, errno: libc::EIO, .. } if file.starts_with(prefix)
    );
    assert!(failed, "{cause}");
    store.reclaim();
    let mut buf = [0; 4];
    store.seg_read(at, &mut buf).unwrap();
    assert_eq!(&buf, b"data", "nothing is released after a failed barrier");
    assert_eq!(store.synced_to(), Lsn(0));
    drop(store);
    assert_eq!(journaled(world.open()), [0]);
}

#[test]
fn a_failed_sync_poisons() {
    check_poison("sync", "seg/");
    check_poison("sync", "journal/");
    check_poison("syncdir", "seg");
    check_poison("syncdir", "journal");
}

#[test]
fn a_barrier_syncs_data_before_the_journal_and_only_what_is_dirty() {
    let world = World::new();
    let store = world.store();
    store.barrier().unwrap();
    let log = record(&world);
    let id = store.blob_new();
    store.blob_write(id, 0, b"x").unwrap();
    store.seg_append(b"x", 0).unwrap();
    store.append(b"names them").unwrap();
    log.lock().clear();
    store.barrier().unwrap();
    let blob = format!("blob/{:02x}", id.0 as u8);
    assert_eq!(
        *log.lock(),
        [
            format!("sync {blob}/{:016x}", id.0),
            "sync seg/00000000".to_owned(),
            "syncdir seg".to_owned(),
            "syncdir blob".to_owned(),
            format!("syncdir {blob}"),
            format!("sync journal/{:016x}", 1),
            "syncdir journal".to_owned(),
        ]
    );
    log.lock().clear();
    store.barrier().unwrap();
    assert!(log.lock().is_empty(), "{:?}", log.lock());
    store.append(b"alone").unwrap();
    store.barrier().unwrap();
    assert_eq!(*log.lock(), [format!("sync journal/{:016x}", 1)]);
    store.blob_write(id, 0, b"y").unwrap();
    log.lock().clear();
    store.barrier().unwrap();
    assert_eq!(*log.lock(), [format!("sync {blob}/{:016x}", id.0)]);
}

#[test]
fn the_first_barrier_after_a_kill_syncs_what_the_killed_process_wrote() {
    let world = World::new();
    let store = world.store();
    store.seg_append(b"x", 0).unwrap();
    store.append(&payload(0)).unwrap();
    drop(store);
    let store = world.store();
    let log = record(&world);
    store.barrier().unwrap();
    assert_eq!(log.lock()[0], "syncfs ");
    assert_eq!(log.lock()[1], format!("sync journal/{:016x}", 1));
    assert_eq!(store.synced_to(), Lsn(1));
}

#[test]
fn a_checkpoint_is_durable_before_it_replaces_anything() {
    let world = World::new();
    let store = world.store();
    append(&store, 0..300);
    store.begin_checkpoint().unwrap().finish().unwrap();
    append(&store, 300..600);
    let log = record(&world);
    store.begin_checkpoint().unwrap().finish().unwrap();
    let log = log.lock();
    let at = |what: &str| {
        log.iter()
            .position(|line| line.starts_with(what))
            .unwrap_or_else(|| panic!("{what}"))
    };
    assert!(at("sync checkpoint/new") < at("rename"));
    assert!(at("sync journal/") < at("rename"));
    assert!(at("rename") < at("syncdir checkpoint"));
    assert!(at("syncdir checkpoint") < at("unlink 00"));
}
