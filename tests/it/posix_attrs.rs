//! Attributes: modes, owners, times, extended attributes, ACLs, access, space.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{Access, XattrFlags};
use rustix::io::Errno;

use crate::harness::posix::posix;
use crate::harness::process::{run, sh};
use crate::harness::{Tree, Workspace, assert_errno, requirements};

posix! {
    modes_are_set_on_files_and_directories(dir) given {
        dir.write("f", b"content");
        dir.mkdir("d");
    } then {
        for mode in [0o600, 0o777, 0, 0o1755, 0o4711, 0o2711, 0o7777] {
            dir.chmod("f", mode);
            dir.chmod("d", mode);
            assert_eq!((dir.mode("f"), dir.mode("d")), (mode, mode));
        }
        dir.chmod("f", 0o644);
        dir.check("f", b"content");
    }

    owners_are_set_and_a_change_of_owner_drops_set_id_bits(dir) given {
        requirements::root();
        dir.write("f", b"");
        dir.symlink("f", "l");
    } then {
        dir.chmod("f", 0o6755);
        dir.chown("f", 1234, 5678);
        dir.chown("l", 4321, 8765);
        let stat = dir.stat("f");
        assert_eq!((stat.uid(), stat.gid(), dir.mode("f")), (1234, 5678, 0o755));
        assert_eq!((dir.stat("l").uid(), dir.stat("l").gid()), (4321, 8765));
    }

    times_are_set_to_the_nanosecond(dir) given {
        dir.write("f", b"");
        dir.mkdir("d");
        dir.symlink("nowhere", "l");
    } then {
        for name in ["f", "d", "l"] {
            dir.utimes(name, 1_234_567_890, 987_654_321);
            let stat = dir.stat(name);
            assert_eq!((stat.mtime(), stat.mtime_nsec()), (1_234_567_890, 987_654_321));
            assert_eq!((stat.atime(), stat.atime_nsec()), (1_234_567_890, 987_654_321));
        }
        dir.utimes("f", -1000, 0);
        assert_eq!(dir.stat("f").mtime(), -1000);
    }

    times_of_the_base_are_kept(dir) given {
        dir.write("f", b"content");
        dir.mkdir("d");
        dir.utimes("f", 1_111_111_111, 111_111_111);
        dir.utimes("d", 1_222_222_222, 222_222_222);
    } then {
        dir.chmod("f", 0o600);
        let f = dir.stat("f");
        assert_eq!((f.mtime(), f.mtime_nsec()), (1_111_111_111, 111_111_111));
        assert_eq!(dir.stat("d").mtime(), 1_222_222_222);
    }

    a_write_moves_the_time_of_change(dir) given {
        dir.write("f", b"content");
        dir.utimes("f", 1_000_000_000, 0);
    } then {
        let ctime = |m: &fs::Metadata| (m.ctime(), m.ctime_nsec());
        dir.open_rw("f").write_all_at(b"C", 0).expect("pwrite");
        let written = dir.stat("f");
        assert!(written.mtime() > 1_500_000_000, "mtime is {}", written.mtime());
        dir.utimes("f", 1_000_000_000, 0);
        dir.chmod("f", 0o600);
        let changed = dir.stat("f");
        assert_eq!(changed.mtime(), 1_000_000_000);
        assert!(ctime(&changed) >= ctime(&written));
        dir.open_rw("f").set_len(2).expect("truncate");
        assert!(dir.stat("f").mtime() > 1_500_000_000);
    }

    a_change_of_names_moves_the_time_of_the_directory(dir) given {
        dir.mkdir("d");
        dir.mkdir("e");
        dir.write("d/f", b"");
    } then {
        type Step = fn(&Tree);
        let steps: [(&str, Step); 6] = [
            ("create", |dir| dir.write("d/new", b"")),
            ("mkdir", |dir| drop(dir.mkdir("d/sub"))),
            ("rename", |dir| dir.rename("d/new", "d/newer")),
            ("link", |dir| dir.link("d/f", "d/g")),
            ("unlink", |dir| dir.unlink("d/g")),
            ("rmdir", |dir| dir.rmdir("d/sub")),
        ];
        for (what, step) in steps {
            dir.utimes("d", 1_000_000_000, 0);
            step(dir);
            assert!(dir.stat("d").mtime() > 1_500_000_000, "{what} left the time as it was");
        }
        dir.utimes("d", 1_000_000_000, 0);
        dir.utimes("e", 1_000_000_000, 0);
        dir.rename("d/f", "e/f");
        for name in ["d", "e"] {
            assert!(dir.stat(name).mtime() > 1_500_000_000, "{name} is as old as before");
        }
    }

    user_attributes_are_set_listed_and_removed(dir) given {
        dir.write("f", b"content");
        dir.mkdir("d");
        dir.set_xattr("f", "user.base", b"from the base");
    } then {
        assert_eq!(dir.xattr("f", "user.base").as_deref(), Some(&b"from the base"[..]));
        for name in ["f", "d"] {
            dir.set_xattr(name, "user.a", b"one");
            dir.set_xattr(name, "user.a", b"two\0\xff");
            dir.set_xattr(name, "user.empty", b"");
            assert_eq!(dir.xattr(name, "user.a").as_deref(), Some(&b"two\0\xff"[..]));
            assert_eq!(dir.xattr(name, "user.empty").as_deref(), Some(&b""[..]));
        }
        let path = dir.path("f");
        let set = |flags| rustix::fs::lsetxattr(&path, "user.a", b"x", flags);
        assert_errno(set(XattrFlags::CREATE), Errno::EXIST);
        rustix::fs::lremovexattr(&path, "user.a").expect("remove");
        assert_errno(set(XattrFlags::REPLACE), Errno::NODATA);
        assert_errno(rustix::fs::lremovexattr(&path, "user.a"), Errno::NODATA);
        rustix::fs::lremovexattr(&path, "user.base").expect("remove what the base had");
        let names = crate::harness::snapshot::xattrs(&path).expect("list");
        assert_eq!(names.into_keys().collect::<Vec<_>>(), [b"user.empty".to_vec()]);
    }

    an_attribute_that_does_not_fit_its_buffer_is_reported(dir) given { dir.write("f", b""); } then {
        dir.set_xattr("f", "user.a", b"0123456789");
        let mut small = [0; 4];
        assert_errno(rustix::fs::lgetxattr(dir.path("f"), "user.a", &mut small), Errno::RANGE);
        assert_errno(rustix::fs::llistxattr(dir.path("f"), &mut small), Errno::RANGE);
        let script = "getfattr --only-values -n user.a f";
        assert_eq!(sh::<&str>(dir.root(), script, &[]).ok().out, "0123456789");
    }

    trusted_and_security_attributes_are_kept_for_root(dir) given {
        requirements::root();
        dir.write("f", b"");
        dir.set_xattr("f", "trusted.base", b"1");
    } then {
        dir.set_xattr("f", "trusted.t", b"2");
        dir.set_xattr("f", "security.s", b"3");
        for (name, value) in [("trusted.base", b"1"), ("trusted.t", b"2"), ("security.s", b"3")] {
            assert_eq!(dir.xattr("f", name).as_deref(), Some(&value[..]), "{name}");
        }
    }

    acls_are_kept_and_inherited(dir) given {
        dir.write("f", b"");
        dir.mkdir("d");
        run(dir.root(), "setfacl", &["-m", "u:1234:r", "f"]).ok();
        run(dir.root(), "setfacl", &["-d", "-m", "u:1234:rwx", "d"]).ok();
    } then {
        let acl = |name: &str| run(dir.root(), "getfacl", &["-n", name]).ok().out;
        assert!(acl("f").contains("user:1234:r--"), "{}", acl("f"));
        dir.append("f", b"changed");
        assert!(acl("f").contains("user:1234:r--"), "{}", acl("f"));
        dir.write("d/new", b"");
        assert!(acl("d/new").contains("user:1234:rwx"), "{}", acl("d/new"));
        dir.mkdir("d/sub");
        assert!(acl("d/sub").contains("default:user:1234:rwx"), "{}", acl("d/sub"));
        run(dir.root(), "setfacl", &["-m", "u:4321:w", "f"]).ok();
        assert!(acl("f").contains("user:4321:-w-"), "{}", acl("f"));
        dir.chmod("f", 0o600);
        assert!(acl("f").contains("mask::---"), "{}", acl("f"));
    }

    files_in_a_directory_with_the_set_group_bit_get_its_group(dir) given {
        requirements::root();
        dir.mkdir("d");
        dir.chown("d", 0, 5678);
        dir.chmod("d", 0o2775);
    } then {
        dir.write("d/f", b"");
        dir.mkdir("d/sub");
        dir.symlink("f", "d/l");
        for name in ["d/f", "d/sub", "d/l"] {
            assert_eq!(dir.stat(name).gid(), 5678, "{name}");
        }
        assert_eq!(dir.mode("d/sub") & 0o2000, 0o2000);
    }

    access_says_what_the_mode_allows(dir) given {
        dir.write("f", b"");
        dir.chmod("f", 0o644);
    } then {
        let access = |mode| rustix::fs::access(dir.path("f"), mode);
        access(Access::READ_OK | Access::WRITE_OK).expect("read and write");
        assert_errno(access(Access::EXEC_OK), Errno::ACCESS);
        dir.chmod("f", 0o755);
        access(Access::EXEC_OK).expect("execute");
        assert_errno(rustix::fs::access(dir.path("none"), Access::EXISTS), Errno::NOENT);
    }

    statfs_shows_space_and_the_length_of_names(dir) then {
        let stat = rustix::fs::statvfs(dir.root()).expect("statvfs");
        assert_eq!(stat.f_namemax, 255);
        assert!(stat.f_blocks > 0 && stat.f_bavail > 0 && stat.f_bfree <= stat.f_blocks);
        assert!(stat.f_bsize >= 512);
    }

    programs_run_and_keep_running_when_replaced(dir) given {
        dir.write("tool", b"#!/bin/sh\necho base\n");
        dir.chmod("tool", 0o755);
    } then {
        assert_eq!(sh::<&str>(dir.root(), "./tool", &[]).ok().out, "base\n");
        dir.write("tool", b"#!/bin/sh\necho changed\n");
        assert_eq!(sh::<&str>(dir.root(), "./tool", &[]).ok().out, "changed\n");
        dir.chmod("tool", 0o644);
        assert_eq!(sh::<&str>(dir.root(), "./tool || exit 9", &[]).code, 9);
        fs::copy("/bin/true", dir.path("binary")).expect("copy a program");
        run::<&str>(dir.root(), "./binary", &[]).ok();
    }
}

#[test]
fn a_write_by_another_user_drops_set_id_bits() {
    requirements::root();
    let ws = Workspace::build().base(|base| {
        base.write("f", b"content");
        base.chmod("f", 0o6777);
    });
    let ws = ws.mount();
    let branch = ws.fork("b");
    for dir in [branch.root(), ws.main().root()] {
        let as_nobody = [
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "sh",
            "-c",
            "echo x >>f",
        ];
        run(dir, "setpriv", &as_nobody).ok();
        assert_eq!(Tree::at(dir).mode("f"), 0o777, "{}", dir.display());
    }
}

#[test]
fn permissions_hold_for_other_users() {
    requirements::root();
    let ws = Workspace::build().base(|base| {
        base.write("secret", b"x");
        base.chmod("secret", 0o600);
        base.write("public", b"x");
        base.chmod("public", 0o644);
        base.mkdir("sticky");
        base.chmod("sticky", 0o1777);
        base.write("sticky/roots", b"x");
    });
    let ws = ws.mount();
    let root = ws.main();
    let script = "cat public >/dev/null; ! cat secret; ! sh -c 'echo >>public'; ! rm -f public; \
        ! rm -f sticky/roots; touch sticky/mine; rm sticky/mine; ! touch new";
    let nobody = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "bash",
        "-euc",
        script,
    ];
    run(root.root(), "setpriv", &nobody).ok();
    root.check("secret", b"x");
}
