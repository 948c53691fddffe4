//! Whole command lines against a fake workspace: what is printed, and the exit code.

use std::ffi::OsString;
use std::fs;

use super::*;
use crate::client::fake::{Fake, status};
use crate::proto::{ChangeCounts, State, Status};

struct Ran {
    code: u8,
    out: String,
    err: String,
}

/// Runs `branchfs LINE`, with `-w` where `line` says `-w`.
fn run(fake: &Fake, line: &str) -> Ran {
    run_at(fake, "", line)
}

fn run_at(fake: &Fake, inside: &str, line: &str) -> Ran {
    let mut arguments = vec![OsString::from("branchfs")];
    for word in line.split(' ') {
        arguments.push(word.into());
        if word == "-w" {
            arguments.push(fake.path(inside).into());
        }
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut session = Session {
        out: &mut out,
        err: &mut err,
        out_color: false,
        err_color: false,
        is_mount: fake.is_mount(),
    };
    let code = run_with(&arguments, &mut session);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran {
        code,
        out: text(out),
        err: text(err),
    }
}

#[track_caller]
fn check(fake: &Fake, line: &str, code: u8, out: &str, err: &str) {
    let ran = run(fake, line);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), (out, err), "{line}");
    assert_eq!(ran.code, code, "{line}");
}

fn json(ran: &Ran) -> serde_json::Value {
    assert_eq!(ran.code, 0, "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn the_definition_of_the_commands_is_sound() {
    command().debug_assert();
}

#[test]
fn fork_prints_the_directory_of_the_new_branch() {
    let fake = Fake::with(&["fix-a"]);
    let ran = run_at(&fake, "@branches/fix-a", "fork ./sub -w");
    let dir = fake.path("@branches/fix-a/@branches/sub");
    assert_eq!(ran.out, format!("{}\n", dir.display()));
    assert!(dir.is_dir());
    check(
        &fake,
        "fork fix-a -w",
        1,
        "",
        "branchfs: cannot fork main/fix-a: a branch of that name exists (EEXIST)\n\
         hint: branchfs list shows the names\n",
    );
    check(
        &fake,
        "fork .fix -w",
        2,
        "",
        "branchfs: a branch name cannot begin with '.': .fix\n",
    );
}

#[test]
fn commit_writes_the_command_and_tells_one_inside_to_leave() {
    let fake = Fake::with(&["fix-a"]);
    check(
        &fake,
        "commit fix-a -w",
        0,
        "committed main/fix-a into main\n",
        "",
    );
    assert_eq!(fake.text("@branches/fix-a/.ctl"), "commit\n");
    let ran = run_at(&fake, "@branches/fix-a", "commit -w");
    assert_eq!(ran.out, "committed main/fix-a into main\n");
    assert_eq!(
        ran.err,
        format!(
            "hint: this branch is over: cd {}\n",
            fake.path("").display()
        )
    );
    check(&fake, "commit -w", 0, "published main into the base\n", "");
}

#[test]
fn a_lost_race_is_exit_code_3() {
    let fake = Fake::with(&[]);
    fake.add_to_trash("fix-b", status("fix-b", State::Lost));
    check(
        &fake,
        "commit fix-b -w",
        3,
        "",
        "branchfs: cannot commit main/fix-b: it lost, a sibling committed first\n\
         hint: its work can be brought back: branchfs restore main/fix-b\n",
    );
}

#[test]
fn a_dry_run_shows_the_preview_and_commits_nothing() {
    let fake = Fake::with(&["fix-a"]);
    let accepted = "commit main/fix-a into main\naccepted\nA new\n";
    fs::write(fake.path("@branches/fix-a/.commit"), accepted).unwrap();
    check(&fake, "commit -n fix-a -w", 0, accepted, "");
    let refused = "commit main/fix-a into main\nrefused EBUSY main changed x\nconflict main x\n";
    fs::write(fake.path("@branches/fix-a/.commit"), refused).unwrap();
    check(&fake, "commit --dry-run fix-a -w", 3, refused, "");
    assert_eq!(fake.text("@branches/fix-a/.ctl"), "");
}

#[test]
fn abort_takes_several_branches_and_needs_one() {
    let fake = Fake::with(&["fix-a", "fix-b"]);
    check(
        &fake,
        "abort fix-a fix-b -w",
        0,
        "aborted main/fix-a\naborted main/fix-b\n",
        "",
    );
    assert_eq!(fake.text("@branches/fix-b/.ctl"), "abort\n");
    assert_eq!(run(&fake, "abort -w").code, 2);
}

#[test]
fn a_refusal_prints_errno_sentence_and_hint() {
    let fake = Fake::with(&[]);
    fake.refuse(".ctl", "12 bytes left");
    check(
        &fake,
        "publish -w",
        1,
        "",
        "branchfs: cannot publish main: the store is full; nothing already written is lost \
         (ENOSPC): 12 bytes left\nhint: free space: branchfs gc, or abort branches\n",
    );
}

#[test]
fn list_shows_live_branches_and_the_trash() {
    let fake = Fake::with(&["fix-a", "fix-a/sub"]);
    let mut changed = status("fix-b", State::Open);
    changed.changed = Some(ChangeCounts {
        added: 2,
        ..Default::default()
    });
    changed.note = "try \x1b[31mthis".into();
    fake.add("@branches/fix-b".as_ref(), changed);
    fake.add_to_trash("old~3", status("old", State::Lost));
    check(
        &fake,
        "list -w",
        0,
        "fix-a  open\nfix-b  open       2 added  \"try \\033[31mthis\"\n",
        "",
    );
    check(&fake, "list fix-a -w", 0, "sub  open\n", "");
    check(&fake, "list --trash -w", 0, "old~3  lost\n", "");
    let names = json(&run(&fake, "list -r --json -w"))["branches"].clone();
    assert_eq!(names, serde_json::json!(["fix-a", "fix-a/sub", "fix-b"]));
    let trash = json(&run(&fake, "list --trash --json -w"));
    assert_eq!(trash["details"][0]["entry"], "old~3");
    assert_eq!(trash["details"][0]["state"], "lost");
}

#[test]
fn status_as_json_has_what_existing_tools_read() {
    let fake = Fake::with(&["fix-a", "fix-a/sub", "fix-b"]);
    fs::write(
        fake.path("@branches/fix-a/@self/conflicts"),
        "overlap main/fix-b x\n",
    )
    .unwrap();
    let report = json(&run(&fake, "status fix-a --json -w"));
    assert_eq!(report["command"], "status");
    assert_eq!(report["workspace"], fake.path("").to_str().unwrap());
    assert_eq!(report["fstype"], "branchfs");
    assert_eq!(report["branches"], serde_json::json!(["fix-a", "fix-b"]));
    assert_eq!(report["status"]["branch"], "main/fix-a");
    assert_eq!(report["children"], serde_json::json!(["sub"]));
    assert_eq!(report["conflicts"][0]["branch"], "main/fix-b");
}

#[test]
fn status_for_people_says_what_is_the_case() {
    let fake = Fake::with(&["fix-a"]);
    let mut status = status("fix-a", State::Open);
    status.usage.bytes = 1536;
    status.limits.bytes = Some(1 << 30);
    status.last_error = Some("main changed x".into());
    status.last_errno = Some(crate::proto::ErrnoText(libc::EBUSY));
    fake.set_status(
        "@branches/fix-a".as_ref(),
        &Status {
            note: "a\nb".into(),
            ..status
        },
    );
    fs::write(
        fake.path("@branches/fix-a/@self/conflicts"),
        "conflict main x\n",
    )
    .unwrap();
    let expect = "\
main/fix-a  #1 open, first-winner
  holds     1.5 KiB in 0 inodes, of 1.0 GiB
  forked    from main, 1970-01-01T00:00:00.000000000Z
  refused   EBUSY: main changed x
  note      a
  note      b
  conflict main x
";
    check(&fake, "status fix-a -w", 0, expect, "");
}

#[test]
fn tree_draws_and_nests() {
    let fake = Fake::with(&["fix-a", "fix-a/sub"]);
    let drawn = "main  #0 open\n└── fix-a  #1 open\n    └── sub  #2 open\n";
    check(&fake, "tree -w", 0, drawn, "");
    let report = json(&run(&fake, "tree --json -w"));
    assert_eq!(report["branches"], serde_json::json!(["fix-a"]));
    assert_eq!(
        report["tree"]["branches"][0]["branches"][0]["branch"],
        "main/fix-a/sub"
    );
}

#[test]
fn diff_log_patch_and_note_print_what_the_files_say() {
    let fake = Fake::with(&["fix-a"]);
    let write = |file: &str, text: &str| {
        fs::write(fake.path(&format!("@branches/fix-a/@self/{file}")), text).unwrap();
    };
    write("diff", "A new\nR a -> b\n");
    check(&fake, "diff fix-a -w", 0, "A new\nR a -> b\n", "");
    let report = json(&run(&fake, "diff fix-a --json -w"));
    assert_eq!(report["changes"][1]["from"], "a");
    write("log", "some line\n");
    check(&fake, "log fix-a -w", 0, "some line\n", "");
    write(
        "events",
        "{\"seq\":1,\"time\":\"1970-01-01T00:00:00Z\",\"event\":\"fork\",\
         \"branch\":\"main/fix-a\",\"number\":1,\"parent\":\"main\"}\n",
    );
    assert_eq!(
        json(&run(&fake, "log fix-a --json -w"))["events"][0]["event"],
        "fork"
    );
    write("patch", "diff --git a/x b/x\n");
    check(&fake, "patch fix-a -w", 0, "diff --git a/x b/x\n", "");
    write("note", "one\n\x1b[2Jtwo\n");
    check(&fake, "note fix-a -w", 0, "one\n\"\\033[2Jtwo\"\n", "");
    check(&fake, "note fix-a -m three -w", 0, "", "");
    assert_eq!(fake.text("@branches/fix-a/@self/note"), "three\n");
}

#[test]
fn limits_are_changed_and_shown() {
    let fake = Fake::with(&["fix-a"]);
    check(
        &fake,
        "limits fix-a --bytes 1M --inodes none -w",
        0,
        "0 B in 0 inodes\n",
        "",
    );
    assert_eq!(
        fake.text("@branches/fix-a/@self/limits"),
        "bytes=1048576\ninodes=none\n"
    );
    check(
        &fake,
        "limits fix-a --bytes much -w",
        2,
        "",
        "branchfs: much is no size in bytes\n",
    );
}

#[test]
fn rename_and_restore_print_the_new_directory() {
    let fake = Fake::with(&["fix-a"]);
    fake.add_to_trash("old", status("old", State::Aborted));
    let dir = |name: &str| format!("{}\n", fake.path("@branches").join(name).display());
    check(&fake, "rename fix-a fix-b -w", 0, &dir("fix-b"), "");
    check(&fake, "restore old --as again -w", 0, &dir("again"), "");
    check(
        &fake,
        "rename main x -w",
        2,
        "",
        "branchfs: main cannot be renamed\n",
    );
}

#[test]
fn gc_of_a_workspace_is_a_command() {
    let fake = Fake::with(&[]);
    let path = fake.path("").display().to_string();
    check(&fake, &format!("gc {path}"), 0, "", "");
    assert_eq!(fake.text(".ctl"), "gc\n");
}

#[test]
fn fsck_of_a_mounted_workspace_is_refused() {
    let fake = Fake::with(&[]);
    let path = fake.path("").display().to_string();
    check(
        &fake,
        &format!("fsck {path}"),
        1,
        "",
        &format!("branchfs: {path} is mounted\nhint: unmount it first: branchfs umount {path}\n"),
    );
}

#[test]
fn outside_of_a_workspace_the_hint_says_how_to_make_one() {
    let fake = Fake::with(&[]);
    fs::remove_dir_all(fake.path("@self")).unwrap();
    let path = fake.path("").display().to_string();
    check(
        &fake,
        "status -w",
        1,
        "",
        &format!(
            "branchfs: {path} is not in a branchfs workspace\n\
             hint: mount one: branchfs mount {path}\n"
        ),
    );
}

#[test]
fn wrong_usage_is_exit_code_2_and_help_is_no_error() {
    let fake = Fake::with(&[]);
    let ran = run(&fake, "comit");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(
        ran.err
            .starts_with("branchfs: unrecognized subcommand 'comit'"),
        "{}",
        ran.err
    );
    let help = run(&fake, "--help");
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    for verb in [
        "mount", "umount", "fork", "commit", "restore", "publish", "fsck",
    ] {
        assert!(help.out.contains(&format!("\n  {verb}")), "{}", help.out);
    }
    assert_eq!(
        run(&fake, "--version").out,
        format!("branchfs {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn mount_takes_its_arguments_in_any_order() {
    let line = "branchfs mount -v -o ro -o trash=1h,policy=merge base dir --store s --foreground";
    let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    let verb = verb::parse(&words).unwrap();
    let verb::Verb::Mount(args) = verb else {
        panic!("{verb:?}")
    };
    assert_eq!(args.base.to_str(), Some("base"));
    assert_eq!(
        args.mountpoint.as_deref().and_then(|p| p.to_str()),
        Some("dir")
    );
    assert_eq!(args.store.as_deref().and_then(|p| p.to_str()), Some("s"));
    assert_eq!(args.options, ["ro", "trash=1h,policy=merge"]);
    assert!(args.foreground && args.verbose == 1);
}
