//! What git sees: an index that it can trust.

use crate::harness::process::{git, sh};
use crate::harness::{Branch, Tree, Workspace};

const FILES: usize = 5000;

/// A repository with many files in it, all committed and with an index that is older than nothing.
fn repository(base: &Tree) {
    for dir in 0..50 {
        base.mkdir(format!("d{dir}"));
        for file in 0..FILES / 50 {
            base.write(format!("d{dir}/f{file}"), format!("file {dir} {file}\n"));
        }
    }
    // Files as old as the index are read again (git calls them racy), so these are older.
    sh(
        base.root(),
        "find . -exec touch -d @1500000000 {} +",
        &[""; 0],
    )
    .ok();
    git(base.root(), &["init", "-q"]);
    git(base.root(), &["add", "."]);
    git(base.root(), &["commit", "-qm", "base"]);
    assert!(git(base.root(), &["status", "--short"]).is_empty());
}

/// Runs `git status` and gives the number of READs of files that it caused.
///
/// git reads its own files: the index, HEAD, configuration and ignore lists. What is counted here
/// is every READ; the bound is far below the number of files.
fn reads_of_status(ws: &Workspace, branch: &Branch) -> (u64, String) {
    let lookups = ws.main().requests("lookup") + ws.main().requests("readdirplus");
    assert!(
        lookups > 0,
        "the metrics count nothing:\n{}",
        ws.main().about("metrics")
    );
    let before = ws.main().requests("read");
    // Without optional locks git does not rewrite the index, so it cannot hide what it re-read.
    let status = git(branch.root(), &["--no-optional-locks", "status", "--short"]);
    // Reading the metrics is a READ or two of its own.
    (ws.main().requests("read") - before, status)
}

/// READs that git's own files and the metrics take: the index of 5,000 files is some 400 KiB.
const OWN_READS: u64 = 60;

#[test]
fn git_status_in_a_fresh_branch_opens_none_of_the_files() {
    let ws = Workspace::build().base(repository).seconds(300).mount();
    let branch = ws.fork("b");
    let (reads, status) = reads_of_status(&ws, &branch);
    assert!(status.is_empty(), "{status}");
    assert!(
        reads <= OWN_READS,
        "git status caused {reads} READs in a fresh branch"
    );
}

#[test]
fn git_status_in_the_parent_after_a_commit_reads_only_what_changed() {
    let ws = Workspace::build().base(repository).seconds(300).mount();
    git(ws.main().root(), &["status", "--short"]);
    let branch = ws.fork("b");
    (0..5).for_each(|i| branch.write(format!("d1/f{i}"), b"changed\n"));
    git(branch.root(), &["commit", "-qam", "in the branch"]);
    branch.commit();
    let (reads, status) = reads_of_status(&ws, &ws.main());
    assert!(status.is_empty(), "{status}");
    assert!(
        reads <= OWN_READS,
        "git status caused {reads} READs in the parent"
    );
    ws.remount();
    let (reads, status) = reads_of_status(&ws, &ws.main());
    assert!(status.is_empty(), "{status}");
    assert!(
        reads <= OWN_READS,
        "git status caused {reads} READs after a remount"
    );
}

#[test]
fn git_works_in_several_branches_at_once() {
    let ws = Workspace::with_base(|base| {
        (0..200).for_each(|i| base.write(format!("f{i}"), b"x\n"));
        git(base.root(), &["init", "-q"]);
        git(base.root(), &["add", "."]);
        git(base.root(), &["commit", "-qm", "base"]);
    });
    let branches: Vec<Branch> = (0..3).map(|i| ws.fork(&format!("b{i}"))).collect();
    std::thread::scope(|scope| {
        for branch in &branches {
            scope.spawn(|| {
                for round in 0..5 {
                    branch.write("f1", format!("{round}\n"));
                    git(branch.root(), &["commit", "-qam", "work"]);
                }
                git(branch.root(), &["fsck", "--strict"]);
                assert_eq!(git(branch.root(), &["rev-list", "--count", "HEAD"]), "6\n");
            });
        }
    });
    assert_eq!(
        git(ws.main().root(), &["rev-list", "--count", "HEAD"]),
        "1\n"
    );
    branches[1].commit();
    ws.unmount();
    git(ws.base(), &["fsck", "--strict"]);
    assert!(git(ws.base(), &["status", "--short"]).is_empty());
}
