//! Every kind of event, and how they combine: what a path meant at an old version.

use super::*;

/// After the plan, each `(path, content)` must read so at the version before; `""`: absent.
fn check(
    files: &[(&str, &str)],
    make: impl FnOnce(&World, &mut Staging) -> Vec<Step>,
    after: &[(&str, &str)],
) {
    let mut world = World::new(files);
    let before = world.see(0);
    world.publish(true, make);
    let expect = |content: &str| (!content.is_empty()).then(|| content.as_bytes().to_vec());
    for (path, content) in after {
        assert_eq!(
            world.content(1, path.as_bytes()),
            expect(content),
            "{path} now"
        );
    }
    assert_eq!(world.see(0), before);
    world.reopen();
    assert_eq!(world.see(0), before, "after a restart");
    let now = world.see(1);
    world.base.trim(None);
    while world.base.purge(1).unwrap() {}
    assert_eq!(world.see(1), now, "after the old version is gone");
    let left = std::fs::read_dir(world.dir.path().join("old"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "everything old is deleted");
}

#[test]
fn a_new_file_is_absent_before() {
    check(
        &[("a", "1")],
        |_, s| vec![place(s, 1, "b", "2")],
        &[("a", "1"), ("b", "2")],
    );
}

#[test]
fn a_replaced_file_is_the_old_one_before() {
    check(
        &[("d/a", "1")],
        |w, s| vec![exchange(w, s, 1, "d/a", "2")],
        &[("d/a", "2")],
    );
}

#[test]
fn a_removed_tree_is_whole_before() {
    let files = [("d/e/f", "1"), ("d/g", "2"), ("h", "3")];
    check(
        &files,
        |w, _| vec![evict(w, "d", 1)],
        &[("d/e/f", ""), ("d/g", ""), ("h", "3")],
    );
}

#[test]
fn a_renamed_directory_is_at_its_old_name_before() {
    let files = [("d/e/f", "1"), ("x/", "")];
    check(
        &files,
        |w, _| vec![rename(w, "d", "x/y")],
        &[("d/e/f", ""), ("x/y/e/f", "1")],
    );
}

#[test]
fn a_swap_by_parking() {
    let swap = |w: &World, _: &mut Staging| {
        let (a, b) = (w.ino(b"a"), w.ino(b"b"));
        vec![
            Step::Park {
                path: b"a".into(),
                ino: a,
                slot: 1,
            },
            Step::Move {
                from: b"b".into(),
                to: b"a".into(),
                ino: b,
                shown: None,
            },
            Step::Unpark {
                slot: 1,
                path: b"b".into(),
                ino: a,
                shown: None,
            },
        ]
    };
    check(
        &[("a/x", "1"), ("b/y", "2")],
        swap,
        &[("a/y", "2"), ("b/x", "1"), ("a/x", "")],
    );
}

#[test]
fn a_chain_of_renames() {
    let files = [("a", "1"), ("b", "2"), ("c", "3")];
    let chain = |w: &World, _: &mut Staging| {
        vec![evict(w, "c", 1), rename(w, "b", "c"), rename(w, "a", "b")]
    };
    check(&files, chain, &[("a", ""), ("b", "1"), ("c", "2")]);
}

#[test]
fn a_file_saved_from_a_removed_directory() {
    let files = [("d/keep", "1"), ("d/lose", "2"), ("e/", "")];
    let save = |w: &World, _: &mut Staging| vec![rename(w, "d/keep", "e/k"), evict(w, "d", 1)];
    check(
        &files,
        save,
        &[("e/k", "1"), ("d/lose", ""), ("d/keep", "")],
    );
}

#[test]
fn a_file_moved_into_a_new_directory_at_the_place_of_a_removed_one() {
    let files = [("d/x", "1"), ("f", "2")];
    let into = |w: &World, s: &mut Staging| {
        let dir = s
            .dir(
                Slot {
                    number: 1,
                    replaces: false,
                    path: b"d",
                },
                &attrs(0o755),
            )
            .unwrap();
        vec![
            evict(w, "d", 1),
            Step::Place {
                slot: 1,
                ino: dir.0,
                path: b"d".into(),
                shown: None,
            },
            rename(w, "f", "d/x"),
            place(s, 2, "d/y", "3"),
        ]
    };
    check(&files, into, &[("d/x", "2"), ("d/y", "3"), ("f", "")]);
}

#[test]
fn a_directory_replaced_by_a_file_and_back() {
    let mut world = World::new(&[("d/x", "1")]);
    let zero = world.see(0);
    world.publish(true, |w, s| vec![exchange(w, s, 1, "d", "file")]);
    let one = world.see(1);
    world.publish(true, |w, s| {
        let dir = s
            .dir(
                Slot {
                    number: 1,
                    replaces: true,
                    path: b"d",
                },
                &attrs(0o700),
            )
            .unwrap();
        let (path, ino_old) = (b"d".to_vec(), w.ino(b"d"));
        let ino_new = dir.0;
        vec![
            Step::Exchange {
                ino_new,
                path,
                ino_old,
                keep: 1,
                shown: None,
            },
            place(s, 2, "d/x", "2"),
        ]
    });
    assert_eq!(world.content(2, b"d/x"), Some(b"2".to_vec()));
    assert_eq!(world.content(1, b"d/x"), None);
    assert_eq!((world.see(0), world.see(1)), (zero, one));
}

#[test]
fn moves_nest_across_versions() {
    let mut world = World::new(&[("a/b/c", "1"), ("z/", "")]);
    let mut seen = vec![world.see(0)];
    let moves = [
        ("a/b", "z/b"),
        ("z", "y"),
        ("y/b/c", "c"),
        ("y", "a/y"),
        ("c", "a/y/b/c"),
    ];
    for (from, to) in moves {
        world.publish(true, |w, _| vec![rename(w, from, to)]);
        seen.push(world.see(world.base.version()));
    }
    for (version, seen) in seen.iter().enumerate() {
        assert_eq!(&world.see(version as Version), seen, "version {version}");
    }
    world.base.trim(Some(3));
    assert!(world.base.events().iter().all(|record| record.version > 3));
    for version in 3..=5 {
        assert_eq!(
            &world.see(version),
            &seen[version as usize],
            "version {version}"
        );
    }
}

#[test]
fn attributes_changed_in_place_are_the_old_ones_before() {
    let mut world = World::new(&[("d/a", "1")]);
    let path = world.root().join("d");
    rustix::fs::setxattr(
        &path,
        "user.old",
        b"before",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let before = world.see(0);
    world.publish(true, |w, _| {
        let set = AttrSet {
            uid: 12,
            set: vec![(b"user.new".to_vec(), b"now".to_vec())],
            removed: vec![b"user.old".to_vec()],
            ..attrs(0o1711)
        };
        let file = AttrSet {
            gid: 34,
            ..attrs(0o4755)
        };
        let (dir_ino, file_ino) = (w.ino(b"d"), w.ino(b"d/a"));
        vec![
            Step::SetAttr {
                path: b"d".into(),
                ino: dir_ino,
                set,
                shown: None,
            },
            Step::SetAttr {
                path: b"d/a".into(),
                ino: file_ino,
                set: file,
                shown: None,
            },
        ]
    });
    assert_eq!(world.see(0), before);
    let dir = world.see(1)[&b"d"[..]].clone();
    assert_eq!((dir.found.attr.mode, dir.found.attr.uid), (0o1711, 12));
    assert_eq!(dir.xattrs, [(b"user.new".to_vec(), b"now".to_vec())]);
    assert_eq!(dir.found.attr.mtime, attrs(0).mtime);
    assert_eq!(world.see(1)[&b"d/a"[..]].found.attr.mode, 0o4755);
}

#[test]
fn nothing_is_kept_where_nobody_is_pinned() {
    let mut world = World::new(&[("d/e/a", "1"), ("b", "2")]);
    let applied = world.publish(false, |w, s| {
        vec![evict(w, "d", 1), exchange(w, s, 2, "b", "3")]
    });
    assert_eq!((applied.version, applied.events.len()), (1, 0));
    assert!(world.base.events().is_empty());
    assert_eq!(world.names(1, b""), ["b"]);
    while world.base.purge(1).unwrap() {}
    assert_eq!(
        std::fs::read_dir(world.dir.path().join("old"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn listings_come_in_hash_order_at_every_version() {
    let files: Vec<(String, &str)> = (0..200).map(|i| (format!("d/{i}"), "x")).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, x)| (path.as_str(), *x)).collect();
    let mut world = World::new(&files);
    world.publish(true, |w, s| {
        vec![
            evict(w, "d/7", 1),
            rename(w, "d/8", "d/new"),
            place(s, 2, "d/more", "x"),
        ]
    });
    for at in [0, 1] {
        let listing = world.base.list(at, b"d").unwrap();
        let keys: Vec<_> = listing
            .iter()
            .map(|name| (name.hash, name.name.to_vec()))
            .collect();
        assert!(keys.is_sorted());
        assert_eq!(keys.len(), 200);
        let hash = |name: &[u8]| crate::tree::name_hash(&[9; 16], name);
        assert!(keys.iter().all(|(key, name)| *key == hash(name)));
    }
}
