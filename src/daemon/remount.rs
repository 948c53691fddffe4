//! `-o remount`: other options for a mount that is there.
//!
//! What can be changed is what the kernel keeps (`ro`, `noatime` and the like) and main's policy,
//! which is a command to the control file as it would be from anybody else. The rest the daemon
//! reads once, when it starts: to ask for something else is an error that names it. mount(8) hands
//! back what the mount table and fstab say, so what is asked for and is so already is no error.

use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;
use rustix::mount::MountFlags;

use super::attach::flags_of;
use super::detach::absolute;
use super::error::DaemonError;
use super::mountinfo::{Mount, MountTable};
use super::options::{MountOptions, Policy};
use crate::proto::{self, Command, Status, reserved};

/// The options of the branchfs mount at `mountpoint`, as the mount itself tells.
pub fn mounted_options(mountpoint: &Path) -> Result<MountOptions, DaemonError> {
    let path = absolute(mountpoint)?;
    let table = MountTable::read()?;
    if !table.top_at(&path).is_some_and(Mount::is_branchfs) {
        return Err(DaemonError::NotMounted { path });
    }
    let read = |name: &str| {
        let file = path.join(reserved::SELF).join(name);
        std::fs::read(&file).map_err(|source| DaemonError::Path { path: file, source })
    };
    let config = String::from_utf8_lossy(&read(reserved::CONFIG)?).into_owned();
    let mut options = MountOptions::default();
    for (key, value) in config.lines().filter_map(|line| line.split_once(' ')) {
        match (key, value) {
            ("store", value) => options.store = Some(PathBuf::from(value)),
            ("read_only", value) => options.read_only = value == "true",
            ("show_ctl", value) => options.show_ctl = value == "true",
            ("noxattr", value) => options.no_xattr = value == "true",
            ("writeback", value) => options.writeback = value == "true",
            ("rescue", value) => options.rescue = value == "true",
            ("max_bytes" | "max_branches", "none") => {}
            ("publish" | "trash" | "max_bytes" | "max_branches" | "max_depth", _) => options
                .apply(format!("{key}={value}").as_ref())
                .map_err(|source| DaemonError::Config { source })?,
            _ => {}
        }
    }
    let status = Status::parse(&read(reserved::STATUS)?).map_err(|error| DaemonError::Build {
        said: error.to_string(),
    })?;
    options.policy = Some(match status.policy {
        proto::Policy::FirstWinner => Policy::FirstWinner,
        proto::Policy::Merge => Policy::Merge,
    });
    Ok(options)
}

/// Changes the options of the branchfs mount at `mountpoint` from `now` to `wanted`.
///
/// # Errors
/// [`DaemonError::Fixed`] names an option that only a new mount can have; nothing is changed then.
pub fn remount(
    mountpoint: &Path,
    now: &MountOptions,
    wanted: &MountOptions,
) -> Result<(), DaemonError> {
    let mountpoint = absolute(mountpoint)?;
    refuse_fixed(now, wanted)?;
    let set_policy = || match wanted.policy == now.policy {
        true => Ok(()),
        false => write_policy(&mountpoint, wanted.policy.unwrap_or(Policy::FirstWinner)),
    };
    // Control files take nothing while the mount is read-only.
    if wanted.read_only {
        set_policy()?;
        set_flags(&mountpoint, wanted)
    } else {
        set_flags(&mountpoint, wanted)?;
        set_policy()
    }
}

fn refuse_fixed(now: &MountOptions, wanted: &MountOptions) -> Result<(), DaemonError> {
    let canonical = |path: &Option<PathBuf>| path.as_ref().and_then(|p| p.canonicalize().ok());
    // A store that is below the mount cannot be looked at; then its name has to be the same.
    let same_store = now.store == wanted.store
        || canonical(&now.store).is_some_and(|store| Some(store) == canonical(&wanted.store));
    let fixed = [
        ("store", !same_store),
        ("publish", now.publish != wanted.publish),
        ("trash", now.trash != wanted.trash),
        ("max_bytes", now.maxima.bytes != wanted.maxima.bytes),
        (
            "max_branches",
            now.maxima.branches != wanted.maxima.branches,
        ),
        ("max_depth", now.maxima.depth != wanted.maxima.depth),
        ("show_ctl", now.show_ctl != wanted.show_ctl),
        ("noxattr", now.no_xattr != wanted.no_xattr),
        ("writeback", now.writeback != wanted.writeback),
        ("rescue", now.rescue != wanted.rescue),
        ("rw", now.read_only && !wanted.read_only),
    ];
    match fixed.into_iter().find(|(_, differs)| *differs) {
        Some((option, _)) => Err(DaemonError::Fixed { option }),
        None => Ok(()),
    }
}

fn write_policy(mountpoint: &Path, policy: Policy) -> Result<(), DaemonError> {
    let policy = match policy {
        Policy::FirstWinner => proto::Policy::FirstWinner,
        Policy::Merge => proto::Policy::Merge,
    };
    let path = mountpoint.join(reserved::CTL);
    std::fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|mut file| {
            std::io::Write::write_all(
                &mut file,
                format!("{}\n", Command::Policy(policy)).as_bytes(),
            )
        })
        .map_err(|source| DaemonError::Path { path, source })
}

/// The flags that a mount has, but for `ro`, which every remount says anew.
fn flags_now(mountpoint: &Path) -> MountFlags {
    let mut flags = flags_of(mountpoint);
    let Ok(stat) = rustix::fs::statvfs(mountpoint) else {
        return flags;
    };
    for (shown, flag) in [
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::SYNCHRONOUS, MountFlags::SYNCHRONOUS),
    ] {
        flags.set(flag, stat.f_flag.contains(shown));
    }
    flags
}

fn set_flags(mountpoint: &Path, options: &MountOptions) -> Result<(), DaemonError> {
    let flags = options.mount_flags(flags_now(mountpoint));
    rustix::mount::mount_remount(mountpoint, flags, c"").map_err(|error| DaemonError::Mount {
        mountpoint: mountpoint.to_path_buf(),
        source: error.into(),
    })
}
