//! Runs in the background: listed, waited for, ended, reviewed; and who wrote a file.

use super::{branches, branchfs, fifo, json, small_base};
use crate::harness::Workspace;

#[test]
fn a_detached_run_is_listed_waited_for_and_its_result_told() {
    let ws = Workspace::with_base(small_base);
    let gate = fifo(&ws.scratch(), "gate");
    let script = format!(
        "read x < {}; echo $x > file; echo said; exit 5",
        gate.display()
    );
    let done = branchfs(
        &ws,
        "run",
        &[
            "--detach",
            "-b",
            "d",
            "--on-error",
            "keep",
            "--",
            "sh",
            "-c",
            &script,
        ],
    );
    assert_eq!(done.ok().out, "main/d\n");
    let (_, told) = json(&ws, "trials", &["--active"]);
    assert_eq!(
        (&told["trials"][0]["branch"], &told["trials"][0]["state"]),
        (&"main/d".into(), &"running".into())
    );
    assert_eq!(
        branchfs(&ws, "wait", &["--timeout", "100ms", "d"]).code,
        124
    );
    assert_eq!(branchfs(&ws, "review", &["--list"]).ok().out, "");
    std::fs::write(&gate, "go\n").expect("open the gate");
    let (code, told) = json(&ws, "wait", &["d", "--as", "counts"]);
    assert_eq!((code, &told["failed"]), (1, &1.into()), "{told}");
    assert_eq!(told["errors"]["main/d"]["exit_code"], 5);
    ws.main().child("d").check("file", b"go\n");
    assert!(
        ws.main()
            .child("d")
            .about("log")
            .contains("stdout \"said\\n\"")
    );
    assert_eq!(branchfs(&ws, "review", &["--list"]).ok().out, "main/d\n");
}

#[test]
fn a_detached_run_can_be_ended() {
    let ws = Workspace::with_base(small_base);
    let done = branchfs(
        &ws,
        "run",
        &[
            "--detach",
            "-b",
            "d",
            "--",
            "sh",
            "-c",
            "echo x > file; sleep 1000",
        ],
    );
    done.ok();
    branchfs(&ws, "kill", &["d"]).ok();
    assert!(branches(&ws).is_empty());
    ws.main().check("file", b"base\n");
    let (_, told) = json(&ws, "trials", &[]);
    assert_eq!(told["trials"][0]["state"], "failed");
    assert_eq!(told["trials"][0]["phase"], "abort");
}

#[test]
fn a_review_commits_what_is_accepted() {
    let ws = Workspace::with_base(small_base);
    ws.fork("a").write("new", b"x");
    let (root, binary) = (ws.mountpoint(), crate::harness::run_dir::binary());
    let script = "printf 'p\\nwhat\\ncommit\\n' | \"$1\" review -w \"$2\"";
    let done = crate::harness::process::sh(root, script, &[binary, root]).ok();
    assert!(
        done.err.contains("A new") && done.err.contains("+x"),
        "{}",
        done.err
    );
    assert!(done.out.contains("committed main/a"), "{}", done.out);
    ws.main().check("new", b"x");
}

#[test]
fn one_is_told_which_trial_wrote_a_file() {
    let ws = Workspace::with_base(small_base);
    branchfs(
        &ws,
        "run",
        &["-b", "first", "--", "sh", "-c", "echo x > file"],
    )
    .ok();
    ws.fork("second").write("file", b"y");
    let (_, told) = json(&ws, "blame", &["file"]);
    assert_eq!(told["live"], serde_json::json!(["main/second"]));
    assert_eq!(told["landed"][0]["branch"], "main/first");
    assert_eq!(told["landed"][0]["attempt"], 0);
    let (_, told) = json(&ws, "blame", &["other"]);
    assert_eq!(
        (&told["live"], &told["landed"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
}

#[test]
fn metrics_count_trials() {
    let ws = Workspace::with_base(small_base);
    branchfs(&ws, "run", &["--", "true"]).ok();
    let metrics = ws.main().about("metrics");
    assert!(
        metrics.contains("branchfs_trials{state=\"all\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("branchfs_trial_duration_milliseconds_count 1"),
        "{metrics}"
    );
}
