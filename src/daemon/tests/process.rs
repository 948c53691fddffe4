//! A mount whose daemon is a process: background and foreground, signals, killed, without root.
//!
//! The daemon is this test program, started again to run [`child`] alone.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Output, Stdio};

use super::*;

/// What the child reads: mode, base, mountpoint and options, one per line.
const TELL: &str = "BRANCHFS_TEST_DAEMON";

/// Not a test by itself: the daemon of the tests below.
#[test]
#[ignore = "the tests of this file start it"]
fn child() {
    let Ok(told) = std::env::var(TELL) else {
        return;
    };
    crate::sys::process::close_inherited_fds().expect("descriptors can be closed");
    let told: Vec<&str> = told.split('\n').collect();
    let [mode, base, mountpoint, options] = told[..] else {
        panic!("bad {TELL}: {told:?}")
    };
    let mut mount = MountConfig::new(base, mountpoint);
    if mode == "impatient" {
        mount.patience = IMPATIENT;
    }
    let daemon = DaemonConfig {
        foreground: mode == "foreground",
        log: None,
    };
    let base = PathBuf::from(base);
    let build = move |kernel| match mode {
        "broken" => Err("the store is on the moon"),
        _ => {
            let pid = std::process::id().to_string();
            fs::write(base.join("pid"), pid).expect("the base can be written");
            let memory = Arc::new(Memory::new(FOREVER));
            if mode == "stuck" {
                get_stuck(Arc::clone(&memory), kernel);
            }
            Ok(memory)
        }
    };
    let result = mount
        .options
        .apply(options.as_ref())
        .map_err(|error| error.to_string())
        .and_then(|()| serve(mount, &daemon, build).map_err(|error| error.chain()));
    if let Err(said) = result {
        eprintln!("branchfs: {said}");
        std::process::exit(3);
    }
}

/// Once a slow write waits, a thread that serves no requests has the kernel drop the page which
/// that write has locked: it waits in the kernel for a caller who waits for this process.
fn get_stuck(memory: Arc<Memory>, kernel: Kernel) {
    let stuck = thread::Builder::new().name("stuck".into());
    let wait = move || {
        while memory.at_gate() == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        kernel.cache.inval_inode(memory.node_of(b"slow"), true);
    };
    stuck.spawn(wait).expect("a thread can be started");
}

/// A base and a mountpoint whose daemon is another process.
pub(super) struct Site {
    pub(super) base: PathBuf,
    pub(super) mountpoint: PathBuf,
    program: PathBuf,
    _watchdog: Watchdog,
    _dir: TempDir,
}

impl Site {
    pub(super) fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let watchdog = Watchdog::new(dir.path());
        let [base, mountpoint] = ["base", "mnt"].map(|name| dir.path().join(name));
        fs::create_dir(&base).unwrap();
        fs::create_dir(&mountpoint).unwrap();
        let program = std::env::current_exe().unwrap();
        Site {
            base,
            mountpoint,
            program,
            _watchdog: watchdog,
            _dir: dir,
        }
    }

    pub(super) fn command(&self, wrapper: &[&str], mode: &str, options: &str) -> Command {
        let program = self.program.as_os_str();
        let mut line = wrapper.iter().map(OsStr::new).chain([program]);
        let mut command = Command::new(line.next().expect("the program is there"));
        let told = [mode, path(&self.base), path(&self.mountpoint), options].join("\n");
        command
            .args(line)
            .args([
                "--exact",
                "daemon::tests::process::child",
                "--ignored",
                "--nocapture",
            ])
            .env(TELL, told)
            .stdin(Stdio::null());
        command
    }

    /// Mounts in the background.
    pub(super) fn mount(&self, options: &str) -> Output {
        self.command(&[], "background", options).output().unwrap()
    }

    pub(super) fn pid(&self) -> u32 {
        fs::read_to_string(self.base.join("pid"))
            .unwrap()
            .parse()
            .unwrap()
    }

    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(super) fn is_mounted(&self) -> bool {
        MountTable::read()
            .unwrap()
            .top_at(&self.mountpoint)
            .is_some()
    }
}

pub(super) fn path(path: &Path) -> &str {
    path.to_str()
        .expect("temporary directories have plain names")
}

#[track_caller]
pub(super) fn assert_ok(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
}

#[test]
fn a_background_mount_answers_when_the_command_returns() {
    let site = Site::new();
    // Everything that the command inherited must be let go: the pipes of its output, or this would
    // wait for the daemon, and what a script had open and locked.
    let lock = path(&site.base).to_owned() + "/lock";
    let wrapper = ["sh", "-c", "exec 9>$0; exec \"$@\"", &lock];
    assert_ok(
        &site
            .command(&wrapper, "background", "nosuid")
            .output()
            .unwrap(),
    );
    for fd in fs::read_dir(format!("/proc/{}/fd", site.pid())).unwrap() {
        let opened = fs::read_link(fd.unwrap().path()).unwrap_or_default();
        assert_ne!(opened, Path::new(&lock));
    }
    fs::write(site.mountpoint.join("f"), b"x").unwrap();
    let cwd = fs::read_link(format!("/proc/{}/cwd", site.pid())).unwrap();
    assert_eq!(cwd, Path::new("/"));
    let watch = ProcessWatch::new(site.pid())
        .unwrap()
        .expect("the daemon runs");
    unmount(&site.mountpoint, false).unwrap();
    assert!(watch.wait(LIMIT / 2).unwrap(), "the daemon did not end");
    assert!(ProcessWatch::new(0).unwrap().is_none());
}

#[test]
fn an_error_of_the_daemon_is_the_error_of_the_command() {
    let site = Site::new();
    let output = site.command(&[], "broken", "").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("branchfs: the store is on the moon"),
        "{said}"
    );
    fs::remove_dir(&site.mountpoint).unwrap();
    let output = site.mount("");
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    let expect = format!(
        "cannot mount on {}: No such file",
        site.mountpoint.display()
    );
    assert!(said.contains(&expect), "{said}");
}

#[test]
fn a_signal_unmounts_even_a_busy_mount() {
    use rustix::process::Signal;
    for (signal, busy) in [
        (Signal::TERM, false),
        (Signal::INT, false),
        (Signal::HUP, false),
        (Signal::TERM, true),
    ] {
        let site = Site::new();
        assert_ok(&site.mount(""));
        let held = busy.then(|| File::create(site.mountpoint.join("f")).unwrap());
        let watch = ProcessWatch::new(site.pid())
            .unwrap()
            .expect("the daemon runs");
        site.signal(signal);
        assert!(
            watch.wait(LIMIT / 2).unwrap(),
            "{signal:?}, busy: {busy}: still running"
        );
        assert!(
            !site.is_mounted(),
            "{signal:?}, busy: {busy}: still mounted"
        );
        if let Some(mut file) = held {
            assert_cut(file.write_all(b"x"));
        }
    }
}

#[test]
fn a_foreground_mount_is_served_by_the_command() {
    let site = Site::new();
    let mut child: Child = site.command(&[], "foreground", "").spawn().unwrap();
    while !site.is_mounted() {
        assert!(child.try_wait().unwrap().is_none(), "the command ended");
        thread::yield_now();
    }
    fs::write(site.mountpoint.join("f"), b"x").unwrap();
    assert_eq!(site.pid(), child.id());
    unmount(&site.mountpoint, false).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_dead_mount_is_replaced_or_unmounted() {
    let site = Site::new();
    assert_ok(&site.mount(""));
    let killed = site.pid();
    // Held and cached, so that only the connection can tell that it is dead.
    let _held = File::create(site.mountpoint.join("f")).unwrap();
    let watch = ProcessWatch::new(killed).unwrap().expect("the daemon runs");
    site.signal(rustix::process::Signal::KILL);
    assert!(watch.wait(LIMIT / 2).unwrap());
    assert_eq!(
        errno(File::create(site.mountpoint.join("g"))),
        libc::ENOTCONN
    );
    assert_ok(&site.mount(""));
    assert_ne!(site.pid(), killed);
    fs::write(site.mountpoint.join("g"), b"x").unwrap();
    let table = MountTable::read().unwrap();
    let here = table
        .0
        .iter()
        .filter(|mount| mount.mountpoint == site.mountpoint)
        .count();
    assert_eq!(here, 1, "the dead mount is gone");
    assert!(
        !clear_dead_mount(&site.mountpoint).unwrap(),
        "a living mount is left alone"
    );

    let watch = ProcessWatch::new(site.pid())
        .unwrap()
        .expect("the daemon runs");
    site.signal(rustix::process::Signal::KILL);
    assert!(watch.wait(LIMIT / 2).unwrap());
    unmount(&site.mountpoint, false).unwrap();
    assert!(!site.is_mounted());
}

#[test]
fn a_daemon_that_cannot_go_on_ends_and_makes_room_for_the_next() {
    let site = Site::new();
    assert_ok(&site.command(&[], "impatient", "").output().unwrap());
    let stuck = site.pid();
    let watch = ProcessWatch::new(stuck).unwrap().expect("the daemon runs");
    assert_cut(fs::write(site.mountpoint.join("slow"), b"x"));
    assert!(watch.wait(LIMIT / 2).unwrap(), "the process is still there");
    assert_ok(&site.mount(""));
    assert_ne!(site.pid(), stuck);
    fs::write(site.mountpoint.join("f"), b"x").unwrap();
    unmount(&site.mountpoint, false).unwrap();
}

/// Runs a command as nobody; a path, since one test has no PATH.
pub(super) const NOBODY: &[&str] = &[
    "/usr/bin/setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];

/// A place that nobody may mount at, with a program that nobody may run.
pub(super) fn nobodys_site() -> Site {
    let mut site = Site::new();
    let device = fs::metadata("/dev/fuse").expect("/dev/fuse is needed: modprobe fuse");
    if device.mode() & 0o666 != 0o666 {
        // As every distribution has it; without it nobody but root mounts anything.
        eprintln!(
            "/dev/fuse had mode {:o}: it is now 666",
            device.mode() & 0o777
        );
        fs::set_permissions("/dev/fuse", PermissionsExt::from_mode(0o666)).unwrap();
    }
    let dir = site.base.parent().unwrap().to_path_buf();
    fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
    let program = dir.join("daemon");
    // Written by a process of its own: a descriptor of ours could be in a child that another test
    // is just starting, and a program that is open for writing does not run.
    let copied = Command::new("cp")
        .args([&site.program, &program])
        .status()
        .unwrap();
    assert!(copied.success());
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    site.program = program;
    for dir in [&site.base, &site.mountpoint] {
        std::os::unix::fs::chown(dir, Some(65534), Some(65534)).unwrap();
    }
    site
}

fn as_nobody(line: &str) -> Output {
    let mut command = Command::new(NOBODY[0]);
    command
        .args(&NOBODY[1..])
        .args(["sh", "-c", line])
        .output()
        .expect("setpriv: apt install util-linux")
}

#[test]
fn without_root_fusermount_mounts_and_unmounts() {
    let site = nobodys_site();
    let mount = || {
        site.command(NOBODY, "background", "noexec")
            .output()
            .unwrap()
    };
    assert_ok(&mount());
    let table = MountTable::read().unwrap();
    let shown = table
        .top_at(&site.mountpoint)
        .expect("it is mounted")
        .clone();
    assert_eq!(
        (shown.file_system.as_str(), Path::new(&shown.source)),
        ("fuse.branchfs", &*site.base)
    );
    for option in ["nosuid", "nodev", "noexec"] {
        assert!(
            shown.options.split(',').any(|o| o == option),
            "{option}: {}",
            shown.options
        );
    }
    assert!(
        shown.super_options.contains("user_id=65534"),
        "{}",
        shown.super_options
    );
    assert_ok(&as_nobody(&format!(
        "cd {}; echo text > f; cat f",
        path(&site.mountpoint)
    )));
    assert_eq!(
        errno(fs::metadata(&site.mountpoint)),
        libc::EACCES,
        "it is nobody's alone"
    );

    // Killed and mounted again.
    let watch = ProcessWatch::new(site.pid())
        .unwrap()
        .expect("the daemon runs");
    site.signal(rustix::process::Signal::KILL);
    assert!(watch.wait(LIMIT / 2).unwrap());
    assert_ok(&mount());

    // Ended by a signal, which unmounts through fusermount3.
    let watch = ProcessWatch::new(site.pid())
        .unwrap()
        .expect("the daemon runs");
    site.signal(rustix::process::Signal::TERM);
    assert!(watch.wait(LIMIT / 2).unwrap());
    assert!(!site.is_mounted());

    // Ended by a signal while somebody holds it.
    assert_ok(&mount());
    let hold = format!(
        "cd {} && echo ready && exec sleep 1000",
        path(&site.mountpoint)
    );
    let mut holder = Command::new(NOBODY[0])
        .args(&NOBODY[1..])
        .args(["sh", "-c", &hold])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let watch = ProcessWatch::new(site.pid())
        .unwrap()
        .expect("the daemon runs");
    site.signal(rustix::process::Signal::TERM);
    let ended = watch.wait(LIMIT / 2).unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(ended, "the daemon waits for those who hold the mount");
    assert!(!site.is_mounted());
}

#[test]
fn what_fusermount_says_is_what_the_user_sees() {
    let site = nobodys_site();
    let output = site
        .command(NOBODY, "background", "allow_other")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("user_allow_other"), "{said}");
    let mut command = site.command(NOBODY, "background", "");
    let output = command.env("PATH", "/nonexistent").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("fusermount3 is needed to mount without root: apt install fuse3"),
        "{said}"
    );
}
