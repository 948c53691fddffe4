//! The offline check.

use super::*;
use crate::store::{Damage, Report, verify};

fn report(world: &World) -> Report {
    verify(open_dir(world.temp.path())).unwrap()
}

/// A closed store with a checkpoint, several segments, a data segment and a blob.
fn closed() -> World {
    let world = World::new();
    let store = world.store();
    append(&store, 0..300);
    store.begin_checkpoint().unwrap().finish().unwrap();
    append(&store, 300..500);
    store.seg_append(&[1; 5000], 0).unwrap();
    store.blob_write(store.blob_new(), 0, &[1; 123]).unwrap();
    store.close().unwrap();
    world
}

#[test]
fn a_sound_store_has_no_problems_and_shows_what_it_holds() {
    let world = closed();
    let report = report(&world);
    assert_eq!(report.problems, []);
    assert!(report.clean && report.dropped_bytes == 0);
    assert_eq!(report.blobs.len(), 1);
    assert_eq!(report.blobs[0].len_bytes, 123);
    assert_eq!(
        (report.segments[0].start.0, report.segments[0].len_bytes),
        (0, 5000)
    );
    assert_eq!(report.records.unwrap().map(Result::unwrap).count(), 200);
}

#[test]
fn an_open_store_is_not_checked() {
    let world = closed();
    let _store = world.store();
    let pid = Some(std::process::id());
    match verify(open_dir(world.temp.path())) {
        Err(StoreError::Locked { pid: holder }) => assert_eq!(holder, pid),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("checked a store in use"),
    }
}

#[test]
fn damage_is_listed_with_file_and_offset() {
    let check = |file: &str, offset: u64, expect: Damage| {
        let world = closed();
        flip(&world.path(file), offset);
        let problems = report(&world).problems;
        let found = problems
            .iter()
            .any(|p| p.file == file && p.damage == expect);
        assert!(found, "{file} at {offset}: {problems:?}");
    };
    check("superblock", 50, Damage::Checksum);
    check(&format!("checkpoint/{:016x}", 300), 5, Damage::Magic);
    check(
        &format!("checkpoint/{:016x}", 300),
        64 + 17,
        Damage::Checksum,
    );
    let world = closed();
    let last = world.names("journal").pop().unwrap();
    check(&format!("journal/{last}"), 70, Damage::Checksum);
    check(&format!("journal/{last}"), 30, Damage::Checksum);
}

#[test]
fn missing_and_stray_files_are_listed() {
    let world = closed();
    std::fs::write(world.path("journal/notes.txt"), b"x").unwrap();
    let problems = report(&world).problems;
    assert_eq!(problems[0].file, "journal/notes.txt");
    assert_eq!(problems[0].damage, Damage::Stray);
    std::fs::remove_file(world.path("mounted")).unwrap();
    let problems = report(&world).problems;
    assert_eq!(
        (&*problems[0].file, problems[0].damage),
        ("mounted", Damage::Absent)
    );
    assert!(matches!(
        verify(open_dir(tempfile::tempdir().unwrap().path())),
        Err(StoreError::NotAStore)
    ));
}
