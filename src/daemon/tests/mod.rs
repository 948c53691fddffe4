//! Mounts through the kernel, over a plain tree in memory.
//!
//! They need root, `/dev/fuse`, fusermount3 and findmnt, and fail with a message where one is
//! missing. Every mount is taken down when its [`World`] goes, and every test has a watchdog that
//! cuts the connection of a test that hangs.

mod caches;
mod guard;
mod life;
mod posix;
mod process;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::mount::UnmountFlags;
use tempfile::TempDir;

use super::*;
use crate::vfs::memory::Memory;
use crate::vfs::metrics::{Metrics, Op};
use crate::vfs::ops::FOREVER;

/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Cuts the mounts below a directory if it is not dropped in time, and takes them down when it is.
struct Watchdog {
    root: PathBuf,
    _alive: Sender<()>,
}

impl Watchdog {
    fn new(root: &Path) -> Watchdog {
        assert!(
            rustix::process::geteuid().is_root(),
            "the mount tests need root: run them with sudo or in a user namespace"
        );
        let (alive, dropped) = channel();
        let below = root.to_path_buf();
        thread::spawn(move || bark(&below, &dropped));
        Watchdog {
            root: root.to_path_buf(),
            _alive: alive,
        }
    }
}

fn bark(root: &Path, dropped: &Receiver<()>) {
    if dropped.recv_timeout(LIMIT) != Err(RecvTimeoutError::Timeout) {
        return;
    }
    eprintln!(
        "a mount test in {} hangs: its mounts are cut",
        root.display()
    );
    cut_below(root);
    if dropped.recv_timeout(LIMIT / 6) == Err(RecvTimeoutError::Timeout) {
        eprintln!("it hangs all the same");
        std::process::abort();
    }
}

/// Takes every mount below `root` down, whoever uses it.
fn cut_below(root: &Path) {
    for mount in MountTable::read()
        .expect("there is a mount table")
        .0
        .iter()
        .rev()
    {
        if mount.mountpoint.starts_with(root) {
            let flags = UnmountFlags::FORCE | UnmountFlags::DETACH;
            let _ = rustix::mount::unmount(&mount.mountpoint, flags);
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        cut_below(&self.root);
    }
}

/// A mount of a tree in memory, in a directory of its own.
struct World {
    mounted: Option<Mounted<Memory>>,
    mountpoint: PathBuf,
    _watchdog: Watchdog,
    _dir: TempDir,
}

impl World {
    /// The kernel may believe everything for ever.
    fn new() -> World {
        World::with_ttl(FOREVER)
    }

    fn with_ttl(ttl: Duration) -> World {
        World::with(ttl, Patience::default())
    }

    fn with(ttl: Duration, patience: Patience) -> World {
        let dir = tempfile::tempdir().expect("there is a temporary directory");
        let watchdog = Watchdog::new(dir.path());
        let mountpoint = dir.path().join("mnt");
        std::fs::create_dir(&mountpoint).unwrap();
        let mut config = MountConfig::new(dir.path(), &mountpoint);
        config.patience = patience;
        let memory = Arc::new(Memory::new(ttl));
        let mounted = Mounted::start(&config, |_| Ok::<_, DaemonError>(memory));
        let mounted = mounted.unwrap_or_else(|error| panic!("{}", error.chain()));
        World {
            mounted: Some(mounted),
            mountpoint,
            _watchdog: watchdog,
            _dir: dir,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mountpoint.join(name)
    }

    fn mounted(&self) -> &Mounted<Memory> {
        self.mounted
            .as_ref()
            .expect("it is mounted until the test ends it")
    }

    fn memory(&self) -> &Memory {
        self.mounted().ops()
    }

    fn metrics(&self) -> &Metrics {
        &self.mounted().kernel().metrics
    }

    fn count(&self, op: Op) -> u64 {
        self.metrics().count(op)
    }
}

/// A watchdog for tests: a request that does not move stands still in a quarter of a second.
const IMPATIENT: Patience = Patience {
    look: Duration::from_millis(10),
    late: 5,
    still: 20,
    end_process: false,
};

/// That the connection was cut.
#[track_caller]
fn assert_cut<T>(result: std::io::Result<T>) {
    let cut = errno(result);
    assert!([libc::ENOTCONN, libc::ECONNABORTED].contains(&cut), "{cut}");
}

/// The errno of a failure.
#[track_caller]
fn errno<T>(result: std::io::Result<T>) -> i32 {
    match result {
        Ok(_) => panic!("it succeeded"),
        Err(error) => error.raw_os_error().expect("it is an error of the system"),
    }
}
