//! inotify(7) and inotifywait(1): who watches a workspace sees what a commit or an abort changed.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{ReadFlags, WatchFlags};

use crate::harness::inotify::Inotify;
use crate::harness::process::{limited, sh};
use crate::harness::{Tree, Workspace};

fn base(base: &Tree) {
    base.write("kept", b"kept");
    base.write("changed", b"old");
    base.write("deleted", b"old");
    base.mkdir("dir");
    base.write("dir/inner", b"old");
    base.mkdir("to");
}

const ALL: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE);

/// Waits until `wanted` have all been told; panics when they are not in time.
#[track_caller]
fn hear(inotify: &Inotify, wanted: &[(ReadFlags, &str)]) -> Vec<(ReadFlags, String)> {
    let until = Instant::now() + Duration::from_secs(20);
    let mut heard = Vec::new();
    loop {
        let seen = inotify.seen().into_iter();
        heard.extend(seen.map(|(flags, name)| {
            let name = name.map(|name| String::from_utf8_lossy(&name).into_owned());
            (flags, name.unwrap_or_default())
        }));
        let is_told = |wanted: &(ReadFlags, &str)| {
            let is_it = |it: &(ReadFlags, String)| it.0.contains(wanted.0) && it.1 == wanted.1;
            heard.iter().any(is_it)
        };
        let missing: Vec<_> = wanted.iter().filter(|it| !is_told(it)).collect();
        if missing.is_empty() {
            return heard;
        }
        assert!(Instant::now() < until, "{missing:?} not in {heard:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn who_watches_a_directory_sees_what_a_commit_made_changed_and_deleted_in_it() {
    let ws = Workspace::with_base(base);
    let inotify = Inotify::new();
    inotify.watch(ws.mountpoint(), ALL);
    let b = ws.fork("b");
    b.write("changed", b"new");
    b.write("made", b"new");
    b.mkdir("made-dir");
    b.symlink("kept", "link");
    fs::remove_file(b.path("deleted")).unwrap();
    b.commit();
    let heard = hear(
        &inotify,
        &[
            (ReadFlags::CREATE, "made"),
            (ReadFlags::CLOSE_WRITE, "made"),
            (ReadFlags::CREATE | ReadFlags::ISDIR, "made-dir"),
            (ReadFlags::CREATE, "link"),
            (ReadFlags::MODIFY, "changed"),
            (ReadFlags::CLOSE_WRITE, "changed"),
            (ReadFlags::DELETE, "deleted"),
        ],
    );
    assert!(heard.iter().all(|(_, name)| name != "kept"), "{heard:?}");
    let main = ws.main();
    main.check("changed", b"new");
    main.check("made", b"new");
    main.check("link", b"kept");
    assert!(!main.exists("deleted"));
    // Nothing of what the watchers were shown is a change.
    assert_eq!(main.names("made-dir"), [""; 0]);
    main.write("made-dir/x", b"x");
    main.write("made", b"newer");
    main.check("made", b"newer");
    ws.unmount();
    ws.fsck();
}

#[test]
fn who_watches_a_file_sees_that_a_commit_replaced_or_deleted_it() {
    let ws = Workspace::with_base(base);
    let (changed, deleted) = (Inotify::new(), Inotify::new());
    changed.watch(&ws.main().path("changed"), ALL);
    deleted.watch(&ws.main().path("deleted"), ALL);
    let b = ws.fork("b");
    b.write("changed", b"new");
    fs::remove_file(b.path("deleted")).unwrap();
    b.commit();
    hear(&changed, &[(ReadFlags::DELETE_SELF, "")]);
    hear(&deleted, &[(ReadFlags::DELETE_SELF, "")]);
    ws.main().check("changed", b"new");
    assert!(!ws.main().exists("deleted"));
}

/// What stands in for a directory that lives on elsewhere is not that directory.
#[test]
fn a_watched_directory_that_a_commit_moves_goes_on_living() {
    let ws = Workspace::with_base(base);
    let main = ws.main();
    let inotify = Inotify::new();
    inotify.watch(ws.mountpoint(), ALL);
    inotify.watch(&main.path("dir"), ALL);
    inotify.watch(&main.path("to"), ALL);
    let b = ws.fork("b");
    b.rename("dir", "to/dir");
    b.commit();
    hear(
        &inotify,
        &[
            (ReadFlags::DELETE | ReadFlags::ISDIR, "dir"),
            (ReadFlags::CREATE | ReadFlags::ISDIR, "dir"),
        ],
    );
    main.write("to/dir/more", b"more");
    main.check("to/dir/inner", b"old");
    hear(&inotify, &[(ReadFlags::CREATE, "more")]);
    fs::remove_file(main.path("to/dir/more")).unwrap();
    main.rename("to/dir", "dir");
    main.check("dir/inner", b"old");
}

#[test]
fn who_watches_the_branches_sees_them_end() {
    let ws = Workspace::with_base(base);
    let (winner, loser, aborted) = (ws.fork("winner"), ws.fork("loser"), ws.fork("aborted"));
    let inotify = Inotify::new();
    inotify.watch(&ws.main().path("@branches"), ALL);
    inotify.watch(loser.root(), ALL);
    aborted.abort();
    hear(&inotify, &[(ReadFlags::DELETE, "aborted")]);
    winner.write("changed", b"new");
    winner.commit();
    hear(
        &inotify,
        &[
            (ReadFlags::DELETE, "winner"),
            (ReadFlags::DELETE, "loser"),
            (ReadFlags::DELETE_SELF, ""),
        ],
    );
    assert!(ws.main().children().is_empty());
    let again = ws.fork("loser");
    again.check("changed", b"new");
}

#[test]
fn who_watches_is_told_of_each_of_many_quick_commits() {
    let ws = Workspace::with_base(base);
    let (files, branches) = (Inotify::new(), Inotify::new());
    files.watch(ws.mountpoint(), ALL);
    branches.watch(&ws.main().path("@branches"), ALL);
    let names: Vec<String> = (0..30).map(|number| format!("made-{number}")).collect();
    for name in &names {
        let b = ws.fork(name);
        b.write(name, b"new");
        b.commit();
    }
    let all = |flags: ReadFlags| names.iter().map(move |name| (flags, name.as_str()));
    hear(&files, &Vec::from_iter(all(ReadFlags::CREATE)));
    hear(&branches, &Vec::from_iter(all(ReadFlags::DELETE)));
}

#[test]
fn inotifywait_on_a_path_that_a_commit_changes_returns() {
    let ws = Workspace::with_base(base);
    let b = ws.fork("b");
    b.write("changed", b"new");
    let ready = ws.scratch().path("ready");
    let mut wait = limited("inotifywait");
    wait.args([
        "-q",
        "-t",
        "30",
        "-e",
        "close_write",
        "--format",
        "%e %f",
        "-o",
    ]);
    wait.arg(&ready).arg(ws.mountpoint());
    let mut wait = wait.spawn().expect("start inotifywait");
    let watches = |pid: u32| {
        let script =
            "grep -qs '^inotify wd' /proc/$1/fdinfo/* /proc/$(pgrep -P $1 | head -1)/fdinfo/*";
        sh(Path::new("/"), script, &[pid.to_string()]).code == 0
    };
    let until = Instant::now() + Duration::from_secs(20);
    while !watches(wait.id()) && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    b.commit();
    assert!(wait.wait().expect("inotifywait").success());
    let told = fs::read_to_string(ready).unwrap();
    assert_eq!(told, "CLOSE_WRITE,CLOSE changed\n");
}
