//! Ending a mount: an orderly unmount, a lazy one, and the removal of a dead mount.
//!
//! A mount is *dead* when its daemon was killed: it stays in the table, and everything in it
//! answers ENOTCONN. **Invariant**: a mount is found in the mount table, never by asking it, so
//! that nothing here waits for a daemon that is gone.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, PidfdFlags};

use super::abandoned;
use super::attach::no_fusermount;
use super::error::DaemonError;
use super::holders;
use super::mountinfo::MountTable;

/// How often, and how long apart, an unmount is tried that is busy with nobody to be seen: a path
/// lookup in flight holds a mount too, for microseconds.
const TRIES: u32 = 25;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Unmounts the branchfs mount at `path`.
///
/// `lazy` takes it out of the tree at once and lets those who hold it go on until they are done.
/// Returns when the mount is gone from the tree; the daemon then publishes what is left and ends,
/// see [`ProcessWatch`].
///
/// # Errors
/// [`DaemonError::NotMounted`] where the topmost mount at `path` is not ours, [`DaemonError::Busy`]
/// with those who hold it.
pub fn unmount(path: &Path, lazy: bool) -> Result<(), DaemonError> {
    let path = absolute(path)?;
    let flags = if lazy {
        UnmountFlags::DETACH
    } else {
        UnmountFlags::empty()
    };
    let mut tries = 0..TRIES;
    loop {
        let table = MountTable::read()?;
        let mount = table.top_at(&path).filter(|mount| mount.is_branchfs());
        let mount = mount.ok_or_else(|| DaemonError::NotMounted { path: path.clone() })?;
        match take_down(&path, flags) {
            Err(DaemonError::Unmount { source, .. }) if is(&source, Errno::BUSY) => {
                let holders = holders::of(mount, &table);
                if !holders.is_empty() || tries.next().is_none() {
                    return Err(DaemonError::Busy { path, holders });
                }
                std::thread::sleep(BETWEEN_TRIES);
            }
            other => return other,
        }
    }
}

/// Cuts the branchfs mount at `path` off from its daemon and takes it out of the tree, whoever uses
/// it: what waits for it gets ECONNABORTED.
///
/// # Errors
/// [`DaemonError::NotMounted`] where the topmost mount at `path` is not ours.
pub fn unmount_by_force(path: &Path) -> Result<(), DaemonError> {
    let path = absolute(path)?;
    let table = MountTable::read()?;
    let mount = table.top_at(&path).filter(|mount| mount.is_branchfs());
    let Some(mount) = mount else {
        return Err(DaemonError::NotMounted { path });
    };
    let device = mount.device;
    abort_connection(device);
    // MNT_FORCE aborts the connection too, for root, where sysfs does not show it.
    let force = match rustix::process::geteuid().is_root() {
        true => UnmountFlags::FORCE,
        false => UnmountFlags::empty(),
    };
    let is_there = |table: MountTable| (table.top_at(&path)).is_some_and(|it| it.device == device);
    match take_down(&path, UnmountFlags::DETACH | force) {
        // The daemon has ended meanwhile and was faster.
        Err(_) if !is_there(MountTable::read()?) => Ok(()),
        done => done,
    }
}

/// Removes the mount at `path` if it is ours and dead; whether there was one.
///
/// A path that cannot be found is no dead mount. Asks the mount for its root's attributes, past the
/// kernel's cache: a dead one answers without delay, and a living one answers.
pub fn clear_dead_mount(path: &Path) -> Result<bool, DaemonError> {
    let Ok(path) = absolute(path) else {
        return Ok(false);
    };
    let mut cleared = false;
    loop {
        let table = MountTable::read()?;
        let ours = table.top_at(&path).filter(|mount| mount.is_branchfs());
        let Some(mount) = ours else {
            return Ok(cleared);
        };
        abandoned::cut(mount);
        if !is_dead(&path) {
            return Ok(cleared);
        }
        log::warn!(
            "{} is a dead mount, its daemon was killed: it is removed",
            path.display()
        );
        take_down(&path, UnmountFlags::DETACH)?;
        cleared = true;
    }
}

fn is_dead(path: &Path) -> bool {
    let asked = ask(path);
    matches!(asked, Err(Errno::NOTCONN | Errno::CONNABORTED))
}

/// A getattr of the mount's root that the kernel's cache does not answer.
pub(super) fn ask(path: &Path) -> Result<(), Errno> {
    let flags = AtFlags::STATX_FORCE_SYNC | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(CWD, path, flags, StatxFlags::BASIC_STATS).map(|_| ())
}

/// umount2(2) as root, fusermount3 otherwise.
pub(super) fn take_down(path: &Path, flags: UnmountFlags) -> Result<(), DaemonError> {
    let refused = |source| DaemonError::Unmount {
        path: path.to_path_buf(),
        source,
    };
    if rustix::process::geteuid().is_root() {
        let flags = flags | UnmountFlags::NOFOLLOW;
        return rustix::mount::unmount(path, flags).map_err(|error| refused(error.into()));
    }
    let mut command = Command::new("fusermount3");
    command.arg("-u").env("LC_ALL", "C");
    if flags.contains(UnmountFlags::DETACH) {
        command.arg("-z");
    }
    let output = command
        .arg("--")
        .arg(path)
        .output()
        .map_err(no_fusermount)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if said.contains("Device or resource busy") {
        return Err(refused(Errno::BUSY.into()));
    }
    Err(DaemonError::Fusermount { said })
}

/// Cuts the connection of a mount, so that whoever waits for it gets ECONNABORTED; false where the
/// kernel's control file system (`/sys/fs/fuse/connections`) is not there or does not let us.
pub(super) fn abort_connection(device: (u32, u32)) -> bool {
    std::fs::write(control_file(device), "1").is_ok()
}

/// The file that cuts the connection of a mount. Who mounted it may write there, root or not.
pub(super) fn control_file(device: (u32, u32)) -> PathBuf {
    format!("/sys/fs/fuse/connections/{}/abort", device.1).into()
}

/// Cuts off the branchfs mount that `path` lies in, if its daemon was killed and is stuck: what
/// waits for that mount, or asks it from now on, gets an error instead of waiting for ever.
pub fn cut_abandoned(path: &Path) -> Result<(), DaemonError> {
    let path = std::path::absolute(path).map_err(|source| DaemonError::Path {
        path: path.to_path_buf(),
        source,
    })?;
    let table = MountTable::read()?;
    if let Some(mount) = table.containing(&path).filter(|mount| mount.is_branchfs()) {
        abandoned::cut(mount);
    }
    Ok(())
}

/// `path` made absolute, without asking what it names (which may be a dead mount).
pub(super) fn absolute(path: &Path) -> Result<PathBuf, DaemonError> {
    let failed = |source| DaemonError::Path {
        path: path.to_path_buf(),
        source,
    };
    let plain = std::path::absolute(path).map_err(failed)?;
    match (plain.parent(), plain.file_name()) {
        (Some(parent), Some(name)) => {
            let joined = parent.canonicalize().map_err(failed)?.join(name);
            // A symlink is followed to what it names; a directory, dead or alive, is not one.
            match joined.read_link() {
                Ok(_) => joined.canonicalize().map_err(failed),
                Err(_) => Ok(joined),
            }
        }
        // `/`, or a path that ends in `..`.
        _ => plain.canonicalize().map_err(failed),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// A process whose end can be waited for. Taken before the unmount, it cannot be confused with a
/// later process of the same number.
pub struct ProcessWatch(OwnedFd);

impl ProcessWatch {
    /// Watches process `pid`; `None` if there is no such process (any more).
    pub fn new(pid: u32) -> Result<Option<ProcessWatch>, DaemonError> {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Ok(Some(ProcessWatch(fd))),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(DaemonError::Process {
                step: "watch the daemon",
                source: error.into(),
            }),
        }
    }

    /// Waits for its end, at most `limit` long; whether it has ended.
    pub fn wait(&self, limit: Duration) -> Result<bool, DaemonError> {
        let failed = |source| DaemonError::Process {
            step: "wait for the daemon",
            source,
        };
        let limit = Timespec::try_from(limit)
            .map_err(|_: std::num::TryFromIntError| failed(io::ErrorKind::InvalidInput.into()))?;
        loop {
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&limit)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failed(error.into())),
            }
        }
    }
}
