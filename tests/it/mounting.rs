//! Mounting and unmounting: what is refused, what is replaced, who is named.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::harness::process::{Held, Python, finish, limited, run, sh};
use crate::harness::{Tree, Workspace, mounts, requirements, run_dir};

fn small_base(base: &Tree) {
    base.write("file", b"base");
    base.mkdir("dir");
}

/// Asserts that mounting `base` fails with a message that has all of `words` in it.
#[track_caller]
fn check_refused(ws: &Workspace, args: &[&str], words: &[&str]) {
    let done = ws.branchfs(&[&["mount"], args].concat()).fails();
    for word in words {
        assert!(done.err.contains(word), "no {word:?} in {:?}", done.err);
    }
    assert!(!done.err.contains("panicked"), "{}", done.err);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in ASCII")
}

#[test]
fn a_base_is_mounted_in_place_and_is_itself_again_after_umount() {
    let ws = Workspace::build().base(small_base).unmounted();
    ws.mount();
    ws.main().check("file", b"base");
    assert!(ws.main().exists(".ctl"));
    ws.unmount();
    assert!(!Tree::at(ws.base()).exists(".ctl"));
    Tree::at(ws.base()).check("file", b"base");
}

#[test]
fn a_base_is_mounted_elsewhere_and_both_are_seen() {
    let ws = Workspace::build().base(small_base).elsewhere().mount();
    let main = ws.main();
    main.check("file", b"base");
    assert!(!main.exists(".branchfs"));
    let branch = main.fork("b");
    branch.write("file", b"changed");
    Tree::at(ws.base()).check("file", b"base");
    branch.commit();
    Tree::at(ws.base()).check("file", b"changed");
    ws.remount();
    ws.main().check("file", b"changed");
}

#[test]
fn noxattr_hides_attributes_and_keeps_those_of_the_base() {
    let ws = Workspace::build()
        .base(|base| {
            small_base(base);
            base.set_xattr("file", "user.a", b"of the base");
        })
        .option("noxattr")
        .mount();
    let main = ws.main();
    let mut value = [0; 64];
    let hidden = rustix::fs::lgetxattr(main.path("file"), "user.a", &mut value);
    assert_eq!(hidden, Err(rustix::io::Errno::OPNOTSUPP));
    let flags = rustix::fs::XattrFlags::empty();
    let refused = rustix::fs::lsetxattr(main.path("dir"), "user.b", b"x", flags);
    assert_eq!(refused, Err(rustix::io::Errno::OPNOTSUPP));
    let branch = main.fork("b");
    branch.write("file", b"changed");
    branch.commit();
    ws.unmount();
    let base = Tree::at(ws.base());
    base.check("file", b"changed");
    assert_eq!(
        base.xattr("file", "user.a").as_deref(),
        Some(&b"of the base"[..])
    );
}

#[test]
fn findmnt_shows_source_type_and_options() {
    let ws = Workspace::build()
        .base(small_base)
        .option("noatime")
        .mount();
    let columns = [
        "-rno",
        "SOURCE,FSTYPE,OPTIONS",
        "--mountpoint",
        text(ws.mountpoint()),
    ];
    let line = run(Path::new("/"), "findmnt", &columns).ok().out;
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [source, kind, options] = fields[..] else {
        panic!("{line}")
    };
    assert_eq!((source, kind), (text(ws.base()), "fuse.branchfs"));
    assert!(options.split(',').any(|o| o == "noatime"), "{options}");
}

#[test]
fn a_missing_base_a_file_and_an_unreadable_one_are_refused() {
    let ws = Workspace::build().base(small_base).unmounted();
    let scratch = ws.scratch();
    scratch.write("plain", b"");
    check_refused(
        &ws,
        &[text(&scratch.path("none"))],
        &["none", "No such file or directory"],
    );
    check_refused(
        &ws,
        &[text(&scratch.path("plain"))],
        &["plain", "ot a directory"],
    );
    check_refused(
        &ws,
        &[text(ws.base()), text(&scratch.path("none"))],
        &["none"],
    );
    check_refused(&ws, &[text(ws.base()), "-o", "nonsense"], &["nonsense"]);
}

#[test]
fn a_base_that_its_user_cannot_read_is_refused() {
    requirements::root();
    let ws = Workspace::build().base(small_base).unmounted();
    fs::set_permissions(ws.base(), fs::Permissions::from_mode(0o700)).expect("chmod");
    let mut mount = limited("setpriv");
    mount.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    mount
        .arg(run_dir::binary())
        .args(["mount", text(ws.base())]);
    let done = finish(mount).fails();
    assert!(done.err.contains("ermission denied"), "{}", done.err);
}

#[test]
fn a_base_inside_a_store_is_refused() {
    let ws = Workspace::build().base(small_base).store_outside().mount();
    let inside = ws.store().join("inside");
    fs::create_dir(&inside).expect("make a directory in the store");
    check_refused(&ws, &[text(&inside)], &["store"]);
    fs::remove_dir(&inside).expect("remove it");
    ws.unmount();
    check_refused(&ws, &[text(&ws.store())], &["store"]);
}

#[test]
fn a_second_mount_of_a_store_is_refused_and_names_the_holder() {
    let ws = Workspace::build().base(small_base).store_outside().mount();
    let pid = ws.lock_holder().expect("a pid in the lock").to_string();
    let other = ws.scratch().mkdir("mnt");
    let store = ws.store();
    let args = [text(ws.base()), text(other.root()), "--store", text(&store)];
    check_refused(&ws, &args, &[&pid]);
    ws.main().check("file", b"base");
    assert!(mounts::at(other.root()).is_none());
}

#[test]
fn a_second_mount_in_place_is_refused_and_names_the_holder() {
    let ws = Workspace::with_base(small_base);
    let pid = ws.lock_holder().expect("a pid in the lock").to_string();
    check_refused(&ws, &[text(ws.base())], &[&pid]);
    assert_eq!(mounts::count_at(ws.mountpoint()), 1);
    ws.main().check("file", b"base");
}

#[test]
fn a_dead_mount_left_by_a_killed_daemon_is_replaced() {
    for elsewhere in [false, true] {
        let builder = Workspace::build().base(small_base);
        let ws = if elsewhere {
            builder.elsewhere()
        } else {
            builder
        }
        .mount();
        ws.fork("b").write("file", b"kept");
        for _ in 0..3 {
            ws.kill();
            ws.mount();
            assert_eq!(mounts::count_at(ws.mountpoint()), 1, "dead mounts pile up");
        }
        ws.main().child("b").check("file", b"kept");
    }
}

/// A thread that a kill finds waiting for the mount would keep `/dev/fuse` open for ever.
#[test]
fn the_thread_that_waits_for_the_mount_itself_has_no_descriptor_of_it() {
    let ws = Workspace::with_base(small_base);
    ws.fork("b");
    let tasks = format!(
        "/proc/{}/task",
        ws.lock_holder().expect("a pid in the lock")
    );
    let open_in = |name: &str| {
        let task = fs::read_dir(&tasks).unwrap().flatten().find(|task| {
            let comm = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            comm.trim_end() == name
        });
        let fds = task.unwrap_or_else(|| panic!("no thread {name}")).path();
        let fds = fs::read_dir(fds.join("fd")).unwrap().flatten();
        fds.map(|fd| fs::read_link(fd.path()).unwrap_or_default())
            .collect::<Vec<_>>()
    };
    let device = Path::new("/dev/fuse").to_owned();
    assert!(
        open_in("background").contains(&device),
        "the others serve it"
    );
    let alone = open_in("write-back");
    assert!(!alone.contains(&device), "{alone:?}");
}

/// Killed while it waits for its own mount, a daemon must not keep the mount's connection open.
#[test]
fn a_daemon_that_is_killed_in_the_middle_of_forks_leaves_a_dead_mount_and_no_stuck_one() {
    let ws = Workspace::with_base(small_base);
    for round in 0..8 {
        let (mountpoint, started) = (ws.mountpoint(), Barrier::new(5));
        thread::scope(|scope| {
            for worker in 0..4 {
                let started = &started;
                scope.spawn(move || {
                    started.wait();
                    let fork = |n: &u32| {
                        let name = format!("@branches/r{round}-{worker}-{n}");
                        fs::create_dir(mountpoint.join(name)).is_ok()
                    };
                    (0..).take_while(fork).count()
                });
            }
            started.wait();
            thread::sleep(Duration::from_millis(20 + 7 * round));
            ws.kill();
        });
        ws.mount();
    }
    ws.main().check("file", b"base");
}

/// A process that serves a mount at its first argument, asks it for its root in one thread and
/// reads that request in another, to leave it without an answer.
const WAITS_FOR_ITSELF: &str = r#"
import ctypes, struct, threading
where = sys.argv[1]
device = os.open('/dev/fuse', os.O_RDWR)
data = f'fd={device},rootmode=40000,user_id=0,group_id=0'.encode()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b'half-dead', where.encode(), b'fuse.branchfs', 6, data):
    raise OSError(ctypes.get_errno(), 'mount')
asker = threading.Thread(target=lambda: os.stat(where), daemon=True)
while True:
    request = os.read(device, 1 << 20)
    operation, unique = struct.unpack_from('<IQ', request, 4)
    if operation != 26:
        break
    init = struct.pack('<IIIIHHIIHH8I', 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, *[0] * 8)
    os.write(device, struct.pack('<IiQ', 16 + len(init), 0, unique) + init)
    asker.start()
say('stuck')
wait()
"#;

struct CutOff<'a>(&'a Path);

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        let mut command = limited("umount");
        command.args(["-f", "-l"]).arg(self.0);
        // It fails where nothing is mounted, which is what the tests see to.
        let _ = command.output();
    }
}

/// Leaves a mount at `mountpoint` whose daemon was killed and is stuck half dead.
fn half_dead(mountpoint: &Path) -> (Python, CutOff<'_>) {
    let mut daemon = Python::start(WAITS_FOR_ITSELF, &[mountpoint]);
    let cut = CutOff(mountpoint);
    assert_eq!(daemon.hear(), "stuck");
    let held = Held::open(daemon.pid() as i32).expect("it runs");
    held.kill();
    assert!(!held.ended_within(1), "the process could end");
    (daemon, cut)
}

#[test]
fn a_mount_whose_killed_daemon_is_stuck_is_replaced() {
    let ws = Workspace::build().base(small_base).unmounted();
    let (daemon, _cut) = half_dead(ws.mountpoint());
    ws.mount();
    assert_eq!(mounts::count_at(ws.mountpoint()), 1);
    ws.main().check("file", b"base");
    assert_eq!(daemon.end(), -9);
    ws.unmount();
}

#[test]
fn a_mount_whose_killed_daemon_is_stuck_is_unmounted_while_others_go_on() {
    let living = Workspace::with_base(small_base);
    let ws = Workspace::build().base(small_base).unmounted();
    let (daemon, _cut) = half_dead(ws.mountpoint());
    ws.branchfs(&["umount", text(ws.mountpoint())]).ok();
    assert!(mounts::at(ws.mountpoint()).is_none());
    assert_eq!(daemon.end(), -9);
    living.fork("b").check("file", b"base");
    living.unmount();
}

#[test]
fn a_dead_mount_is_unmounted_too() {
    let ws = Workspace::with_base(small_base);
    ws.kill();
    ws.branchfs(&["umount", text(ws.mountpoint())]).ok();
    assert!(mounts::at(ws.mountpoint()).is_none());
    Tree::at(ws.base()).check("file", b"base");
}

#[test]
fn umount_of_a_busy_mount_says_who_holds_it() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let mut holder = Python::start(
        "f = open(sys.argv[1]); say('open'); wait()",
        &[branch.path("file")],
    );
    assert_eq!(holder.hear(), "open");
    let done = ws.branchfs(&["umount", text(ws.mountpoint())]).fails();
    assert!(done.err.contains(&holder.pid().to_string()), "{}", done.err);
    assert!(done.err.contains("busy"), "{}", done.err);
    branch.check("file", b"base");
    holder.go();
    assert_eq!(holder.end(), 0);
    ws.unmount();
}

#[test]
fn umount_of_what_is_no_mount_is_an_error() {
    let ws = Workspace::build().base(small_base).unmounted();
    let done = ws.branchfs(&["umount", text(ws.base())]).fails();
    assert!(done.err.contains(text(ws.base())), "{}", done.err);
}

/// "Publishing moves main's changes down into the base: ... at unmount."
#[test]
fn publishing_happens_at_unmount() {
    let ws = Workspace::with_base(small_base);
    ws.main().write("file", b"written in main");
    ws.main().mkdir("made");
    ws.unmount();
    Tree::at(ws.base()).check("file", b"written in main");
    assert!(Tree::at(ws.base()).exists("made"));
}

#[test]
fn the_kernels_umount_ends_the_daemon_in_order() {
    requirements::root();
    let ws = Workspace::with_base(small_base);
    ws.main().write("file", b"written");
    let daemon = ws.daemon();
    run(Path::new("/"), "umount", &[ws.mountpoint()]).ok();
    assert!(daemon.ended_within(60), "the daemon goes on");
    Tree::at(ws.base()).check("file", b"written");
    ws.fsck();
}

#[test]
fn sigterm_ends_the_daemon_in_order() {
    let ws = Workspace::with_base(small_base);
    ws.main().write("file", b"written");
    let daemon = ws.daemon();
    sh(
        Path::new("/"),
        "kill -TERM \"$1\"",
        &[ws.lock_holder().expect("a pid").to_string()],
    )
    .ok();
    assert!(daemon.ended_within(60), "the daemon goes on");
    assert!(
        mounts::at(ws.mountpoint()).is_none(),
        "the mount stays behind"
    );
    Tree::at(ws.base()).check("file", b"written");
    ws.fsck();
}

#[test]
fn in_the_foreground_the_command_is_the_daemon() {
    let ws = Workspace::build().base(small_base).unmounted();
    let mut args = ws.mount_args();
    args.push("--foreground".to_owned());
    let mut command = std::process::Command::new(run_dir::binary());
    command
        .args(args)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("start branchfs");
    while mounts::at(ws.mountpoint()).is_none() && child.try_wait().expect("wait").is_none() {
        std::thread::yield_now();
    }
    ws.main().check("file", b"base");
    assert_eq!(ws.lock_holder(), Some(child.id() as i32));
    ws.branchfs(&["umount", text(ws.mountpoint())]).ok();
    assert!(child.wait().expect("wait").success());
}

#[test]
fn a_user_without_root_mounts_works_and_unmounts() {
    requirements::root();
    let ws = Workspace::build().base(small_base).unmounted();
    let base = text(ws.base());
    sh(Path::new("/"), "chown -R 65534:65534 \"$1\"", &[base]).ok();
    let script = "\"$1\" mount \"$2\" && cd \"$2\" && mkdir @branches/b && \
        echo changed >@branches/b/file && echo commit >@branches/b/.ctl && cat file && \
        findmnt -no FSTYPE --mountpoint \"$2\" && cd / && \"$1\" umount \"$2\" && cat \"$2/file\"";
    let mut command = limited("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "bash",
        "-euc",
        script,
        "bash",
    ]);
    command.arg(run_dir::binary()).arg(base).current_dir("/");
    let done = finish(command).ok();
    assert_eq!(done.out, "changed\nfuse.branchfs\nchanged\n");
    assert!(mounts::at(ws.base()).is_none());
}

#[test]
fn mount_by_the_name_of_a_mount_helper_takes_its_arguments() {
    requirements::root();
    let ws = Workspace::build().base(small_base).elsewhere().unmounted();
    let helper = ws.scratch().path("mount.branchfs");
    std::os::unix::fs::symlink(run_dir::binary(), &helper).expect("symlink");
    let args = [
        text(ws.base()),
        text(ws.mountpoint()),
        "-o",
        "rw,nofail,x-systemd.automount,policy=merge",
    ];
    run(Path::new("/"), &helper, &args).ok();
    ws.main().check("file", b"base");
    assert_eq!(ws.main().status()["policy"], "merge");
    ws.unmount();
}

#[test]
fn a_read_only_mount_refuses_changes_and_shows_everything() {
    let ws = Workspace::with_base(small_base);
    ws.fork("b").write("file", b"kept");
    ws.unmount();
    ws.branchfs(&["mount", text(ws.base()), "-o", "ro"]).ok();
    let branch = ws.main().child("b");
    branch.check("file", b"kept");
    assert!(fs::write(branch.path("file"), b"x").is_err());
    assert!(ws.main().try_fork("c").is_err());
    branch.check("file", b"kept");
    ws.unmount();
}

#[test]
fn mount_says_so_when_its_caller_stands_in_the_base() {
    let ws = Workspace::build().base(small_base).unmounted();
    let mut mount = limited(run_dir::binary());
    mount.args(["mount", "."]).current_dir(ws.base());
    let done = finish(mount).ok();
    assert!(
        (done.out + &done.err).contains("cd \"$PWD\""),
        "the caller is not told"
    );
    ws.unmount();
}
