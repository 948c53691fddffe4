//! Letting go, in a trial's mount namespace, of what is unmounted outside of it.
//!
//! A new mount namespace has a copy of every mount. Where mounts are shared the kernel unmounts the
//! copies along; where they are private (in most containers) a copy would keep its filesystem, and
//! the process that serves it, busy for as long as the trial runs. The kernel tells of changes to
//! the table (proc_pid_mountinfo(5)), so this looks only then.
//!
//! Without root the copies are locked together (mount_namespaces(7)), and nothing can be done.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::mount::{MntFlags, umount2};

use crate::trial::mounts::{self, Mounted};

/// The mounts of the namespace that the trial was started in.
pub struct Outside {
    table: File,
    known: Vec<Mounted>,
    own: Option<(u32, u32)>,
}

impl Outside {
    /// Looks at the namespace that this process is in now. `workspace` is left alone.
    pub fn open(workspace: &Path) -> io::Result<Outside> {
        let mut outside = Outside {
            // It goes on showing this namespace, whatever namespace the process enters.
            table: File::open("/proc/self/mountinfo")?,
            known: Vec::new(),
            own: mounts::device_at(workspace),
        };
        outside.known = outside.read()?;
        Ok(outside)
    }

    fn read(&mut self) -> io::Result<Vec<Mounted>> {
        let mut text = Vec::new();
        self.table.rewind()?;
        self.table.read_to_end(&mut text)?;
        Ok(mounts::parse(&text))
    }

    /// What is ready with POLLPRI when the table has changed.
    pub fn changes(&self) -> BorrowedFd<'_> {
        self.table.as_fd()
    }

    /// Unmounts here what has been unmounted there since the last call.
    pub fn follow(&mut self) {
        let Ok(now) = self.read() else { return };
        for gone in &self.known {
            if now.contains(gone) || Some(gone.device) == self.own {
                continue;
            }
            if mounts::device_at(&gone.point) == Some(gone.device) {
                // It may be locked, or no mount of its own here.
                let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
                if let Err(error) = umount2(&gone.point, flags) {
                    log::debug!("{} stays mounted: {error}", gone.point.display());
                }
            }
        }
        self.known = now;
    }
}
