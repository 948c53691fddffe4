//! What another user, and whoever makes up names, links and stores, cannot do.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use rustix::io::Errno;

use crate::harness::process::{Done, run};
use crate::harness::{Tree, Workspace, assert_errno, mounts, requirements};

fn small_base(base: &Tree) {
    base.chmod("", 0o777);
    base.write("file", b"base");
    base.write("secret", b"roots alone");
    base.chmod("secret", 0o600);
    base.mkdir("closed");
    base.write("closed/file", b"behind a closed door");
    base.chmod("closed", 0o700);
    base.mkdir("dir");
    base.write("dir/file", b"in dir");
}

/// Runs `script` in `dir` as a user that owns nothing here.
fn as_nobody(dir: &Path, script: &str) -> Done {
    let nobody = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "bash",
        "-c",
        script,
    ];
    run(dir, "setpriv", &nobody)
}

#[test]
fn another_user_reads_neither_files_nor_reserved_files_that_permissions_forbid() {
    requirements::root();
    let ws = Workspace::build().base(small_base).mount();
    let branch = ws.fork("b");
    branch.write("secret", b"changed, and still roots alone");
    branch.write("closed/file", b"changed behind the door");
    branch.write("file", b"for everybody");
    let gone = ws.fork("gone");
    gone.write("secret", b"in the trash");
    gone.abort();
    let allowed = as_nobody(ws.base(), "cat @branches/b/file file && ls @branches").ok();
    assert_eq!(allowed.out, "for everybodybaseb\n");
    let reserved = [
        "status",
        "diff",
        "patch",
        "conflicts",
        "log",
        "events",
        "limits",
        "note",
        "tree",
        "metrics",
        "config",
    ];
    let reserved = reserved.into_iter().flat_map(|name| {
        [
            format!("cat @self/{name}"),
            format!("cat @branches/b/@self/{name}"),
        ]
    });
    let others = [
        "cat secret",
        "cat @branches/b/secret",
        "cat closed/file",
        "cat @branches/b/closed/file",
        "ls @branches/b/closed",
        "cat .ctl",
        "cat .commit",
        "cat .abort",
        "cat @branches/b/.ctl",
        "ls @branches/.trash",
        "cat @branches/.trash/gone/file",
        "cat @branches/.trash/gone/secret",
        "ls .branchfs",
        "cat .branchfs/superblock",
    ];
    for attempt in reserved.chain(others.map(str::to_owned)) {
        let done = as_nobody(ws.base(), &attempt).fails();
        assert!(
            done.out.is_empty() && !done.err.contains("Input/output"),
            "{attempt}: {}{}",
            done.out,
            done.err
        );
    }
}

#[test]
fn another_user_controls_no_branch_by_any_of_its_files() {
    requirements::root();
    let ws = Workspace::build().base(small_base).mount();
    let branch = ws.fork("b");
    let gone = ws.fork("gone");
    gone.abort();
    branch.write("file", b"roots");
    let attempts = [
        "mkdir @branches/mine",
        "mkdir @branches/b/@branches/mine",
        "rmdir @branches/b",
        "mv -T @branches/b @branches/c",
        "mv -T @branches/.trash/gone @branches/back",
        "rmdir @branches/.trash/gone",
        "echo commit >@branches/b/.ctl",
        "echo abort >@branches/b/.ctl",
        "echo publish >.ctl",
        "echo gc >.ctl",
        "echo >@branches/b/.commit",
        "echo >@branches/b/.abort",
        "echo 'bytes 1' >@branches/b/@self/limits",
        "echo x >@branches/b/@self/note",
        "truncate -s 0 @branches/b/.ctl",
        "chmod 666 @branches/b/.ctl",
        "chown 65534 @branches/b/.ctl",
        "chmod 777 @branches/b/@self",
        "ln @branches/b/.ctl mine",
        "mv @branches/b/.ctl mine",
        "rm -f @branches/b/.ctl",
        "setfattr -n user.x -v y @branches/b/.ctl",
        "setfacl -m u:65534:rw @branches/b/.ctl",
        "chmod 666 secret",
        "setfacl -m u:65534:rw secret",
        "mknod disk b 8 0",
    ];
    for attempt in attempts {
        let done = as_nobody(ws.base(), attempt).fails();
        assert!(
            !done.err.contains("Input/output"),
            "{attempt}: {}",
            done.err
        );
    }
    assert_eq!(ws.main().children(), ["b"]);
    branch.check("file", b"roots");
    assert_eq!(branch.mode(".ctl"), 0o600);
    assert_eq!(branch.about("note"), "");
    ws.main().check("file", b"base");
    assert_eq!(ws.main().mode("secret"), 0o600);
}

#[test]
fn what_another_user_makes_in_a_branch_is_his_and_gets_no_privilege_by_a_commit() {
    requirements::root();
    let ws = Workspace::build().base(small_base).mount();
    let branch = ws.fork("b");
    branch.chmod("", 0o777);
    let script = "cd @branches/b && cp /bin/true shell && chmod 4755 shell && \
        ! chown 0 shell && ! mknod disk b 8 0 && ! chmod 4755 file && \
        ln -s /etc/shadow link && ln -s ../../../../../../../../etc up";
    as_nobody(ws.base(), script).ok();
    branch.chmod("", 0o777);
    branch.commit();
    let shell = ws.below().stat("shell");
    assert_eq!((shell.uid(), shell.mode() & 0o7777), (65534, 0o4755));
    assert!(!ws.below().exists("disk"));
    assert_eq!(ws.below().readlink("link"), b"/etc/shadow");
    assert_eq!(ws.below().readlink("up"), b"../../../../../../../../etc");
}

#[test]
fn a_directory_that_became_a_link_in_the_branch_while_the_base_changed_leads_nowhere() {
    let ws = Workspace::build().base(small_base).elsewhere().mount();
    let outside = ws.scratch();
    outside.mkdir("target").write("file", b"untouched");
    let target = outside.path("target").into_os_string().into_encoded_bytes();
    let branch = ws.fork("b");
    branch.remove_all("dir");
    branch.symlink(target.clone(), "dir");
    ws.below().write("dir/file", b"changed behind");
    ws.below().write("dir/more", b"added behind");
    let done = branch.try_commit();
    outside.check("target/file", b"untouched");
    assert_eq!(outside.names("target"), ["file"]);
    assert_errno(done, Errno::BUSY);
    ws.below().check("dir/file", b"changed behind");
    ws.below().check("dir/more", b"added behind");

    // The other way round: behind the mount a directory that the branch fills becomes a link.
    let filler = ws.fork("filler");
    filler.write("dir/new", b"new");
    filler.write("dir/file", b"mine");
    ws.below().rename("dir", "was-dir");
    ws.below().symlink(target, "dir");
    assert!(filler.try_commit().is_err(), "the base was changed");
    assert_eq!(outside.names("target"), ["file"]);
    outside.check("target/file", b"untouched");
}

#[test]
fn a_mount_inside_the_base_is_not_written_through() {
    requirements::root();
    let ws = Workspace::build().base(small_base).elsewhere().mount();
    let branch = ws.fork("b");
    branch.write("dir/new", b"new");
    branch.write("dir/file", b"mine");
    let mount = |line: &str| {
        run(
            Path::new("/"),
            "sh",
            &[
                "-c",
                line,
                "sh",
                ws.base().join("dir").to_str().expect("ASCII"),
            ],
        )
        .ok();
    };
    mount("mount -t tmpfs none \"$1\"");
    let refused = branch.try_commit();
    let seen = fs::read_dir(ws.base().join("dir")).expect("list").count();
    mount("umount \"$1\"");
    assert!(
        refused.is_err(),
        "it went into another file system, or below it"
    );
    assert_eq!(seen, 0, "the mount got what was meant for the base");
    branch.check("dir/new", b"new");
}

#[test]
fn a_store_that_a_user_has_prepared_leads_root_nowhere() {
    requirements::root();
    let ws = Workspace::build().base(small_base).unmounted();
    let outside = ws.scratch();
    outside.write("base", b"untouched");
    symlink(outside.root(), ws.base().join(".branchfs")).expect("symlink");
    let refused = ws.try_mount().fails();
    assert!(refused.err.contains(".branchfs"), "{}", refused.err);
    assert_eq!(outside.names(""), ["base"]);
    outside.check("base", b"untouched");
    fs::remove_file(ws.base().join(".branchfs")).expect("remove the link");

    // A store of another user's making could hold a setuid program of root's.
    let store = Tree::at(ws.base()).mkdir(".branchfs");
    store.chown("", 65534, 65534);
    let refused = ws.try_mount().fails();
    assert!(refused.err.contains("not trusted"), "{}", refused.err);
    store.chown("", 0, 0);
    store.chmod("", 0o777);
    let refused = ws.try_mount().fails();
    assert!(refused.err.contains("not trusted"), "{}", refused.err);
    assert!(mounts::at(ws.base()).is_none());
    assert_eq!(store.names(""), Vec::<String>::new());
    store.chmod("", 0o700);
    ws.mount();
    ws.unmount();
    store.chown("", 65534, 65534);
    let path = ws.base().join(".branchfs");
    let refused = ws.branchfs(&["gc", path.to_str().expect("ASCII")]).fails();
    assert!(refused.err.contains("not trusted"), "{}", refused.err);
}

#[test]
fn control_input_of_any_bytes_is_refused_and_harms_nothing() {
    let ws = Workspace::build().base(small_base).mount();
    let branch = ws.fork("b");
    branch.write("file", b"kept");
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as u8
    };
    let mut inputs: Vec<Vec<u8>> = (0..100)
        .map(|i| (0..i * 13 % 2000).map(|_| byte()).collect())
        .collect();
    inputs.extend([
        vec![0; 4096],
        vec![b'a'; 1 << 20],
        b"fork ../../escape\n".to_vec(),
        b"fork a/b\n".to_vec(),
        b"fork .\nfork ..\n".to_vec(),
        b"rename \xff\xfe\0\n".to_vec(),
        b"restore ../b as /etc/x\n".to_vec(),
        b"limit bytes=99999999999999999999T\n".to_vec(),
        b"limit bytes=-1\n".to_vec(),
        b"trial {\"pattern\": [[[[[[\n".to_vec(),
        [b"trial ".to_vec(), vec![b'['; 100_000]].concat(),
    ]);
    for input in &inputs {
        for file in [".ctl", "@self/limits"] {
            let done = fs::write(branch.path(file), input);
            let errno = done.as_ref().err().and_then(std::io::Error::raw_os_error);
            // An empty text asks for nothing.
            let fine = input.is_empty() || errno == Some(libc::EINVAL);
            assert!(
                fine,
                "{file} took {:?}: {done:?}",
                input.escape_ascii().to_string()
            );
        }
    }
    branch.check("file", b"kept");
    assert_eq!(ws.main().children(), ["b"]);
    assert_eq!(branch.children(), Vec::<String>::new());
    assert_eq!(branch.about("limits"), "bytes none\ninodes none\n");
    assert!(branch.status()["read_only"].is_null(), "nothing panicked");
}

#[test]
fn a_mount_without_root_is_nosuid_and_nodev() {
    requirements::root();
    let ws = Workspace::build().base(small_base).unmounted();
    let base = ws.base().to_str().expect("ASCII").to_owned();
    run(Path::new("/"), "chown", &["-R", "65534:65534", &base]).ok();
    let binary = crate::harness::run_dir::binary().display().to_string();
    let script = format!(
        "{binary} mount {base} && findmnt -no OPTIONS --mountpoint {base}; {binary} umount {base}"
    );
    let done = as_nobody(Path::new("/"), &script).ok();
    let options: Vec<&str> = done.out.trim().split(',').collect();
    for option in ["nosuid", "nodev"] {
        assert!(options.contains(&option), "no {option} in {options:?}");
    }
}
