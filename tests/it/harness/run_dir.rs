//! The directory that holds everything this run of the tests makes, and the process that removes
//! it.
//!
//! **Invariant**: nothing is made outside of it, so however the run ends (a panic, Ctrl-C, SIGKILL)
//! the reaper finds every mount, process and file by that directory's name. It is a shell that
//! waits for the end of its standard input, in a process group of its own so that Ctrl-C passes it
//! by.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

struct RunDir {
    root: PathBuf,
    /// Its standard input closes when this process ends, and not before.
    _reaper: Child,
}

static RUN: OnceLock<RunDir> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A new, empty directory with mode 0755 for one test.
pub fn new_directory(hint: &str) -> PathBuf {
    let run = RUN.get_or_init(start);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = run.root.join(format!("{number}-{hint}"));
    fs::create_dir(&dir).unwrap_or_else(|e| panic!("mkdir {}: {e}", dir.display()));
    dir
}

/// The `branchfs` binary, at a place that every user may read.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let copy = RUN.get_or_init(start).root.join("branchfs");
        fs::copy(env!("CARGO_BIN_EXE_branchfs"), &copy).expect("copy the branchfs binary");
        copy
    })
}

fn start() -> RunDir {
    // /var/tmp is on a disk where /tmp may be a tmpfs; what the store needs of its filesystem
    // (holes, exchange by rename, xattrs, direct I/O) is that of a disk.
    let parent = std::env::var_os("TMPDIR").map_or(PathBuf::from("/var/tmp"), PathBuf::from);
    let root = tempfile::Builder::new()
        .prefix("branchfs-tests-")
        .tempdir_in(&parent)
        .unwrap_or_else(|e| panic!("no temporary directory in {}: {e}", parent.display()))
        .keep();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("chmod the run directory");
    let reaper = Command::new("sh")
        .args(["-c", include_str!("reap.sh"), "reap"])
        .arg(&root)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("start sh");
    RunDir {
        root,
        _reaper: reaper,
    }
}

#[test]
fn what_a_run_leaves_behind_is_removed_however_it_ends() {
    super::requirements::root();
    let dir = new_directory("left-behind");
    let mounted = dir.join("mounted with space");
    fs::create_dir(&mounted).expect("mkdir");
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(&mounted)
        .status();
    assert!(mount.expect("start mount").success());
    fs::write(mounted.join("file"), b"x").expect("write");
    let mut left = Command::new("sleep")
        .arg("1000")
        .current_dir(&mounted)
        .spawn()
        .expect("sleep");
    let mut reaper = Command::new("sh")
        .args(["-c", include_str!("reap.sh"), "reap"])
        .arg(&dir)
        .stdin(Stdio::piped())
        .spawn()
        .expect("start the reaper");
    // Its input closes as it does when the process that holds it dies.
    drop(reaper.stdin.take());
    reaper.wait().expect("wait for the reaper");
    assert!(!dir.exists(), "{} is still there", dir.display());
    assert!(super::mounts::at(&mounted).is_none());
    assert!(
        !left.wait().expect("wait for sleep").success(),
        "the process was ended"
    );
}
