//! Byte and inode limits of a branch, and what things cost the store.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use crate::harness::{Branch, Tree, Workspace, assert_errno};

fn small_base(base: &Tree) {
    base.write("file", b"base");
    base.write("big", vec![b'b'; 4 << 20]);
}

fn set(branch: &Branch, limits: &str) -> io::Result<()> {
    fs::write(branch.path("@self/limits"), limits)
}

#[test]
fn limits_are_read_as_they_were_written() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    assert_eq!(branch.about("limits"), "bytes none\ninodes none\n");
    set(&branch, "bytes 1M\n").expect("set a limit");
    set(&branch, "inodes 10\n").expect("set the other");
    assert_eq!(branch.about("limits"), "bytes 1048576\ninodes 10\n");
    branch.ctl("limit bytes=none").expect("lift a limit");
    assert_eq!(branch.about("limits"), "bytes none\ninodes 10\n");
    ws.kill_and_remount();
    assert_eq!(branch.about("limits"), "bytes none\ninodes 10\n");
}

#[test]
fn the_inode_limit_stops_creation_and_frees_what_is_removed() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    set(&branch, "inodes 10\n").expect("set a limit");
    let made = (0..20)
        .take_while(|i| fs::write(branch.path(format!("n{i}")), b"").is_ok())
        .count();
    assert!(
        (5..=10).contains(&made),
        "{made} files were made under a limit of 10 inodes"
    );
    assert_errno(fs::create_dir(branch.path("dir")), Errno::DQUOT);
    assert_errno(
        std::os::unix::fs::symlink("x", branch.path("link")),
        Errno::DQUOT,
    );
    branch.unlink("n0");
    branch.write("again", b"");
    assert_errno(fs::write(branch.path("more"), b""), Errno::DQUOT);
    ws.main().write("unlimited", b"");
}

#[test]
fn the_byte_limit_counts_what_the_branch_holds_of_its_own() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    set(&branch, "bytes 1M\n").expect("set a limit");
    // The base's 4 MiB do not count; a changed byte of them costs a block, not the file.
    branch
        .open_rw("big")
        .write_all_at(b"!", 1 << 20)
        .expect("one byte within the limit");
    assert_errno(
        fs::write(branch.path("new"), vec![1; 2 << 20]),
        Errno::DQUOT,
    );
    branch.unlink("new");
    branch.write("new", vec![1; 500_000]);
    assert_errno(
        branch.open_rw("big").write_all_at(&vec![2; 2 << 20], 0),
        Errno::DQUOT,
    );
    branch.check("new", vec![1; 500_000]);
}

#[test]
fn a_raised_limit_lets_work_go_on_and_a_commit_needs_no_room() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    set(&branch, "bytes 200K\n").expect("set a limit");
    assert_errno(
        fs::write(branch.path("new"), vec![1; 1 << 20]),
        Errno::DQUOT,
    );
    set(&branch, "bytes 4M\n").expect("raise the limit");
    branch.write("new", vec![1; 1 << 20]);
    branch.commit();
    assert_eq!(ws.main().read("new"), vec![1; 1 << 20]);
}

#[test]
fn one_byte_in_a_large_sparse_base_file_costs_the_store_less_than_a_mebibyte() {
    let ws = Workspace::with_base(|base| {
        let file = base.open_rw("big");
        file.set_len(4 << 30).expect("truncate");
        file.write_all_at(b"end", (4 << 30) - 3).expect("pwrite");
    });
    let branch = ws.fork("b");
    let before = ws.store_bytes();
    branch
        .open_rw("big")
        .write_all_at(b"!", 2 << 30)
        .expect("one byte");
    let grown = ws.store_bytes().saturating_sub(before);
    assert!(grown < 1 << 20, "the store grew by {grown} bytes");
    let mut bytes = [0; 3];
    branch
        .open("big")
        .read_exact_at(&mut bytes, (4 << 30) - 3)
        .expect("pread");
    assert_eq!(&bytes, b"end");
    assert_eq!(branch.stat("big").len(), 4 << 30);
}

#[test]
fn a_fork_costs_the_store_less_than_a_kibibyte() {
    let ws = Workspace::with_base(small_base);
    // The journal's segments are preallocated, so the growth is taken over many forks.
    let before = ws.store_bytes();
    (0..1000).for_each(|i| drop(ws.fork(&format!("b{i}"))));
    let grown = ws.store_bytes().saturating_sub(before);
    assert!(grown < 1000 * 1024, "1,000 forks took {grown} bytes");
}

#[test]
fn what_an_aborted_branch_held_is_given_back() {
    let ws = Workspace::build()
        .base(small_base)
        .option("trash=0")
        .mount();
    let before = ws.store_bytes();
    for round in 0..6 {
        let branch = ws.fork("b");
        branch.write("large", vec![round; 24 << 20]);
        branch.open("large").sync_all().expect("fsync");
        branch.abort();
    }
    ws.main().ctl("gc").expect("gc");
    let grown = ws.store_bytes().saturating_sub(before);
    assert!(
        grown < 60 << 20,
        "{grown} bytes stay after 144 MiB were aborted"
    );
}
