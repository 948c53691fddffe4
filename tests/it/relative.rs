//! The mistakes of the closest relative, a test each. What other files test already is not repeated
//! for its own sake: here each is done the way a first user meets it, with that user's tools.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::harness::process::{git, run, sh};
use crate::harness::{Branch, Tree, Workspace, snapshot};

/// Runs a shell script in a branch of a workspace and gives both.
#[track_caller]
fn in_branch(fill: impl FnOnce(&Tree), script: &str) -> (Workspace, Branch) {
    let ws = Workspace::with_base(fill);
    let branch = ws.fork("b");
    sh(branch.root(), script, &[""; 0]).ok();
    (ws, branch)
}

/// Commits, unmounts, and looks at the base.
#[track_caller]
fn landed(ws: &Workspace, branch: &Branch) -> Tree {
    let wanted = snapshot::of(branch.root());
    branch.commit();
    ws.unmount();
    snapshot::assert_same(&wanted, &snapshot::of(ws.base()), "the branch and the base");
    Tree::at(ws.base())
}

fn tree(base: &Tree) {
    base.mkdir("dir/sub/deep");
    base.write("dir/file", b"1");
    base.write("dir/sub/file", b"2");
    base.write("dir/sub/deep/file", b"3");
    base.write("file", b"base");
}

#[test]
fn a_file_is_deleted_and_created_again() {
    let script = "for i in 1 2 3; do rm file; test ! -e file; echo $i >file; done; \
        rm -f file; echo last >file";
    let (ws, branch) = in_branch(tree, script);
    assert_eq!(branch.names(""), ["dir", "file"]);
    landed(&ws, &branch).check("file", b"last\n");
}

#[test]
fn a_second_temporary_file_is_renamed_onto_the_same_name() {
    let script =
        "for i in 1 2 3 4 5; do echo $i >file.tmp; mv file.tmp file; done; sed -i s/5/five/ file";
    let (ws, branch) = in_branch(tree, script);
    let base = landed(&ws, &branch);
    base.check("file", b"five\n");
    assert!(!base.exists("file.tmp"));
}

#[test]
fn scope_directories_are_ordinary_inside_a_branch() {
    let fill = |base: &Tree| {
        base.mkdir("node_modules/@babel/core")
            .write("index.js", b"base");
    };
    let script = "mkdir -p node_modules/@types/node @scope; \
        echo x >node_modules/@types/node/index.d.ts; \
        echo y >>node_modules/@babel/core/index.js; find . -name '@*' | sort >listing";
    let (ws, branch) = in_branch(fill, script);
    let found = "./@scope\n./node_modules/@babel\n./node_modules/@types\n";
    branch.check("listing", found);
    landed(&ws, &branch).check("node_modules/@babel/core/index.js", b"basey\n");
}

#[test]
fn rmdir_refuses_a_full_directory_and_removes_one_that_was_just_made() {
    let script = "mkdir new; rmdir new; mkdir new; ! rmdir dir 2>/dev/null; \
        mkdir -p a/b/c; rmdir a/b/c a/b a; rm -r dir/sub; ! rmdir dir 2>/dev/null; \
        rm dir/file; rmdir dir";
    let (ws, branch) = in_branch(tree, script);
    assert_eq!(landed(&ws, &branch).names(""), [".branchfs", "file", "new"]);
}

#[test]
fn a_base_directory_is_renamed_and_so_is_a_partly_changed_one() {
    let script = "mv dir/sub moved; echo changed >dir/file; echo new >dir/new; mv dir other; \
        echo again >>other/file; mv moved other/back; mv other/back/deep .; rm other/new";
    let (ws, branch) = in_branch(tree, script);
    let base = landed(&ws, &branch);
    base.check("other/file", b"changed\nagain\n");
    base.check("other/back/file", b"2");
    base.check("deep/file", b"3");
    assert_eq!(base.names("other"), ["back", "file"]);
}

#[test]
fn a_tree_that_was_removed_stays_removed_all_the_way_down() {
    let script = "rm -r dir; mkdir dir; test -z \"$(ls -A dir)\"; \
        mkdir dir/sub; test -z \"$(ls -A dir/sub)\"; \
        echo only >dir/sub/other; test \"$(find dir -type f)\" = dir/sub/other";
    let (ws, branch) = in_branch(tree, script);
    let base = landed(&ws, &branch);
    assert_eq!(
        (base.names("dir"), base.names("dir/sub")),
        (vec!["sub".into()], vec!["other".into()])
    );
}

#[test]
fn open_files_survive_rename_and_unlink() {
    let script = "exec 3<>file; mv file moved; echo one >&3; rm moved; \
        echo two >&3; echo new >file; \
        cat /proc/self/fd/3 >seen";
    let (_ws, branch) = in_branch(tree, script);
    branch.check("seen", b"one\ntwo\n");
    branch.check("file", b"new\n");
}

#[test]
fn copy_up_and_commit_keep_everything_that_a_file_has() {
    let ws = Workspace::with_base(|base| {
        base.mkdir("empty");
        base.chmod("empty", 0o1733);
        base.mkdir("dir");
        for (name, mode) in [("dir/run", 0o4755), ("dir/secret", 0o600)] {
            base.write(name, vec![b'x'; 50_000]);
            base.chmod(name, mode);
            base.set_xattr(name, "user.origin", name);
        }
        base.chown("dir/secret", 1234, 5678);
        base.link("dir/secret", "hard");
        for name in ["dir/run", "dir/secret", "empty", "dir"] {
            base.utimes(name, 1_234_567_890, 123_456_789);
        }
    });
    let branch = ws.fork("b");
    let times = |tree: &Tree, name: &str| (tree.stat(name).mtime(), tree.stat(name).mtime_nsec());
    branch.set_xattr("dir/secret", "user.more", b"1");
    branch.chmod("dir/run", 0o4711);
    assert_eq!(times(&branch, "dir/run"), (1_234_567_890, 123_456_789));
    branch.append("hard", b"!");
    let base = landed(&ws, &branch);
    assert_eq!((base.mode("empty"), base.mode("dir/run")), (0o1733, 0o4711));
    assert_eq!(times(&base, "empty"), (1_234_567_890, 123_456_789));
    assert_eq!(times(&base, "dir/run"), (1_234_567_890, 123_456_789));
    let (one, two) = (base.stat("hard"), base.stat("dir/secret"));
    assert_eq!((one.ino(), one.nlink(), one.uid()), (two.ino(), 2, 1234));
    assert_eq!(
        base.xattr("hard", "user.origin").as_deref(),
        Some(&b"dir/secret"[..])
    );
}

#[test]
fn symbolic_links_are_never_followed_out_of_the_base_on_commit() {
    let ws = Workspace::with_base(tree);
    let outside = ws.scratch();
    outside.write("victim", b"untouched");
    let branch = ws.fork("b");
    let script = "ln -s \"$1\" link; rm file; ln -s \"$1\" file; \
        ln -sfn \"$(dirname \"$1\")\" dir/out; \
        rm file; echo mine >file";
    sh(branch.root(), script, &[outside.path("victim")]).ok();
    let base = landed(&ws, &branch);
    outside.check("victim", b"untouched");
    base.check("file", b"mine\n");
    assert!(base.stat("link").is_symlink() && base.stat("file").is_file());
}

#[test]
fn dangling_symbolic_links_and_fifos_are_committed_as_what_they_are() {
    let script = "ln -s nowhere dangling; ln -s dangling dir/chain; mkfifo pipe; mv dangling moved";
    let (ws, branch) = in_branch(tree, script);
    let base = landed(&ws, &branch);
    assert_eq!(base.readlink("moved"), b"nowhere");
    assert_eq!(base.readlink("dir/chain"), b"dangling");
    let kind = base.stat("pipe").file_type();
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&kind));
}

#[test]
fn a_fifo_of_the_base_hangs_neither_mount_nor_commit() {
    let fill = |base: &Tree| {
        tree(base);
        sh(base.root(), "mkfifo pipe dir/pipe", &[""; 0]).ok();
    };
    let (ws, branch) = in_branch(
        fill,
        "mv pipe renamed; chmod 600 dir/pipe; tar cf /dev/null .",
    );
    assert!(landed(&ws, &branch).exists("renamed"));
}

#[test]
fn names_that_are_not_utf8_or_have_newlines_are_committed() {
    let script = "n=$(printf 'bad\\377name'); echo x >\"$n\"; mkdir \"$(printf 'new\\nline')\"; \
        mv \"$n\" \"$(printf 'new\\nline')/\"; echo changed >>\"$(printf 'base\\351')\"";
    let (ws, branch) = in_branch(|base| base.write(b"base\xe9", b"base "), script);
    let base = landed(&ws, &branch);
    base.check(b"new\nline/bad\xffname", b"x\n");
    base.check(b"base\xe9", b"base changed\n");
}

#[test]
fn two_mounts_of_one_store_do_not_happen() {
    let ws = Workspace::build().base(tree).elsewhere().mount();
    let other = ws.scratch().mkdir("other");
    let args = [ws.base(), other.root()].map(|p| p.to_str().expect("ASCII"));
    let done = ws.branchfs(&["mount", args[0], args[1]]).fails();
    let pid = ws.lock_holder().expect("a pid").to_string();
    assert!(done.err.contains(&pid), "{}", done.err);
}

#[test]
fn a_commit_that_cannot_be_copied_leaves_the_parent_and_the_branch_as_they_were() {
    let ws = Workspace::build().in_memory("48m").base(tree).mount();
    let branch = ws.fork("b");
    branch.write("file", b"small change");
    let filled =
        (0..48).take_while(|i| fs::write(branch.path(format!("big{i}")), vec![1; 1 << 20]).is_ok());
    assert!(filled.count() > 8, "the store has room for some of it");
    let _ = fs::remove_file(branch.path("big0"));
    let (main, own) = (snapshot::of(ws.main().root()), snapshot::of(branch.root()));
    match branch.try_commit() {
        // Moving blobs needs no room, so a commit may well work; then all of it is there.
        Ok(()) => snapshot::assert_same(&own, &snapshot::of(ws.main().root()), "branch and main"),
        Err(_) => {
            snapshot::assert_same(&main, &snapshot::of(ws.main().root()), "main");
            snapshot::assert_same(&own, &snapshot::of(branch.root()), "the branch");
        }
    }
}

#[test]
fn branches_are_all_there_after_a_daemon_restart() {
    let ws = Workspace::with_base(tree);
    for i in 0..20 {
        let branch = ws.fork(&format!("b{i}"));
        sh(
            branch.root(),
            "rm -r dir/sub; echo $1 >file",
            &[i.to_string()],
        )
        .ok();
    }
    ws.kill_and_remount();
    for i in 0..20 {
        let branch = ws.main().child(format!("b{i}"));
        branch.check("file", format!("{i}\n"));
        assert_eq!(branch.names("dir"), ["file"]);
    }
}

#[test]
fn limits_do_not_drift() {
    let ws = Workspace::with_base(tree);
    let branch = ws.fork("b");
    fs::write(branch.path("@self/limits"), b"bytes 2097152\ninodes 40\n").expect("set limits");
    let usage = |what: &str| branch.status()["usage"][what].as_u64().expect("a number");
    branch.write("kept", vec![1; 100_000]);
    let (bytes, inodes) = (usage("bytes"), usage("inodes"));
    // Ten times the limit goes through, never more than a third of it at once.
    for round in 0..30 {
        branch.write("temporary", vec![round; 700_000]);
        branch.rename("temporary", "renamed");
        (0..20).for_each(|i| branch.write(format!("n{i}"), b"x"));
        (0..20).for_each(|i| branch.unlink(format!("n{i}")));
        branch.unlink("renamed");
    }
    assert_eq!(usage("inodes"), inodes);
    assert!(
        usage("bytes").abs_diff(bytes) < 20_000,
        "{} from {bytes}",
        usage("bytes")
    );
    ws.kill_and_remount();
    assert_eq!(usage("inodes"), inodes);
    assert!(
        usage("bytes").abs_diff(bytes) < 20_000,
        "{} from {bytes}",
        usage("bytes")
    );
}

#[test]
fn common_tools_work_in_a_branch() {
    let ws = Workspace::with_base(|base| {
        tree(base);
        (0..50).for_each(|i| base.write(format!("dir/f{i}"), format!("{i}\n").repeat(50)));
        git(base.root(), &["init", "-q"]);
        git(base.root(), &["add", "."]);
        git(base.root(), &["commit", "-qm", "base"]);
    });
    let branch = ws.fork("b");
    let out = ws.scratch();
    let script = "git checkout -qb work; git mv dir/f1 dir/g1; git commit -qam one; \
        git checkout -q -; git merge -q work; git gc -q; git fsck --strict; git status --short; \
        cp -a dir copy; diff -r dir copy; tar c dir | tar x -C \"$1\"; diff -r dir \"$1/dir\"; \
        rsync -a --checksum dir/ \"$1/rsynced/\"; rsync -anic dir/ \"$1/rsynced/\"; \
        find . -xdev >/dev/null; \
        sqlite3 db 'pragma journal_mode=wal; create table t(x); insert into t values(1),(2); \
        select sum(x) from t'; \
        ln file hard; cp --reflink=auto file copied; touch -d @1000000000 file; sort -o file file";
    let done = sh(branch.root(), script, &[out.root()]).ok();
    assert!(done.out.ends_with("wal\n3\n"), "{}", done.out);
    let base = landed(&ws, &branch);
    git(base.root(), &["fsck", "--strict"]);
    let sum = run(base.root(), "sqlite3", &["db", "select sum(x) from t"])
        .ok()
        .out;
    assert_eq!(sum, "3\n");
    assert!(Path::new(base.root()).join("copy/g1").exists());
}
