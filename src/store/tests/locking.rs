//! Who may open a store, and as what.

use super::*;

#[test]
fn a_store_is_made_once_and_keeps_its_identity() {
    let world = World::new();
    let opened = world.open();
    assert!(opened.created && opened.recovery.clean);
    let (uuid, key) = (opened.store.uuid(), opened.store.hash_key());
    drop(opened);
    let opened = world.open();
    assert!(!opened.created);
    assert_eq!((opened.store.uuid(), opened.store.hash_key()), (uuid, key));
    assert_eq!(std::fs::read(world.path(".gitignore")).unwrap(), b"*\n");
    assert!(world.path("old").is_dir() && world.path("stage").is_dir());
}

#[test]
fn a_second_open_is_refused_with_the_pid_of_the_first() {
    let world = World::new();
    let first = world.store();
    let pid = Some(std::process::id());
    for read_only in [false, true] {
        let options = StoreOptions {
            read_only,
            ..world.options.clone()
        };
        match Store::open(open_dir(world.temp.path()), &options) {
            Err(StoreError::Locked { pid: holder }) => assert_eq!(holder, pid),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("opened twice"),
        }
    }
    drop(first);
    world.store();
}

#[test]
fn readers_share_a_store_and_change_nothing() {
    let mut world = World::new();
    append(&world.store(), 0..10);
    world.options.read_only = true;
    world.lose_power();
    let before = std::fs::read(world.path("mounted")).unwrap();
    let (first, second) = (world.open(), world.open());
    assert!(matches!(
        first.store.append(b"x"),
        Err(StoreError::ReadOnly)
    ));
    assert!(matches!(
        first.store.seg_append(b"x", 0),
        Err(StoreError::ReadOnly)
    ));
    assert!(matches!(first.store.barrier(), Err(StoreError::ReadOnly)));
    assert_eq!(journaled(second), Vec::<u64>::new());
    drop(first);
    assert_eq!(std::fs::read(world.path("mounted")).unwrap(), before);
}

#[test]
fn a_reader_makes_no_store() {
    let mut world = World::new();
    world.options.read_only = true;
    assert!(matches!(world.try_open(), Err(StoreError::NotAStore)));
    assert!(world.names("").is_empty());
}

#[test]
fn a_store_that_lost_its_superblock_is_not_made_anew() {
    let world = World::new();
    append(&world.store(), 0..1);
    std::fs::remove_file(world.path("superblock")).unwrap();
    match world.try_open() {
        Err(StoreError::Missing { file }) => assert_eq!(file, "superblock"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("made a new store over an old one"),
    }
}

#[test]
fn an_interrupted_creation_is_begun_anew() {
    let world = World::new();
    std::fs::create_dir(world.path("journal")).unwrap();
    std::fs::write(world.path("superblock.new"), b"half").unwrap();
    assert!(world.open().created);
}

#[test]
fn a_symlink_in_the_store_is_not_followed() {
    let world = World::new();
    let elsewhere = tempfile::tempdir().unwrap();
    drop(world.store());
    std::fs::remove_dir(world.path("seg")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), world.path("seg")).unwrap();
    assert!(matches!(world.try_open(), Err(StoreError::Io { .. })));
}
