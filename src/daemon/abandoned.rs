//! Mounts whose daemon was killed and is stuck half dead.
//!
//! A process that is killed while one of its threads waits in the kernel where no signal reaches
//! it stays as a zombie with that thread, and what the thread has open stays open: `/dev/fuse`
//! too, if it waits for the mount itself (the kernel drops a page of a mapping and has to write it
//! first). The kernel then takes the mount for a living one, and everybody who asks it waits for
//! ever. Cutting the connection ends all of that. The daemon's guard ([`super::guard`]) does so at
//! once; this is for where there is none, or it may not.
//!
//! **Invariant**: a mount is cut only if there is such a zombie, if it does not answer, and if the
//! kernel names no process that serves it.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::mount::UnmountFlags;

use super::detach::{abort_connection, ask, take_down};
use super::mountinfo::Mount;
use super::processes;

/// How long a mount may take to answer while there is a stuck daemon.
const PATIENCE: Duration = Duration::from_secs(2);

/// Cuts the connection of `mount` if nobody serves it any more. Where no process is stuck, this
/// asks the mount nothing.
pub(super) fn cut(mount: &Mount) {
    let stuck = processes::all().any(|process| is_stuck(&process));
    if !stuck
        || answers(&mount.mountpoint)
        || processes::all().any(|process| serves(&process, mount))
    {
        return;
    }
    let place = mount.mountpoint.display();
    log::warn!("the daemon of {place} was killed and is stuck: its connection is cut");
    let cut = abort_connection(mount.device);
    if !cut && rustix::process::geteuid().is_root() {
        // Busy is what it is; the connection is cut all the same.
        let _ = take_down(&mount.mountpoint, UnmountFlags::FORCE);
    }
}

/// Whether the mount at `path` answers in time, be it with an error.
fn answers(path: &Path) -> bool {
    let (tell, told) = mpsc::channel();
    let path = path.to_owned();
    thread::spawn(move || tell.send(ask(&path).is_ok()));
    told.recv_timeout(PATIENCE).is_ok()
}

/// Whether a process has ended but for threads that cannot: see proc_pid_stat(5).
fn is_stuck(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    // PID (NAME) STATE ...; a name may hold parentheses. `num_threads` is the 20th field.
    let Some((_, after_name)) = stat.rsplit_once(") ") else {
        return false;
    };
    let mut fields = after_name.split(' ');
    let state = fields.next();
    let threads = fields.nth(16).and_then(|threads| threads.parse().ok());
    state == Some("Z") && threads.is_some_and(|threads: u32| threads > 1)
}

/// Whether a process, one that has not ended, has the connection of `mount` open: fdinfo says it of
/// a descriptor of `/dev/fuse`, in Linux 6.18 at least.
fn serves(process: &Path, mount: &Mount) -> bool {
    let wanted = mount.device.1.to_string();
    let serves = |info: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix("fuse_connection:"))
            .is_some_and(|connection| connection.trim() == wanted)
    };
    processes::descriptors(process).any(|(_, info)| serves(&info))
}
