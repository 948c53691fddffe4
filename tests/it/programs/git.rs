//! git, the whole of a working day.

use std::path::Path;

use super::in_a_nested_branch;
use crate::harness::process::{git, run, sh};
use crate::harness::{Tree, Workspace, snapshot};

const DIRS: usize = 30;
const FILES: usize = 20;

/// A repository with two branches whose trees differ in contents, types, names and directories.
fn repository(base: &Tree) {
    git(base.root(), &["init", "-qb", "one"]);
    for dir in 0..DIRS {
        let dir = base.mkdir(format!("d{dir}/sub"));
        for file in 0..FILES {
            dir.write(format!("f{file}"), format!("one {file}\n"));
        }
    }
    base.write("script", "#!/bin/sh\n");
    base.symlink("script", "link");
    git(base.root(), &["add", "."]);
    git(base.root(), &["commit", "-qm", "one"]);
    git(base.root(), &["checkout", "-qb", "two"]);
    for dir in 0..DIRS {
        match dir % 5 {
            0 => base.remove_all(format!("d{dir}")),
            1 => base.rename(format!("d{dir}"), format!("moved{dir}")),
            2 => {
                // A directory becomes a file.
                base.remove_all(format!("d{dir}/sub"));
                base.write(format!("d{dir}/sub"), "a file\n");
            }
            3 => (0..FILES).for_each(|f| base.write(format!("d{dir}/sub/f{f}"), "two\n")),
            _ => base.symlink("sub", format!("d{dir}/link")),
        }
    }
    base.chmod("script", 0o755);
    base.unlink("link");
    base.mkdir("link").write("file", "in what was a link\n");
    git(base.root(), &["add", "-A"]);
    git(base.root(), &["commit", "-qm", "two"]);
    git(base.root(), &["checkout", "-q", "one"]);
}

/// Asserts that the working tree is `branch`'s, by git's index and by a look at every file.
#[track_caller]
fn assert_checked_out(dir: &Path, branch: &str) {
    assert_eq!(git(dir, &["status", "--porcelain"]), "", "on {branch}");
    let untrusting = "rm .git/index && git reset -q && git status --porcelain";
    assert_eq!(sh(dir, untrusting, &[""; 0]).ok().out, "", "on {branch}");
    assert_eq!(
        git(dir, &["rev-parse", "--abbrev-ref", "HEAD"]).trim(),
        branch
    );
}

#[test]
fn git_checks_out_large_trees_stashes_merges_and_collects_garbage() {
    in_a_nested_branch(
        repository,
        |branch| {
            let dir = branch.root();
            for name in ["two", "one", "two", "one"] {
                git(dir, &["checkout", "-q", name]);
                assert_checked_out(dir, name);
            }
            branch.write("d3/sub/f1", "work\n");
            branch.write("untracked", "new\n");
            git(dir, &["stash", "-qu"]);
            assert_eq!(git(dir, &["status", "--porcelain"]), "");
            git(dir, &["stash", "pop", "-q"]);
            let status = git(dir, &["status", "--porcelain"]);
            assert_eq!(status, " M d3/sub/f1\n?? untracked\n");
            git(dir, &["add", "-A"]);
            git(dir, &["commit", "-qm", "work"]);
            git(dir, &["merge", "-q", "-X", "ours", "-m", "merge", "two"]);
            git(dir, &["gc", "-q", "--prune=now"]);
            git(dir, &["fsck", "--strict", "--full"]);
            assert_checked_out(dir, "one");
        },
        |base| {
            git(base.root(), &["fsck", "--strict", "--full"]);
            assert_checked_out(base.root(), "one");
            assert_eq!(base.text("d3/sub/f1"), "work\n");
        },
    );
}

#[test]
fn git_makes_worktrees_and_clones_within_a_branch_and_across_branches() {
    let ws = Workspace::build().base(repository).seconds(240).mount();
    let (a, b) = (ws.fork("a"), ws.fork("b"));
    git(a.root(), &["worktree", "add", "-q", "tree", "two"]);
    assert_eq!(git(&a.path("tree"), &["status", "--porcelain"]), "");
    a.write("tree/script", "changed\n");
    git(&a.path("tree"), &["commit", "-qam", "in the worktree"]);
    assert_eq!(
        git(a.root(), &["log", "-1", "--format=%s", "two"]),
        "in the worktree\n"
    );
    git(a.root(), &["worktree", "remove", "tree"]);
    // A local clone links objects where it can and copies where it cannot.
    git(a.root(), &["clone", "-q", ".", "clone"]);
    let across = b.path("clone");
    let text = |path: &Path| path.to_str().expect("ASCII").to_owned();
    git(b.root(), &["clone", "-q", &text(a.root()), &text(&across)]);
    for clone in [a.path("clone"), across] {
        git(&clone, &["fsck", "--strict"]);
        git(&clone, &["checkout", "-q", "two"]);
        assert_eq!(git(&clone, &["status", "--porcelain"]), "");
    }
    git(b.root(), &["fetch", "-q", &text(a.root()), "two"]);
    let (ours, theirs) = (b.path("clone/d3"), a.path("clone/d3"));
    snapshot::of(&ours)
        .keys()
        .zip(snapshot::of(&theirs).keys())
        .for_each(|(ours, theirs)| assert_eq!(ours, theirs));
}

#[test]
fn gits_index_lock_keeps_others_out_and_is_replaced_over_and_over() {
    let ws = Workspace::build().base(repository).seconds(240).mount();
    let branch = ws.fork("b");
    branch.write(".git/index.lock", b"");
    branch.write("script", b"changed\n");
    let refused = run(branch.root(), "git", &["commit", "-qam", "x"]);
    assert_eq!(refused.code, 128, "{}", refused.err);
    assert!(refused.err.contains("index.lock"), "{}", refused.err);
    branch.unlink(".git/index.lock");
    // Several at once: whoever comes late is refused, nobody loses a commit that was made.
    let made: usize = std::thread::scope(|scope| {
        let commit = |thread: usize| {
            let branch = &branch;
            move || {
                let mut made = 0;
                for round in 0..8 {
                    branch.write(format!("by{thread}"), format!("{round}\n"));
                    let script = "git add \"$1\" && git commit -qm \"$1\"";
                    made +=
                        usize::from(sh(branch.root(), script, &[format!("by{thread}")]).code == 0);
                }
                made
            }
        };
        let threads: Vec<_> = (0..3).map(|t| scope.spawn(commit(t))).collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("a thread"))
            .sum()
    });
    assert!(made > 0 && !branch.exists(".git/index.lock"));
    git(branch.root(), &["fsck", "--strict"]);
    let count = git(branch.root(), &["rev-list", "--count", "HEAD"]);
    assert!(
        count.trim().parse::<usize>().expect("a number") > made,
        "{made} and {count}"
    );
    git(branch.root(), &["add", "-A"]);
    git(
        branch.root(),
        &["commit", "-qm", "the rest", "--allow-empty"],
    );
    assert_eq!(git(branch.root(), &["status", "--porcelain"]), "");
}
