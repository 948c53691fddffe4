//! Names: those that branches may have, and those that are reserved at the root of a branch.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use crate::harness::{Tree, Workspace, assert_errno};

fn small_base(base: &Tree) {
    base.write("file", b"base");
    base.mkdir("dir/sub");
    base.write("dir/file", b"in dir");
    base.write("dir/sub/file", b"in sub");
}

#[test]
fn branch_names_have_1_to_200_bytes_without_slash_newline_or_a_leading_dot_or_at() {
    let ws = Workspace::new();
    let main = ws.main();
    let good: [&[u8]; 6] = [
        b"a",
        b"with space",
        b"a.b@c",
        b"\xff\xfe",
        "\u{fc}".as_bytes(),
        b"-",
    ];
    let longest = vec![b'x'; 200];
    for name in good.into_iter().chain([longest.as_slice()]) {
        main.fork(name).write("file", b"x");
    }
    let too_long = vec![b'x'; 201];
    let bad: [&[u8]; 5] = [b".hidden", b"@at", b"new\nline", &too_long, b"@self"];
    for name in bad {
        assert_errno(main.try_fork(name), Errno::INVAL);
    }
    assert_eq!(main.list("@branches").len(), 7);
    let nested = main.child("a").fork(&longest);
    nested.check("file", b"x");
}

#[test]
fn a_branch_is_renamed_by_mv_and_keeps_what_it_has() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let branch = main.fork("before");
    branch.write("file", b"mine");
    branch.fork("child").write("file", b"childs");
    let held = branch.open("file");
    main.rename("@branches/before", "@branches/after");
    assert_eq!(main.children(), ["after"]);
    main.child("after").check("file", b"mine");
    main.child("after").child("child").check("file", b"childs");
    let mut buffer = [0; 4];
    held.read_exact_at(&mut buffer, 0)
        .expect("a descriptor outlives the rename");
    assert_eq!(&buffer, b"mine");
    main.fork("other");
    let taken = fs::rename(main.path("@branches/other"), main.path("@branches/after"));
    assert_errno(taken, Errno::EXIST);
    let bad = fs::rename(main.path("@branches/other"), main.path("@branches/.other"));
    assert_errno(bad, Errno::INVAL);
    main.child("other")
        .ctl("rename third")
        .expect("rename by .ctl");
    assert_eq!(main.children(), ["after", "third"]);
    drop(held);
    ws.remount();
    ws.main().child("after").check("file", b"mine");
}

#[test]
fn a_branch_is_not_moved_to_another_parent_nor_out_of_the_branches() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    main.fork("a");
    main.fork("b");
    let moved = |to: &str| fs::rename(main.path("@branches/a"), main.path(to));
    for to in ["@branches/b/@branches/a", "dir/a", "a"] {
        assert!(moved(to).is_err(), "a branch was moved to {to}");
    }
    assert!(fs::rename(main.path("dir"), main.path("@branches/dir")).is_err());
    assert_eq!(main.children(), ["a", "b"]);
    main.check("dir/file", b"in dir");
}

#[test]
fn a_name_that_an_ended_branch_had_is_free_again() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    for round in 0..3 {
        let branch = main.fork("again");
        branch.check("file", b"base");
        branch.write("file", format!("round {round}"));
        branch.abort();
    }
    main.fork("again").commit();
    let (winner, _loser) = (main.fork("winner"), main.fork("again"));
    winner.write("won", b"x");
    winner.commit();
    main.fork("again").check("won", b"x");
    assert_eq!(main.children(), ["again"]);
}

#[test]
fn the_reserved_names_are_reachable_but_not_listed() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    for root in [&ws.main(), &branch] {
        assert_eq!(root.names(""), ["dir", "file"]);
        for name in [
            ".ctl",
            ".commit",
            ".abort",
            "@branches",
            "@self",
            "@self/status",
        ] {
            assert!(root.exists(name), "{name}");
        }
    }
    assert_eq!(ws.main().children(), ["b"]);
    assert!(!ws.main().exists(".branchfs"), "the store is hidden");
}

#[test]
fn show_ctl_lists_the_reserved_names() {
    let ws = Workspace::build()
        .base(small_base)
        .option("show_ctl")
        .mount();
    let names = ws.main().names("");
    for name in [".abort", ".commit", ".ctl", "@branches", "@self"] {
        assert!(
            names.iter().any(|n| n == name),
            "{name} is not in {names:?}"
        );
    }
}

#[test]
fn the_reserved_names_cannot_be_removed_replaced_or_made() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    for root in [&ws.main(), &branch] {
        for name in [".ctl", ".commit", ".abort", "@self/status"] {
            assert!(
                fs::remove_file(root.path(name)).is_err(),
                "{name} was removed"
            );
            assert!(
                fs::rename(root.path("file"), root.path(name)).is_err(),
                "{name} was replaced"
            );
            assert!(
                fs::hard_link(root.path(name), root.path("x")).is_err(),
                "{name} was linked"
            );
        }
        for name in ["@branches", "@self"] {
            assert!(
                fs::remove_dir(root.path(name)).is_err(),
                "{name} was removed"
            );
            assert_errno(fs::create_dir(root.path(name)), Errno::EXIST);
            assert!(
                fs::rename(root.path(name), root.path("x")).is_err(),
                "{name} was moved"
            );
        }
        assert!(fs::write(root.path("@branches/file"), b"").is_err());
        assert!(fs::write(root.path("@self/file"), b"").is_err());
        root.check("file", b"base");
    }
}

#[test]
fn below_the_root_the_reserved_names_are_ordinary() {
    let ws = Workspace::with_base(|base| {
        base.mkdir("node_modules/@branches/x");
        base.write("node_modules/.ctl", b"mine");
    });
    let branch = ws.fork("b");
    branch.check("node_modules/.ctl", b"mine");
    branch.write("node_modules/.commit", b"just a file");
    branch.mkdir("node_modules/@branches/y");
    branch.mkdir("@scope/@self");
    assert_eq!(branch.names("node_modules/@branches"), ["x", "y"]);
    assert_eq!(branch.names(""), ["@scope", "node_modules"]);
    branch.commit();
    ws.unmount();
    let base = Tree::at(ws.base());
    base.check("node_modules/.commit", b"just a file");
    assert!(base.exists("@scope/@self"));
}

#[test]
fn names_of_branches_may_be_any_bytes_in_listings() {
    let ws = Workspace::new();
    ws.main().fork(b"\xff odd");
    let names: Vec<OsString> = fs::read_dir(ws.main().path("@branches"))
        .expect("list")
        .map(|e| e.expect("an entry").file_name())
        .collect();
    assert_eq!(names, [OsString::from_vec(b"\xff odd".to_vec())]);
}
