//! A base directory, and branchfs mounted on it, that leave nothing behind.
//!
//! Dropping a workspace unmounts lazily, waits for the daemon's end and removes everything; a
//! [`Watchdog`] bounds the test's time. What lies below an in-place mount stays reachable through a
//! descriptor that was opened before it ([`Workspace::below`]).

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::branch::Branch;
use super::process::{Done, Held, finish, limited};
use super::tree::Tree;
use super::watchdog::{Watchdog, Watched, unmount_lazily};
use super::{mounts, requirements, run_dir};

/// How long a daemon may take to end once it was unmounted.
const END_SECONDS: i64 = 60;

/// A workspace that is being described.
pub struct Builder {
    directory: PathBuf,
    options: Vec<String>,
    elsewhere: bool,
    store: Option<PathBuf>,
    seconds: u64,
}

/// A base directory with its mount.
pub struct Workspace {
    directory: PathBuf,
    base: PathBuf,
    mountpoint: PathBuf,
    lower: File,
    store: Option<PathBuf>,
    options: Vec<String>,
    watched: Arc<Mutex<Watched>>,
    watchdog: Option<Watchdog>,
}

impl Builder {
    /// Fills the base before it is mounted.
    pub fn base(self, fill: impl FnOnce(&Tree)) -> Builder {
        fill(&Tree::at(self.directory.join("base")));
        self
    }

    /// Adds an `-o` option.
    pub fn option(mut self, option: &str) -> Builder {
        self.options.push(option.to_owned());
        self
    }

    /// Mounts beside the base instead of over it.
    pub fn elsewhere(mut self) -> Builder {
        self.elsewhere = true;
        self
    }

    /// Keeps the store beside the base instead of in it.
    pub fn store_outside(mut self) -> Builder {
        self.store = Some(self.directory.join("store"));
        self
    }

    /// Puts the base (and a store inside it) on a filesystem in memory of `size`, such as `64m`.
    #[track_caller]
    pub fn in_memory(self, size: &str) -> Builder {
        requirements::root();
        let mut mount = limited("mount");
        mount.args([
            "-t",
            "tmpfs",
            "-o",
            &format!("size={size},mode=755"),
            "none",
        ]);
        mount.arg(self.directory.join("base"));
        finish(mount).ok();
        self
    }

    /// Puts the base (and a store inside it) on an ext4 file system of `mib` MiB in an image.
    #[track_caller]
    pub fn on_image(self, mib: u64) -> Builder {
        requirements::root();
        let image = self.directory.join("image");
        let file = File::create(&image).expect("make the image");
        file.set_len(mib << 20).expect("size the image");
        let mut mkfs = limited("mkfs.ext4");
        // Nothing is kept for root, so that it is as full for root as for others.
        mkfs.args(["-q", "-m", "0", "-E", "lazy_itable_init=0"])
            .arg(&image);
        finish(mkfs).ok();
        let mut mount = limited("mount");
        mount.args(["-o", "loop,errors=remount-ro"]).arg(&image);
        mount.arg(self.directory.join("base"));
        finish(mount).ok();
        self
    }

    /// Sets the test's time limit.
    pub fn seconds(mut self, seconds: u64) -> Builder {
        self.seconds = seconds;
        self
    }

    /// Makes the workspace without mounting it.
    pub fn unmounted(self) -> Workspace {
        let base = self.directory.join("base");
        let mountpoint = if self.elsewhere {
            self.directory.join("mnt")
        } else {
            base.clone()
        };
        if self.elsewhere {
            fs::create_dir(&mountpoint).expect("make the mount point");
        }
        let lower = File::open(&base).expect("open the base");
        let watched = Watched {
            mountpoint: mountpoint.clone(),
            daemon: None,
        };
        let watched = Arc::new(Mutex::new(watched));
        Workspace {
            watchdog: Some(Watchdog::start(self.seconds, watched.clone())),
            directory: self.directory,
            base,
            mountpoint,
            lower,
            store: self.store,
            options: self.options,
            watched,
        }
    }

    /// Makes the workspace and mounts it.
    #[track_caller]
    pub fn mount(self) -> Workspace {
        let ws = self.unmounted();
        ws.mount();
        ws
    }
}

impl Workspace {
    /// Starts to describe a workspace with an empty base.
    pub fn build() -> Builder {
        requirements::check();
        let directory = run_dir::new_directory("ws");
        fs::create_dir(directory.join("base")).expect("make the base");
        Builder {
            directory,
            options: Vec::new(),
            elsewhere: false,
            store: None,
            seconds: 120,
        }
    }

    /// An empty base, mounted in place.
    #[track_caller]
    pub fn new() -> Workspace {
        Workspace::build().mount()
    }

    /// A base that `fill` has filled, mounted in place.
    #[track_caller]
    pub fn with_base(fill: impl FnOnce(&Tree)) -> Workspace {
        Workspace::build().base(fill).mount()
    }

    /// The branch that the mount shows.
    pub fn main(&self) -> Branch {
        Branch::at(&self.mountpoint)
    }

    /// Forks a branch off main.
    #[track_caller]
    pub fn fork(&self, name: &str) -> Branch {
        self.main().fork(name)
    }

    /// The base, by its path; under an in-place mount this is the mount.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Where the filesystem is mounted, or would be.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// A directory of the test's own, outside of the base.
    pub fn scratch(&self) -> Tree {
        Tree::at(&self.directory).mkdir("scratch")
    }

    /// The base below the mount.
    pub fn below(&self) -> Tree {
        let (pid, fd) = (std::process::id(), self.lower.as_raw_fd());
        Tree::at(format!("/proc/{pid}/fd/{fd}/."))
    }

    /// The store, by a path that works while the base is covered.
    pub fn store(&self) -> PathBuf {
        self.store
            .clone()
            .unwrap_or_else(|| self.below().path(".branchfs"))
    }

    /// The bytes that the store takes on its disk.
    pub fn store_bytes(&self) -> u64 {
        let done = super::process::sh(
            Path::new("/"),
            "du -s -B1 \"$1/.\" | cut -f1",
            &[self.store()],
        );
        done.ok().out.trim().parse().expect("a number from du")
    }

    /// Runs `branchfs` with these arguments, outside of the mount.
    #[track_caller]
    pub fn branchfs(&self, args: &[&str]) -> Done {
        let mut command = limited(run_dir::binary());
        command.args(args).current_dir(&self.directory);
        finish(command)
    }

    /// The arguments that mount this workspace.
    pub fn mount_args(&self) -> Vec<String> {
        let text = |p: &Path| p.to_str().expect("a path in ASCII").to_owned();
        let mut args = vec!["mount".to_owned(), text(&self.base)];
        if self.mountpoint != self.base {
            args.push(text(&self.mountpoint));
        }
        if let Some(store) = &self.store {
            args.extend(["--store".to_owned(), text(store)]);
        }
        for option in &self.options {
            args.extend(["-o".to_owned(), option.clone()]);
        }
        args
    }

    /// Tries to mount, and says what the command did.
    pub fn try_mount(&self) -> Done {
        let args = self.mount_args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let done = self.branchfs(&args);
        if done.code == 0 {
            self.watched().daemon = self.lock_holder();
        }
        done
    }

    /// Mounts.
    #[track_caller]
    pub fn mount(&self) {
        self.try_mount().ok();
        let mount = mounts::at(&self.mountpoint).expect("a mount after a successful mount");
        assert_eq!(mount.kind, "fuse.branchfs");
    }

    /// Mounts, with a daemon that is to end at a failpoint (`sys::failpoint`).
    #[track_caller]
    pub fn mount_to_die_at(&self, failpoint: &str) {
        let mut mount = limited(run_dir::binary());
        mount
            .args(self.mount_args())
            .current_dir(&self.directory)
            .env("BRANCHFS_FAILPOINT", failpoint);
        finish(mount).ok();
        self.watched().daemon = self.lock_holder();
    }

    /// The pid that the store's lock names.
    pub fn lock_holder(&self) -> Option<i32> {
        let text = fs::read_to_string(self.store().join("lock")).ok()?;
        text.split(|c: char| !c.is_ascii_digit())
            .find(|n| !n.is_empty())?
            .parse()
            .ok()
    }

    /// The daemon.
    #[track_caller]
    pub fn daemon(&self) -> Held {
        let pid = self.lock_holder().expect("a pid in STORE/lock");
        Held::open(pid).unwrap_or_else(|| panic!("STORE/lock names {pid}, which does not run"))
    }

    /// Unmounts with `branchfs umount` and waits for the daemon's end.
    #[track_caller]
    pub fn unmount(&self) {
        let daemon = self.daemon();
        self.branchfs(&["umount", self.mountpoint.to_str().expect("ASCII")])
            .ok();
        assert!(
            daemon.ended_within(END_SECONDS),
            "the daemon goes on after umount"
        );
        assert!(
            mounts::at(&self.mountpoint).is_none_or(|m| !m.kind.starts_with("fuse")),
            "still mounted after umount"
        );
        self.watched().daemon = None;
    }

    /// Sends the daemon a signal that it ends on, such as `TERM`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let pid = self.lock_holder().expect("a pid in STORE/lock").to_string();
        let mut kill = limited("kill");
        kill.args(["-s", name, &pid]);
        finish(kill).ok();
    }

    /// Kills the daemon with SIGKILL and waits for its end; the mount stays, dead. It ends even
    /// where one of its threads waits in the kernel for somebody who uses the mount: its guard cuts
    /// the connection.
    #[track_caller]
    pub fn kill(&self) {
        let daemon = self.daemon();
        daemon.kill();
        assert!(
            daemon.ended_within(END_SECONDS),
            "the daemon outlives SIGKILL"
        );
        self.watched().daemon = None;
    }

    /// SIGKILL, then mount again over the dead mount.
    #[track_caller]
    pub fn kill_and_remount(&self) {
        self.kill();
        self.mount();
    }

    /// Unmounts and mounts again.
    #[track_caller]
    pub fn remount(&self) {
        self.unmount();
        self.mount();
    }

    /// Checks the store of an unmounted workspace: `branchfs fsck` finds nothing.
    #[track_caller]
    pub fn fsck(&self) {
        let store = self
            .store
            .clone()
            .unwrap_or_else(|| self.base.join(".branchfs"));
        self.branchfs(&["fsck", store.to_str().expect("ASCII")])
            .ok();
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the daemon wrote to its log, for a test that failed.
    fn show_log(&self) {
        if let Ok(log) = fs::read_to_string(self.store().join("log")) {
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "the daemon's log ends:\n{}",
                lines[lines.len().saturating_sub(30)..].join("\n")
            );
        }
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            self.show_log();
        }
        let daemon = self.lock_holder().and_then(Held::open);
        unmount_lazily(&self.mountpoint);
        let ended = daemon.is_none_or(|held| {
            let ended = held.ended_within(END_SECONDS);
            held.kill();
            ended
        });
        unmount_own(&self.base);
        let late = self.watchdog.take().is_some_and(|w| w.fired());
        let removed = fs::remove_dir_all(&self.directory);
        if failed {
            return;
        }
        assert!(!late, "the test took longer than its limit");
        assert!(
            ended,
            "the daemon went on for {END_SECONDS} s after the unmount"
        );
        removed.unwrap_or_else(|e| panic!("remove {}: {e}", self.directory.display()));
    }
}

/// Ends what [`Builder::in_memory`] and [`Builder::on_image`] mounted. The store's files in it were
/// open until just now.
fn unmount_own(base: &Path) {
    if mounts::at(base).is_some_and(|m| ["tmpfs", "ext4"].contains(&m.kind.as_str())) {
        let mut umount = limited("umount");
        umount.arg("-l").arg(base);
        finish(umount);
    }
}
