//! A time limit on one test, enforced even while the test hangs inside the mount.
//!
//! A thread blocked in a FUSE request cannot be killed; what frees it is the end of the connection.
//! So when time is up the watchdog aborts the connection through `/sys/fs/fuse/connections`, kills
//! the daemon (which ends the connection too), and unmounts lazily. The test's calls then fail with
//! ENOTCONN and it panics; a test that does not come back even then ends the whole run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::mounts;
use super::process::Held;

/// How long a test may go on after its connection was aborted.
const GRACE: Duration = Duration::from_secs(60);

/// What is to be ended when time is up; the workspace keeps it current.
#[derive(Default)]
pub struct Watched {
    /// Where the filesystem is mounted.
    pub mountpoint: PathBuf,
    /// The daemon, while it runs.
    pub daemon: Option<i32>,
}

/// The running clock; dropping it stops the clock.
pub struct Watchdog {
    fired: Arc<AtomicBool>,
    _stop: Sender<()>,
}

impl Watchdog {
    /// Starts the clock.
    pub fn start(seconds: u64, watched: Arc<Mutex<Watched>>) -> Watchdog {
        let (stop, stopped) = channel::<()>();
        let fired = Arc::new(AtomicBool::new(false));
        let flag = fired.clone();
        std::thread::spawn(move || {
            if stopped.recv_timeout(Duration::from_secs(seconds)) != Err(RecvTimeoutError::Timeout)
            {
                return;
            }
            flag.store(true, Ordering::SeqCst);
            eprintln!("watchdog: a test took more than {seconds} s, its mount is ended");
            let watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
            end_connection(&watched.mountpoint, watched.daemon);
            drop(watched);
            if stopped.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("watchdog: the test did not come back: ending the run");
                std::process::exit(101);
            }
        });
        Watchdog { fired, _stop: stop }
    }

    /// Whether time was up.
    pub fn fired(&self) -> bool {
        self.fired.load(Ordering::SeqCst)
    }
}

/// Ends the mount at `mountpoint` without waiting for its daemon.
pub fn end_connection(mountpoint: &Path, daemon: Option<i32>) {
    if let Some(mount) = mounts::at(mountpoint).filter(|m| m.kind.starts_with("fuse")) {
        abort_by_sysfs(mount.minor);
    }
    if let Some(held) = daemon.and_then(Held::open) {
        held.kill();
    }
    unmount_lazily(mountpoint);
}

/// Detaches whatever is mounted at `mountpoint` and leaves what was there before the test.
pub fn unmount_lazily(mountpoint: &Path) {
    while mounts::at(mountpoint).is_some_and(|m| m.kind.starts_with("fuse")) {
        let before = mounts::count_at(mountpoint);
        let _ = Command::new("umount").arg("-l").arg(mountpoint).output();
        if mounts::count_at(mountpoint) == before {
            let _ = Command::new("fusermount3")
                .arg("-uz")
                .arg(mountpoint)
                .output();
        }
        if mounts::count_at(mountpoint) == before {
            eprintln!("{} stays mounted", mountpoint.display());
            return;
        }
    }
}

fn abort_by_sysfs(connection: u32) {
    let dir = Path::new("/sys/fs/fuse/connections");
    let abort = dir.join(connection.to_string()).join("abort");
    if fs::write(&abort, "1").is_ok() {
        return;
    }
    // The control filesystem is not mounted everywhere. It is for as long as this takes, where we
    // may.
    let mounted = Command::new("mount")
        .args(["-t", "fusectl", "none"])
        .arg(dir)
        .output();
    if mounted.is_ok_and(|m| m.status.success()) {
        let _ = fs::write(&abort, "1");
        let _ = Command::new("umount").arg(dir).output();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::time::Instant;

    use rustix::mount::MountFlags;

    use super::*;
    use crate::harness::{requirements, run_dir};

    /// Mounts a filesystem whose server never answers, so that whoever looks at it hangs.
    fn mount_that_hangs(target: &Path) -> fs::File {
        let device = fs::File::options().read(true).write(true).open("/dev/fuse");
        let device = device.expect("open /dev/fuse");
        let fd = device.as_raw_fd();
        let data = format!("fd={fd},rootmode=40000,user_id=0,group_id=0");
        let data = std::ffi::CString::new(data).expect("no NUL byte");
        rustix::mount::mount(
            "hangs",
            target,
            "fuse",
            MountFlags::empty(),
            data.as_c_str(),
        )
        .expect("mount a FUSE filesystem");
        device
    }

    #[test]
    fn a_test_that_hangs_in_its_mount_is_freed_when_its_time_is_up() {
        requirements::root();
        let target = run_dir::new_directory("hangs");
        let _server = mount_that_hangs(&target);
        let watched = Watched {
            mountpoint: target.clone(),
            daemon: None,
        };
        let watchdog = Watchdog::start(1, Arc::new(Mutex::new(watched)));
        let start = Instant::now();
        // Without the watchdog this never returns.
        let error = fs::read_dir(target.join("x")).expect_err("there is no server");
        assert!(start.elapsed() < GRACE, "{error}");
        let dead = [rustix::io::Errno::NOTCONN, rustix::io::Errno::CONNABORTED];
        let dead = dead.map(|e| Some(e.raw_os_error()));
        assert!(dead.contains(&error.raw_os_error()), "{error}");
        while mounts::at(&target).is_some() {
            std::thread::yield_now();
        }
        assert!(watchdog.fired());
        fs::remove_dir(&target).expect("an ordinary directory again");
    }
}
