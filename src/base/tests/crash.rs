//! A publish that stops anywhere is finished with the same result.

use std::os::fd::AsFd;

use super::*;

/// What a version looks like without the numbers that differ from run to run.
fn shape(world: &World, at: Version) -> BTreeMap<Vec<u8>, (Kind, u32, u32, Vec<u8>)> {
    let shape = |seen: Seen| {
        let attr = seen.found.attr;
        (attr.kind, attr.mode, attr.nlink, seen.content)
    };
    world
        .see(at)
        .into_iter()
        .map(|(path, seen)| (path, shape(seen)))
        .collect()
}

fn files() -> World {
    World::new(&[
        ("a/x", "ax"),
        ("a/deep/y", "ay"),
        ("b/z", "bz"),
        ("c", "old c"),
        ("gone/1", "1"),
        ("gone/2/3", "3"),
        ("stay", "stay"),
        ("linked", "linked"),
    ])
}

/// A plan with every kind of step: a swap of directories, a save from a removed one, and so on.
fn everything(w: &World, s: &mut Staging) -> Vec<Step> {
    let (a, b) = (w.ino(b"a"), w.ino(b"b"));
    let shown = Some(Shown {
        fid: FileId(0x9000_0000),
        ctime: Time { sec: 5, nsec: 6 },
    });
    let link = Step::Link {
        from: b"linked".into(),
        to: b"new/link".into(),
        ino: w.ino(b"linked"),
        shown: None,
    };
    let dir = s
        .dir(
            Slot {
                number: 1,
                replaces: false,
                path: b"new",
            },
            &attrs(0o750),
        )
        .unwrap()
        .0;
    let stay = w.ino(b"stay");
    let time = Time { sec: 77, nsec: 0 };
    vec![
        Step::Park {
            path: b"a".into(),
            ino: a,
            slot: 10,
        },
        Step::Move {
            from: b"b".into(),
            to: b"a".into(),
            ino: b,
            shown: None,
        },
        Step::Unpark {
            slot: 10,
            path: b"b".into(),
            ino: a,
            shown: None,
        },
        Step::Place {
            slot: 1,
            ino: dir,
            path: b"new".into(),
            shown,
        },
        rename(w, "gone/2/3", "new/saved"),
        evict(w, "gone", 11),
        exchange(w, s, 2, "c", "new c"),
        place(s, 3, "b/deep/more", "more"),
        link,
        Step::SetAttr {
            path: b"stay".into(),
            ino: stay,
            set: attrs(0o600),
            shown: None,
        },
        Step::Times {
            path: b"b/deep".into(),
            atime: time,
            mtime: time,
            shown: None,
        },
    ]
}

/// Stops after `steps` steps, with the progress noted for `lag` fewer, loses all memory, and goes
/// on.
fn check(steps: usize, lag: usize, keep_old: bool) {
    let case = format!("stopped after {steps}, {lag} unnoted, keep_old {keep_old}");
    let mut whole = files();
    whole.publish(keep_old, everything);
    let mut world = files();
    let before = world.see(0);
    let sealed = world.seal(keep_old, everything);
    world.base.apply_partly(&sealed, steps);
    assert_eq!(
        world.see(0),
        before,
        "{case}: the old version while half done"
    );
    assert_eq!(world.base.version(), 0);
    let done = world
        .dir
        .path()
        .join(format!("stage/{:x}/done", sealed.plan.id));
    let leaves_no_trace = |step: &Step| {
        let traced = matches!(
            step,
            Step::Place { .. } | Step::Evict { .. } | Step::Exchange { .. }
        );
        !traced
    };
    let first = &sealed.plan.steps[..steps];
    let steps = first
        .iter()
        .rposition(leaves_no_trace)
        .map_or(0, |at| at + 1);
    assert_eq!(std::fs::metadata(&done).unwrap().len(), steps as u64);
    let noted = std::fs::File::options().write(true).open(&done).unwrap();
    noted.set_len(steps.saturating_sub(lag) as u64).unwrap();

    world.reopen();
    assert_eq!(world.base.pending().unwrap(), [sealed.plan.id]);
    let plan = world.base.read_plan(sealed.plan.id).unwrap().unwrap();
    assert_eq!(plan, sealed);
    let applied = world.base.redo(&plan, |_| ()).unwrap();
    assert_eq!(applied.version, 1);
    assert_eq!(shape(&world, 1), shape(&whole, 1), "{case}");
    let saved = world.found(1, b"new").unwrap();
    assert_eq!(
        (saved.fid, saved.attr.ctime.sec),
        (FileId(0x9000_0000), 5),
        "{case}"
    );
    if keep_old {
        assert_eq!(world.see(0), before, "{case}: the old version");
        let seen = world.see(1);
        let again = world.base.redo(&plan, |_| ()).unwrap();
        assert_eq!(again.events, applied.events, "{case}: a second redo");
        assert_eq!(world.see(1), seen, "{case}: a second redo");
        assert_eq!(world.see(0), before, "{case}: a second redo");
    }
    world.base.finish(&plan).unwrap();
    assert_eq!(world.base.pending().unwrap(), Vec::<u64>::new());
    world.base.sweep().unwrap();
    world.base.trim(None);
    while world.base.purge(2).unwrap() {}
    assert_eq!(
        std::fs::read_dir(world.dir.path().join("old"))
            .unwrap()
            .count(),
        0,
        "{case}"
    );
}

#[test]
fn a_crash_after_any_step_is_redone() {
    for steps in 0..=11 {
        for lag in [0, 1] {
            check(steps, lag, true);
        }
        check(steps, 0, false);
    }
}

#[test]
fn steps_that_leave_a_trace_are_not_done_again_whatever_was_noted() {
    for steps in 0..=4 {
        let mut world = World::new(&[("a", "1"), ("d/x", "2"), ("e", "3")]);
        let before = world.see(0);
        let sealed = world.seal(true, |w, s| {
            vec![
                rename(w, "e", "d/e"),
                evict(w, "a", 1),
                place(s, 2, "a", "new a"),
                exchange(w, s, 3, "d/x", "new x"),
            ]
        });
        world.base.apply_partly(&sealed, steps);
        let done = std::fs::File::options()
            .write(true)
            .open(world.dir.path().join("stage/1/done"));
        done.unwrap().set_len(0).unwrap();
        world.reopen();
        world.base.redo(&sealed, |_| ()).unwrap();
        let contents = [&b"a"[..], b"d/x", b"d/e"].map(|path| world.content(1, path).unwrap());
        assert_eq!(contents, [&b"new a"[..], b"new x", b"3"], "after {steps}");
        assert_eq!(world.see(0), before, "after {steps}");
    }
}

#[test]
fn readers_of_an_old_version_never_see_a_publish() {
    let world = files();
    let before = world.see(0);
    let mut plans = Vec::new();
    for number in 0..20u64 {
        let mut staging = world.base.stage_begin(100 + number).unwrap();
        let ino = stage(&mut staging, 1, &number.to_string());
        let step = Step::Place {
            slot: 1,
            ino,
            path: format!("n{number}").into(),
            shown: None,
        };
        plans.push((staging, step));
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(relaxed) {
                    assert_eq!(world.see(0), before);
                    let at = world.base.version();
                    let names = world.base.list(at, b"").unwrap().len();
                    assert_eq!(names as u64, 6 + at);
                }
            });
        }
        for (staging, step) in plans {
            let plan = Plan {
                id: staging.id(),
                keep_old: true,
                steps: vec![step],
            };
            let sealed = world
                .base
                .seal(plan, &staging, &Default::default())
                .unwrap();
            world.base.apply(&sealed, |_| ()).unwrap();
            world.base.finish(&sealed).unwrap();
        }
        stop.store(true, relaxed);
    });
}

#[test]
fn a_replacement_is_redone_wherever_it_stopped_with_and_without_exchanges() {
    // The renames and links of the step so far: between `place`, `kept` and, without exchanges,
    // `aside`.
    type Stop = fn(&std::path::Path, &std::path::Path, &std::path::Path) -> std::io::Result<()>;
    let stops: [(&str, Stop); 6] = [
        ("nothing", |_, _, _| Ok(())),
        ("exchanged", |place, kept, _| {
            let (flags, cwd) = (rustix::fs::RenameFlags::EXCHANGE, rustix::fs::CWD);
            Ok(rustix::fs::renameat_with(cwd, kept, cwd, place, flags)?)
        }),
        ("linked aside", |place, _, aside| {
            std::fs::hard_link(place, aside)
        }),
        ("linked aside and replaced", |place, kept, aside| {
            std::fs::hard_link(place, aside)?;
            std::fs::rename(kept, place)
        }),
        ("moved aside", |place, _, aside| {
            std::fs::rename(place, aside)
        }),
        ("moved aside and replaced", |place, kept, aside| {
            std::fs::rename(place, aside)?;
            std::fs::rename(kept, place)
        }),
    ];
    for (case, stop) in stops {
        let mut world = World::new(&[("c", "old")]);
        let before = world.see(0);
        let sealed = world.seal(true, |w, s| vec![exchange(w, s, 2, "c", "new")]);
        let (place, dir) = (world.root().join("c"), world.dir.path());
        stop(&place, &dir.join("old/1-2"), &dir.join("stage/1/80000002")).unwrap();
        world.reopen();
        world.base.redo(&sealed, |_| ()).unwrap();
        assert_eq!(world.content(1, b"c").unwrap(), b"new", "{case}");
        assert_eq!(world.see(0), before, "{case}");
        world.base.finish(&sealed).unwrap();
        assert_eq!(world.see(0), before, "{case}");
        let old = std::fs::read(world.dir.path().join("old/1-2")).unwrap();
        assert_eq!(old, b"old", "{case}");
    }
}

#[test]
fn what_was_staged_for_a_plan_that_is_given_up_is_gone() {
    let mut world = World::new(&[("c", "old")]);
    let names = |world: &World, dir: &str| {
        let names = std::fs::read_dir(world.dir.path().join(dir)).unwrap();
        names.count()
    };
    let sealed = world.seal(true, |w, s| vec![exchange(w, s, 2, "c", "new")]);
    assert_eq!((names(&world, "stage"), names(&world, "old")), (1, 1));
    world.base.cancel(&sealed).unwrap();
    assert_eq!((names(&world, "stage"), names(&world, "old")), (0, 0));
    let mut staging = world.base.stage_begin(7).unwrap();
    exchange(&world, &mut staging, 2, "c", "new");
    assert_eq!((names(&world, "stage"), names(&world, "old")), (1, 1));
    world.base.abandon(&staging).unwrap();
    assert_eq!((names(&world, "stage"), names(&world, "old")), (0, 0));
    assert_eq!(world.content(0, b"c").unwrap(), b"old");
}

#[test]
fn an_owners_file_that_was_staged_before_a_crash_has_one_name_after_the_sweep() {
    let mut world = World::new(&[("c", "old")]);
    let blob = world.dir.path().join("blob");
    std::fs::write(&blob, "new").unwrap();
    let dir = std::fs::File::open(world.dir.path()).unwrap();
    let staging = world.base.stage_begin(7).unwrap();
    let slot = Slot {
        number: 2,
        replaces: true,
        path: b"c",
    };
    staging
        .linked(slot, dir.as_fd(), b"blob", &attrs(0o600))
        .unwrap();
    drop(staging);
    world.reopen();
    world.base.discard(7).unwrap();
    world.base.sweep().unwrap();
    let nlink = std::os::unix::fs::MetadataExt::nlink(&std::fs::metadata(&blob).unwrap());
    assert_eq!(nlink, 1, "its owner would take it for published");
    assert_eq!(std::fs::read(&blob).unwrap(), b"new");
}

#[test]
fn an_error_in_the_middle_leaves_the_old_version_readable_and_the_plan_pending() {
    let mut world = files();
    let before = world.see(0);
    let sealed = world.seal(true, everything);
    // The sixth step finds its place in the old directory taken.
    let obstacle = world.dir.path().join("old/1-b");
    std::fs::create_dir(&obstacle).unwrap();
    let error = world
        .base
        .apply(&sealed, |_| panic!("not done"))
        .unwrap_err();
    assert!(
        matches!(&error, BaseError::Io { path, .. } if path == b"gone"),
        "{error}"
    );
    assert_eq!((world.base.version(), world.see(0)), (0, before.clone()));
    assert!(matches!(
        world.base.discard(1),
        Err(BaseError::PlanPending { id: 1 })
    ));
    let other = Sealed {
        plan: Plan {
            id: 99,
            keep_old: true,
            steps: vec![],
        },
        version: 1,
        before: vec![],
    };
    let refused = world.base.apply(&other, |_| ());
    assert!(
        matches!(refused, Err(BaseError::PlanPending { id: 1 })),
        "{refused:?}"
    );
    std::fs::remove_dir(&obstacle).unwrap();
    let mut flipped = false;
    world.base.apply(&sealed, |_| flipped = true).unwrap();
    assert!(flipped);
    assert_eq!((world.base.version(), world.see(0)), (1, before));
    assert_eq!(world.content(1, b"new/saved").unwrap(), b"3");
}

#[test]
fn an_error_in_the_first_step_leaves_nothing_pending() {
    let mut world = World::new(&[("a", "1")]);
    let sealed = world.seal(true, |w, _| vec![evict(w, "a", 1)]);
    std::fs::create_dir(world.dir.path().join("old/1-1")).unwrap();
    assert!(world.base.apply(&sealed, |_| ()).is_err());
    assert!(world.base.events().is_empty());
    world.base.discard(1).unwrap();
    assert_eq!(world.content(0, b"a").unwrap(), b"1");
}

#[test]
fn a_damaged_plan_is_an_error_and_never_a_guess() {
    let mut world = files();
    let sealed = world.seal(true, everything);
    let bytes = sealed.encode();
    assert_eq!(Sealed::decode(1, &bytes).unwrap(), sealed);
    for at in (0..bytes.len()).step_by(7) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x20;
        assert!(matches!(
            Sealed::decode(1, &bytes),
            Err(BaseError::PlanDamaged { .. })
        ));
        assert!(matches!(
            Sealed::decode(1, &bytes[..at]),
            Err(BaseError::PlanDamaged { .. })
        ));
    }
}

#[test]
fn what_was_never_sealed_is_cleared_away() {
    let world = World::new(&[("a", "1")]);
    let mut staging = world.base.stage_begin(7).unwrap();
    stage(&mut staging, 1, "never");
    assert_eq!(world.base.pending().unwrap(), [7]);
    assert!(world.base.read_plan(7).unwrap().is_none());
    drop(staging);
    let mut staging = world.base.stage_begin(7).unwrap();
    stage(&mut staging, 1, "again");
    world.base.discard(7).unwrap();
    assert_eq!(world.base.pending().unwrap(), Vec::<u64>::new());
}
