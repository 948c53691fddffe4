//! The file system that every system under test stands on: an image in memory, mounted by loop.
//!
//! In memory, since a disk's own times would drown the differences; xfs unless told otherwise,
//! since ext4 skips the inodes that were deleted in the last seconds, so that loops which create
//! and delete measure that instead. The scratch directory's reaper unmounts what a killed run
//! leaves; a loop device that mount(8) made goes with its mount.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::UnmountFlags;

use super::Res;
use crate::mounted::quiet;

/// What is mounted at a place, until it is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// Takes over what is mounted at `path`.
    pub fn at(path: &Path) -> Mount {
        Mount(path.to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // What is still busy is taken out of the tree, and ends with its last user.
        if rustix::mount::unmount(&self.0, UnmountFlags::empty()).is_err() {
            let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
        }
    }
}

/// Makes an image of `gib` GiB (sparse) in `dir`, which is in memory, and mounts it at `dir/NAME`.
pub fn image(dir: &Path, name: &str, filesystem: &str, gib: u64) -> Res<Mount> {
    let image = dir.join(format!("{name}.img"));
    File::create(&image)?.set_len(gib << 30)?;
    let mut make = Command::new(format!("mkfs.{filesystem}"));
    make.arg("-q");
    if filesystem == "ext4" {
        make.arg("-F");
    }
    quiet(make.arg(&image))?;
    let at = dir.join(name);
    std::fs::create_dir(&at)?;
    quiet(
        Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(&at),
    )?;
    Ok(Mount(at))
}

/// Makes the kernel forget what it cached: names, inodes and clean pages of every file system.
pub fn drop_caches() -> Res<()> {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3")
        .map_err(|error| format!("dropping the kernel's caches needs root: {error}").into())
}
