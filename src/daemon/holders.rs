//! Who keeps a mount busy: processes with a descriptor, working directory, root, executable or
//! mapping in it, and mounts inside it.
//!
//! **Invariant**: nothing here asks the file system of the mount anything, so it works on a dead
//! one. Descriptors are told by the mount number in fdinfo, mappings by the device in maps; a
//! working directory, root or executable by statx(2) with AT_STATX_DONT_SYNC, which FUSE answers
//! from memory.

use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};

use super::mountinfo::{Mount, MountTable};
use super::processes;

/// Something that keeps a mount busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A process.
    Process {
        /// Its number.
        pid: u32,
        /// Its name, as in `/proc/PID/comm`.
        name: String,
        /// What it holds: `cwd`, `root`, `exe`, `fd 3` or `mapping`.
        how: String,
    },
    /// A mount inside.
    Mount {
        /// Where.
        mountpoint: PathBuf,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Process { pid, name, how } => write!(f, "{name} (pid {pid}, {how})"),
            Holder::Mount { mountpoint } => write!(f, "the mount {}", mountpoint.display()),
        }
    }
}

/// Everything that holds `mount`, one entry per process. Processes of other users show only to
/// root.
pub(super) fn of(mount: &Mount, table: &MountTable) -> Vec<Holder> {
    let mut holders: Vec<Holder> = table
        .inside(mount.id)
        .map(|inner| Holder::Mount {
            mountpoint: inner.mountpoint.clone(),
        })
        .collect();
    for process in processes::all() {
        let pid = process
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let Some(pid) = pid else {
            continue;
        };
        if let Some(how) = held_by(&process, mount) {
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            holders.push(Holder::Process {
                pid,
                name: name.trim_end().into(),
                how,
            });
        }
    }
    holders
}

/// What the process with this folder in `/proc` holds of `mount`.
fn held_by(process: &Path, mount: &Mount) -> Option<String> {
    for link in ["cwd", "root", "exe"] {
        if is_on(&process.join(link), mount) {
            return Some(link.into());
        }
    }
    let number = format!("{}", mount.id);
    for (fd, info) in processes::descriptors(process) {
        let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
        if id.is_some_and(|id| id.trim() == number) {
            return Some(format!("fd {}", fd.to_string_lossy()));
        }
    }
    let (major, minor) = mount.device;
    let device = format!("{major:02x}:{minor:02x}");
    let maps = std::fs::read(process.join("maps")).unwrap_or_default();
    let mapped = maps.split(|&b| b == b'\n').any(|line| {
        // ADDRESS PERMISSIONS OFFSET DEVICE INODE PATH
        line.split(|&b| b == b' ').nth(3) == Some(device.as_bytes())
    });
    mapped.then(|| "mapping".into())
}

/// Whether a link of `/proc` leads into `mount`.
fn is_on(link: &Path, mount: &Mount) -> bool {
    let (major, minor) = mount.device;
    rustix::fs::open(link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .and_then(|fd| {
            let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
            rustix::fs::statx(fd.as_fd(), "", flags, StatxFlags::TYPE)
        })
        .is_ok_and(|stat| (stat.stx_dev_major, stat.stx_dev_minor) == (major, minor))
}
