//! A mount elsewhere, whose base others go on editing: no work in a branch gets lost by that.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;

use crate::harness::{Branch, Tree, Workspace, assert_errno};

/// A workspace with a branch that has changed `file` and `dir/deep`, and its base.
fn changed() -> (Workspace, Branch, Tree) {
    let fill = |base: &Tree| {
        base.write("file", b"base");
        base.write("other", b"other");
        base.mkdir("dir");
        base.write("dir/deep", b"deep");
        base.write("dir/beside", b"beside");
    };
    let ws = Workspace::build().base(fill).elsewhere().mount();
    let branch = ws.fork("b");
    branch.write("file", b"work");
    branch.write("dir/deep", b"deep work");
    let base = Tree::at(ws.base());
    (ws, branch, base)
}

/// Until the kernel asks again what is in the base.
fn noticed() {
    sleep(Duration::from_millis(1100));
}

#[test]
fn a_file_that_a_branch_changed_stays_there_when_the_base_loses_it() {
    let (ws, branch, base) = changed();
    base.unlink("file");
    base.write("added", b"added");
    noticed();
    branch.check("file", b"work");
    let names = ["@branches", "@self"];
    let listed = branch.names(".");
    assert!(!listed.iter().any(|name| names.contains(&name.as_str())));
    assert_eq!(listed, ["added", "dir", "file", "other"]);
    branch.write("file", b"more work");
    assert!(!ws.main().exists("file"));
    // A fork and a remount have it too.
    branch.fork("child").check("file", b"more work");
    branch.child("child").abort();
    ws.remount();
    branch.check("file", b"more work");
    assert_errno(branch.try_commit(), Errno::BUSY);
    assert!(
        branch.last_error().contains("file"),
        "{}",
        branch.last_error()
    );
    assert!(!base.exists("file"));
    // The way out: the work becomes a file of the branch's own.
    branch.rename("dir/deep", "deep");
    fs::copy(branch.path("file"), branch.path("rescued")).expect("copy");
    branch.unlink("file");
    assert!(!branch.exists("file"));
    branch.commit();
    base.check("rescued", b"more work");
    base.check("deep", b"deep work");
    base.check("added", b"added");
    ws.unmount();
    ws.fsck();
}

#[test]
fn a_file_that_a_branch_changed_stays_there_when_another_takes_its_place_in_the_base() {
    let (ws, branch, base) = changed();
    base.write("new", b"by an editor");
    base.rename("new", "dir/deep");
    noticed();
    branch.check("dir/deep", b"deep work");
    ws.main().check("dir/deep", b"by an editor");
    assert_eq!(branch.names("dir"), ["beside", "deep"]);
    assert_errno(branch.try_commit(), Errno::BUSY);
    assert!(
        branch.last_error().contains("dir/deep"),
        "{}",
        branch.last_error()
    );
    base.check("dir/deep", b"by an editor");
    // What the branch never saw it does not take away either.
    branch.unlink("dir/deep");
    assert!(!branch.exists("dir/deep"));
    assert_errno(branch.try_commit(), Errno::BUSY);
    branch.write("dir/deep", b"anew");
    assert_errno(branch.try_commit(), Errno::BUSY);
    base.check("dir/deep", b"by an editor");
    ws.unmount();
    ws.fsck();
}

#[test]
fn the_rest_of_a_file_is_not_read_from_another_that_took_its_place_in_the_base() {
    let (ws, branch, base) = changed();
    branch.append("other", b" and work");
    branch.append("dir/beside", b" and work");
    base.rename("other", "aside");
    base.write("other", b"OTHER");
    base.unlink("dir/beside");
    // What was open before may still be read from.
    ws.kill_and_remount();
    let read = |name| fs::read(branch.path(name));
    assert_errno(read("other"), Errno::IO);
    assert_errno(read("dir/beside"), Errno::IO);
    assert_eq!(branch.stat("other").len(), 14);
    base.rename("aside", "other");
    noticed();
    branch.check("other", b"other and work");
    branch.unlink("dir/beside");
    branch.abort();
    ws.unmount();
    ws.fsck();
}

#[test]
fn a_name_that_a_branch_moved_or_removed_does_not_come_back_with_the_bases() {
    let (ws, branch, base) = changed();
    branch.rename("file", "moved");
    branch.unlink("dir/deep");
    branch.link("moved", "second");
    branch.unlink("moved");
    for name in ["file", "dir/deep", "moved"] {
        assert!(!branch.exists(name), "{name}");
    }
    base.unlink("file");
    noticed();
    for name in ["file", "dir/deep", "moved"] {
        assert!(!branch.exists(name), "{name}");
    }
    branch.check("second", b"work");
    assert_eq!(branch.names("."), ["dir", "other", "second"]);
    assert_eq!(branch.names("dir"), ["beside"]);
    ws.unmount();
    ws.fsck();
}

#[test]
fn many_changed_files_keep_their_names_in_listings_in_pieces() {
    let count = 3_000;
    let fill = |base: &Tree| (0..count).for_each(|n| base.write(format!("f{n}"), b"base"));
    let ws = Workspace::build().base(fill).elsewhere().mount();
    let branch = ws.fork("b");
    let base = Tree::at(ws.base());
    (0..count)
        .step_by(2)
        .for_each(|n| branch.write(format!("f{n}"), b"work"));
    (0..count)
        .step_by(3)
        .for_each(|n| base.unlink(format!("f{n}")));
    noticed();
    let expected = |n: &usize| n.is_multiple_of(2) || !n.is_multiple_of(3);
    let mut names: Vec<String> = (0..count)
        .filter(expected)
        .map(|n| format!("f{n}"))
        .collect();
    names.sort();
    assert_eq!(branch.names("."), names);
    for number in (0..count).filter(expected) {
        let content: &[u8] = if number % 2 == 0 { b"work" } else { b"base" };
        branch.check(format!("f{number}"), content);
    }
}
