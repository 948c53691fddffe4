//! The table of errnos in DESIGN, a row a test, and the sentence in `last_error` that goes with
//! each.

use std::fs;
use std::io::{self, Write};

use rustix::io::Errno;

use crate::harness::process::run;
use crate::harness::{Branch, Tree, Workspace, assert_errno, requirements};

fn small_base(base: &Tree) {
    base.write("file", b"base");
    base.mkdir("dir");
}

/// Asserts that `branch` explains its last refusal with a sentence that has `words` in it.
#[track_caller]
fn check_explained(branch: &Branch, errno: &str, words: &[&str]) {
    let status = branch.status();
    assert_eq!(status["last_errno"].as_str(), Some(errno), "{status}");
    let sentence = branch.last_error();
    for word in words {
        assert!(sentence.contains(word), "no {word:?} in {sentence:?}");
    }
}

/// "ESTALE: this branch lost, was committed, or was aborted: the first winner has already
/// landed."
#[test]
fn estale_this_branch_lost_was_committed_or_was_aborted() {
    let ws = Workspace::with_base(small_base);
    for end in ["commit", "abort"] {
        let branch = ws.fork("b");
        let mut control = branch.open_rw(".ctl");
        branch.ctl(end).expect("the end of the branch");
        assert_errno(control.write(b"commit\n"), Errno::STALE);
        assert_errno(control.write(b"abort\n"), Errno::STALE);
    }
    let (winner, loser) = (ws.fork("winner"), ws.fork("loser"));
    let mut control = loser.open_rw(".ctl");
    winner.commit();
    assert_errno(control.write(b"commit\n"), Errno::STALE);
}

/// "EBUSY: path-level conflict: the parent changed the same path since the fork
/// (`@self/conflicts` names them)."
#[test]
fn ebusy_the_parent_changed_the_same_path_since_the_fork() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    branch.write("file", b"branch");
    ws.main().write("file", b"parent");
    assert_errno(branch.try_commit(), Errno::BUSY);
    check_explained(&branch, "EBUSY", &["file"]);
    assert!(branch.about("conflicts").contains("conflict main file"));
    let preview = branch.text(".commit");
    assert!(preview.contains("refused EBUSY"), "{preview}");
}

/// "ENOTEMPTY: the branch has live children."
#[test]
fn enotempty_the_branch_has_live_children() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    branch.fork("child");
    assert_errno(branch.try_commit(), Errno::NOTEMPTY);
    check_explained(&branch, "ENOTEMPTY", &["child"]);
    assert_errno(branch.ctl("abort"), Errno::NOTEMPTY);
    assert_errno(fs::remove_dir(branch.root()), Errno::NOTEMPTY);
    branch.child("child").check("file", b"base");
}

/// "EEXIST: name taken."
#[test]
fn eexist_the_name_is_taken() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    main.fork("b").write("file", b"kept");
    assert_errno(main.try_fork("b"), Errno::EXIST);
    assert_errno(main.ctl("fork b"), Errno::EXIST);
    main.child("b").check("file", b"kept");
}

/// "ENOENT: no such branch."
#[test]
fn enoent_there_is_no_such_branch() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    assert_errno(main.child("none").try_commit(), Errno::NOENT);
    assert_errno(main.child("none").try_fork("child"), Errno::NOENT);
    assert_errno(fs::remove_dir(main.child("none").root()), Errno::NOENT);
    assert_errno(main.ctl("restore none"), Errno::NOENT);
}

/// "EINVAL: unknown command or bad name."
#[test]
fn einval_the_command_is_unknown_or_the_name_is_bad() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    for command in [
        "dance",
        "fork",
        "fork .x",
        "fork a b",
        "rename @x",
        "policy maybe",
        "comit",
    ] {
        assert_errno(main.ctl(command), Errno::INVAL);
    }
    check_explained(&main, "EINVAL", &["comit"]);
    // A bad second line leaves the first undone.
    assert_errno(main.ctl("fork good\nfork .bad"), Errno::INVAL);
    assert_errno(main.try_fork(".x"), Errno::INVAL);
    assert!(main.children().is_empty());
    let limits = fs::write(main.path("@self/limits"), b"bytes many\n");
    assert_errno(limits, Errno::INVAL);
}

/// Runs `command` in `dir` as a user that is neither root nor the branch's owner.
fn as_nobody(dir: &std::path::Path, command: &str) -> crate::harness::process::Done {
    let nobody = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "bash",
        "-c",
        command,
    ];
    run(dir, "setpriv", &nobody)
}

/// "EPERM, EACCES: not the branch's owner."
#[test]
fn eperm_or_eacces_not_the_branchs_owner() {
    requirements::root();
    let ws = Workspace::build()
        .base(small_base)
        .base(|base| base.chmod("", 0o777))
        .mount();
    let branch = ws.fork("b");
    branch.write("file", b"roots");
    for name in [".ctl", ".commit", ".abort", "@self/limits"] {
        assert_eq!(branch.mode(name), 0o600, "{name}");
    }
    let attempts = [
        "echo commit >@branches/b/.ctl",
        "echo abort >@branches/b/.ctl",
        "echo >@branches/b/.abort",
        "rmdir @branches/b",
        "mv -T @branches/b @branches/mine",
        "mkdir @branches/b/@branches/child",
    ];
    for attempt in attempts {
        let done = as_nobody(ws.base(), attempt).fails();
        let said = done.err.contains("not permitted") || done.err.contains("Permission denied");
        assert!(said, "{attempt}: {}", done.err);
    }
    branch.check("file", b"roots");
    ws.main().check("file", b"base");
}

#[test]
fn a_branch_belongs_to_who_made_it() {
    requirements::root();
    let ws = Workspace::build()
        .base(|base| base.chmod("", 0o777))
        .mount();
    let script = "mkdir @branches/mine && echo x >@branches/mine/f && \
        echo fork child >@branches/mine/.ctl && rmdir @branches/mine/@branches/child && \
        echo commit >@branches/mine/.ctl && cat f";
    // Whether main may be forked by others is main's owner's to decide; here main is open to all.
    let owner = std::os::unix::fs::chown(ws.main().root(), Some(65534), Some(65534));
    owner.expect("give main away");
    let done = as_nobody(ws.base(), script).ok();
    assert_eq!(done.out, "x\n");
}

/// "EDQUOT: the branch's limit is reached: nothing already written is lost."
#[test]
fn edquot_the_branchs_limit_is_reached_and_nothing_already_written_is_lost() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    branch.write("kept", b"written before");
    fs::write(branch.path("@self/limits"), b"bytes 1048576\n").expect("set a limit");
    let mut file = branch.open_rw("big");
    let mut written = 0u64;
    let refused = loop {
        match file.write(&[7; 65536]) {
            Ok(n) => written += n as u64,
            Err(e) => break e,
        }
        assert!(written < 4 << 20, "the limit of 1 MiB does not hold");
    };
    assert_eq!(
        refused.raw_os_error(),
        Some(Errno::DQUOT.raw_os_error()),
        "{refused}"
    );
    drop(file);
    branch.check("kept", b"written before");
    assert_eq!(branch.read("big"), vec![7; written as usize]);
    check_explained(&branch, "EDQUOT", &["limit"]);
    ws.main().write("unlimited", vec![1; 2 << 20]);
}

/// "ENOSPC: the store is full: nothing already written is lost."
#[test]
fn enospc_the_store_is_full_and_nothing_already_written_is_lost() {
    let ws = Workspace::build().in_memory("64m").mount();
    let branch = ws.fork("b");
    branch.write("kept", vec![3; 1 << 20]);
    let fill = |name: String| -> io::Result<()> {
        fs::File::create(branch.path(name))?.write_all(&vec![7; 4 << 20])
    };
    let refused = (0..64)
        .find_map(|i| fill(format!("big{i}")).err())
        .expect("64 MiB are full");
    assert_eq!(
        refused.raw_os_error(),
        Some(Errno::NOSPC.raw_os_error()),
        "{refused}"
    );
    branch.check("kept", vec![3; 1 << 20]);
    assert_eq!(branch.read("big0"), vec![7; 4 << 20]);
    for i in 0..64 {
        let _ = fs::remove_file(branch.path(format!("big{i}")));
    }
    branch.check("kept", vec![3; 1 << 20]);
    ws.unmount();
    ws.fsck();
}
