//! The daemon dies at a named point of a commit, a publish, a checkpoint or a reclaim; the next
//! mount shows all or nothing of what was under way, and everything that was acknowledged.
//!
//! The points are those of `sys::failpoint`. `BRANCHFS_FAILPOINT_TIMES=N` comes to each of them up
//! to N times before it dies: `cargo xtask kill` sets it.

use branchfs::sys::failpoint::POINTS;

use crate::harness::{Branch, Tree, Workspace, snapshot};

fn base(base: &Tree) {
    base.write("file", b"base");
    base.write("gone", vec![b'g'; 5000]);
    base.mkdir("dir/sub");
    base.write("dir/file", vec![b'd'; 70_000]);
    base.link("dir/file", "dir/sub/hard");
    base.mkdir("swapped");
    base.write("swapped/a", b"a");
}

/// Changes that need every kind of step in the base.
fn work(branch: &Branch) {
    branch.write("file", b"changed");
    branch.unlink("gone");
    branch.write("new", vec![b'n'; 300_000]);
    branch.rename("dir", "moved");
    branch.append("moved/file", b" and more");
    branch.mkdir("dir");
    branch.rename("swapped", "dir/swapped");
    branch.write("dir/swapped/b", vec![b'b'; 100]);
    branch.chmod("dir/swapped", 0o2750);
    branch.symlink("../file", "dir/link");
    branch.set_xattr("moved", "user.mark", "x");
}

/// What is running when the daemon dies: whether it was acknowledged, and whether all was done
/// without a sign that the daemon is dying.
fn begin(ws: &Workspace, point: &str, winner: &Branch) -> (bool, bool) {
    let main = ws.main();
    match point.split('-').next() {
        Some("commit") => {
            let done = winner.try_commit().is_ok();
            (done, done)
        }
        Some("publish") => {
            let acknowledged = winner.try_commit().is_ok();
            // What is left to do after the answer is done before that of the next.
            (acknowledged, main.ctl("publish").is_ok())
        }
        Some("reclaim") => {
            let done = main.ctl("gc").is_ok();
            (done, done)
        }
        // An unmount ends with a checkpoint; the command says that the daemon did not get there.
        _ => {
            let mountpoint = ws.mountpoint().to_str().expect("ASCII");
            (ws.branchfs(&["umount", mountpoint]).code == 0, false)
        }
    }
}

/// Whether the last user of the store closed it: branchfs-store(5) has the format.
fn was_closed(ws: &Workspace) -> bool {
    let bytes = std::fs::read(ws.store().join("mounted")).expect("read the store's note");
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let newest = if number(8) > number(4096 + 8) {
        0
    } else {
        4096
    };
    number(newest + 48) == 1
}

/// Dies at the point, `times` times on; returns whether the daemon came there at all.
fn check(point: &str, times: u32) -> bool {
    let ws = Workspace::build().base(base).unmounted();
    ws.mount_to_die_at(&format!("{point}:{times}"));
    let (winner, loser) = (ws.fork("winner"), ws.fork("loser"));
    work(&winner);
    loser.write("file", b"of the loser");
    let aborted = ws.fork("aborted");
    aborted.write("large", vec![b'x'; 500_000]);
    aborted.abort();
    let branches = [ws.main(), winner.clone(), loser];
    let before = branches.clone().map(|branch| snapshot::of(branch.root()));
    let daemon = ws.daemon();
    let (acknowledged, lives) = begin(&ws, point, &winner);
    let ended = daemon.ended_within(if lives { 0 } else { 60 });
    let died = ended && !was_closed(&ws);
    if !ended {
        ws.kill();
    }
    ws.mount();
    let main = ws.main();
    let committing = point.starts_with("commit") || point.starts_with("publish");
    // A record in the journal survives the daemon: from there on the commit has happened.
    if committing && (acknowledged || point != "commit-decided") {
        snapshot::assert_same(&before[1], &snapshot::of(main.root()), point);
        assert!(main.children().is_empty(), "{point}: {:?}", main.children());
        assert_eq!(
            main.names("@branches/.trash"),
            ["aborted", "loser"],
            "{point}"
        );
    } else {
        for (branch, seen) in branches.iter().zip(&before) {
            snapshot::assert_same(seen, &snapshot::of(branch.root()), point);
        }
        assert_eq!(main.children(), ["loser", "winner"], "{point}");
        winner.commit();
    }
    // Whatever was left half done, the workspace goes on as any other.
    let again = ws.fork("again");
    again.write("afterwards", b"x");
    again.commit();
    main.ctl("gc").expect("gc");
    let wanted = snapshot::of(main.root());
    ws.unmount();
    snapshot::assert_same(&wanted, &snapshot::of(ws.base()), point);
    ws.fsck();
    died
}

/// Every point of one operation.
fn check_all(operation: &str) {
    let times = std::env::var("BRANCHFS_FAILPOINT_TIMES");
    let times: u32 = times.map_or(1, |text| text.parse().expect("a number"));
    let points = POINTS.iter().filter(|point| point.starts_with(operation));
    let mut died = 0;
    for point in points {
        assert!(check(point, 1), "the daemon never came to {point}");
        died += 1;
        died += (2..=times).filter(|times| check(point, *times)).count();
    }
    assert!(died > 0, "{operation} has no points");
    println!("{died} deaths at the points of {operation}, nothing lost");
}

#[test]
fn a_daemon_that_dies_within_a_commit_loses_nothing() {
    check_all("commit");
}

#[test]
fn a_daemon_that_dies_within_a_publish_loses_nothing() {
    check_all("publish");
}

#[test]
fn a_daemon_that_dies_within_a_checkpoint_loses_nothing() {
    check_all("checkpoint");
}

#[test]
fn a_daemon_that_dies_within_a_reclaim_loses_nothing() {
    check_all("reclaim");
}

#[test]
fn a_publish_that_was_killed_at_any_point_is_finished_or_made_anew_by_the_next_mount() {
    for point in POINTS.iter().filter(|point| point.starts_with("publish")) {
        let ws = Workspace::build().base(base).unmounted();
        ws.mount_to_die_at(point);
        // Whoever was forked before keeps the old version, and what is kept for it, alive.
        let earlier = ws.fork("earlier");
        let before = snapshot::of(earlier.root());
        ws.main().ctl("policy merge").expect("policy merge");
        let winner = ws.fork("winner");
        work(&winner);
        let wanted = snapshot::of(winner.root());
        let daemon = ws.daemon();
        begin(&ws, point, &winner);
        assert!(daemon.ended_within(60), "{point}: it was not reached");
        ws.mount();
        snapshot::assert_same(&wanted, &snapshot::of(ws.below().root()), point);
        snapshot::assert_same(&before, &snapshot::of(earlier.root()), point);
        ws.main().ctl("gc").expect("gc");
        snapshot::assert_same(&before, &snapshot::of(earlier.root()), point);
        ws.unmount();
        ws.fsck();
    }
}
