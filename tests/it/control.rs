//! The reserved files: what is in each of them, and what may be written to them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::process::{git, run, sh};
use crate::harness::{Branch, Tree, Workspace};

fn small_base(base: &Tree) {
    base.write("file", b"base\n");
    base.write("gone", b"gone\n");
    base.write(
        "old",
        b"a file that moves, with enough in it to be known again\n",
    );
    base.write("kind", b"was a file\n");
    base.write("script", b"#!/bin/sh\n");
    base.mkdir("dir/sub");
    base.write("dir/file", b"in dir\n");
}

/// Changes one path in each way.
fn change(branch: &Branch) {
    branch.write("file", b"changed\n");
    branch.write("new", b"new\n");
    branch.unlink("gone");
    branch.rename("old", "moved");
    branch.unlink("kind");
    branch.symlink("file", "kind");
    branch.chmod("script", 0o755);
}

#[test]
fn ctl_shows_the_status_as_key_value_lines() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let child = branch.fork("c");
    let lines = child.ctl_lines();
    for (key, value) in [
        ("branch", "main/b/c"),
        ("name", "c"),
        ("parent", "main/b"),
        ("state", "open"),
    ] {
        assert_eq!(
            lines.get(key).map(String::as_str),
            Some(value),
            "{key} in {lines:?}"
        );
    }
    assert_eq!(ws.main().ctl_lines()["name"], "main");
    assert_eq!(branch.ctl_lines()["children"], "1");
    assert_eq!(branch.ctl_lines()["policy"], "first-winner");
}

#[test]
fn commands_of_one_write_are_done_in_order_up_to_the_first_that_is_refused() {
    let ws = Workspace::with_base(small_base);
    let write = |text: &str| fs::write(ws.main().path(".ctl"), text).map_err(|e| e.raw_os_error());
    assert_eq!(write("fork a\nfork b\n"), Ok(()));
    assert_eq!(write("fork c\nfork a\nfork d\n"), Err(Some(libc::EEXIST)));
    assert_eq!(write("fork e\nnonsense\n"), Err(Some(libc::EINVAL)));
    assert_eq!(ws.main().children(), ["a", "b", "c"]);
}

#[test]
fn status_is_one_json_object() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let status = branch.status();
    assert_eq!(
        (&status["branch"], &status["state"]),
        (&"main/b".into(), &"open".into())
    );
    assert_eq!(status["parent"], "main");
    assert!(status["number"].as_u64().expect("a number") > 0);
    assert_eq!(ws.main().status()["parent"], Value::Null);
    branch.write("file", vec![1; 100_000]);
    let bytes = branch.status()["usage"]["bytes"].as_u64().expect("bytes");
    assert!(bytes >= 100_000, "usage.bytes is {bytes}");
}

#[test]
fn the_generation_grows_with_each_commit() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let generation = |b: &Branch, key: &str| b.status()[key].as_u64().expect("a generation");
    let before = generation(&main, "generation");
    let branch = main.fork("b");
    assert_eq!(generation(&branch, "fork_generation"), before);
    branch.write("file", b"x");
    branch.commit();
    assert_eq!(generation(&main, "generation"), before + 1);
}

#[test]
fn diff_has_a_line_for_each_change() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    assert!(branch.about("diff").is_empty());
    change(&branch);
    let lines = branch.diff();
    let expected = [
        ('M', "file"),
        ('D', "gone"),
        ('T', "kind"),
        ('A', "new"),
        ('R', "old -> moved"),
        ('m', "script"),
    ];
    let is: Vec<(char, &str)> = lines
        .iter()
        .map(|(letter, path)| (*letter, path.as_str()))
        .collect();
    let files: Vec<_> = is.into_iter().filter(|(_, path)| *path != "./").collect();
    assert_eq!(files, expected);
}

#[test]
fn diff_quotes_odd_names_as_git_does() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    branch.write(b"\xff", b"");
    branch.write("new\nline", b"");
    let text = branch.about("diff");
    assert!(
        text.contains("A \"\\377\"\n") && text.contains("A \"new\\nline\"\n"),
        "{text}"
    );
}

#[test]
fn a_change_that_was_taken_back_is_no_change_of_content() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    branch.write("new", b"x");
    branch.unlink("new");
    branch.rename("file", "x");
    branch.rename("x", "file");
    let lines = branch.diff();
    assert!(lines.iter().all(|(_, path)| path == "./"), "{lines:?}");
}

#[test]
fn patch_is_applied_by_git_with_binary_files_modes_links_and_renames() {
    let binary: Vec<u8> = (0..=255u8).cycle().take(5000).collect();
    let ws = Workspace::with_base(|base| {
        small_base(base);
        base.write(
            "binary",
            (0..=255u8).rev().cycle().take(4000).collect::<Vec<_>>(),
        );
        base.write("no-newline", b"no newline at the end");
        git(base.root(), &["init", "-q"]);
        git(base.root(), &["add", "."]);
        git(base.root(), &["commit", "-qm", "base"]);
    });
    let branch = ws.fork("b");
    change(&branch);
    branch.write("binary", &binary);
    branch.write("new-binary", &binary);
    branch.write("no-newline", b"still none");
    branch.write(b"odd \xff\nname", b"odd\n");
    branch.write("dir/sub/with space", b"x\n");
    branch.write("empty", b"");
    let copy = ws.scratch();
    let patch = copy.path("patch");
    fs::write(&patch, branch.read("@self/patch")).expect("save the patch");
    let clone = copy.path("clone");
    let (from, to) = (
        ws.base().to_str().expect("ASCII"),
        clone.to_str().expect("ASCII"),
    );
    git(copy.root(), &["clone", "-q", from, to]);
    run(&clone, "git", &["apply", patch.to_str().expect("ASCII")]).ok();
    let compare = "diff -r --no-dereference --exclude=.git \"$1\" \"$2\"";
    sh(copy.root(), compare, &[branch.root(), clone.as_path()]).ok();
    assert_eq!(Tree::at(&clone).mode("script") & 0o111, 0o111);
    assert_eq!(Tree::at(&clone).readlink("kind"), b"file");
}

#[test]
fn patch_of_an_unchanged_branch_is_empty() {
    let ws = Workspace::with_base(small_base);
    assert!(ws.fork("b").read("@self/patch").is_empty());
}

#[test]
fn conflicts_lists_hard_conflicts_with_the_parent_and_overlap_with_live_branches() {
    let ws = Workspace::with_base(small_base);
    let (a, b) = (ws.fork("a"), ws.fork("b"));
    assert!(a.about("conflicts").is_empty());
    a.write("file", b"a");
    a.write("dir/file", b"a");
    b.write("file", b"b");
    assert_eq!(a.about("conflicts"), "overlap main/b file\n");
    assert_eq!(b.about("conflicts"), "overlap main/a file\n");
    ws.main().write("dir/file", b"main");
    let lines = a.about("conflicts");
    assert!(lines.contains("conflict main dir/file\n"), "{lines}");
    assert!(lines.contains("overlap main/b file\n"), "{lines}");
    b.abort();
    assert_eq!(a.about("conflicts"), "conflict main dir/file\n");
}

#[test]
fn disjoint_edits_of_two_branches_both_land_and_the_radar_shows_who_touches_a_path() {
    let ws = Workspace::build()
        .base(small_base)
        .option("policy=merge")
        .mount();
    let (a, b, c) = (ws.fork("a"), ws.fork("b"), ws.fork("c"));
    a.write("file", b"a\n");
    b.write("dir/file", b"b\n");
    c.write("file", b"c\n");
    assert!(b.about("conflicts").is_empty());
    assert_eq!(c.about("conflicts"), "overlap main/a file\n");
    a.commit();
    b.commit();
    ws.main().check("file", b"a\n");
    ws.main().check("dir/file", b"b\n");
    assert_eq!(c.about("conflicts"), "conflict main file\n");
}

#[test]
fn commit_and_abort_preview_what_a_write_to_them_would_do() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    branch.write("new", b"x");
    let commit = branch.text(".commit");
    assert!(
        commit.starts_with("commit main/b into main\naccepted\n"),
        "{commit}"
    );
    assert!(commit.contains("A new\n"), "{commit}");
    let abort = branch.text(".abort");
    assert!(
        abort.starts_with("abort main/b\naccepted\n") && abort.contains("A new\n"),
        "{abort}"
    );
    let main = ws.main().text(".abort");
    assert!(main.contains("refused EPERM"), "{main}");
    // Reading decides nothing.
    branch.check("new", b"x");
}

/// `tail -f` on a file, killed when dropped.
pub struct Tail {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Tail {
    /// Starts it at the first line of a file.
    pub fn follow(path: &std::path::Path) -> Tail {
        let mut command = Command::new("tail");
        command
            .args(["-n", "+1", "-s", "0.1", "-f"])
            .arg(path)
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("start tail");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Tail { child, lines }
    }

    /// The next event called `kind`.
    pub fn wait_for(&mut self, kind: &str) -> Value {
        loop {
            let line = self.lines.next().expect("tail goes on").expect("a line");
            let event: Value =
                serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
            if event["event"] == kind {
                return event;
            }
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn events_are_json_lines_that_tail_follows() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let mut tail = Tail::follow(&main.path("@self/events"));
    let (a, b) = (main.fork("a"), main.fork("b"));
    assert_eq!(tail.wait_for("fork")["branch"], "main/a");
    let fork = tail.wait_for("fork");
    assert_eq!(fork["branch"], "main/b");
    main.rename("@branches/b", "@branches/c");
    assert_eq!(tail.wait_for("rename")["branch"], "main/c");
    drop(b);
    a.write("file", b"a");
    a.commit();
    let commit = tail.wait_for("commit");
    assert_eq!(commit["branch"], "main/a");
    assert!(
        commit["seq"].as_u64() > fork["seq"].as_u64(),
        "{commit} {fork}"
    );
    let lost = main.text("@self/events");
    assert!(
        lost.lines()
            .any(|l| l.contains("\"lost\"") && l.contains("main/c")),
        "{lost}"
    );
}

/// A reader that was away finds what it has read at the beginning, and what it missed behind that.
#[test]
fn events_and_the_log_are_kept_over_remounts_and_kills_and_numbered_without_gaps() {
    let ws = Workspace::with_base(small_base);
    let first = ws.fork("first");
    first.write("file", b"changed");
    first.commit();
    ws.fork("a").abort();
    let (mut seen, mut log) = (ws.main().about("events"), ws.main().about("log"));
    assert!(log.contains("abort main/a"), "{log}");
    let again: [fn(&Workspace); 3] = [
        Workspace::remount,
        Workspace::kill_and_remount,
        Workspace::remount,
    ];
    for (round, again) in again.iter().enumerate() {
        again(&ws);
        ws.fork(format!("b{round}").as_str()).abort();
        let (events, lines) = (ws.main().about("events"), ws.main().about("log"));
        assert!(events.starts_with(&seen), "{seen}then\n{events}");
        assert!(lines.starts_with(&log), "{log}then\n{lines}");
        assert!(lines.contains(&format!("abort main/b{round}")), "{lines}");
        (seen, log) = (events, lines);
    }
    let number = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["seq"].as_u64();
    let numbers: Vec<_> = seen.lines().filter_map(number).collect();
    let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn log_has_a_line_for_what_happened() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let branch = main.fork("b");
    branch.write("file", b"x");
    branch.commit();
    main.fork("c").abort();
    let log = main.about("log");
    for words in ["fork main/b", "commit main/b into main", "abort main/c"] {
        assert!(log.contains(words), "no {words:?} in\n{log}");
    }
}

#[test]
fn a_note_is_kept() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    branch
        .echo("try the other parser", "@self/note")
        .expect("write a note");
    assert_eq!(branch.about("note").trim_end(), "try the other parser");
    ws.kill_and_remount();
    assert_eq!(branch.about("note").trim_end(), "try the other parser");
    assert!(ws.main().about("tree").contains("try the other parser"));
}

#[test]
fn the_mount_root_shows_the_tree_the_metrics_and_the_configuration() {
    let ws = Workspace::build()
        .base(small_base)
        .option("policy=merge")
        .mount();
    let branch = ws.fork("outer");
    branch.fork("inner");
    let tree = ws.main().about("tree");
    assert!(
        tree.starts_with("main") && tree.contains("outer") && tree.contains("inner"),
        "{tree}"
    );
    assert_eq!(tree.lines().count(), 3, "{tree}");
    let metrics = ws.main().about("metrics");
    assert!(metrics.contains("# TYPE branchfs_"), "{metrics}");
    let config = ws.main().about("config");
    assert!(config.contains("merge"), "{config}");
    assert!(!branch.exists("@self/tree") && !branch.exists("@self/metrics"));
}

#[test]
fn control_files_are_fresh_on_every_read_and_have_their_size() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    for i in 0..5 {
        branch.write(format!("new{i}"), b"x");
        let text = branch.about("diff");
        assert_eq!(
            text.lines().filter(|l| l.starts_with("A new")).count(),
            i + 1,
            "{text}"
        );
        assert_eq!(branch.stat("@self/diff").len(), text.len() as u64);
    }
    sh(
        branch.root(),
        "cat @self/status | python3 -m json.tool >/dev/null",
        &[""; 0],
    )
    .ok();
}
