//! What is left of the journal after a kill, after power loss and after damage.

use super::*;
use crate::store::{Damage, Lsn, MAX_RECORD_BYTES};

#[test]
fn everything_appended_is_there_after_a_kill() {
    let world = World::new();
    let mut expect = Vec::new();
    for round in 0..5 {
        let opened = world.open();
        let lsn = opened.store.append(&payload(round * 100)).unwrap();
        append(&opened.store, round * 100 + 1..round * 100 + 100);
        expect.extend(round * 100..round * 100 + 100);
        assert_eq!(opened.store.last_lsn().0, lsn.0 + 99);
        drop(opened);
        let opened = world.open();
        assert!(!opened.recovery.clean && !opened.recovery.power_loss);
        assert_eq!(opened.recovery.dropped_bytes, 0);
        assert_eq!(journaled(opened), expect);
    }
    assert!(
        world.names("journal").len() > 5,
        "the test is to fill several segments"
    );
}

#[test]
fn a_clean_close_is_noticed_and_survives_power_loss() {
    let mut world = World::new();
    let store = world.store();
    append(&store, 0..200);
    store.close().unwrap();
    assert!(matches!(store.append(b"x"), Err(StoreError::ReadOnly)));
    drop(store);
    world.lose_power();
    let opened = world.open();
    assert!(opened.recovery.clean && !opened.recovery.power_loss);
    assert_eq!(opened.store.synced_to(), opened.store.last_lsn());
    assert_eq!(journaled(opened), (0..200).collect::<Vec<_>>());
}

#[test]
fn records_from_empty_to_the_largest_come_back() {
    let world = World::new();
    let store = world.store();
    let sizes = [0, 1, 7, 8, 9, 4000, 5000, 1 << 20, MAX_RECORD_BYTES, 3];
    for size in sizes {
        store.append(&vec![size as u8 | 1; size]).unwrap();
    }
    let error = store.append(&vec![0; MAX_RECORD_BYTES + 1]).unwrap_err();
    assert!(
        matches!(error, StoreError::RecordTooLarge { .. }),
        "{error}"
    );
    drop(store);
    let records: Vec<_> = world.open().recovery.records.map(Result::unwrap).collect();
    assert_eq!(records.len(), sizes.len());
    for (record, size) in records.iter().zip(sizes) {
        assert!(record.payload == vec![size as u8 | 1; size], "size {size}");
    }
}

#[test]
fn power_loss_cuts_at_the_last_barrier() {
    let mut world = World::new();
    let store = world.store();
    append(&store, 0..150);
    store.barrier().unwrap();
    assert_eq!(store.synced_to(), Lsn(150));
    append(&store, 150..300);
    drop(store);
    world.lose_power();
    let opened = world.open();
    assert!(opened.recovery.power_loss);
    assert!(opened.recovery.dropped_bytes > 150 * 16);
    assert_eq!(journaled(opened), (0..150).collect::<Vec<_>>());
    // What was dropped stays dropped, behind new records too.
    append(&world.store(), 1000..1003);
    let expect: Vec<u64> = (0..150).chain(1000..1003).collect();
    assert_eq!(journaled(world.open()), expect);
    world.lose_power();
    assert_eq!(journaled(world.open()), (0..150).collect::<Vec<_>>());
}

#[test]
fn power_loss_before_any_barrier_leaves_an_empty_store() {
    let mut world = World::new();
    append(&world.store(), 0..150);
    world.lose_power();
    assert_eq!(journaled(world.open()), Vec::<u64>::new());
    append(&world.store(), 7..9);
    assert_eq!(journaled(world.open()), vec![7, 8]);
}

#[test]
fn records_of_a_killed_process_need_a_barrier_of_the_next_one() {
    let mut world = World::new();
    append(&world.store(), 0..100);
    let store = world.store();
    store.barrier().unwrap();
    assert_eq!(store.synced_to(), store.last_lsn().min(Lsn(100)));
    drop(store);
    world.lose_power();
    assert_eq!(journaled(world.open()), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_torn_last_record_is_cut_at_every_byte() {
    for torn in 0..40 {
        let world = World::new();
        append(&world.store(), 0..3);
        let store = world.store();
        store.append(&[0xaa; 24]).unwrap();
        drop(store);
        let start = find(&world.last_segment(), &[0xaa; 24]) - 16;
        let segment = edit(&world.last_segment());
        let mut record = [0; 40];
        segment.read_exact_at(&mut record, start).unwrap();
        record[torn..].fill(0);
        segment.write_all_at(&record, start).unwrap();
        let opened = world.open();
        assert_eq!(
            opened.recovery.dropped_bytes > 0,
            torn > 0,
            "torn at {torn}"
        );
        assert_eq!(journaled(opened), [0, 1, 2], "torn at {torn}");
        append(&world.store(), 5..7);
        assert_eq!(journaled(world.open()), [0, 1, 2, 5, 6], "torn at {torn}");
    }
}

/// Fills several segments, syncs, and damages the file with record `victim`; the open must fail
/// and name the file and where the record is.
fn check_damage(close: bool, power_loss: bool, victim: u64, damage: impl Fn(&Path, u64)) {
    let mut world = World::new();
    let store = world.store();
    append(&store, 0..100);
    store.barrier().unwrap();
    append(&store, 100..200);
    store.barrier().unwrap();
    match close {
        true => store.close().unwrap(),
        false => append(&store, 200..300),
    }
    drop(store);
    let segments = world.names("journal");
    let holds = |name: &&String| {
        let bytes = std::fs::read(world.path("journal").join(name)).unwrap();
        bytes
            .windows(payload(victim).len())
            .any(|window| window == payload(victim))
    };
    let name = segments.iter().find(holds).unwrap().clone();
    let path = world.path("journal").join(&name);
    let at = find(&path, &payload(victim)) - 16;
    damage(&path, at);
    if power_loss {
        world.lose_power();
    }
    match world.try_open() {
        Err(StoreError::Damaged { file, offset, .. }) => {
            assert_eq!((file, offset), (format!("journal/{name}"), at));
        }
        Err(other) => panic!("{other}"),
        Ok(opened) => panic!("silently kept {:?}", journaled(opened)),
    }
}

#[test]
fn a_flipped_bit_in_the_middle_is_an_error_that_names_file_and_offset() {
    for victim in [1, 61, 99] {
        for byte in [0, 5, 9, 20] {
            for (close, power_loss) in [(false, false), (false, true), (true, false)] {
                check_damage(close, power_loss, victim, |path, at| flip(path, at + byte));
            }
        }
    }
    check_damage(false, false, 250, |path, at| flip(path, at + 20));
    check_damage(true, false, 199, |path, at| flip(path, at + 20));
}

#[test]
fn a_hole_in_the_middle_is_an_error_that_names_file_and_offset() {
    let hole = |path: &Path, at: u64| {
        let file = edit(path);
        let rest = file.metadata().unwrap().len() - at;
        file.write_all_at(&vec![0; rest as usize], at).unwrap();
    };
    check_damage(false, false, 61, hole);
    check_damage(false, true, 61, hole);
    check_damage(true, false, 61, hole);
}

#[test]
fn a_missing_or_damaged_segment_is_an_error() {
    let check = |damage: fn(&Path)| {
        let world = World::new();
        let store = world.store();
        append(&store, 0..300);
        store.barrier().unwrap();
        drop(store);
        let names = world.names("journal");
        for name in &names {
            let path = world.path("journal").join(name);
            let bytes = std::fs::read(&path).unwrap();
            damage(&path);
            match world.try_open() {
                Err(StoreError::Damaged { file, offset, .. }) => {
                    assert!(file.starts_with("journal/"), "{file} at {offset}");
                }
                Err(other) => panic!("{other}"),
                Ok(opened) => panic!("{name}: silently kept {:?}", journaled(opened)),
            }
            std::fs::write(&path, bytes).unwrap();
        }
        assert_eq!(journaled(world.open()).len(), 300);
    };
    check(|path| flip(path, 30));
    check(|path| flip(path, 70));
}

#[test]
fn a_segment_that_is_gone_is_an_error() {
    let world = World::new();
    append(&world.store(), 0..300);
    let mut names = world.names("journal");
    names.pop();
    for name in names {
        let (path, aside) = (world.path("journal").join(&name), world.path("aside"));
        std::fs::rename(&path, &aside).unwrap();
        match world.try_open() {
            Err(StoreError::Damaged { file, .. }) => assert_eq!(file, format!("journal/{name}")),
            Err(other) => panic!("{other}"),
            Ok(opened) => panic!("silently kept {:?}", journaled(opened)),
        }
        std::fs::rename(&aside, &path).unwrap();
    }
    assert_eq!(journaled(world.open()).len(), 300);
}

#[test]
fn a_segment_that_was_made_but_never_written_to_is_removed() {
    for len in [0, 4096] {
        for records in [0, 10] {
            let world = World::new();
            append(&world.store(), 0..records);
            let next = if records == 0 { 1 } else { 2 };
            let path = world.path(&format!("journal/{next:016x}"));
            std::fs::write(&path, vec![0; len]).unwrap();
            let opened = world.open();
            assert!(!path.exists() && opened.recovery.dropped_bytes == 0);
            append(&opened.store, records..200);
            drop(opened);
            assert_eq!(journaled(world.open()), (0..200).collect::<Vec<_>>());
        }
    }
}

#[test]
fn pages_that_power_loss_took_from_beyond_the_barrier_are_no_damage() {
    let mut world = World::new();
    let store = world.store();
    append(&store, 0..100);
    store.barrier().unwrap();
    append(&store, 100..300);
    drop(store);
    // The page with record 150 never reached the disk, later ones did.
    for name in world.names("journal") {
        let path = world.path("journal").join(name);
        let bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes
            .windows(8)
            .position(|window| window == 150u64.to_le_bytes())
        {
            edit(&path).write_all_at(&[0; 64], at as u64 - 16).unwrap();
            break;
        }
    }
    world.lose_power();
    assert_eq!(journaled(world.open()), (0..100).collect::<Vec<_>>());
}

#[test]
fn dropped_records_never_come_back_behind_new_ones_of_the_same_size() {
    let mut world = World::new();
    let store = world.store();
    store.append(&payload(1)).unwrap();
    store.barrier().unwrap();
    for n in 0..20 {
        store.append(&[n; 16]).unwrap();
    }
    drop(store);
    world.lose_power();
    drop(world.store());
    let store = world.store();
    store.append(&[0xee; 16]).unwrap();
    drop(store);
    let records: Vec<_> = world
        .open()
        .recovery
        .records
        .map(|r| r.unwrap().payload)
        .collect();
    assert_eq!(records, [payload(1), vec![0xee; 16]]);
}

#[test]
fn a_journal_longer_than_a_clean_close_says_is_an_error() {
    let world = World::new();
    let store = world.store();
    append(&store, 0..10);
    store.close().unwrap();
    drop(store);
    let closed = std::fs::read(world.path("mounted")).unwrap();
    append(&world.store(), 10..20);
    std::fs::write(world.path("mounted"), closed).unwrap();
    match world.try_open() {
        Err(StoreError::Damaged {
            damage: Damage::Stale { last },
            ..
        }) => {
            assert_eq!(
                last,
                Lsn(10 + 1 + 10),
                "10 payloads, the barrier of the close, 10 more"
            );
        }
        Err(other) => panic!("{other}"),
        Ok(opened) => panic!("silently kept {:?}", journaled(opened)),
    }
}

#[test]
fn a_recovery_that_is_cut_short_forgets_nothing_durable() {
    let mut world = World::new();
    let store = world.store();
    append(&store, 0..3);
    store.barrier().unwrap();
    append(&store, 3..5);
    drop(store);
    for calls in 0.. {
        world.lose_power();
        let mut left = calls;
        world.faults.set(move |operation, _| {
            let counts = ["write", "sync"].contains(&operation);
            left -= i32::from(counts && left >= 0);
            (left < 0).then_some(rustix::io::Errno::IO)
        });
        if world.try_open().is_ok() {
            assert!(calls > 3, "{calls} writes and syncs");
            break;
        }
    }
    world.faults.clear();
    world.lose_power();
    assert_eq!(journaled(world.open()), [0, 1, 2]);
}
