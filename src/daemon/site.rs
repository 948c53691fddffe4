//! A mount of this process's own: where it is, and which one it is.
//!
//! Another mount may cover it, or take its place; what is done to it is done only while the device
//! number there is still its own.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;

use super::detach::{abort_connection, take_down, unmount};
use super::error::DaemonError;
use super::mountinfo::MountTable;

/// Readahead in KiB. The kernel's 128 make a sequential read of a large file one request in 32
/// pages.
const READAHEAD_KIB: &str = "1024";

/// A mount of this process's own.
#[derive(Clone, Debug)]
pub(super) struct Site {
    mountpoint: PathBuf,
    device: (u32, u32),
}

impl Site {
    /// The mount that was just made at `mountpoint`.
    pub(super) fn find(mountpoint: &Path) -> Result<Site, DaemonError> {
        let table = MountTable::read()?;
        let mount = table.top_at(mountpoint).filter(|mount| mount.is_branchfs());
        let mount = mount.ok_or_else(|| DaemonError::NotMounted {
            path: mountpoint.to_path_buf(),
        })?;
        Ok(Site {
            mountpoint: mountpoint.to_path_buf(),
            device: mount.device,
        })
    }

    pub(super) fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Its device number.
    pub(super) fn device(&self) -> (u32, u32) {
        self.device
    }

    /// Lets the kernel read further ahead, and with `writeback` keep as much that is not written
    /// yet as for any disk (for FUSE it is 1 % of that), where it lets us.
    pub(super) fn tune(&self, writeback: bool) {
        let (major, minor) = self.device;
        let dirty: &[_] = match writeback {
            true => &[("strict_limit", "0"), ("max_ratio", "100")],
            false => &[],
        };
        for (name, value) in [("read_ahead_kb", READAHEAD_KIB)].iter().chain(dirty) {
            let path = format!("/sys/class/bdi/{major}:{minor}/{name}");
            if let Err(error) = std::fs::write(&path, value) {
                log::debug!("{path} stays as it is: {error}");
            }
        }
    }

    /// Whether it is what a path lookup of the mountpoint finds.
    pub(super) fn is_on_top(&self) -> bool {
        let table = MountTable::read();
        table.is_ok_and(|t| {
            t.top_at(&self.mountpoint)
                .is_some_and(|m| m.device == self.device)
        })
    }

    /// Unmounts; where it is busy, takes it out of the tree and cuts the connection, so that the
    /// requests end. False where the connection could not be cut.
    pub(super) fn end(&self) -> bool {
        if !self.is_on_top() {
            return abort_connection(self.device);
        }
        match unmount(&self.mountpoint, false) {
            Ok(()) => return true,
            Err(error) => log::warn!("{}; it is detached", error.chain()),
        }
        self.sync();
        self.cut()
    }

    /// Cuts the connection, and leaves the mount where it is: what is below it shows to nobody who
    /// works in it.
    pub(super) fn abort(&self) {
        let aborted = abort_connection(self.device);
        if !aborted && rustix::process::geteuid().is_root() && self.is_on_top() {
            // Aborts first and then finds the mount busy, or not.
            let _ = take_down(&self.mountpoint, UnmountFlags::FORCE);
        } else if !aborted {
            log::error!("the connection cannot be cut");
        }
    }

    /// Takes the mount out of the tree and cuts the connection, whoever uses it.
    pub(super) fn cut(&self) -> bool {
        if !self.is_on_top() {
            return abort_connection(self.device);
        }
        // MNT_FORCE aborts the connection, for root.
        let forced = rustix::process::geteuid().is_root();
        let force = if forced {
            UnmountFlags::FORCE
        } else {
            UnmountFlags::empty()
        };
        if let Err(error) = take_down(&self.mountpoint, UnmountFlags::DETACH | force) {
            log::error!("{}", error.chain());
        }
        abort_connection(self.device) || forced
    }

    /// Writes back what processes changed in mappings.
    fn sync(&self) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let synced = rustix::fs::open(&self.mountpoint, flags, Mode::empty())
            .and_then(|root| rustix::fs::syncfs(&root));
        if let Err(error) = synced {
            log::warn!(
                "mappings in {} may be lost: {error}",
                self.mountpoint.display()
            );
        }
    }

    /// Takes the mount, which nobody serves any more, out of the tree if it is still there.
    pub(super) fn clear(&self) {
        if self.is_on_top()
            && let Err(error) = take_down(&self.mountpoint, UnmountFlags::DETACH)
        {
            log::warn!("{}", error.chain());
        }
    }
}
