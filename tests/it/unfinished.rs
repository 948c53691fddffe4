//! A publish that the base does not take: what has landed stays landed, everything can be read, and
//! it is finished as soon as the base takes it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::harness::process::{finish, limited};
use crate::harness::{Branch, Tree, Workspace, assert_errno};

fn base(base: &Tree) {
    for dir in ["a", "b"] {
        base.mkdir(dir).write("file", b"base");
    }
}

/// Directories in which nobody may change anything, root neither.
struct Immutable(Vec<PathBuf>);

impl Immutable {
    fn make(dirs: impl IntoIterator<Item = PathBuf>) -> Immutable {
        let dirs = Immutable(dirs.into_iter().collect());
        for dir in &dirs.0 {
            finish(chattr("+i", dir)).ok();
        }
        dirs
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        for dir in &self.0 {
            // What stays so shows when the directory is removed.
            finish(chattr("-i", dir));
        }
    }
}

fn chattr(flag: &str, dir: &Path) -> Command {
    let mut chattr = limited("chattr");
    chattr.arg(flag).arg(dir);
    chattr
}

#[track_caller]
fn check_soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "never {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn publish_error(main: &Branch) -> Option<String> {
    let status = main.status();
    status["publish_error"].as_str().map(str::to_owned)
}

fn both(tree: &Tree) -> [String; 2] {
    ["a/file", "b/file"].map(|file| tree.text(file))
}

/// "A publish that was interrupted anywhere is finished by the next mount, or by a later try."
#[test]
fn a_publish_that_cannot_be_finished_at_mount_leaves_everything_readable_and_is_finished_later() {
    let ws = Workspace::build()
        .base(base)
        .option("policy=merge")
        .unmounted();
    ws.mount_to_die_at("publish-stepped:1");
    let (winner, other) = (ws.fork("winner"), ws.fork("other"));
    other.write("a/of-other", b"kept");
    for file in ["a/file", "b/file"] {
        winner.write(file, b"committed");
    }
    winner.write("a/large", vec![b'l'; 300_000]);
    let daemon = ws.daemon();
    assert!(winner.try_commit().is_err(), "nobody died");
    assert!(daemon.ended_within(60), "the daemon goes on");
    let mountpoint = ws.mountpoint().to_str().expect("ASCII").to_owned();
    ws.branchfs(&["umount", &mountpoint]).ok();
    let immutable = Immutable::make(["a", "b"].map(|dir| ws.below().path(dir)));

    ws.mount();
    let main = ws.main();
    let check = || {
        assert_eq!(both(&main), ["committed", "committed"]);
        main.check("a/large", vec![b'l'; 300_000]);
        assert_eq!(both(&other), ["base", "base"]);
        other.check("a/of-other", b"kept");
    };
    check();
    other.append("a/of-other", b" and written");
    other.write("a/of-other", b"kept");
    assert_errno(std::fs::write(main.path("new"), b"x"), Errno::ROFS);
    assert_errno(other.try_commit(), Errno::ROFS);
    let told = publish_error(&main).expect("the status says why");
    assert!(told.contains("Operation not permitted"), "{told}");
    let doctor = ws.branchfs(&["doctor", &mountpoint]).out;
    assert!(doctor.contains("not yet in the base"), "{doctor}");
    // Neither another death nor another mount gets further, and neither loses anything.
    ws.kill_and_remount();
    check();
    assert!(publish_error(&main).is_some());

    drop(immutable);
    check_soon("published", || publish_error(&main).is_none());
    check();
    assert_eq!(both(&ws.below()), ["committed", "committed"]);
    main.write("new", b"x");
    other.commit();
    main.check("a/of-other", b"kept");
    ws.unmount();
    ws.fsck();
    Tree::at(ws.base()).check("a/of-other", b"kept");
}

/// "It returns when the decision is durable": what follows it is no reason to say that it failed.
#[test]
fn a_commit_that_lands_succeeds_though_the_base_refuses_to_be_changed() {
    let ws = Workspace::with_base(base);
    let mountpoint = ws.mountpoint().to_str().expect("ASCII").to_owned();
    let main = ws.main();
    let refuse = || Immutable::make([ws.below().path("a")]);
    let first = ws.fork("first");
    first.write("a/file", b"first");
    let refused = refuse();
    first.try_commit().expect("it lands");
    main.check("a/file", b"first");
    ws.below().check("a/file", b"base");
    let told = publish_error(&main).expect("the status says why");
    assert!(told.contains("Operation not permitted"), "{told}");
    // What is not permitted is not blamed on the user.
    let publish = ws.branchfs(&["publish", "-w", &mountpoint]).fails();
    assert!(publish.err.contains("not permitted"), "{}", publish.err);
    assert!(!publish.err.contains("owner"), "{}", publish.err);
    drop(refused);
    check_soon("published", || publish_error(&main).is_none());
    ws.below().check("a/file", b"first");

    // The command says both.
    ws.fork("second").write("a/file", b"second");
    let refused = refuse();
    let second = ws.branchfs(&["commit", "-w", &mountpoint, "second"]).ok();
    assert!(second.out.contains("committed"), "{}", second.out);
    assert!(second.err.contains("not published"), "{}", second.err);
    drop(refused);
    check_soon("published", || publish_error(&main).is_none());
    ws.below().check("a/file", b"second");
    ws.unmount();
    ws.fsck();
}
