//! Ids, ctimes, hard links and stamps across publishes, and changes behind the mount.

use std::os::unix::fs::PermissionsExt;

use super::*;

const SHOWN: Time = Time {
    sec: 1_234_567,
    nsec: 89,
};

fn shown(fid: FileId) -> Option<Shown> {
    Some(Shown { fid, ctime: SHOWN })
}

fn conflicts(world: &World, steps: Vec<Step>, expect: &[Expect]) -> Vec<(Vec<u8>, &'static str)> {
    let plan = Plan {
        id: 99,
        keep_old: true,
        steps,
    };
    let name = |what: &What| match what {
        What::Changed => "changed",
        What::Missing => "missing",
        What::Exists => "exists",
        What::NotDir => "not a directory",
        What::HoldsStore => "holds the store",
        What::Unreadable(_) => "unreadable",
    };
    let conflicts = world.base.check(&plan, expect).err().unwrap_or_default();
    conflicts
        .into_iter()
        .map(|conflict| (conflict.path, name(&conflict.what)))
        .collect()
}

#[test]
fn a_published_file_keeps_its_id_and_ctime_until_somebody_touches_it() {
    let mut world = World::new(&[("a", "1")]);
    let old = world.found(0, b"a").unwrap();
    let applied = world.publish(true, |w, s| {
        let Step::Exchange {
            ino_new,
            path,
            ino_old,
            keep,
            ..
        } = exchange(w, s, 1, "a", "2")
        else {
            unreachable!()
        };
        let shown = shown(old.fid);
        vec![Step::Exchange {
            ino_new,
            path,
            ino_old,
            keep,
            shown,
        }]
    });
    assert_eq!(applied.ids.len(), 1);
    for _ in 0..2 {
        let new = world.found(1, b"a").unwrap();
        assert_eq!((new.fid, new.attr.ctime), (old.fid, SHOWN));
        assert_ne!(new.ident, old.ident);
        assert_eq!(world.base.list(1, b"").unwrap().get(0).fid, old.fid);
        let then = world.found(0, b"a").unwrap();
        assert_eq!(
            (then.fid, then.ident, then.stamp),
            (old.fid, old.ident, old.stamp)
        );
        world.reopen();
    }
    let path = world.root().join("a");
    let readonly = std::fs::Permissions::from_mode(0o400);
    std::fs::set_permissions(path, readonly).unwrap();
    assert!(world.found(1, b"a").unwrap().attr.ctime.sec > SHOWN.sec);
}

#[test]
fn other_names_of_a_replaced_file_do_not_change() {
    for keep_old in [true, false] {
        let mut world = World::new(&[("f", "1")]);
        std::fs::hard_link(world.root().join("f"), world.root().join("g")).unwrap();
        let before = world.found(0, b"g").unwrap();
        assert_eq!(before.attr.nlink, 2);
        world.publish(keep_old, |w, s| vec![exchange(w, s, 1, "f", "2")]);
        let check = |world: &World, when: &str| {
            let after = world.found(1, b"g").unwrap();
            assert_eq!(
                (after.stamp, after.fid),
                (before.stamp, before.fid),
                "{when}"
            );
            assert_eq!(
                after.attr,
                Attr {
                    nlink: 1,
                    ..before.attr
                },
                "{when}"
            );
            assert_eq!(world.content(1, b"g").unwrap(), b"1", "{when}");
        };
        check(&world, "published");
        if keep_old {
            assert_eq!(world.found(0, b"g"), Some(before));
            assert_eq!(world.found(0, b"f"), Some(before));
        }
        world.reopen();
        check(&world, "restarted");
        world.base.trim(None);
        check(&world, "trimmed");
        while world.base.purge(1).unwrap() {}
        check(&world, "purged");
        world.reopen();
        world.base.sweep().unwrap();
        check(&world, "purged and restarted");
    }
}

#[test]
fn a_kept_name_found_by_a_sweep_does_not_count_as_a_link() {
    let mut world = World::new(&[("f", "1")]);
    std::fs::hard_link(world.root().join("f"), world.root().join("g")).unwrap();
    world.publish(true, |w, _| vec![evict(w, "f", 1)]);
    world.base.trim(None);
    world.reopen();
    world.base.sweep().unwrap();
    assert_eq!(world.found(1, b"g").unwrap().attr.nlink, 1);
    assert!(!world.base.purge(10).unwrap());
    assert_eq!(world.found(1, b"g").unwrap().attr.nlink, 1);
    assert_eq!(
        std::fs::read_dir(world.dir.path().join("old"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_new_link_leaves_the_file_as_it_is() {
    let mut world = World::new(&[("f", "1"), ("d/", "")]);
    let before = world.found(0, b"f").unwrap();
    world.publish(true, |w, _| {
        let ino = w.ino(b"f");
        vec![Step::Link {
            from: b"f".into(),
            to: b"d/g".into(),
            ino,
            shown: None,
        }]
    });
    let (f, g) = (
        world.found(1, b"f").unwrap(),
        world.found(1, b"d/g").unwrap(),
    );
    assert_eq!(f, g);
    assert_eq!(
        (f.fid, f.stamp, f.attr.nlink),
        (before.fid, before.stamp, 2)
    );
    assert_eq!(world.found(0, b"f"), Some(before));
    assert!(world.found(0, b"d/g").is_none());
}

#[test]
fn ids_are_the_same_for_lookups_and_listings() {
    let mut world = World::new(&[("a", "1"), ("b", "2")]);
    let a = world.found(0, b"a").unwrap();
    assert_eq!(u64::from(a.fid.0), a.ident.ino);
    assert_eq!(world.found(0, b"").unwrap().fid, FileId::ROOT);
    world.base.list(0, b"").unwrap();
    let distinct = world.base.distinct_fid(a.ident).unwrap();
    assert!(distinct.0 >= FileId::FIRST_NEW);
    assert_eq!(world.new_ids.lock().last().unwrap().fid, distinct);
    world.see(0);
    assert_eq!(world.found(0, b"a").unwrap().fid, distinct);
    world.reopen();
    assert_eq!(world.found(0, b"a").unwrap().fid, distinct);
    assert_ne!(world.base.alloc_fid().unwrap(), distinct);
    // An exception of some other inode owns the number of b.
    let b = world.found(0, b"b").unwrap();
    let entry = IdEntry {
        ino: 1 << 40,
        btime: None,
        fid: b.fid,
        ctime: None,
        since: 0,
    };
    world.base.restore_id(entry);
    world.reopen();
    assert!(world.found(0, b"b").unwrap().fid.0 >= FileId::FIRST_NEW);
    world.see(0);
}

#[test]
fn changes_behind_the_mount_are_conflicts_and_nothing_is_touched() {
    let mut world = World::new(&[("a", "1"), ("b", "2"), ("d/x", "3"), ("e/y", "4")]);
    world.exclusive = false;
    world.reopen();
    let stamp = |path: &[u8]| Want::Stamp(world.found(0, path).unwrap().stamp);
    let expect: Vec<Expect> = [&b"a"[..], b"b", b"d", b"d/x"]
        .map(|path| Expect {
            path: path.into(),
            want: stamp(path),
        })
        .into();
    let names = Want::Tree(world.base.tree_stamp(0, b"e").unwrap());
    let names = Expect {
        path: b"e".into(),
        want: names,
    };
    let expect = [expect, vec![names]].concat();
    let ino = |path| world.ino(path);
    let steps = vec![
        Step::Evict {
            path: b"b".into(),
            ino: ino(b"b"),
            keep: 1,
        },
        Step::Move {
            from: b"a".into(),
            to: b"n".into(),
            ino: ino(b"a"),
            shown: None,
        },
        Step::Evict {
            path: b"e".into(),
            ino: ino(b"e"),
            keep: 2,
        },
    ];
    assert_eq!(conflicts(&world, steps.clone(), &expect), []);
    let root = world.root();
    std::fs::write(root.join("a"), "changed").unwrap();
    std::fs::remove_file(root.join("b")).unwrap();
    std::fs::write(root.join("d/new"), "in a directory").unwrap();
    std::fs::write(root.join("e/new"), "in one that goes").unwrap();
    std::fs::write(root.join("n"), "in the way").unwrap();
    let found = conflicts(&world, steps, &expect);
    let expected = [
        (b"a".to_vec(), "changed"),
        (b"b".to_vec(), "missing"),
        (b"e".to_vec(), "changed"),
        (b"n".to_vec(), "exists"),
    ];
    assert_eq!(found, expected);
    assert_eq!(
        std::fs::read_to_string(root.join("e/new")).unwrap(),
        "in one that goes"
    );
}

#[test]
fn a_plan_that_cannot_work_is_refused_before_it_starts() {
    let world = World::new(&[("a", "1"), ("d/x", "2")]);
    let (a, d) = (world.ino(b"a"), world.ino(b"d"));
    let evict = |ino| Step::Evict {
        path: b"a".into(),
        ino,
        keep: 1,
    };
    let place = |path: &[u8]| Step::Place {
        slot: 1,
        ino: 5,
        path: path.into(),
        shown: None,
    };
    assert_eq!(
        conflicts(&world, vec![evict(a + 1)], &[]),
        [(b"a".to_vec(), "changed")]
    );
    assert_eq!(
        conflicts(&world, vec![evict(a), evict(a)], &[]),
        [(b"a".to_vec(), "missing")]
    );
    assert_eq!(
        conflicts(&world, vec![place(b"d/x")], &[]),
        [(b"d/x".to_vec(), "exists")]
    );
    assert_eq!(
        conflicts(&world, vec![place(b"a/x")], &[]),
        [(b"a".to_vec(), "not a directory")]
    );
    assert_eq!(
        conflicts(&world, vec![place(b"no/x")], &[]),
        [(b"no".to_vec(), "missing")]
    );
    assert_eq!(conflicts(&world, vec![place(b"../x")], &[]).len(), 2);
    let gone = Step::Evict {
        path: b"d".into(),
        ino: d,
        keep: 1,
    };
    let into = conflicts(&world, vec![gone, place(b"d/y")], &[]);
    assert_eq!(into, [(b"d".to_vec(), "missing")]);
    assert_eq!(conflicts(&world, vec![evict(a), place(b"a")], &[]), []);
}

#[test]
fn what_changes_between_seal_and_apply_is_not_overwritten() {
    let mut world = World::new(&[("a", "1")]);
    world.exclusive = false;
    world.reopen();
    let sealed = world.seal(true, |w, s| vec![exchange(w, s, 1, "a", "2")]);
    std::fs::write(world.root().join("a"), "saved by an editor").unwrap();
    let error = world.base.apply(&sealed, |_| ()).unwrap_err();
    assert!(
        matches!(&error, BaseError::Changed { path } if path == b"a"),
        "{error}"
    );
    world.base.discard(1).unwrap();
    assert_eq!(world.content(0, b"a").unwrap(), b"saved by an editor");
}

#[test]
fn a_shared_base_is_looked_at_again() {
    let mut world = World::new(&[("d/a", "1")]);
    world.exclusive = false;
    world.reopen();
    assert_eq!(world.names(0, b"d"), ["a"]);
    std::fs::write(world.root().join("d/b"), "2").unwrap();
    assert_eq!(world.names(0, b"d"), ["a", "b"]);
    let before = world.found(0, b"d/a").unwrap();
    std::fs::write(world.root().join("d/a"), "longer").unwrap();
    let after = world.found(0, b"d/a").unwrap();
    assert_eq!((before.ident, after.attr.size), (after.ident, 6));
    assert_ne!(before.stamp, after.stamp);
}

#[test]
fn a_blob_becomes_the_file() {
    let mut world = World::new(&[("a", "1")]);
    let blobs = world.dir.path().join("blobs");
    std::fs::create_dir(&blobs).unwrap();
    std::fs::write(blobs.join("17"), "blob").unwrap();
    let blobs = std::fs::File::open(blobs).unwrap();
    world.publish(true, |w, s| {
        let set = AttrSet {
            uid: 5,
            gid: 6,
            set: vec![(b"user.x".to_vec(), b"y".to_vec())],
            ..attrs(0o4711)
        };
        let slot = Slot {
            number: 1,
            replaces: true,
            path: b"a",
        };
        let ino = s
            .linked(slot, std::os::fd::AsFd::as_fd(&blobs), b"17", &set)
            .unwrap()
            .0;
        let (path, ino_old) = (b"a".to_vec(), w.ino(b"a"));
        vec![Step::Exchange {
            ino_new: ino,
            path,
            ino_old,
            keep: 1,
            shown: None,
        }]
    });
    let attr = world.found(1, b"a").unwrap().attr;
    assert_eq!((attr.mode, attr.uid, attr.gid), (0o4711, 5, 6));
    assert_eq!(attr.mtime, attrs(0).mtime);
    assert_eq!(world.content(1, b"a").unwrap(), b"blob");
    assert_eq!(
        world.base.get_xattr(1, b"a", b"user.x").unwrap().unwrap(),
        b"y"
    );
    assert_eq!(world.base.get_xattr(0, b"a", b"user.x").unwrap(), None);
    assert_eq!(world.content(0, b"a").unwrap(), b"1");
}

/// Runs as an ordinary user, as far as the filesystem can tell.
fn as_user<T: Send>(world: &World, work: impl FnOnce() -> T + Send) -> T {
    let user = nix::unistd::Uid::from_raw(1234);
    for entry in ["base", "old", "stage"] {
        let chown = |path: &std::path::Path| nix::unistd::chown(path, Some(user), None).unwrap();
        let path = world.dir.path().join(entry);
        chown(&path);
        std::fs::read_dir(path)
            .unwrap()
            .for_each(|entry| chown(&entry.unwrap().path()));
    }
    // The filesystem uid is one of the thread, and the thread ends.
    let run = || {
        nix::unistd::setfsuid(user);
        work()
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

#[test]
fn without_root_what_is_not_allowed_fails_while_staging() {
    let world = World::new(&[]);
    as_user(&world, || {
        let s = world.base.stage_begin(1).unwrap();
        let denied = |result: Result<StagedIno, BaseError>, path: &[u8]| {
            let BaseError::Io {
                path: about,
                source,
                ..
            } = result.unwrap_err()
            else {
                panic!()
            };
            assert_eq!(
                (about.as_slice(), source.raw_os_error()),
                (path, Some(libc::EPERM))
            );
        };
        let own = AttrSet {
            uid: 1234,
            ..attrs(0o600)
        };
        let dev = s.special(
            Slot {
                number: 1,
                replaces: false,
                path: b"dev",
            },
            &own,
            Kind::Char,
            0x101,
        );
        denied(dev, b"dev");
        let foreign = s.dir(
            Slot {
                number: 2,
                replaces: false,
                path: b"theirs",
            },
            &attrs(0o700),
        );
        denied(foreign, b"theirs");
        s.dir(
            Slot {
                number: 3,
                replaces: false,
                path: b"mine",
            },
            &own,
        )
        .unwrap();
    });
}

#[test]
fn without_root_read_only_directories_are_published_into_and_deleted() {
    let world = World::new(&[("ro/", ""), ("dir/", ""), ("gone/inner/", "")]);
    for path in ["ro", "dir", "gone/inner", "gone"] {
        let mode = std::fs::Permissions::from_mode(0o555);
        std::fs::set_permissions(world.root().join(path), mode).unwrap();
        let user = Some(1234.into());
        nix::unistd::chown(&world.root().join(path), user, None).unwrap();
    }
    let sealed = seal_as_user(&world);
    as_user(&world, || {
        world.base.apply(&sealed, |_| ()).unwrap();
        assert!(world.found(1, b"ro/dir/new").is_some());
        for path in [&b"ro"[..], b"ro/dir"] {
            assert_eq!(world.found(1, path).unwrap().attr.mode, 0o555);
        }
        assert_eq!(world.found(0, b"gone").unwrap().attr.mode, 0o555);
        world.base.finish(&sealed).unwrap();
        world.base.trim(None);
        while world.base.purge(1).unwrap() {}
    });
    assert_eq!(world.content(1, b"ro/dir/new").unwrap(), b"new");
    assert_eq!(
        std::fs::read_dir(world.dir.path().join("old"))
            .unwrap()
            .count(),
        0
    );
}

fn seal_as_user(world: &World) -> Sealed {
    let (ino, gone) = (world.ino(b"dir"), world.ino(b"gone"));
    as_user(world, || {
        let s = world.base.stage_begin(1).unwrap();
        let own = AttrSet {
            uid: 1234,
            ..attrs(0o400)
        };
        let slot = Slot {
            number: 1,
            replaces: false,
            path: b"ro/dir/new",
        };
        let mut write = |fd: std::os::fd::BorrowedFd<'_>| {
            std::fs::File::from(fd.try_clone_to_owned()?).write_all(b"new")
        };
        let new = stage_file(&s, slot, &own, &mut write).unwrap().0;
        let steps = vec![
            Step::Move {
                from: b"dir".into(),
                to: b"ro/dir".into(),
                ino,
                shown: None,
            },
            Step::Place {
                slot: 1,
                ino: new,
                path: b"ro/dir/new".into(),
                shown: None,
            },
            Step::Evict {
                path: b"gone".into(),
                ino: gone,
                keep: 1,
            },
        ];
        let plan = Plan {
            id: 1,
            keep_old: true,
            steps,
        };
        world.base.seal(plan, &s, &Default::default()).unwrap()
    })
}
