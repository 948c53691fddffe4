//! A commit can be taken back, and an undo too.

use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;

use crate::harness::process::git;
use crate::harness::{Branch, Tree, Workspace, assert_errno, snapshot};

fn base(base: &Tree) {
    base.write("file", b"base");
    base.write("kept", b"kept");
    base.write("plain", b"plain");
    base.write("gone", vec![b'g'; 5000]);
    base.mkdir("dir/sub/deep");
    base.write("dir/file", vec![b'd'; 70_000]);
    base.link("dir/file", "dir/sub/hard");
    base.write("dir/sub/deep/small", b"deep");
    base.set_xattr("dir/sub/deep/small", "user.mark", "deep");
    base.mkdir("tree/a/b");
    base.write("tree/a/b/c", vec![b'c'; 300_000]);
    base.symlink("../file", "tree/a/link");
    base.chmod("tree/a", 0o750);
    base.set_xattr("tree/a/b", "user.dir", "x");
    base.utimes("tree/a/b/c", 981_173_106, 789);
    base.mkdir("swapped");
    base.write("swapped/a", b"a");
    base.write("large", vec![b'l'; 3 << 20]);
}

/// Changes of every kind.
fn work(branch: &Branch) {
    branch.write("file", b"changed by the branch");
    branch.unlink("gone");
    branch.write("new", vec![b'n'; 300_000]);
    branch.mkdir("made/here");
    branch.write("made/here/small", b"new");
    branch.rename("dir", "moved");
    branch.append("moved/file", b" and more");
    branch.unlink("moved/sub/hard");
    branch.remove_all("tree");
    branch.write("tree", b"a file now");
    branch.rename("swapped", "made/swapped");
    branch.write("made/swapped/b", vec![b'b'; 100]);
    branch.chmod("made/swapped", 0o2750);
    branch.set_xattr("kept", "user.mark", "x");
    branch.write("large", vec![b'L'; 4 << 20]);
}

/// A workspace with `work` committed as `winner`, and what it was before and after that.
fn committed(options: &[&str]) -> (Workspace, snapshot::Snapshot, snapshot::Snapshot) {
    let mut builder = Workspace::build().base(base);
    for option in options {
        builder = builder.option(option);
    }
    let ws = builder.mount();
    let before = snapshot::of(ws.main().root());
    let winner = ws.fork("winner");
    work(&winner);
    winner.commit();
    let after = snapshot::of(ws.main().root());
    (ws, before, after)
}

fn undo(branch: &Branch) {
    branch.ctl("undo").expect("undo");
}

#[test]
fn an_undo_takes_the_last_commit_back_in_main_and_in_the_base() {
    let (ws, before, _) = committed(&[]);
    undo(&ws.main());
    snapshot::assert_same(&before, &snapshot::of(ws.main().root()), "after the undo");
    ws.unmount();
    snapshot::assert_same(&before, &snapshot::of(ws.base()), "the base");
    ws.fsck();
}

#[test]
fn an_undo_takes_back_what_was_not_published() {
    let (ws, before, after) = committed(&["publish=manual"]);
    undo(&ws.main());
    snapshot::assert_same(&before, &snapshot::of(ws.main().root()), "after the undo");
    ws.main().ctl("redo").expect("redo");
    snapshot::assert_same(&after, &snapshot::of(ws.main().root()), "after the redo");
    ws.unmount();
    snapshot::assert_same(&after, &snapshot::of(ws.base()), "the base");
    ws.fsck();
}

#[test]
fn a_redo_takes_the_undo_back_and_so_on() {
    let (ws, before, after) = committed(&[]);
    for _ in 0..3 {
        undo(&ws.main());
        snapshot::assert_same(&before, &snapshot::of(ws.main().root()), "after the undo");
        ws.main().ctl("redo").expect("redo");
        snapshot::assert_same(&after, &snapshot::of(ws.main().root()), "after the redo");
    }
    ws.unmount();
    snapshot::assert_same(&after, &snapshot::of(ws.base()), "the base");
    ws.fsck();
}

#[test]
fn commits_are_taken_back_last_first_after_a_kill_too() {
    let ws = Workspace::build().base(base).mount();
    let mut seen = vec![snapshot::of(ws.main().root())];
    for (name, text) in [("one", "1"), ("two", "2"), ("three", "3")] {
        let branch = ws.fork(name);
        branch.append("file", text);
        branch.write(name, text);
        branch.unlink(["gone", "kept", "large"][seen.len() - 1]);
        branch.commit();
        seen.push(snapshot::of(ws.main().root()));
    }
    for (back, was) in seen.iter().enumerate().rev().skip(1) {
        ws.kill_and_remount();
        undo(&ws.main());
        let now = snapshot::of(ws.main().root());
        snapshot::assert_same(was, &now, &format!("back to {back}"));
    }
    assert_errno(ws.main().ctl("undo"), Errno::NOENT);
    assert!(ws.main().last_error().contains("nothing to undo"));
    for was in &seen[1..] {
        ws.main().ctl("redo").expect("redo");
        snapshot::assert_same(was, &snapshot::of(ws.main().root()), "forth");
    }
    assert_errno(ws.main().ctl("redo"), Errno::NOENT);
    ws.unmount();
    ws.fsck();
}

#[test]
fn what_has_come_since_the_commit_stays() {
    let (ws, ..) = committed(&[]);
    let main = ws.main();
    main.write("plain", b"edited since");
    main.write("since", b"x");
    main.write("made/since", b"y");
    main.unlink("made/since");
    undo(&main);
    main.check("file", b"base");
    main.check("plain", b"edited since");
    main.check("since", b"x");
    main.check("tree/a/b/c", vec![b'c'; 300_000]);
    assert!(!main.exists("made"));
    ws.unmount();
    ws.fsck();
}

#[test]
fn an_undo_is_refused_where_the_same_path_was_changed_since() {
    let (ws, ..) = committed(&[]);
    let main = ws.main();
    main.write("file", b"changed again");
    let now = snapshot::of(main.root());
    assert_errno(main.ctl("undo"), Errno::BUSY);
    let error = main.last_error();
    assert!(error.contains("file"), "{error}");
    snapshot::assert_same(&now, &snapshot::of(main.root()), "refused");
    main.write("made/in-it", b"new in a directory of the commit");
    main.write("file", b"changed by the branch");
    assert_errno(main.ctl("undo"), Errno::BUSY);
    main.check("made/in-it", b"new in a directory of the commit");
}

#[test]
fn an_undo_ends_no_branch_and_changes_none() {
    let (ws, ..) = committed(&[]);
    let later = ws.fork("later");
    later.write("later", b"x");
    let seen = snapshot::of(later.root());
    undo(&ws.main());
    snapshot::assert_same(&seen, &snapshot::of(later.root()), "a branch");
    later.commit();
    ws.main().check("later", b"x");
    ws.main().check("file", b"base");
}

#[test]
fn the_trash_shows_what_the_parent_was_before_a_commit() {
    let (ws, before, after) = committed(&[]);
    let main = ws.main();
    assert_eq!(main.status()["undo"], "winner~before");
    let entry = main.path("@branches/.trash/winner~before");
    snapshot::assert_same(&before, &snapshot::of(&entry), "before the commit");
    // Reachable and not listed: it is no branch that could be restored.
    assert!(main.names("@branches/.trash").is_empty());
    let back = std::fs::rename(&entry, main.path("@branches/back"));
    assert_errno(back, Errno::INVAL);
    undo(&main);
    assert!(!entry.exists());
    let status = main.status();
    assert_eq!(
        (&status["undo"], &status["redo"]),
        (&serde_json::Value::Null, &"winner~undone".into())
    );
    let undone = main.path("@branches/.trash/winner~undone");
    snapshot::assert_same(&after, &snapshot::of(&undone), "before the undo");
    let events = main.about("events");
    assert!(events.contains(r#""event":"undo""#), "{events}");
}

#[test]
fn a_commit_into_a_branch_is_taken_back_there() {
    let ws = Workspace::with_base(base);
    let parent = ws.fork("parent");
    parent.write("file", b"of the parent");
    let before = snapshot::of(parent.root());
    let child = parent.fork("child");
    work(&child);
    child.commit();
    assert_ne!(parent.text("file"), "of the parent");
    undo(&parent);
    snapshot::assert_same(&before, &snapshot::of(parent.root()), "the parent");
    // With the parent's own commit what went into it can be taken back only as a whole.
    parent.ctl("redo").expect("redo");
    parent.commit();
    undo(&ws.main());
    ws.main().check("file", b"base");
    assert_errno(ws.main().ctl("undo"), Errno::NOENT);
}

#[test]
fn with_a_trash_of_no_time_no_commit_can_be_taken_back() {
    let (ws, ..) = committed(&["trash=0"]);
    assert_errno(ws.main().ctl("undo"), Errno::NOENT);
    ws.main().check("file", b"changed by the branch");
}

#[test]
fn an_open_file_keeps_what_an_undo_replaces() {
    let (ws, ..) = committed(&[]);
    let main = ws.main();
    let open = main.open("file");
    let ino = main.stat("file").ino();
    undo(&main);
    let mut open = open;
    assert_eq!(
        crate::harness::read_rest(&mut open),
        b"changed by the branch"
    );
    assert_ne!(main.stat("file").ino(), ino);
    main.check("file", b"base");
}

#[test]
fn a_daemon_that_dies_within_an_undo_loses_nothing() {
    for point in ["undo-decided", "undo-recorded", "undo-durable"] {
        let ws = Workspace::build().base(base).unmounted();
        ws.mount_to_die_at(point);
        let before = snapshot::of(ws.main().root());
        let winner = ws.fork("winner");
        work(&winner);
        winner.commit();
        let after = snapshot::of(ws.main().root());
        let daemon = ws.daemon();
        assert!(ws.main().ctl("undo").is_err(), "{point}");
        assert!(daemon.ended_within(60), "the daemon never came to {point}");
        ws.mount();
        let wanted = if point == "undo-decided" {
            &after
        } else {
            &before
        };
        snapshot::assert_same(wanted, &snapshot::of(ws.main().root()), point);
        let way = if point == "undo-decided" {
            "undo"
        } else {
            "redo"
        };
        ws.main().ctl(way).expect(way);
        let wanted = if point == "undo-decided" {
            &before
        } else {
            &after
        };
        snapshot::assert_same(wanted, &snapshot::of(ws.main().root()), way);
        ws.unmount();
        snapshot::assert_same(wanted, &snapshot::of(ws.base()), point);
        ws.fsck();
    }
}

#[test]
fn git_is_right_after_an_undo() {
    let ws = Workspace::with_base(|base| {
        for dir in ["a", "b/c"] {
            base.mkdir(dir);
            for n in 0..20 {
                base.write(format!("{dir}/{n}"), format!("{dir} {n}\n"));
            }
        }
        git(base.root(), &["init", "-q"]);
        git(base.root(), &["add", "."]);
        git(base.root(), &["commit", "-q", "-m", "first"]);
    });
    let main = ws.main();
    let head = git(main.root(), &["rev-parse", "HEAD"]);
    let branch = ws.fork("work");
    branch.remove_all("a");
    branch.write("b/c/1", b"other\n");
    git(branch.root(), &["commit", "-q", "-a", "-m", "second"]);
    branch.commit();
    assert_ne!(git(main.root(), &["rev-parse", "HEAD"]), head);
    undo(&main);
    assert_eq!(git(main.root(), &["rev-parse", "HEAD"]), head);
    assert_eq!(git(main.root(), &["status", "--porcelain"]), "");
    git(main.root(), &["fsck", "--strict"]);
    ws.unmount();
    assert_eq!(git(ws.base(), &["status", "--porcelain"]), "");
}

#[test]
fn the_command_says_which_commit_it_took_back() {
    let (ws, ..) = committed(&[]);
    let at = ws.mountpoint().to_str().expect("ASCII").to_owned();
    let done = ws.branchfs(&["undo", "-w", &at]).ok();
    assert_eq!(done.out, "took back the commit of winner in main\n");
    let done = ws.branchfs(&["redo", "-w", &at]).ok();
    assert_eq!(done.out, "did again the commit of winner in main\n");
    ws.main().write("file", b"changed since");
    let refused = ws.branchfs(&["undo", "-w", &at]);
    assert_eq!(refused.code, 3, "{}", refused.err);
    assert!(refused.err.contains("hint:"), "{}", refused.err);
    let none = ws.branchfs(&["redo", "-w", &at]);
    assert_eq!(none.code, 1, "{}", none.err);
}
