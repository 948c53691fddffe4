//! Reading what a damaged store still holds.

use super::*;
use crate::store::superblock;

/// Every file of the store with its bytes, but the lock's.
fn snapshot(world: &World) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut dirs = vec![world.temp.path().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false => files.push((path.clone(), std::fs::read(path).unwrap())),
            }
        }
    }
    files.sort();
    files
}

/// Opens it for what it still holds, which must change nothing.
fn rescued(world: &mut World) -> Opened {
    let before = snapshot(world);
    (world.options.read_only, world.options.rescue) = (true, true);
    let opened = world.open();
    (world.options.read_only, world.options.rescue) = (false, false);
    assert!(before == snapshot(world), "it was changed");
    assert!(matches!(
        opened.store.append(b"more"),
        Err(StoreError::Poisoned { .. } | StoreError::ReadOnly)
    ));
    opened
}

/// 300 durable records with a damaged byte in number 61, and 100 more that are not.
fn damaged() -> (World, String) {
    let world = World::new();
    let store = world.store();
    append(&store, 0..200);
    store.barrier().unwrap();
    append(&store, 200..300);
    // It says of the first that it is done.
    store.barrier().unwrap();
    append(&store, 300..400);
    drop(store);
    let held = |name: &String| {
        let bytes = std::fs::read(world.path("journal").join(name)).unwrap();
        bytes.windows(payload(61).len()).any(|w| w == payload(61))
    };
    let name = world.names("journal").into_iter().find(held).unwrap();
    let path = world.path("journal").join(&name);
    flip(&path, find(&path, &payload(61)));
    (world, format!("journal/{name}"))
}

#[test]
fn a_rescue_lacks_the_damaged_record_only_and_names_it() {
    let (mut world, damaged_file) = damaged();
    assert!(matches!(world.try_open(), Err(StoreError::Damaged { .. })));
    let opened = rescued(&mut world);
    let rescue = opened.recovery.rescue.as_ref().unwrap();
    assert_eq!(rescue.missing_records, 1);
    assert!(rescue.damage.to_string().contains(&damaged_file));
    let cause = opened.store.poisoned().unwrap().to_string();
    assert!(cause.contains(&damaged_file), "{cause}");
    let left: Vec<u64> = (0..400).filter(|n| *n != 61).collect();
    assert_eq!(journaled(opened), left);
}

#[test]
fn a_rescue_of_a_store_that_is_sound_is_an_ordinary_open() {
    let mut world = World::new();
    append(&world.store(), 0..100);
    let opened = rescued(&mut world);
    assert!(opened.recovery.rescue.is_none() && opened.store.poisoned().is_none());
    assert_eq!(journaled(opened).len(), 100);
}

#[test]
fn a_rescue_after_power_loss_takes_nothing_that_was_not_durable() {
    let (mut world, _) = damaged();
    world.lose_power();
    let left: Vec<u64> = (0..300).filter(|n| *n != 61).collect();
    assert_eq!(journaled(rescued(&mut world)), left);
}

#[test]
fn a_rescue_takes_what_is_left_of_a_checkpoint_and_the_journal_after_it() {
    let mut world = World::new();
    let store = world.store();
    append(&store, 0..200);
    let mut writer = store.begin_checkpoint().unwrap();
    (1000..3000).for_each(|n| writer.put(&payload(n)).unwrap());
    writer.finish().unwrap();
    append(&store, 200..250);
    drop(store);
    // The next open trusts the checkpoint, so nothing older is kept.
    append(&world.store(), 250..260);
    for at in [20, 200] {
        let name = world.names("checkpoint").pop().unwrap();
        flip(&world.path("checkpoint").join(name), at);
    }
    assert!(matches!(world.try_open(), Err(StoreError::Damaged { .. })));
    let lost = rescued(&mut world).recovery.rescue.unwrap();
    assert!(lost.damage.to_string().contains("checkpoint/"));
    let state = numbers(rescued(&mut world), Source::Checkpoint);
    assert_eq!(state.len(), 1999);
    let changes = journaled(rescued(&mut world));
    assert_eq!(changes, (200..260).collect::<Vec<_>>());
}

#[test]
fn a_rescue_needs_no_superblock_and_no_state_of_use() {
    let mut world = World::new();
    let store = world.store();
    append(&store, 0..100);
    let data = store.seg_append(b"in a segment", 12).unwrap();
    drop(store);
    flip(&world.path(superblock::NAME), 50);
    flip(&world.path("mounted"), 20);
    flip(&world.path("mounted"), 4096 + 20);
    assert!(matches!(world.try_open(), Err(StoreError::Damaged { .. })));
    let opened = rescued(&mut world);
    let mut bytes = [0; 12];
    opened.store.seg_read(data, &mut bytes).unwrap();
    assert_eq!(&bytes, b"in a segment");
    assert_eq!(journaled(opened), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_store_of_a_newer_version_is_not_rescued() {
    let mut world = World::new();
    append(&world.store(), 0..10);
    edit(&world.path(superblock::NAME))
        .write_all_at(&99_u32.to_le_bytes(), 8)
        .unwrap();
    (world.options.read_only, world.options.rescue) = (true, true);
    assert!(matches!(
        world.try_open(),
        Err(StoreError::NewerStore { version: 99, .. })
    ));
}
