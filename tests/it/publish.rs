//! Publishing: main's changes move into the base, and nowhere else.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use rustix::io::Errno;

use crate::harness::process::run;
use crate::harness::{Tree, Workspace, assert_errno};

fn small_base(base: &Tree) {
    base.write("file", b"base");
    base.write("other", b"other");
    base.mkdir("dir/sub");
    base.write("dir/file", b"in dir");
}

#[test]
fn a_commit_never_follows_a_symbolic_link_out_of_the_base() {
    let ws = Workspace::with_base(small_base);
    let outside = ws.scratch();
    outside.mkdir("target").write("file", b"untouched");
    let branch = ws.fork("b");
    branch.remove_all("dir");
    branch.symlink(
        outside.path("target").into_os_string().into_encoded_bytes(),
        "dir",
    );
    branch.commit();
    let next = ws.fork("next");
    next.unlink("dir");
    next.mkdir("dir").write("file", b"inside");
    next.commit();
    outside.check("target/file", b"untouched");
    ws.below().check("dir/file", b"inside");
    assert!(ws.below().stat("dir").is_dir());
}

#[test]
fn a_default_acl_of_the_base_gives_nobody_rights_to_a_published_file_that_had_none() {
    let ws = Workspace::with_base(|base| {
        small_base(base);
        run(base.root(), "setfacl", &["-d", "-m", "u:1234:rwx", "."]).ok();
    });
    let branch = ws.fork("b");
    branch.write("file", b"changed");
    branch.write("other", vec![b'x'; 2 << 20]);
    branch.write("new", b"new");
    branch.commit();
    let (main, below) = (ws.main(), ws.below());
    for tree in [&*main, &below] {
        let acl = |name: &str| run(tree.root(), "getfacl", &["-n", name]).ok().out;
        for name in ["file", "other"] {
            assert!(!acl(name).contains("1234"), "{name}: {}", acl(name));
        }
        // As on any file system.
        assert!(acl("new").contains("user:1234:rw"), "{}", acl("new"));
    }
}

#[test]
fn a_link_put_into_the_base_behind_the_mount_leads_no_publish_out_of_it() {
    let ws = Workspace::with_base(small_base);
    let outside = ws.scratch();
    outside.mkdir("target").write("file", b"untouched");
    let branch = ws.fork("b");
    branch.write("dir/file", b"changed");
    let below = ws.below();
    below.rename("dir", "was-dir");
    below.symlink(
        outside.path("target").into_os_string().into_encoded_bytes(),
        "dir",
    );
    assert!(
        branch.try_commit().is_err(),
        "the base was changed behind the mount"
    );
    outside.check("target/file", b"untouched");
    branch.check("dir/file", b"changed");
}

#[test]
fn many_files_of_any_size_mode_and_sparseness_are_published_as_they_are() {
    const FILES: usize = 300;
    let name = |i: usize| format!("d{}/f{i}", i % 7);
    let ws = Workspace::with_base(|base| {
        for i in 0..7 {
            base.mkdir(format!("d{i}"));
        }
        (0..FILES).for_each(|i| base.write(name(i), b"base"));
    });
    let branch = ws.fork("b");
    let sizes = [0, 1, 4095, 4096, 65_536, 70_000, 1 << 20, (1 << 20) + 5];
    let content = |i: usize| -> Vec<u8> {
        let mut content = vec![b'a' + (i % 26) as u8; sizes[i % sizes.len()]];
        if i.is_multiple_of(5) {
            // A hole at the end, which nothing is written for.
            content.resize(content.len() + 10_000, 0);
        }
        content
    };
    for i in 0..FILES {
        let (at, content) = (branch.path(name(i)), content(i));
        let file = fs::File::create(&at).unwrap();
        file.write_all_at(&content[..sizes[i % sizes.len()]], 0)
            .unwrap();
        file.set_len(content.len() as u64).unwrap();
        let mode = 0o400 | (i as u32 * 37) & 0o377;
        fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
    }
    branch.commit();
    let (main, below) = (ws.main(), ws.below());
    for tree in [&*main, &below] {
        for i in 0..FILES {
            tree.check(name(i), content(i));
            let mode = tree.stat(name(i)).mode() & 0o7777;
            assert_eq!(mode, 0o400 | (i as u32 * 37) & 0o377, "{}", name(i));
        }
    }
}

/// "A file of the base that somebody changed behind the mount since it was copied up is never
/// overwritten: the publish or commit is refused and names it."
#[test]
fn a_base_file_changed_behind_the_mount_since_its_copy_up_is_never_overwritten_by_a_commit() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    branch.write("file", b"branch");
    ws.below().write("file", b"behind the mount");
    assert_errno(branch.try_commit(), Errno::BUSY);
    ws.below().check("file", b"behind the mount");
    branch.check("file", b"branch");
    assert!(
        branch.last_error().contains("file"),
        "{}",
        branch.last_error()
    );
}

/// "`manual` exists: nothing but `echo publish > .ctl` and the unmount publish."
#[test]
fn with_publish_manual_the_base_changes_when_told_to_and_at_unmount() {
    let ws = Workspace::build()
        .base(small_base)
        .option("publish=manual")
        .mount();
    let main = ws.main();
    let branch = main.fork("b");
    branch.write("file", b"committed");
    branch.commit();
    main.check("file", b"committed");
    ws.below().check("file", b"base");
    main.ctl("publish").expect("publish");
    ws.below().check("file", b"committed");
    main.write("file", b"later");
    ws.unmount();
    Tree::at(ws.base()).check("file", b"later");
}

#[test]
fn commit_on_main_publishes_and_abort_on_main_is_refused() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    main.write("file", b"main");
    main.commit();
    ws.below().check("file", b"main");
    assert_errno(main.ctl("abort"), Errno::PERM);
    assert_errno(main.echo("", ".abort"), Errno::PERM);
    main.check("file", b"main");
}

#[test]
fn the_base_is_an_ordinary_directory_with_the_winner_in_it_after_umount() {
    let ws = Workspace::with_base(small_base);
    let (winner, loser) = (ws.fork("winner"), ws.fork("loser"));
    winner.write("file", b"won");
    loser.write("file", b"lost");
    winner.commit();
    ws.unmount();
    let base = Tree::at(ws.base());
    base.check("file", b"won");
    assert_eq!(base.names(""), [".branchfs", "dir", "file", "other"]);
    base.check(".branchfs/.gitignore", b"*\n");
    fs::write(base.path("file"), b"edited without branchfs").expect("an ordinary file");
    ws.mount();
    ws.main().check("file", b"edited without branchfs");
}

#[test]
fn a_file_that_loses_a_name_by_a_publish_has_one_name_less() {
    let ws = Workspace::with_base(|base| {
        base.write("a", b"x");
        base.link("a", "b");
        base.link("a", "c");
    });
    let main = ws.main();
    main.unlink("c");
    main.ctl("publish").expect("publish");
    ws.remount();
    for name in ["a", "b"] {
        assert_eq!(ws.main().stat(name).nlink(), 2, "{name}");
        assert_eq!(ws.below().stat(name).nlink(), 2, "{name} in the base");
    }
    ws.main().unlink("b");
    ws.main().ctl("publish").expect("publish");
    ws.main().names("");
    assert_eq!(ws.main().stat("a").nlink(), 1);
}

#[test]
fn a_linked_file_that_changes_in_a_moved_directory_is_published_at_all_its_names() {
    let ws = Workspace::with_base(|base| {
        base.mkdir("dir");
        base.write("dir/file", b"old");
        base.link("dir/file", "top");
    });
    let branch = ws.fork("b");
    branch.rename("dir", "moved");
    branch.write("top", b"new");
    branch.link("top", "third");
    branch.commit();
    for name in ["moved/file", "top", "third"] {
        ws.below().check(name, b"new");
        assert_eq!(ws.below().stat(name).nlink(), 3, "{name}");
    }
}

#[test]
fn a_file_that_was_moved_away_and_back_and_changed_is_published_with_its_content() {
    let ws = Workspace::with_base(|base| {
        base.write("a", b"old");
        base.link("a", "b");
    });
    let main = ws.main();
    main.rename("a", "x");
    main.rename("x", "a");
    main.write("a", b"new content");
    main.ctl("publish").expect("publish");
    ws.below().check("a", b"new content");
    ws.below().check("b", b"new content");
    assert_eq!(ws.below().stat("b").nlink(), 2);
}

#[test]
fn holes_of_a_base_file_are_still_holes_after_one_byte_of_it_is_published() {
    let ws = Workspace::with_base(|base| {
        base.open_rw("sparse").set_len(1 << 30).expect("truncate");
    });
    let branch = ws.fork("b");
    branch
        .open_rw("sparse")
        .write_all_at(b"x", 1 << 29)
        .expect("write one byte");
    branch.commit();
    let published = ws.below().stat("sparse");
    assert_eq!(published.len(), 1 << 30);
    assert!(
        published.blocks() * 512 < 1 << 20,
        "{} blocks",
        published.blocks()
    );
}

/// "A file of the base that somebody changed behind the mount is never overwritten: the publish or
/// commit is refused and names it." The same holds of what is in a directory that goes as a whole.
#[test]
fn what_was_changed_behind_the_mount_in_a_directory_that_a_branch_removed_does_not_go_with_it() {
    let changes: [fn(&Tree); 4] = [
        |below| below.write("dir/file", b"edited behind"),
        |below| below.write("dir/more", b"added behind"),
        |below| below.write("dir/deep/down/file", b"edited behind"),
        |below| below.write("dir/deep/empty/more", b"added behind"),
    ];
    let removals: [fn(&Tree); 3] = [
        |branch| branch.remove_all("dir"),
        |branch| {
            branch.remove_all("dir");
            branch.symlink("elsewhere", "dir");
        },
        |branch| {
            branch.remove_all("dir/deep");
            branch.unlink("dir/file");
            branch.mkdir("other");
            branch.rename("other", "dir");
        },
    ];
    for (i, change) in changes.into_iter().enumerate() {
        for (j, remove) in removals.into_iter().enumerate() {
            let ws = Workspace::build()
                .base(|base| {
                    base.mkdir("dir/deep/down");
                    base.mkdir("dir/deep/empty");
                    base.write("dir/file", b"base");
                    base.write("dir/deep/down/file", b"base");
                })
                .elsewhere()
                .mount();
            let branch = ws.fork("b");
            remove(&branch);
            change(&ws.below());
            assert_errno(branch.try_commit(), Errno::BUSY);
            let said = branch.last_error();
            assert!(said.contains("dir"), "change {i}, removal {j}: {said}");
            ws.below().check(
                "dir/deep/down/file",
                match i {
                    2 => &b"edited behind"[..],
                    _ => b"base",
                },
            );
            // Of a directory that nobody touched nothing is said.
            let other = ws.fork("other");
            other.remove_all("dir");
            other.commit();
            assert!(!ws.below().exists("dir"));
        }
    }
}
