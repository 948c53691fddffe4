//! `branchfs run`: what lands, what does not, and what it exits with.

use super::{branches, branchfs, json, small_base};
use crate::harness::Workspace;

#[track_caller]
fn check(args: &[&str], code: i32, lands: bool, stays: bool) {
    let ws = Workspace::with_base(small_base);
    let done = branchfs(&ws, "run", args);
    assert_eq!(done.code, code, "{}{}", done.out, done.err);
    assert_eq!(ws.main().exists("new"), lands, "{args:?}");
    assert_eq!(!branches(&ws).is_empty(), stays, "{args:?}");
}

#[test]
fn success_lands_and_failure_leaves_nothing() {
    check(&["--", "sh", "-c", "echo x > new"], 0, true, false);
    check(&["--", "sh", "-c", "echo x > new; exit 7"], 7, false, false);
    check(
        &["--", "sh", "-c", "echo x > new; kill -9 $$"],
        137,
        false,
        false,
    );
    check(
        &["--no-isolate", "--", "sh", "-c", "echo x > new; exit 7"],
        7,
        false,
        false,
    );
}

#[test]
fn what_is_done_with_the_branch_can_be_chosen() {
    let fails = ["--", "sh", "-c", "echo x > new; exit 7"];
    let works = ["--", "sh", "-c", "echo x > new"];
    check(
        &[&["--on-error", "keep"][..], &fails].concat(),
        7,
        false,
        true,
    );
    check(&[&["--keep"][..], &fails].concat(), 7, false, true);
    check(
        &[&["--on-success", "keep"][..], &works].concat(),
        0,
        false,
        true,
    );
    check(&[&["--no-commit"][..], &works].concat(), 0, false, true);
    // The end of input aborts.
    check(&[&["--ask"][..], &works].concat(), 0, false, false);
}

#[test]
fn a_command_that_cannot_be_executed_is_told_as_env_does() {
    check(&["--", "no-such-program"], 127, false, false);
    check(&["--", "./file"], 126, false, false);
    let ws = Workspace::with_base(small_base);
    let (code, told) = json(&ws, "run", &["--", "no-such-program"]);
    assert_eq!((code, &told["exit_code"]), (127, &127.into()));
    let (code, told) = json(&ws, "run", &["--", "./file"]);
    assert_eq!((code, &told["exit_code"]), (126, &126.into()));
    assert_eq!(told["action"], "aborted");
}

#[test]
fn the_json_has_the_fields_that_tools_read() {
    let ws = Workspace::with_base(small_base);
    let script = "echo out; echo err >&2; echo 0.25 >&3";
    let (code, told) = json(&ws, "run", &["-b", "mine", "--", "sh", "-c", script]);
    assert_eq!(code, 0);
    assert_eq!(told["command"], "run");
    assert_eq!(told["branch"], "main/mine");
    assert_eq!(told["exit_code"], 0);
    assert_eq!(told["action"], "committed");
    let result = &told["result"];
    assert_eq!(
        (&result["stdout"], &result["stderr"]),
        (&"out\n".into(), &"err\n".into())
    );
    assert_eq!(result["score"], 0.25);
    assert!(result["peak_memory_bytes"].as_u64() > Some(0), "{told}");
}

#[test]
fn the_command_starts_where_one_stands_and_is_told_its_branch() {
    let ws = Workspace::with_base(|base| drop(base.mkdir("deep")));
    let script = "pwd > where; echo $BRANCHFS_BRANCH >> where; cd $BRANCHFS_WORKSPACE; pwd >> where
                  echo $BRANCHING_ATTEMPT-$BRANCHING_FEEDBACK- >> where";
    for (isolate, root) in [("--isolate", ""), ("--no-isolate", "/@branches/b")] {
        let dir = ws.main().path("deep");
        let args = ["run", isolate, "-b", "b", "--", "sh", "-c", script];
        crate::harness::process::run(&dir, crate::harness::run_dir::binary(), &args).ok();
        let at = format!("{}{root}", ws.mountpoint().display());
        let where_ = ws.main().text("deep/where");
        let script_cd = format!("{at}/deep\nmain/b\n{at}\n");
        assert!(
            where_.starts_with(&script_cd) || where_ == format!("{at}/deep\nmain/b\n"),
            "{where_}"
        );
        ws.main().unlink("deep/where");
    }
}

#[test]
fn a_run_that_loses_a_race_exits_3_and_commits_nothing() {
    let ws = Workspace::with_base(small_base);
    let root = ws.mountpoint().display();
    let script = format!(
        "echo mine > new; mkdir {root}/@branches/other; echo theirs > {root}/@branches/other/file
         echo commit > {root}/@branches/other/.ctl"
    );
    let (code, told) = json(&ws, "run", &["--no-isolate", "--", "sh", "-c", &script]);
    assert_eq!(code, 3, "{told}");
    assert_eq!(
        (&told["committed"], &told["action"]),
        (&false.into(), &"lost".into())
    );
    ws.main().check("file", b"theirs\n");
    assert!(!ws.main().exists("new"));
}

#[test]
fn a_run_that_conflicts_with_the_parent_exits_3_and_keeps_the_branch() {
    let ws = Workspace::with_base(small_base);
    let root = ws.mountpoint().display();
    let script = format!("echo mine > file; echo theirs > {root}/file");
    let (code, told) = json(
        &ws,
        "run",
        &["--no-isolate", "-b", "b", "--", "sh", "-c", &script],
    );
    assert_eq!(code, 3, "{told}");
    assert_eq!(
        (&told["committed"], &told["action"]),
        (&false.into(), &"kept".into())
    );
    ws.main().check("file", b"theirs\n");
    ws.main().child("b").check("file", b"mine\n");
}

#[test]
fn branch_names_limits_and_depths_that_cannot_be_are_refused() {
    let ws = Workspace::with_base(small_base);
    for (args, code) in [
        (&["-b", ".bad", "--", "true"][..], 2),
        (&["--max-nesting", "0", "--", "true"], 2),
        (&["--timeout", "soon", "--", "true"], 2),
        (&["--memory-limit", "lots", "--", "true"], 2),
        (&["--"], 2),
    ] {
        let done = branchfs(&ws, "run", args);
        assert_eq!(done.code, code, "{args:?}: {}", done.err);
    }
    let done = branchfs(
        &ws,
        "best-of-n",
        &["-n", "5", "--max-branches", "4", "--", "true"],
    );
    assert_eq!(done.code, 2, "{}", done.err);
    assert!(done.err.contains("--max-branches"), "{}", done.err);
    assert!(branches(&ws).is_empty());
}

#[test]
fn the_branch_of_a_trial_can_be_limited() {
    let ws = Workspace::with_base(small_base);
    let script = "head -c 3000000 /dev/zero > big";
    let done = branchfs(
        &ws,
        "run",
        &["--bytes-limit", "1M", "--", "sh", "-c", script],
    );
    assert!(done.code != 0 && done.err.contains("quota"), "{}", done.err);
    assert!(!ws.main().exists("big"));
}
