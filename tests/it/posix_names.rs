//! Names: directories, unlink, links, rename with its flags, and what may be in a name.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::harness::posix::posix;
use crate::harness::{Tree, Workspace, assert_errno};

fn rename_with(dir: &Tree, from: &str, to: &str, flags: RenameFlags) -> rustix::io::Result<()> {
    renameat_with(CWD, dir.path(from), CWD, dir.path(to), flags)
}

/// A directory with something on every level.
fn fill(dir: &Tree, name: &str) {
    dir.mkdir(format!("{name}/sub/deep"));
    dir.write(format!("{name}/file"), format!("{name} file"));
    dir.write(format!("{name}/sub/file"), format!("{name} sub file"));
    dir.write(format!("{name}/sub/deep/file"), format!("{name} deep file"));
    dir.symlink("file", format!("{name}/link"));
}

fn check_filled(dir: &Tree, at: &str, name: &str) {
    dir.check(format!("{at}/file"), format!("{name} file"));
    dir.check(format!("{at}/sub/file"), format!("{name} sub file"));
    dir.check(format!("{at}/sub/deep/file"), format!("{name} deep file"));
    assert_eq!(dir.readlink(format!("{at}/link")), b"file");
    assert_eq!(dir.names(at), ["file", "link", "sub"]);
}

posix! {
    directories_are_made_and_removed(dir) given { dir.mkdir("base/sub"); } then {
        dir.mkdir("new");
        assert_errno(fs::create_dir(dir.path("new")), Errno::EXIST);
        assert_errno(fs::create_dir(dir.path("none/new")), Errno::NOENT);
        assert_errno(fs::remove_dir(dir.path("base")), Errno::NOTEMPTY);
        dir.rmdir("base/sub");
        dir.rmdir("base");
        assert_errno(fs::remove_dir(dir.path("base")), Errno::NOENT);
        assert_eq!(dir.names(""), ["new"]);
    }

    the_links_of_a_directory_count_its_subdirectories(dir) given {
        dir.mkdir("d/one");
    } then {
        assert_eq!(dir.stat("d").nlink(), 3);
        dir.mkdir("d/two");
        assert_eq!(dir.stat("d").nlink(), 4);
        dir.rmdir("d/one");
        dir.write("d/file", b"");
        assert_eq!(dir.stat("d").nlink(), 3);
    }

    a_directory_is_empty_once_its_base_files_are_gone(dir) given { fill(dir, "d"); } then {
        dir.unlink("d/sub/deep/file");
        dir.rmdir("d/sub/deep");
        dir.unlink("d/sub/file");
        dir.rmdir("d/sub");
        dir.unlink("d/link");
        assert_errno(fs::remove_dir(dir.path("d")), Errno::NOTEMPTY);
        dir.unlink("d/file");
        dir.rmdir("d");
        assert!(!dir.exists("d"));
    }

    a_directory_made_where_one_was_removed_is_empty(dir) given { fill(dir, "d"); } then {
        dir.remove_all("d");
        dir.mkdir("d");
        assert!(dir.names("d").is_empty());
        dir.mkdir("d/sub");
        assert!(dir.names("d/sub").is_empty());
    }

    the_wrong_kind_of_removal_is_refused(dir) given {
        dir.mkdir("d");
        dir.write("f", b"");
    } then {
        assert_errno(fs::remove_file(dir.path("d")), Errno::ISDIR);
        assert_errno(fs::remove_dir(dir.path("f")), Errno::NOTDIR);
        assert_errno(fs::remove_file(dir.path("none")), Errno::NOENT);
    }

    a_rename_moves_files_within_and_between_directories(dir) given {
        fill(dir, "d");
        dir.write("f", b"top");
    } then {
        dir.rename("f", "g");
        dir.rename("g", "d/sub/f");
        dir.rename("d/sub/file", "file");
        dir.check("d/sub/f", b"top");
        dir.check("file", b"d sub file");
        assert_eq!(dir.names(""), ["d", "file"]);
        assert_eq!(dir.names("d/sub"), ["deep", "f"]);
    }

    a_rename_replaces_a_file(dir) given {
        dir.write("a", b"a");
        dir.write("b", b"b");
    } then {
        dir.rename("a", "b");
        dir.check("b", b"a");
        dir.write("c", b"c");
        dir.rename("c", "b");
        dir.check("b", b"c");
        assert_eq!(dir.names(""), ["b"]);
    }

    a_rename_moves_a_directory_with_all_that_is_in_it(dir) given {
        fill(dir, "d");
        dir.mkdir("other");
    } then {
        let inode = dir.stat("d/sub/deep/file").ino();
        dir.rename("d", "moved");
        check_filled(dir, "moved", "d");
        dir.rename("moved", "other/again");
        check_filled(dir, "other/again", "d");
        assert_eq!(dir.stat("other/again/sub/deep/file").ino(), inode);
        dir.write("other/again/sub/new", b"new");
        dir.rename("other/again/sub", "sub");
        dir.check("sub/new", b"new");
        dir.check("sub/deep/file", b"d deep file");
        assert_eq!(dir.names(""), ["other", "sub"]);
    }

    a_rename_of_a_directory_leaves_its_name_free(dir) given { fill(dir, "d"); } then {
        dir.rename("d", "moved");
        assert!(!dir.exists("d"));
        dir.mkdir("d");
        assert!(dir.names("d").is_empty());
        dir.write("d/file", b"other");
        check_filled(dir, "moved", "d");
        dir.remove_all("d");
        dir.rename("moved", "d");
        check_filled(dir, "d", "d");
    }

    a_rename_replaces_an_empty_directory_and_no_other(dir) given {
        fill(dir, "d");
        fill(dir, "full");
        dir.mkdir("empty");
        dir.write("file", b"");
    } then {
        assert_errno(fs::rename(dir.path("d"), dir.path("full")), Errno::NOTEMPTY);
        assert_errno(fs::rename(dir.path("d"), dir.path("file")), Errno::NOTDIR);
        assert_errno(fs::rename(dir.path("file"), dir.path("empty")), Errno::ISDIR);
        assert_errno(fs::rename(dir.path("d"), dir.path("d/sub/x")), Errno::INVAL);
        assert_errno(fs::rename(dir.path("none"), dir.path("x")), Errno::NOENT);
        dir.rename("d", "empty");
        check_filled(dir, "empty", "d");
        dir.remove_all("full/sub");
        dir.unlink("full/file");
        dir.unlink("full/link");
        dir.rename("empty", "full");
        check_filled(dir, "full", "d");
    }

    a_rename_that_may_not_replace_does_not(dir) given {
        dir.write("a", b"a");
        dir.write("b", b"b");
        fill(dir, "d");
    } then {
        assert_errno(rename_with(dir, "a", "b", RenameFlags::NOREPLACE), Errno::EXIST);
        assert_errno(rename_with(dir, "a", "d", RenameFlags::NOREPLACE), Errno::EXIST);
        rename_with(dir, "a", "c", RenameFlags::NOREPLACE).expect("rename to a new name");
        dir.check("b", b"b");
        dir.check("c", b"a");
    }

    an_exchange_swaps_two_names(dir) given {
        dir.write("file", b"file");
        fill(dir, "d");
        fill(dir, "e");
    } then {
        rename_with(dir, "d", "e", RenameFlags::EXCHANGE).expect("exchange directories");
        check_filled(dir, "d", "e");
        check_filled(dir, "e", "d");
        rename_with(dir, "file", "d/sub", RenameFlags::EXCHANGE).expect("a file and a directory");
        dir.check("d/sub", b"file");
        dir.check("file/deep/file", b"e deep file");
        let missing = rename_with(dir, "file", "none", RenameFlags::EXCHANGE);
        assert_errno(missing, Errno::NOENT);
    }

    a_rename_to_another_name_of_the_same_file_does_nothing(dir) given {
        dir.write("a", b"x");
        dir.link("a", "b");
    } then {
        dir.rename("a", "b");
        assert_eq!(dir.names(""), ["a", "b"]);
        assert_eq!(dir.stat("a").nlink(), 2);
    }

    hard_links_share_content_and_attributes(dir) given {
        dir.mkdir("d");
        dir.write("one", b"base");
        dir.link("one", "d/two");
    } then {
        assert_eq!(dir.stat("one").ino(), dir.stat("d/two").ino());
        assert_eq!(dir.stat("one").nlink(), 2);
        dir.append("d/two", b" and more");
        dir.check("one", b"base and more");
        dir.chmod("one", 0o600);
        assert_eq!(dir.mode("d/two"), 0o600);
        dir.link("d/two", "three");
        assert_eq!(dir.stat("one").nlink(), 3);
        dir.unlink("one");
        dir.write("three", b"last");
        dir.check("d/two", b"last");
        assert_eq!(dir.stat("three").nlink(), 2);
        assert_eq!(dir.stat("three").ino(), dir.stat("d/two").ino());
    }

    a_hard_link_cannot_be_made_of_a_directory_or_over_a_name(dir) given {
        dir.mkdir("d");
        dir.write("f", b"");
        dir.symlink("f", "l");
    } then {
        assert_errno(fs::hard_link(dir.path("d"), dir.path("x")), Errno::PERM);
        assert_errno(fs::hard_link(dir.path("f"), dir.path("l")), Errno::EXIST);
        dir.link("l", "l2");
        assert_eq!(dir.readlink("l2"), b"f");
        assert_eq!(dir.stat("l").nlink(), 2);
    }

    symbolic_links_keep_their_target_to_the_byte(dir) given {
        dir.symlink(b"target with \xff and\nnewline", "base");
    } then {
        let long = vec![b'x'; 4000];
        for (name, target) in [("rel", &b"../up"[..]), ("abs", b"/dev/null"), ("long", &long)] {
            dir.symlink(target, name);
            assert_eq!(dir.readlink(name), target);
            assert_eq!(dir.stat(name).len(), target.len() as u64);
        }
        assert_eq!(dir.readlink("base"), b"target with \xff and\nnewline");
        assert_errno(fs::read_link(dir.root()), Errno::INVAL);
        assert!(!fs::exists(dir.path("rel")).expect("stat"), "a dangling link leads nowhere");
    }

    a_loop_of_symbolic_links_is_reported(dir) given { dir.symlink("b", "a"); } then {
        dir.symlink("a", "b");
        assert_errno(fs::read(dir.path("a")), Errno::LOOP);
    }

    names_may_hold_any_bytes(dir) given {
        dir.write(b"\xff\xfe\x80 base", b"1");
        dir.write("line\nbreak", b"2");
    } then {
        let given = [b"\xff\xfe\x80 base".to_vec(), b"line\nbreak".to_vec()];
        let mut all = BTreeSet::from(given);
        for byte in (1..=255u8).filter(|b| *b != b'/' && *b != b'.') {
            let name = vec![byte];
            dir.write(&name, [byte]);
            all.insert(name);
        }
        assert_eq!(dir.list(""), all);
        dir.check(b"\xf0", b"\xf0");
        dir.rename(b"\xff\xfe\x80 base", b"\xc3\x28");
        dir.check(b"\xc3\x28", b"1");
        dir.append("line\nbreak", b"!");
        dir.check("line\nbreak", b"2!");
    }

    names_are_up_to_255_bytes_long(dir) then {
        let longest = "x".repeat(255);
        let too_long = "x".repeat(256);
        dir.write(&longest, b"content");
        dir.check(&longest, b"content");
        assert_errno(fs::write(dir.path(&too_long), b""), Errno::NAMETOOLONG);
        assert_errno(fs::create_dir(dir.path(&too_long)), Errno::NAMETOOLONG);
        assert_errno(fs::rename(dir.path(&longest), dir.path(&too_long)), Errno::NAMETOOLONG);
        assert_errno(fs::symlink_metadata(dir.path(&too_long)), Errno::NAMETOOLONG);
    }

    trees_may_be_deep(dir) then {
        let path = vec!["d"; 100].join("/");
        dir.mkdir(&path);
        dir.write(format!("{path}/file"), b"deep");
        dir.rename("d", "e");
        dir.check(format!("e/{}/file", vec!["d"; 99].join("/")), b"deep");
    }
}

/// What pjdfstest's `link_count_max` asks on a file system whose limit libc knows.
#[test]
fn a_file_has_as_many_names_as_on_ext4() {
    let ws = Workspace::with_base(|base| {
        base.write("file", b"");
        base.mkdir("names");
        (1..64_999).for_each(|i| base.link("file", format!("names/{i}")));
    });
    let branch = ws.fork("b");
    branch.link("file", "last");
    assert_eq!(branch.stat("file").nlink(), 65_000);
    let more = fs::hard_link(branch.path("file"), branch.path("more"));
    assert_errno(more, Errno::MLINK);
}
