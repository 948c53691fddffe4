//! Byte and inode limits of a branch, and what things cost the store.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use crate::harness::process::run;
use crate::harness::{Branch, Tree, Workspace, assert_errno, run_dir};

fn small_base(base: &Tree) {
    base.write("file", b"base");
    base.write("big", vec![b'b'; 4 << 20]);
}

fn set(branch: &Branch, limits: &str) -> io::Result<()> {
    fs::write(branch.path("@self/limits"), limits)
}

#[test]
fn limits_are_read_as_they_were_written() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    assert_eq!(branch.about("limits"), "bytes none\ninodes none\n");
    set(&branch, "bytes 1M\n").expect("set a limit");
    set(&branch, "inodes 10\n").expect("set the other");
    assert_eq!(branch.about("limits"), "bytes 1048576\ninodes 10\n");
    branch.ctl("limit bytes=none").expect("lift a limit");
    assert_eq!(branch.about("limits"), "bytes none\ninodes 10\n");
    ws.kill_and_remount();
    assert_eq!(branch.about("limits"), "bytes none\ninodes 10\n");
}

#[test]
fn the_inode_limit_stops_creation_and_frees_what_is_removed() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    set(&branch, "inodes 10\n").expect("set a limit");
    let made = (0..20)
        .take_while(|i| fs::write(branch.path(format!("n{i}")), b"").is_ok())
        .count();
    assert!(
        (5..=10).contains(&made),
        "{made} files were made under a limit of 10 inodes"
    );
    assert_errno(fs::create_dir(branch.path("dir")), Errno::DQUOT);
    assert_errno(
        std::os::unix::fs::symlink("x", branch.path("link")),
        Errno::DQUOT,
    );
    branch.unlink("n0");
    branch.write("again", b"");
    assert_errno(fs::write(branch.path("more"), b""), Errno::DQUOT);
    ws.main().write("unlimited", b"");
}

#[test]
fn the_byte_limit_counts_what_the_branch_holds_of_its_own() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    set(&branch, "bytes 1M\n").expect("set a limit");
    // The base's 4 MiB do not count; a changed byte of them costs a block, not the file.
    branch
        .open_rw("big")
        .write_all_at(b"!", 1 << 20)
        .expect("one byte within the limit");
    assert_errno(
        fs::write(branch.path("new"), vec![1; 2 << 20]),
        Errno::DQUOT,
    );
    branch.unlink("new");
    branch.write("new", vec![1; 500_000]);
    assert_errno(
        branch.open_rw("big").write_all_at(&vec![2; 2 << 20], 0),
        Errno::DQUOT,
    );
    branch.check("new", vec![1; 500_000]);
}

#[test]
fn a_raised_limit_lets_work_go_on_and_a_commit_needs_no_room() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    set(&branch, "bytes 200K\n").expect("set a limit");
    assert_errno(
        fs::write(branch.path("new"), vec![1; 1 << 20]),
        Errno::DQUOT,
    );
    set(&branch, "bytes 4M\n").expect("raise the limit");
    branch.write("new", vec![1; 1 << 20]);
    branch.commit();
    assert_eq!(ws.main().read("new"), vec![1; 1 << 20]);
}

#[test]
fn one_byte_in_a_large_sparse_base_file_costs_the_store_less_than_a_mebibyte() {
    let ws = Workspace::with_base(|base| {
        let file = base.open_rw("big");
        file.set_len(4 << 30).expect("truncate");
        file.write_all_at(b"end", (4 << 30) - 3).expect("pwrite");
    });
    let branch = ws.fork("b");
    let before = ws.store_bytes();
    branch
        .open_rw("big")
        .write_all_at(b"!", 2 << 30)
        .expect("one byte");
    let grown = ws.store_bytes().saturating_sub(before);
    assert!(grown < 1 << 20, "the store grew by {grown} bytes");
    let mut bytes = [0; 3];
    branch
        .open("big")
        .read_exact_at(&mut bytes, (4 << 30) - 3)
        .expect("pread");
    assert_eq!(&bytes, b"end");
    assert_eq!(branch.stat("big").len(), 4 << 30);
}

#[test]
fn a_fork_costs_the_store_less_than_a_kibibyte() {
    let ws = Workspace::with_base(small_base);
    // The journal's segments are preallocated, so the growth is taken over many forks.
    let before = ws.store_bytes();
    (0..1000).for_each(|i| drop(ws.fork(&format!("b{i}"))));
    let grown = ws.store_bytes().saturating_sub(before);
    assert!(grown < 1000 * 1024, "1,000 forks took {grown} bytes");
}

#[test]
fn what_an_aborted_branch_held_is_given_back() {
    let ws = Workspace::build()
        .base(small_base)
        .option("trash=0")
        .mount();
    let before = ws.store_bytes();
    for round in 0..6 {
        let branch = ws.fork("b");
        branch.write("large", vec![round; 24 << 20]);
        branch.open("large").sync_all().expect("fsync");
        branch.abort();
    }
    ws.main().ctl("gc").expect("gc");
    let grown = ws.store_bytes().saturating_sub(before);
    assert!(
        grown < 60 << 20,
        "{grown} bytes stay after 144 MiB were aborted"
    );
}

fn usage(branch: &Branch) -> (u64, u64) {
    let status = branch.status();
    let of = |what: &str| status["usage"][what].as_u64().expect("a number");
    (of("bytes"), of("inodes"))
}

#[test]
fn what_a_branch_holds_is_counted_to_the_byte() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let check = |what: &str, bytes: u64, inodes: u64| {
        assert_eq!(usage(&branch), (bytes, inodes), "after {what}");
    };
    check("the fork", 0, 0);
    branch.write("new", vec![1; 100_000]);
    check("a new file", 100_000, 1);
    let file = branch.open_rw("new");
    file.write_all_at(&[2; 50_000], 10_000).expect("pwrite");
    check("an overwrite", 100_000, 1);
    file.set_len(40_000).expect("truncate");
    check("a truncate", 40_000, 1);
    file.set_len(90_000).expect("truncate");
    check("a truncate to more, which is a hole", 40_000, 1);
    file.write_all_at(&[3; 1000], 80_000).expect("pwrite");
    check("a write into the hole", 41_000, 1);
    branch.rename("new", "renamed");
    branch.link("renamed", "second");
    check("a rename and a link", 41_000, 1);
    branch.mkdir("dir");
    branch.symlink("file", "dir/link");
    check("a directory and a symbolic link", 41_000, 3);
    let big = branch.open_rw("big");
    big.write_all_at(b"0123456789", 1 << 20).expect("pwrite");
    check("a copy-up, which holds what was written", 41_010, 3);
    branch.unlink("big");
    check("the removal of a base file", 41_000, 3);
    drop(big);

    let child = branch.fork("c");
    child.write("dir/childs", vec![4; 5000]);
    child.open_rw("renamed").set_len(10_000).expect("truncate");
    assert_eq!(usage(&child).1, 1);
    check("a child's work", 41_000, 3);
    ws.kill_and_remount();
    check("a kill", 41_000, 3);
    child.commit();
    check("the child's commit", 15_000, 4);
    branch.unlink("second");
    branch.unlink("renamed");
    check("the removal of both names", 5000, 3);

    fs::write(branch.path("@self/limits"), b"bytes 5010\ninodes 4\n").expect("set limits");
    branch.write("ten", b"0123456789");
    assert_errno(branch.open_rw("ten").write_all_at(b"x", 10), Errno::DQUOT);
    assert_errno(fs::write(branch.path("fifth"), b""), Errno::DQUOT);
    ws.remount();
    check("a remount", 5010, 4);
}

#[test]
fn statfs_in_a_limited_branch_shows_the_limits() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let shown = || {
        let stat = rustix::fs::statvfs(branch.path("file")).expect("statvfs");
        let bytes = |blocks: u64| blocks * stat.f_frsize;
        (
            bytes(stat.f_blocks),
            bytes(stat.f_bavail),
            stat.f_files,
            stat.f_ffree,
        )
    };
    let unlimited = shown();
    set(&branch, "bytes 1M\ninodes 10\n").expect("set limits");
    assert_eq!(shown(), (1 << 20, 1 << 20, 10, 10));
    branch.write("new", vec![1; 512 << 10]);
    assert_eq!(shown(), (1 << 20, 512 << 10, 10, 9));
    let main = rustix::fs::statvfs(ws.main().root()).expect("statvfs");
    assert_eq!(main.f_files, unlimited.2, "main has no limit");
    set(&branch, "bytes none\ninodes none\n").expect("lift them");
    assert_eq!((shown().0, shown().2), (unlimited.0, unlimited.2));
}

/// Whether `what` comes true within a minute.
fn soon(mut what: impl FnMut() -> bool) -> bool {
    let start = std::time::Instant::now();
    while start.elapsed() < std::time::Duration::from_secs(60) {
        if what() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    false
}

#[test]
fn the_stores_limit_stops_every_branch_and_the_trash_makes_room() {
    const LIMIT: u64 = 16 << 20;
    let ws = Workspace::build()
        .base(small_base)
        .option("max_bytes=16M")
        .option("publish=manual")
        .mount();
    let (full, other) = (ws.fork("full"), ws.fork("other"));
    other.write("kept", vec![1; 1 << 20]);
    let chunk = |i: usize| full.path(format!("chunk{i}"));
    let refused = (0..16).find_map(|i| fs::write(chunk(i), vec![7; 1 << 20]).err());
    let refused = refused.expect("16 MiB and one more do not fit");
    assert_eq!(refused.raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
    let sentence = full.last_error();
    assert!(sentence.contains("max_bytes"), "{sentence}");
    assert_errno(
        fs::write(other.path("more"), vec![1; 2 << 20]),
        Errno::NOSPC,
    );
    assert_errno(
        fs::write(ws.main().path("mains"), vec![1; 2 << 20]),
        Errno::NOSPC,
    );
    assert!(
        ws.store_bytes() < LIMIT + (40 << 20),
        "the journal and 16 MiB"
    );
    // What is there can be changed, read and committed.
    full.open_rw("chunk0")
        .write_all_at(b"changed", 5)
        .expect("an overwrite");
    full.check("chunk1", vec![7; 1 << 20]);
    let stat = rustix::fs::statvfs(other.root()).expect("statvfs");
    assert_eq!(stat.f_blocks * stat.f_frsize, LIMIT);
    other.open_rw("kept").sync_all().expect("fsync");
    full.abort();
    assert!(
        soon(|| fs::write(other.path("more"), vec![2; 4 << 20]).is_ok()),
        "an aborted branch keeps its space"
    );
    other.check("kept", vec![1; 1 << 20]);
    other.commit();
    ws.main().check("more", vec![2; 4 << 20]);
}

#[test]
fn there_are_no_more_live_branches_and_no_deeper_ones_than_the_mount_allows() {
    let ws = Workspace::build()
        .base(small_base)
        .option("max_branches=3,max_depth=2")
        .mount();
    let main = ws.main();
    let refused = |at: &Branch, name: &str, words: &str| {
        assert_errno(at.try_fork(name), Errno::DQUOT);
        assert_errno(at.ctl(&format!("fork {name}")), Errno::DQUOT);
        let sentence = at.last_error();
        assert!(sentence.contains(words), "{sentence}");
    };
    let deep = main.fork("a").fork("deep");
    refused(&deep, "deeper", "max_depth");
    let gone = main.fork("gone");
    refused(&main, "one-more", "max_branches");
    gone.abort();
    main.fork("instead");
    assert_errno(
        fs::rename(
            main.path("@branches/.trash/gone"),
            main.path("@branches/gone"),
        ),
        Errno::DQUOT,
    );
    let config = main.about("config");
    for line in ["max_bytes none", "max_branches 3", "max_depth 2"] {
        assert!(config.lines().any(|l| l == line), "no {line:?} in {config}");
    }
    let metrics = main.about("metrics");
    for line in [
        "branchfs_limit{of=\"branches\"} 3",
        "branchfs_limit{of=\"depth\"} 2",
    ] {
        assert!(metrics.lines().any(|l| l == line), "no {line:?} in metrics");
    }
    // A limit below what is there stops the next one and nothing else.
    ws.kill_and_remount();
    refused(&main, "one-more", "max_branches");
    deep.write("file", b"deep");
    deep.commit();
    main.fork("one-more");
}

#[test]
fn branches_nest_fifty_deep_unless_the_mount_says_otherwise() {
    nests(Workspace::with_base(small_base), 50);
}

#[test]
fn branches_nest_a_hundred_deep_where_the_mount_says_so() {
    nests(
        Workspace::build()
            .base(small_base)
            .option("max_depth=100")
            .mount(),
        100,
    );
}

fn nests(ws: Workspace, deepest: u32) {
    let mut at = ws.main();
    for level in 1..=deepest {
        at = at.fork(format!("{level}"));
    }
    assert_errno(at.try_fork("deeper"), Errno::DQUOT);
    at.write("file", b"deep");
    for format in [&["tree"][..], &["tree", "--json"]] {
        let tree = run(ws.base(), run_dir::binary(), format).ok();
        assert!(tree.out.contains(&deepest.to_string()), "{}", tree.out);
    }
    ws.kill_and_remount();
    at.check("file", b"deep");
    ws.main()
        .child("1")
        .try_commit()
        .expect_err("it has children");
}
