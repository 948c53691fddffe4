//! Branches survive unmount and the daemon's death; a crash anywhere leaves all or nothing.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::process::git;
use crate::harness::{Branch, Tree, Workspace, snapshot};

fn small_base(base: &Tree) {
    base.write("file", b"base");
    base.mkdir("dir/sub");
    base.write("dir/file", vec![b'd'; 70_000]);
    base.link("dir/file", "dir/sub/hard");
    base.utimes("dir/file", 1_111_111_111, 0);
}

/// Changes of every kind.
fn work(branch: &Branch, mark: &str) {
    branch.write("file", mark);
    branch.write("new", vec![b'n'; 300_000]);
    branch.rename("dir", "moved");
    branch
        .open_rw("moved/file")
        .write_all_at(mark.as_bytes(), 10_000)
        .expect("pwrite");
    branch.set_xattr("moved", "user.mark", mark);
    branch.symlink(mark, "link");
    branch.mkdir("empty");
    branch.chmod("empty", 0o2750);
    branch.utimes("empty", 1_222_222_222, 5);
}

/// A tree of branches with work in each, and what each shows.
fn family(ws: &Workspace) -> Vec<(Branch, snapshot::Snapshot)> {
    let main = ws.main();
    let a = main.fork("a");
    work(&a, "a");
    let inner = a.fork("inner");
    inner.append("file", b" and inner");
    inner.remove_all("moved");
    let b = main.fork("b");
    b.unlink("file");
    let clean = main.fork("clean");
    main.write("in-main", b"not published yet");
    [main, a, inner, b, clean]
        .map(|branch| (branch.clone(), snapshot::of(branch.root())))
        .into()
}

#[track_caller]
fn check_family(family: &[(Branch, snapshot::Snapshot)], when: &str) {
    for (branch, seen) in family {
        let what = format!("{} {when}", branch.root().display());
        snapshot::assert_same(seen, &snapshot::of(branch.root()), &what);
    }
}

/// "Branches survive unmount, daemon death and power loss; a remount finds them all."
#[test]
fn branches_survive_unmount_and_a_remount_finds_them_all() {
    let ws = Workspace::with_base(small_base);
    let family = family(&ws);
    ws.unmount();
    ws.fsck();
    ws.mount();
    check_family(&family, "after a remount");
    assert_eq!(ws.main().children(), ["a", "b", "clean"]);
}

/// "Branches survive unmount, daemon death and power loss; a remount finds them all."
#[test]
fn branches_survive_daemon_death_with_every_acknowledged_operation() {
    let ws = Workspace::with_base(small_base);
    let family = family(&ws);
    for round in 0..3 {
        ws.kill_and_remount();
        check_family(&family, &format!("after kill number {round}"));
    }
    ws.unmount();
    ws.fsck();
}

#[test]
fn a_store_outside_of_the_base_works_the_same() {
    let ws = Workspace::build().base(small_base).store_outside().mount();
    assert!(!ws.below().exists(".branchfs"));
    let family = family(&ws);
    ws.kill_and_remount();
    check_family(&family, "after a kill");
    family[2].0.commit();
    family[1].0.commit();
    let wanted = snapshot::of(ws.main().root());
    ws.unmount();
    snapshot::assert_same(&wanted, &snapshot::of(ws.base()), "main and the base");
    ws.fsck();
}

#[test]
fn a_branch_commits_after_a_kill_as_if_there_had_been_none() {
    let ws = Workspace::with_base(small_base);
    let (winner, loser) = (ws.fork("winner"), ws.fork("loser"));
    work(&winner, "won");
    let wanted = snapshot::of(winner.root());
    ws.kill_and_remount();
    winner.commit();
    snapshot::assert_same(
        &wanted,
        &snapshot::of(ws.main().root()),
        "main after the commit",
    );
    assert!(
        fs::symlink_metadata(loser.path("file")).is_err(),
        "the sibling lost"
    );
    ws.kill_and_remount();
    snapshot::assert_same(
        &wanted,
        &snapshot::of(ws.main().root()),
        "main after another kill",
    );
    assert!(ws.main().children().is_empty());
}

#[test]
fn an_aborted_branch_stays_aborted_and_a_restored_one_restored() {
    let ws = Workspace::with_base(small_base);
    ws.fork("gone").abort();
    let back = ws.fork("back");
    back.write("file", b"back");
    back.abort();
    ws.main().rename("@branches/.trash/back", "@branches/back");
    ws.kill_and_remount();
    assert_eq!(ws.main().children(), ["back"]);
    back.check("file", b"back");
    assert_eq!(ws.main().names("@branches/.trash"), ["gone"]);
}

#[test]
fn a_killed_daemon_loses_no_write_of_a_copy_in_progress() {
    for round in 0..4 {
        let ws = Workspace::with_base(small_base);
        let branch = ws.fork("b");
        let acknowledged = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let copier = scope.spawn(|| {
                for i in 0.. {
                    let content = format!("{i} ").repeat(i as usize % 2000);
                    if fs::write(branch.path(format!("copy{i}")), content).is_err() {
                        break;
                    }
                    acknowledged.store(i + 1, Ordering::SeqCst);
                }
            });
            while acknowledged.load(Ordering::SeqCst) < 50 + round * 70 {
                std::thread::yield_now();
            }
            ws.kill();
            copier.join().expect("the copier");
        });
        ws.mount();
        let count = acknowledged.load(Ordering::SeqCst);
        for i in 0..count {
            branch.check(
                format!("copy{i}"),
                format!("{i} ").repeat(i as usize % 2000),
            );
        }
        assert!(!branch.exists(format!("copy{}", count + 1)));
        ws.unmount();
        ws.fsck();
    }
}

#[test]
fn a_kill_in_the_middle_of_git_work_leaves_a_repository_that_git_fsck_accepts() {
    let ws = Workspace::with_base(|base| {
        git(base.root(), &["init", "-q"]);
        (0..200).for_each(|i| base.write(format!("f{i}"), format!("{i}\n").repeat(100)));
        git(base.root(), &["add", "."]);
        git(base.root(), &["commit", "-qm", "base"]);
    });
    let branch = ws.fork("b");
    std::thread::scope(|scope| {
        let root = branch.root();
        let worker = scope.spawn(move || {
            let commit = |i| {
                fs::write(root.join("f1"), format!("{i}")).is_ok()
                    && fs::write(root.join(format!("new{i}")), b"x").is_ok()
                    && crate::harness::process::run(root, "git", &["add", "."]).code == 0
                    && crate::harness::process::run(root, "git", &["commit", "-qm", "x"]).code == 0
            };
            (0..).take_while(|i| commit(*i)).count()
        });
        while !branch.path("new3").exists() {
            std::thread::yield_now();
        }
        ws.kill();
        worker.join().expect("the worker");
    });
    ws.mount();
    let _ = fs::remove_file(branch.path(".git/index.lock"));
    git(branch.root(), &["fsck", "--strict"]);
    git(branch.root(), &["add", "."]);
    git(branch.root(), &["commit", "-qm", "after the kill"]);
    assert!(git(branch.root(), &["status", "--short"]).is_empty());
}

/// One file for each part of a change that must land wholly or not at all.
const PARTS: usize = 60;

fn parts(tree: &Tree) -> Vec<String> {
    (0..PARTS).map(|i| tree.text(format!("part{i}"))).collect()
}

/// Kills the daemon while `commit` runs, after `delay` steps of waiting; the base must show one
/// round.
fn kill_during_commit(ws: &Workspace, round: usize, delay: usize) {
    let branch = ws.main().try_fork("b").expect("fork");
    for i in 0..PARTS {
        branch.write(format!("part{i}"), format!("round {round}"));
    }
    let mut control = branch.open_rw(".ctl");
    let acknowledged = std::thread::scope(|scope| {
        let committer = scope.spawn(move || control.write(b"commit\n").is_ok());
        (0..delay).for_each(|_| std::hint::spin_loop());
        ws.kill();
        committer.join().expect("the committer")
    });
    ws.mount();
    let main = parts(&ws.main());
    assert!(
        main.iter().all(|p| *p == main[0]),
        "main is torn after the kill: {main:?}"
    );
    let below = parts(&ws.below());
    assert_eq!(
        below, main,
        "a publish that was interrupted is finished by the mount"
    );
    let landed = main[0] == format!("round {round}");
    assert!(landed || !acknowledged, "an acknowledged commit is gone");
    let open = ws.main().children() == ["b"];
    assert_ne!(open, landed, "a branch is wholly committed or wholly open");
    if open {
        let kept = parts(&ws.main().child("b"));
        assert!(
            kept.iter().all(|p| *p == format!("round {round}")),
            "{kept:?}"
        );
        ws.main().child("b").commit();
    }
}

/// "A crash at any instruction leaves the parent wholly before or wholly after."
#[test]
fn a_crash_at_any_moment_leaves_the_parent_wholly_before_or_wholly_after() {
    let seconds = std::env::var("BRANCHFS_KILL_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok());
    let seconds: u64 = seconds.unwrap_or(0);
    let ws = Workspace::build()
        .base(|base| (0..PARTS).for_each(|i| base.write(format!("part{i}"), b"base")))
        .seconds(seconds + 240)
        .mount();
    let start = Instant::now();
    let mut round = 0;
    while round < 16 || start.elapsed() < Duration::from_secs(seconds) {
        // The delays are spread over what a commit takes, whatever the machine.
        kill_during_commit(&ws, round, (round * 7919) % 16 * 40_000);
        round += 1;
    }
    println!("kill: {round} commits were interrupted, none was torn");
    ws.unmount();
    ws.fsck();
}

#[test]
fn what_was_fsynced_is_in_the_store_when_fsync_returns() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let file = branch.open_rw("durable");
    file.write_all_at(&[7; 100_000], 0).expect("write");
    file.sync_all().expect("fsync");
    ws.kill_and_remount();
    branch.check("durable", vec![7; 100_000]);
}

#[test]
fn mounting_twice_after_a_kill_gives_the_same() {
    let ws = Workspace::with_base(small_base);
    let family = family(&ws);
    ws.kill();
    ws.mount();
    ws.kill();
    ws.mount();
    check_family(&family, "after two recoveries");
    ws.unmount();
    ws.fsck();
}
