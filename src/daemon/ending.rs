//! A daemon whose mount is gone, and which has not ended yet.
//!
//! umount(2) returns at once, while the daemon still publishes and lets go of the store. A mount
//! that follows, as of every script that unmounts and mounts again, has to wait for that and not
//! fail because the store is in use.
//!
//! The store's lock file names its holder. **Invariant**: a number in it is believed only if that
//! process has the very file open, so a number that was given to another process since is no
//! holder.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::detach::ProcessWatch;
use super::error::DaemonError;
use super::mountinfo::{Mount, MountTable};

/// How long a daemon may take. One whose mount was detached lazily goes on as long as somebody
/// holds a file of it.
const LIMIT: Duration = Duration::from_secs(60);
/// The file of a store that is locked, and holds the number of the process that has it.
const LOCK: &str = "lock";

/// Waits for the end of the daemon that has the store open, if its mount of `base` is gone.
///
/// Returns at once if there is no such daemon, or if its mount is still there; whether the store is
/// free is for opening it to say.
pub(super) fn wait(store: &OwnedFd, base: &Path) -> Result<(), DaemonError> {
    let Some(pid) = holder(store) else {
        return Ok(());
    };
    let Some(watch) = ProcessWatch::new(pid)? else {
        return Ok(());
    };
    // Held from before the look, so it is of the process that is waited for.
    if holder(store) != Some(pid) || is_mounted_by(pid, base) {
        return Ok(());
    }
    log::info!("waiting for process {pid}, whose mount is gone, to end");
    watch.wait(LIMIT).map(drop)
}

/// The process that has the store's lock file open, as far as this one may see.
fn holder(store: &OwnedFd) -> Option<u32> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(store, LOCK, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    let mut text = [0; 32];
    let length = rustix::io::read(&file, &mut text).ok()?;
    let pid: u32 = std::str::from_utf8(&text[..length])
        .ok()?
        .trim()
        .parse()
        .ok()?;
    if is_exiting(pid) {
        return Some(pid);
    }
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let same = open.flatten().any(|fd| {
        rustix::fs::statat(rustix::fs::CWD, fd.path(), AtFlags::empty())
            .is_ok_and(|other| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino))
    });
    same.then_some(pid)
}

/// Whether process `pid` is on its way out: then it shows no files any more, and may still have to
/// let go of a lock. Waiting for one that is not the holder costs as little.
fn is_exiting(pid: u32) -> bool {
    const PF_EXITING: u64 = 0x4;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // proc_pid_stat(5): the flags are the ninth field, the seventh after the name in parentheses.
    let flags = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().nth(6));
    let flags = flags.and_then(|flags| flags.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & PF_EXITING != 0)
}

/// Whether a branchfs mount of `base` is in the namespace of process `pid`.
fn is_mounted_by(pid: u32, base: &Path) -> bool {
    let table = MountTable::of_process(pid);
    table.is_ok_and(|table| {
        let ours = |mount: &&Mount| mount.is_branchfs();
        table.0.iter().filter(ours).any(|m| m.source == *base)
    })
}
