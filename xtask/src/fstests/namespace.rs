//! A mount namespace of the verb's own: the mounts of a run end with it, however it ends, and what
//! is laid over /sbin is seen by nobody else.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::Done;
use crate::mounted::quiet;

const MARK: &str = "BRANCHFS_FSTESTS_NAMESPACE";

/// Whether this process is in such a namespace.
pub fn is_ours() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Runs this verb again in a new one.
pub fn enter() -> Done {
    let mut again = Command::new("unshare");
    again
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1");
    let status = again
        .status()
        .map_err(|error| format!("cannot start unshare (package util-linux): {error}"))?;
    // The one inside has said what failed.
    std::process::exit(status.code().unwrap_or(1));
}

/// Lets mount(8) find `mount.branchfs` and `mount.fuse.branchfs`, as an installation would.
pub fn install_mount_helper(binary: &Path, scratch: &Path) -> Done {
    let over = scratch.join("sbin");
    std::fs::create_dir(&over)?;
    for name in ["mount.branchfs", "mount.fuse.branchfs"] {
        symlink(binary, over.join(name))?;
    }
    let sbin = Path::new("/sbin").canonicalize()?;
    let layers = format!("lowerdir={}:{}", over.display(), sbin.display());
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "overlay", "overlay", "-o", &layers])
        .arg(&sbin);
    quiet(&mut mount)
}
