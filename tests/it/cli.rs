//! The command line: each verb does what the files do, and says it for people and for programs.

use serde_json::Value;

use crate::harness::process::Done;
use crate::harness::{Tree, Workspace};

fn small_base(base: &Tree) {
    base.write("file", b"base");
}

/// Runs `branchfs VERB -w WORKSPACE ARGS`.
#[track_caller]
fn branchfs(ws: &Workspace, verb: &str, args: &[&str]) -> Done {
    let workspace = ws.mountpoint().to_str().expect("ASCII");
    ws.branchfs(&[&[verb, "-w", workspace], args].concat())
}

#[track_caller]
fn json(ws: &Workspace, verb: &str, args: &[&str]) -> Value {
    let out = branchfs(ws, verb, &[&["--json"], args].concat()).ok().out;
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{verb} --json: {e}: {out}"))
}

#[test]
fn a_branch_is_forked_listed_shown_and_committed() {
    let ws = Workspace::with_base(small_base);
    branchfs(&ws, "fork", &["a"]).ok();
    branchfs(&ws, "fork", &["b"]).ok();
    let list = branchfs(&ws, "list", &[]).ok().out;
    assert!(list.contains('a') && list.contains('b'), "{list}");
    ws.main().child("a").write("file", b"changed");
    let status = branchfs(&ws, "status", &["a"]).ok().out;
    assert!(status.contains("open"), "{status}");
    assert!(branchfs(&ws, "diff", &["a"]).ok().out.contains("file"));
    branchfs(&ws, "commit", &["a"]).ok();
    ws.main().check("file", b"changed");
    assert!(ws.main().children().is_empty());
}

#[test]
fn list_and_status_speak_json() {
    let ws = Workspace::with_base(small_base);
    ws.fork("a").fork("inner");
    let list = json(&ws, "list", &[]).to_string();
    assert!(list.contains("\"main/a\""), "{list}");
    let status = json(&ws, "status", &["a"]);
    let status = &status["status"];
    assert_eq!(
        (&status["branch"], &status["state"]),
        (&"main/a".into(), &"open".into())
    );
    let tree = json(&ws, "tree", &[]).to_string();
    assert!(tree.contains("\"main/a/inner\""), "{tree}");
}

#[test]
fn the_workspace_is_found_from_the_current_directory() {
    let ws = Workspace::with_base(|base| drop(base.mkdir("deep/down")));
    let branch = ws.fork("a");
    let binary = crate::harness::run_dir::binary();
    let dir = branch.path("deep/down");
    let status = crate::harness::process::run(&dir, binary, &["status"])
        .ok()
        .out;
    assert!(status.contains("main/a"), "{status}");
}

#[test]
fn aborted_branches_are_restored() {
    let ws = Workspace::with_base(small_base);
    ws.fork("a").write("file", b"kept");
    branchfs(&ws, "abort", &["a"]).ok();
    assert!(ws.main().children().is_empty());
    branchfs(&ws, "restore", &["a"]).ok();
    branchfs(&ws, "rename", &["a", "b"]).ok();
    ws.main().child("b").check("file", b"kept");
    assert!(branchfs(&ws, "log", &[]).ok().out.contains("restore"));
}

#[test]
fn errors_are_told_with_a_hint_and_exit_non_zero() {
    let ws = Workspace::with_base(small_base);
    ws.fork("a").fork("inner");
    for (verb, args) in [
        ("commit", &["a"][..]),
        ("commit", &["none"]),
        ("fork", &["a"]),
    ] {
        let done = branchfs(&ws, verb, args).fails();
        assert!(
            done.err.starts_with("branchfs: ") && done.err.contains("\nhint: "),
            "{}",
            done.err
        );
        assert!(!done.err.contains("panicked"), "{}", done.err);
    }
    let done = branchfs(&ws, "commit", &["a"]).fails();
    assert!(done.err.contains("hint:"), "{}", done.err);
    assert!(
        !done.err.contains('\x1b'),
        "colour where there is no terminal: {}",
        done.err
    );
}

#[test]
fn fsck_reports_damage_and_a_store_that_is_none() {
    let ws = Workspace::with_base(small_base);
    ws.fork("a").write("file", b"x");
    ws.unmount();
    ws.fsck();
    let none = ws.scratch();
    ws.branchfs(&["fsck", none.root().to_str().expect("ASCII")])
        .fails();
    ws.branchfs(&["gc", ws.base().join(".branchfs").to_str().expect("ASCII")])
        .ok();
    ws.fsck();
    ws.mount();
    ws.main().child("a").check("file", b"x");
}
