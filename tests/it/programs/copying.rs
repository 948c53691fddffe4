//! rsync and tar, with everything that a file can have, both ways.

use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::in_a_nested_branch;
use crate::harness::process::sh;
use crate::harness::{Branch, Tree, requirements, snapshot};

/// Files of every type, with what each can have.
fn everything(base: &Tree) {
    requirements::root();
    let tree = base.mkdir("tree");
    tree.mkdir("dir/sub");
    tree.write("dir/file", b"content");
    tree.link("dir/file", "dir/sub/hard");
    tree.link("dir/file", "hard");
    tree.symlink("../nowhere", "dir/dangling");
    tree.link("dir/dangling", "dir/sub/dangling");
    tree.write("script", b"#!/bin/sh\n");
    tree.chown("script", 1234, 4321);
    tree.chmod("script", 0o6755);
    tree.write("empty", b"");
    tree.write(b"odd \xff\nname", b"odd");
    let sparse = tree.open_rw("sparse");
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 5 << 20).expect("write");
    for (name, kind, dev) in [
        ("fifo", FileType::Fifo, 0),
        ("socket", FileType::Socket, 0),
        ("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
    ] {
        mknodat(CWD, tree.path(name), kind, Mode::from(0o640), dev).expect("mknod");
    }
    tree.set_xattr("dir/file", "user.mark", b"x\0y");
    tree.set_xattr("dir", "user.dir", b"");
    tree.set_xattr("dir/sub", "trusted.mark", b"root's");
    let acls = "setfacl -m u:1234:rw,g:4321:r dir/file; setfacl -d -m u:1234:rx dir";
    sh(tree.root(), acls, &[""; 0]).ok();
    // rsync takes times within one second for the same where it makes special files.
    let old = [
        "fifo",
        "socket",
        "null",
        "dir/file",
        "dir/dangling",
        "dir/sub",
        "dir",
    ];
    for name in old {
        tree.utimes(name, 1_234_567_890, 123_456_789);
    }
}

/// Copies `tree` into a directory outside of the mount and back by `script` ($1 to $2), and
/// compares.
#[track_caller]
fn copy_out_and_in(branch: &Branch, script: &str) {
    let wanted = snapshot::of(&branch.path("tree"));
    let outside = crate::harness::run_dir::new_directory("outside");
    let copy = |from: &Path, to: &Path| {
        sh(branch.root(), script, &[from, to]).ok();
        snapshot::assert_same(&wanted, &snapshot::of(to), &format!("after {script}"));
    };
    let (out, back) = (outside.join("out"), branch.mkdir("back"));
    copy(&branch.path("tree"), branch.mkdir("within").root());
    std::fs::create_dir(&out).expect("mkdir");
    copy(&branch.path("tree"), &out);
    copy(&out, back.root());
    std::fs::remove_dir_all(outside).expect("remove the copy");
}

#[test]
fn rsync_with_links_acls_and_attributes_copies_out_of_a_branch_and_into_it() {
    let rsync = "rsync -aHAX --numeric-ids \"$1/\" \"$2/\"";
    in_a_nested_branch(
        everything,
        |branch| {
            copy_out_and_in(branch, rsync);
            // What it has copied it leaves alone, and finds what changed by itself.
            let again = "rsync -aHAX --numeric-ids -i --delete tree/ back/";
            assert_eq!(sh(branch.root(), again, &[""; 0]).ok().out, "");
            branch.append("back/dir/file", b" and more");
            branch.unlink("back/empty");
            branch.write("back/new", b"new");
            let inplace = sh(branch.root(), &format!("{again} --inplace"), &[""; 0]);
            assert!(inplace.ok().out.contains("*deleting   new"));
            let (tree, back) = (branch.path("tree"), branch.path("back"));
            snapshot::assert_same(&snapshot::of(&tree), &snapshot::of(&back), "synchronised");
        },
        |base| {
            let check = "rsync -aHAX --numeric-ids -ni --checksum --delete tree/ back/";
            assert_eq!(sh(base.root(), check, &[""; 0]).ok().out, "");
        },
    );
}

#[test]
fn tar_with_links_acls_and_attributes_copies_out_of_a_branch_and_into_it() {
    let tar = "tar --xattrs --xattrs-include='*' --acls --numeric-owner --sparse --format=posix \
        -cf - -C \"$1\" . 2>/dev/null | tar --xattrs --xattrs-include='*' --acls -p \
        --numeric-owner -xf - -C \"$2\"";
    in_a_nested_branch(
        |base| {
            everything(base);
            // tar leaves sockets out.
            base.unlink("tree/socket");
        },
        |branch| {
            copy_out_and_in(branch, tar);
            let archive = "tar -cf archive.tar --listed-incremental=list tree
                tar -cf second.tar --listed-incremental=list tree
                tar -tf second.tar | { ! grep -v '/$'; }
                tar -df archive.tar --exclude='*sparse*'";
            sh(branch.root(), archive, &[""; 0]).ok();
        },
        |base| drop(sh(base.root(), "tar -df archive.tar", &[""; 0]).ok()),
    );
}
