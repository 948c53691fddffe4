//! What must not be reached: outside the base, other filesystems, the store, special files.

use std::os::unix::fs::symlink;
use std::time::Duration;

use super::*;

/// Fails the test instead of hanging it when something blocks.
fn within_seconds(work: impl FnOnce() + Send + 'static) {
    let (done, finished) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        work();
        done.send(()).ok();
    });
    match finished.recv_timeout(Duration::from_secs(30)) {
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("a special file was opened"),
        _ => thread.join().unwrap(),
    }
}

#[test]
fn symbolic_links_and_dots_lead_nowhere() {
    let world = World::new(&[("d/a", "1")]);
    symlink("d", world.root().join("link")).unwrap();
    symlink("/etc", world.root().join("out")).unwrap();
    symlink("a", world.root().join("d/l")).unwrap();
    assert_eq!(world.found(0, b"link").unwrap().attr.kind, Kind::Symlink);
    assert_eq!(world.base.read_link(0, b"out").unwrap(), b"/etc");
    for path in [&b"link/a"[..], b"out/passwd", b"d/a/x"] {
        assert!(world.found(0, path).is_none(), "{}", path.escape_ascii());
        assert!(world.base.open_file(0, path).is_err());
    }
    assert!(matches!(
        world.base.open_file(0, b"d/l"),
        Err(BaseError::WrongKind { .. })
    ));
    assert!(matches!(
        world.base.list(0, b"link"),
        Err(BaseError::NotDir { .. })
    ));
    assert!(matches!(
        world.base.list(0, b"d/a"),
        Err(BaseError::NotDir { .. })
    ));
    assert!(matches!(
        world.base.list(0, b"none"),
        Err(BaseError::NotFound { .. })
    ));
    for path in [
        &b".."[..],
        b"d/..",
        b"d/../..",
        b"/etc",
        b".",
        b"d//a",
        b"d\0",
    ] {
        assert!(matches!(
            world.base.lookup(0, path),
            Err(BaseError::BadPath { .. })
        ));
        assert!(matches!(
            world.base.list(0, path),
            Err(BaseError::BadPath { .. })
        ));
        assert!(matches!(
            world.base.open_file(0, path),
            Err(BaseError::BadPath { .. })
        ));
    }
}

#[test]
fn special_files_are_shown_and_never_opened() {
    within_seconds(|| {
        let world = World::new(&[]);
        let root = std::fs::File::open(world.root()).unwrap();
        let make = |name: &str, kind: rustix::fs::FileType, dev| {
            rustix::fs::mknodat(&root, name, kind, rustix::fs::Mode::RUSR, dev).unwrap();
        };
        make("fifo", rustix::fs::FileType::Fifo, 0);
        make("sock", rustix::fs::FileType::Socket, 0);
        make(
            "dev",
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::makedev(4, 300),
        );
        let kinds = [
            (&b"fifo"[..], Kind::Fifo),
            (b"sock", Kind::Socket),
            (b"dev", Kind::Char),
        ];
        for (path, kind) in kinds {
            assert_eq!(world.found(0, path).unwrap().attr.kind, kind);
            assert!(matches!(
                world.base.open_file(0, path),
                Err(BaseError::WrongKind { .. })
            ));
            assert_eq!(
                world.base.list_xattrs(0, path).unwrap(),
                Vec::<Vec<u8>>::new()
            );
            assert!(matches!(
                world.base.list(0, path),
                Err(BaseError::NotDir { .. })
            ));
        }
        assert_eq!(
            world.found(0, b"dev").unwrap().attr.rdev,
            4 << 8 | 300 & 0xff | (300 & !0xff) << 12
        );
        assert_eq!(world.names(0, b""), ["dev", "fifo", "sock"]);
    });
}

#[test]
fn special_files_are_published_and_removed_unopened() {
    within_seconds(|| {
        let mut world = World::new(&[("d/", "")]);
        world.publish(true, |_, s| {
            let kinds = [
                (1, Kind::Fifo, 0),
                (2, Kind::Socket, 0),
                (3, Kind::Block, 7 << 8 | 200),
            ];
            let place = |(number, kind, rdev): (u32, Kind, u32)| {
                let path = format!("d/{number}").into_bytes();
                let slot = Slot {
                    number,
                    replaces: false,
                    path: &path,
                };
                let ino = s.special(slot, &attrs(0o640), kind, rdev).unwrap().0;
                Step::Place {
                    slot: number,
                    ino,
                    path,
                    shown: None,
                }
            };
            kinds.map(place).into()
        });
        let block = world.found(1, b"d/3").unwrap().attr;
        assert_eq!(
            (block.kind, block.mode, block.rdev),
            (Kind::Block, 0o640, 7 << 8 | 200)
        );
        assert_eq!(world.found(1, b"d/1").unwrap().attr.kind, Kind::Fifo);
        assert_eq!(world.names(0, b"d"), Vec::<String>::new());
        world.publish(true, |w, _| vec![evict(w, "d", 1)]);
        assert_eq!(world.names(1, b"d"), ["1", "2", "3"]);
        world.base.trim(None);
        while world.base.purge(1).unwrap() {}
        assert!(world.found(2, b"d").is_none());
    });
}

#[test]
fn the_store_is_hidden_by_path_and_by_inode() {
    let dir = tempfile::tempdir().unwrap();
    for path in [
        "base/.branchfs/old",
        "base/.branchfs/stage",
        "base/x/.branchfs",
    ] {
        std::fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    let open = |path: &str| OwnedFd::from(std::fs::File::open(dir.path().join(path)).unwrap());
    let config = BaseConfig {
        disk: Default::default(),
        root: open("base"),
        old: open("base/.branchfs/old"),
        stage: open("base/.branchfs/stage"),
        hide: Some(b".branchfs".to_vec()),
        hash_key: [9; 16],
        exclusive: false,
        version: 0,
        ids: IdConfig {
            used: vec![],
            cursor: 0,
            on_new_id: Box::new(|_| ()),
            make_durable: Box::new(|| Ok(())),
        },
    };
    let base = Base::open(config).unwrap();
    let names = |base: &Base, dir: &[u8]| -> Vec<Vec<u8>> {
        base.list(0, dir)
            .unwrap()
            .iter()
            .map(|name| name.name.to_vec())
            .collect()
    };
    assert_eq!(names(&base, b""), [b"x"]);
    assert_eq!(
        names(&base, b"x"),
        [b".branchfs"],
        "only the one path is the store"
    );
    assert!(base.lookup(0, b".branchfs").unwrap().is_none());
    assert!(base.lookup(0, b".branchfs/old").unwrap().is_none());
    assert!(base.list(0, b".branchfs").is_err());
    let root = base.lookup(0, b"").unwrap().unwrap().ident.ino;
    let evict = Step::Evict {
        path: vec![],
        ino: root,
        keep: 1,
    };
    let conflicts = base.check(
        &Plan {
            id: 1,
            keep_old: true,
            steps: vec![evict],
        },
        &[],
    );
    assert!(
        conflicts
            .unwrap_err()
            .iter()
            .any(|c| matches!(c.what, What::HoldsStore))
    );
    std::fs::rename(
        dir.path().join("base/.branchfs"),
        dir.path().join("base/moved"),
    )
    .unwrap();
    assert!(base.lookup(0, b"moved").unwrap().is_none());
    assert_eq!(names(&base, b""), [b"x"]);
}

#[test]
fn paths_longer_than_the_kernel_takes_work_throughout() {
    let mut world = World::new(&[]);
    let mut dir = OwnedFd::from(std::fs::File::open(world.root()).unwrap());
    let mut deep = Vec::new();
    let name = [b'n'; 200];
    for _ in 0..50 {
        rustix::fs::mkdirat(&dir, &name[..], rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY;
        dir = rustix::fs::openat(&dir, &name[..], flags, rustix::fs::Mode::empty()).unwrap();
        deep = path::join(&deep, &name);
    }
    drop(dir);
    assert!(deep.len() > 2 * 4096);
    assert_eq!(world.found(0, &deep).unwrap().attr.kind, Kind::Dir);
    let file = path::join(&deep, b"file");
    world.publish(true, |_, s| {
        let ino = stage(s, 1, "deep");
        vec![Step::Place {
            slot: 1,
            ino,
            path: file.clone(),
            shown: None,
        }]
    });
    assert_eq!(world.content(1, &file).unwrap(), b"deep");
    assert_eq!(
        (world.names(0, &deep).len(), world.names(1, &deep).len()),
        (0, 1)
    );
    let top = name.escape_ascii().to_string();
    world.publish(true, |w, _| vec![evict(w, &top, 1)]);
    assert_eq!(world.content(1, &file).unwrap(), b"deep");
    world.base.trim(None);
    while world.base.purge(3).unwrap() {}
    assert_eq!(
        std::fs::read_dir(world.dir.path().join("old"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn names_are_bytes() {
    let mut world = World::new(&[]);
    let name = b"\xff\xfe\n\x01 name";
    std::fs::write(world.root().join(os(name)), "odd").unwrap();
    assert_eq!(world.content(0, name).unwrap(), b"odd");
    world.publish(true, |w, _| {
        let (from, ino) = (name.to_vec(), w.ino(name));
        vec![Step::Move {
            from,
            to: b"\x80".into(),
            ino,
            shown: None,
        }]
    });
    assert_eq!(world.content(0, name).unwrap(), b"odd");
    assert_eq!(world.base.list(0, b"").unwrap().get(0).name, name);
    assert_eq!(world.base.list(1, b"").unwrap().get(0).name, b"\x80");
}

#[test]
fn mount_points_end_the_base() {
    let world = World::new(&[("m/below", "1")]);
    let target = world.root().join("m");
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let flags = rustix::mount::UnmountFlags::DETACH;
            rustix::mount::unmount(&self.0, flags).unwrap();
        }
    }
    // A bind mount of the same filesystem, which has the same device number.
    rustix::mount::mount_bind(&target, &target).unwrap();
    let _mounted = Unmount(target);
    assert!(matches!(
        world.base.lookup(0, b"m"),
        Err(BaseError::CrossesMount { .. })
    ));
    assert!(matches!(
        world.base.lookup(0, b"m/below"),
        Err(BaseError::CrossesMount { .. })
    ));
    assert!(matches!(
        world.base.list(0, b"m"),
        Err(BaseError::CrossesMount { .. })
    ));
}
