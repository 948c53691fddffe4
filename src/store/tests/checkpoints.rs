//! Checkpoints: replay from them, falling back from a damaged one, removing what they replace.

use super::*;
use crate::store::Lsn;

/// Writes a checkpoint with these payloads.
fn checkpoint(store: &Store, numbers: std::ops::Range<u64>) {
    let mut writer = store.begin_checkpoint().unwrap();
    for n in numbers {
        writer.put(&payload(n)).unwrap();
    }
    writer.finish().unwrap();
}

/// Opens and compares what is replayed from checkpoint and journal.
fn check(world: &World, state: std::ops::Range<u64>, journal: std::ops::Range<u64>) {
    assert_eq!(
        numbers(world.open(), Source::Checkpoint),
        state.collect::<Vec<_>>()
    );
    assert_eq!(
        numbers(world.open(), Source::Journal),
        journal.collect::<Vec<_>>()
    );
}

#[test]
fn replay_starts_at_the_checkpoint() {
    let mut world = World::new();
    let store = world.store();
    append(&store, 0..200);
    let before = store.journal_bytes_since_checkpoint();
    checkpoint(&store, 1000..3000);
    append(&store, 200..250);
    assert!(store.journal_bytes_since_checkpoint() < before);
    let since = store.journal_bytes_since_checkpoint();
    drop(store);
    check(&world, 1000..3000, 200..250);
    assert_eq!(world.store().journal_bytes_since_checkpoint(), since);
    world.lose_power();
    check(&world, 1000..3000, 200..200);
}

#[test]
fn appends_go_on_while_a_checkpoint_is_written() {
    let world = World::new();
    let store = world.store();
    append(&store, 0..50);
    let mut writer = store.begin_checkpoint().unwrap();
    assert_eq!(writer.lsn(), Lsn(50));
    append(&store, 50..150);
    writer.put(&payload(7)).unwrap();
    assert!(matches!(
        store.begin_checkpoint(),
        Err(StoreError::CheckpointRunning)
    ));
    writer.finish().unwrap();
    drop(store);
    check(&world, 7..8, 50..150);
}

#[test]
fn a_checkpoint_that_is_given_up_changes_nothing() {
    let world = World::new();
    let store = world.store();
    append(&store, 0..50);
    let mut writer = store.begin_checkpoint().unwrap();
    writer.put(&payload(7)).unwrap();
    drop(writer);
    assert!(world.names("checkpoint").is_empty());
    checkpoint(&store, 8..9);
    drop(store);
    check(&world, 8..9, 50..50);
}

#[test]
fn an_empty_store_and_an_unchanged_one_can_be_checkpointed() {
    let world = World::new();
    let store = world.store();
    checkpoint(&store, 0..0);
    checkpoint(&store, 0..5);
    drop(store);
    check(&world, 0..5, 0..0);
    let store = world.store();
    append(&store, 10..20);
    checkpoint(&store, 0..6);
    checkpoint(&store, 0..7);
    drop(store);
    check(&world, 0..7, 0..0);
}

#[test]
fn segments_below_the_checkpoint_before_the_last_are_removed() {
    let world = World::new();
    let store = world.store();
    append(&store, 0..300);
    checkpoint(&store, 0..1);
    let all = world.names("journal");
    assert!(
        all.len() > 3 && all[0] == format!("{:016x}", 1),
        "the first one removes nothing"
    );
    append(&store, 300..600);
    checkpoint(&store, 0..2);
    let left = world.names("journal");
    assert_eq!(
        left[0],
        *all.last().unwrap(),
        "the checkpoint before still has its journal"
    );
    assert_eq!(world.names("checkpoint").len(), 2);
    drop(store);
    check(&world, 0..2, 600..600);
    assert_eq!(
        world.names("checkpoint").len(),
        1,
        "the newest was read whole"
    );
    assert_eq!(world.names("journal").len(), 1);
}

#[test]
fn a_damaged_newest_checkpoint_falls_back_to_the_one_before() {
    let newest_at = |offset: fn(u64) -> u64| {
        let world = World::new();
        let store = world.store();
        append(&store, 0..300);
        checkpoint(&store, 1000..1500);
        append(&store, 300..600);
        checkpoint(&store, 2000..2500);
        append(&store, 600..610);
        drop(store);
        let newest = world
            .path("checkpoint")
            .join(world.names("checkpoint").pop().unwrap());
        flip(&newest, offset(newest.metadata().unwrap().len()));
        let opened = world.open();
        assert_eq!(opened.recovery.damaged_checkpoints.len(), 1);
        drop(opened);
        check(&world, 1000..1500, 300..610);
        world
    };
    newest_at(|_| 3);
    newest_at(|_| 50);
    newest_at(|len| len / 2);
    let world = newest_at(|len| len - 8);
    // A later checkpoint takes the place of the damaged one.
    let store = world.store();
    checkpoint(&store, 3000..3001);
    assert_eq!(world.names("checkpoint").len(), 2);
    drop(store);
    check(&world, 3000..3001, 0..0);
}

#[test]
fn a_damaged_only_checkpoint_falls_back_to_the_whole_journal_or_is_an_error() {
    let world = World::new();
    let store = world.store();
    append(&store, 0..300);
    checkpoint(&store, 1000..1500);
    drop(store);
    let only = world
        .path("checkpoint")
        .join(world.names("checkpoint").pop().unwrap());
    flip(&only, 200);
    check(&world, 0..0, 0..300);
    flip(&only, 200);
    // This open verifies the checkpoint, so the journal before it goes.
    drop(world.store());
    flip(&only, 200);
    match world.try_open() {
        Err(StoreError::Damaged { file, offset, .. }) => {
            assert_eq!(world.path(&file), only);
            assert!((64..=200).contains(&offset), "{offset}");
        }
        Err(other) => panic!("{other}"),
        Ok(opened) => panic!("silently kept {:?}", journaled(opened)),
    }
}

#[test]
fn a_truncated_checkpoint_is_damaged() {
    let world = World::new();
    let store = world.store();
    append(&store, 0..300);
    checkpoint(&store, 1000..1500);
    drop(store);
    let only = world
        .path("checkpoint")
        .join(world.names("checkpoint").pop().unwrap());
    let len = only.metadata().unwrap().len();
    for cut in [0, 63, 64, 100, len / 2 / 8 * 8, len - 32, len - 8] {
        let copy = std::fs::read(&only).unwrap();
        edit(&only).set_len(cut).unwrap();
        let opened = StoreOptions {
            read_only: true,
            ..world.options.clone()
        };
        let opened = Store::open(open_dir(world.temp.path()), &opened).unwrap();
        assert_eq!(opened.recovery.damaged_checkpoints.len(), 1, "cut at {cut}");
        drop(opened);
        std::fs::write(&only, copy).unwrap();
    }
}

#[test]
fn the_journal_segment_that_a_checkpoint_continues_in_must_be_there() {
    let world = World::new();
    let store = world.store();
    let mounted = std::fs::read(world.path("mounted")).unwrap();
    append(&store, 0..300);
    checkpoint(&store, 1000..1500);
    drop(store);
    // As after a kill: nothing else says that there was a record behind the checkpoint.
    std::fs::write(world.path("mounted"), mounted).unwrap();
    let segment = world.last_segment();
    let whole = std::fs::read(&segment).unwrap();
    let refused = |case: &str| match world.try_open() {
        Err(StoreError::Damaged { file, .. }) => {
            assert!(file.starts_with("journal/"), "{case}: {file}")
        }
        Err(other) => panic!("{case}: {other}"),
        Ok(_) => panic!("{case}: opened without it"),
    };
    for len in [64, 256] {
        let mut short = whole[..len].to_vec();
        std::fs::write(&segment, &short).unwrap();
        refused(&format!("cut off after {len} bytes"));
        // A header that says so, too.
        short[40..48].copy_from_slice(&(len as u64).to_le_bytes());
        let sum = crc32fast::hash(&short[..60]);
        short[60..64].copy_from_slice(&sum.to_le_bytes());
        std::fs::write(&segment, &short).unwrap();
        refused(&format!("of {len} bytes"));
    }
    std::fs::remove_file(&segment).unwrap();
    refused("removed");
}

/// The padding of a last whole frame was read although the file ends before it.
#[test]
fn a_checkpoint_that_was_cut_at_any_byte_is_done_without() {
    let world = World::new();
    let store = world.store();
    append(&store, 0..4);
    checkpoint(&store, 0..4);
    drop(store);
    let name = format!("checkpoint/{}", world.names("checkpoint")[0]);
    let bytes = std::fs::read(world.path(&name)).unwrap();
    for len in 0..bytes.len() {
        std::fs::write(world.path(&name), &bytes[..len]).unwrap();
        let opened = world.open();
        assert_eq!(opened.recovery.damaged_checkpoints.len(), 1, "cut at {len}");
        assert_eq!(journaled(opened), [0, 1, 2, 3], "cut at {len}");
    }
}
