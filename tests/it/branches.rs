//! Fork and isolation: what DESIGN says of them, a sentence a test.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::harness::mapping::map_shared;
use crate::harness::process::git;
use crate::harness::{Tree, Workspace, snapshot};

fn small_base(base: &Tree) {
    base.write("file", b"base");
    base.mkdir("dir/sub");
    base.write("dir/file", b"in dir");
    base.write("dir/sub/file", b"in sub");
}

/// "Fork captures the parent's current state, uncommitted work and ignored files included."
#[test]
fn a_fork_captures_the_parents_current_state_uncommitted_work_and_ignored_files_included() {
    let ws = Workspace::with_base(|base| {
        git(base.root(), &["init", "-q"]);
        base.write(".gitignore", b"ignored\n");
        base.write("ignored", b"not in git");
        base.write("tracked", b"one");
    });
    let main = ws.main();
    main.write("tracked", b"changed and not committed");
    main.write("new", b"new");
    main.chmod("ignored", 0o600);
    main.mkdir("empty");
    let shown = snapshot::of(main.root());
    let branch = main.fork("b");
    snapshot::assert_same(
        &shown,
        &snapshot::of(branch.root()),
        "the parent and its fork",
    );
    let status = git(branch.root(), &["status", "--short"]);
    assert!(
        status.contains("tracked") && !status.contains("ignored\n"),
        "{status}"
    );
}

/// "Every write(2) that returned before the mkdir is in the fork."
#[test]
fn every_write_that_returned_before_the_mkdir_is_in_the_fork() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let file = main.open_rw("file");
    let mut branches = Vec::new();
    for round in 0..20u8 {
        file.write_all_at(&[round; 5000], u64::from(round) * 5000)
            .expect("write");
        branches.push(main.fork(format!("b{round}")));
    }
    let whole: Vec<u8> = (0..20u8).flat_map(|round| [round; 5000]).collect();
    for (round, branch) in branches.iter().enumerate() {
        branch.check("file", &whole[..(round + 1) * 5000]);
    }
}

#[test]
fn what_a_shared_mapping_holds_is_in_the_fork() {
    let ws = Workspace::with_base(|base| base.write("file", vec![1; 8192]));
    let file = ws.main().open_rw("file");
    let mut map = map_shared(&file, 0, 8192).expect("mmap");
    map[100..104].copy_from_slice(b"late");
    let branch = ws.fork("b");
    assert_eq!(&branch.read("file")[100..104], b"late");
    map[100..104].copy_from_slice(b"over");
    map.flush().expect("msync");
    assert_eq!(&branch.read("file")[100..104], b"late");
    assert_eq!(&ws.main().read("file")[100..104], b"over");
}

/// "Later writes to the parent, or to any other branch, are never seen by the child."
#[test]
fn later_writes_to_the_parent_or_to_any_other_branch_are_never_seen_by_the_child() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let (branch, sibling) = (main.fork("b"), main.fork("sibling"));
    let child = branch.fork("child");
    let shown = snapshot::of(branch.root());
    main.write("file", b"changed");
    main.append("dir/file", b" and more");
    main.chmod("dir/sub/file", 0o600);
    main.set_xattr("dir", "user.a", b"x");
    main.utimes("dir/sub", 1_000_000_000, 0);
    main.write("new", b"new");
    main.rename("dir", "moved");
    main.unlink("moved/sub/file");
    main.symlink("x", "link");
    snapshot::assert_same(
        &shown,
        &snapshot::of(branch.root()),
        "a branch, before and after",
    );
    main.remove_all("moved");
    main.unlink("file");
    for other in [&sibling, &child] {
        other.write("file", b"of another branch");
        other.remove_all("dir");
        other.write("new", b"new");
    }
    snapshot::assert_same(
        &shown,
        &snapshot::of(branch.root()),
        "a branch, before and after",
    );
}

#[test]
fn later_writes_to_the_parent_are_not_seen_by_a_child_that_has_the_file_open() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let held = branch.open("file");
    let mut buffer = [0; 4];
    for _ in 0..2 {
        held.read_exact_at(&mut buffer, 0).expect("pread");
        assert_eq!(&buffer, b"base");
        ws.main().write("file", b"MAIN");
    }
}

/// "Isolation: a branch sees its snapshot plus its own writes, nothing else."
#[test]
fn a_branch_sees_its_snapshot_plus_its_own_writes_and_nothing_else() {
    let ws = Workspace::with_base(small_base);
    let (a, b) = (ws.fork("a"), ws.fork("b"));
    for (branch, name) in [(&a, "a"), (&b, "b")] {
        branch.write("file", name);
        branch.append("dir/file", name);
        branch.write(format!("only-{name}"), name);
        branch.mkdir("made").write("file", name);
    }
    a.unlink("dir/sub/file");
    for (branch, name, other) in [(&a, "a", "b"), (&b, "b", "a")] {
        branch.check("file", name);
        branch.check("dir/file", format!("in dir{name}"));
        branch.check("made/file", name);
        assert!(branch.exists(format!("only-{name}")) && !branch.exists(format!("only-{other}")));
    }
    assert!(!a.exists("dir/sub/file") && b.exists("dir/sub/file"));
    ws.main().check("file", b"base");
    ws.main().check("dir/file", b"in dir");
    assert_eq!(ws.main().names(""), ["dir", "file"]);
}

#[test]
fn branches_nest_and_each_level_sees_what_was_above_it_at_its_fork() {
    let ws = Workspace::with_base(small_base);
    let mut levels = vec![ws.main()];
    for level in 1..=8 {
        let parent = levels.last().expect("main at least");
        parent.append("file", format!(" {}", level - 1));
        parent.write(format!("at{}", level - 1), b"");
        levels.push(parent.fork(format!("level{level}")));
    }
    for (level, branch) in levels.iter().enumerate() {
        branch.append("file", b"!");
        let own: String = (0..=level.min(7)).map(|l| format!(" {l}")).collect();
        branch.check("file", format!("base{own}!"));
        assert_eq!(branch.exists("at7"), level >= 7, "level {level}");
        let children = branch.children();
        assert_eq!(children.len(), usize::from(level < 8), "{children:?}");
    }
}

#[test]
fn a_fork_of_a_changed_branch_and_the_branch_go_separate_ways() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    branch.write("file", b"one");
    branch.rename("dir", "moved");
    let child = branch.fork("c");
    child.write("moved/sub/file", b"child");
    branch.write("file", b"two");
    branch.unlink("moved/file");
    child.check("file", b"one");
    child.check("moved/file", b"in dir");
    branch.check("moved/sub/file", b"in sub");
    assert!(ws.main().exists("dir/sub/file"));
}

#[test]
fn many_branches_of_one_parent_stay_apart() {
    let ws = Workspace::with_base(small_base);
    let branches: Vec<_> = (0..100).map(|i| ws.fork(&format!("b{i}"))).collect();
    for (i, branch) in branches.iter().enumerate() {
        branch.write("file", format!("number {i}"));
    }
    for (i, branch) in branches.iter().enumerate() {
        branch.check("file", format!("number {i}"));
    }
    assert_eq!(ws.main().children().len(), 100);
}

#[test]
fn forks_made_at_once_all_exist_and_one_name_is_made_once() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let made: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let main = &main;
                scope.spawn(move || {
                    (0..25).for_each(|i| drop(main.fork(format!("own-{thread}-{i}"))));
                    (0..25)
                        .filter(|i| main.try_fork(format!("common-{i}")).is_ok())
                        .count()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("a thread"))
            .sum()
    });
    assert_eq!(made, 25);
    assert_eq!(main.children().len(), 125);
}

#[test]
fn a_file_keeps_the_low_half_of_its_inode_number_across_fork_copy_up_rename_and_commit() {
    let ws = Workspace::with_base(|base| {
        small_base(base);
        base.link("file", "hard");
    });
    let main = ws.main();
    let low = |tree: &Tree, name: &str| tree.stat(name).ino() as u32;
    let id = low(&main, "file");
    let branch = main.fork("b");
    assert_eq!(low(&branch, "file"), id);
    assert_ne!(
        branch.stat("file").ino(),
        main.stat("file").ino(),
        "versions are different inodes"
    );
    branch.append("file", b"!");
    branch.rename("file", "dir/moved");
    assert_eq!((low(&branch, "dir/moved"), low(&branch, "hard")), (id, id));
    let before = main.stat("file").ino();
    branch.commit();
    assert_eq!(low(&main, "dir/moved"), id);
    assert_ne!(
        main.stat("dir/moved").ino(),
        before,
        "a committed file is a new inode"
    );
    ws.remount();
    assert_eq!(low(&ws.main(), "dir/moved"), id);
}

/// How many requests of all kinds the daemon has answered, from `@self/metrics`.
fn requests(ws: &Workspace) -> u64 {
    let metrics = ws.main().about("metrics");
    let counts = metrics
        .lines()
        .filter(|line| line.starts_with("branchfs_request_seconds_count"));
    let counts = counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    counts.sum()
}

#[test]
fn a_path_that_leads_into_a_branch_costs_no_request_once_it_is_known() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let look = || {
        for _ in 0..100 {
            fs::metadata(branch.root().join("dir/sub/file")).expect("stat");
        }
    };
    look();
    let before = requests(&ws);
    look();
    let asked = requests(&ws) - before;
    assert!(asked < 20, "{asked} requests for 100 times stat(2)");
}

#[test]
fn the_list_of_branches_is_right_however_it_changes() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let check = |expect: &[&str]| {
        let mut names = main.children();
        names.sort();
        assert_eq!(names, expect);
    };
    check(&[]);
    let a = main.fork("a");
    check(&["a"]);
    main.ctl("fork b").expect("fork");
    check(&["a", "b"]);
    main.child("b").ctl("rename c").expect("rename");
    check(&["a", "c"]);
    main.child("c").abort();
    check(&["a"]);
    main.ctl("restore c as d").expect("restore");
    check(&["a", "d"]);
    a.write("file", b"a");
    a.commit();
    check(&[]);
}

/// As on ext4, so that whoever goes by it (find, fts) misses nothing.
#[test]
fn the_link_count_of_a_root_and_of_the_list_of_branches_is_that_of_what_is_in_them() {
    let outside = Workspace::build().base(small_base).store_outside().mount();
    for ws in [Workspace::with_base(small_base), outside] {
        let main = ws.main();
        let links = |path: &str| main.stat(path).nlink();
        assert_eq!((links(""), links("dir"), links("@branches")), (3, 3, 2));
        let branch = main.fork("b");
        branch.mkdir("made");
        assert_eq!(branch.stat("").nlink(), 4);
        assert_eq!((links(""), links("@branches")), (3, 3));
        branch.commit();
        assert_eq!((links(""), links("@branches")), (4, 2));
        ws.remount();
        assert_eq!(links(""), 4);
    }
}
