//! A connection from its INIT to its end.
//!
//! The mount is made by `daemon`, with its own mount(2): fuser's would drop the subtype, split a
//! source at a comma, and might unmount a newer mount at the same place. So a session here never
//! unmounts.
//!
//! **Threads**: `threads` of fuser's loops read the same descriptor. One each, by
//! FUSE_DEV_IOC_CLONE, is off: see [`SessionConfig::clone_fd`].

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use thiserror::Error;

use super::calls::Adapter;
use super::notify::Notifier;
use super::workers::Workers;
use crate::vfs::metrics::Metrics;
use crate::vfs::ops::Ops;

/// How a connection is served.
#[derive(Clone, Copy, Debug)]
pub struct SessionConfig {
    /// Threads that read requests.
    pub threads: usize,
    /// Whether each reads from a descriptor of its own. Off by default: with two processors and
    /// four writers it made no difference beyond the noise (12.3 us a write with it, 10.6 without).
    pub clone_fd: bool,
    /// Whether extended attributes are left out: the kernel is told once that there are none, and
    /// asks no more.
    pub no_xattr: bool,
    /// Whether the kernel keeps the pages of a file until they are invalidated: where nobody but
    /// this mount changes files.
    pub keeps_pages: bool,
    /// Whether writes wait in the kernel's page cache; see [`super::init`].
    pub writeback: bool,
}

impl Default for SessionConfig {
    /// A thread per processor, from 2 (so that one may wait for the other's request to be answered)
    /// to 8.
    fn default() -> SessionConfig {
        let cpus = thread::available_parallelism().map_or(2, |n| n.get());
        SessionConfig {
            threads: cpus.clamp(2, 8),
            clone_fd: false,
            no_xattr: false,
            keeps_pages: false,
            writeback: false,
        }
    }
}

/// Why a connection could not be served.
#[derive(Debug, Error)]
pub enum Error {
    /// A second descriptor for notifications.
    #[error("cannot duplicate the FUSE descriptor")]
    Duplicate {
        /// The cause.
        source: io::Error,
    },
    /// The kernel's INIT did not come or could not be answered.
    #[error("the kernel did not open the FUSE connection")]
    Handshake {
        /// The cause.
        source: io::Error,
    },
    /// The loops ended for a reason other than the end of the mount.
    #[error("serving FUSE requests failed")]
    Serve {
        /// The cause.
        source: io::Error,
    },
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The file system was unmounted.
    Unmounted,
    /// The connection was cut (umount -f, `/sys/fs/fuse/connections/N/abort`); the mount may still
    /// be there, dead.
    Aborted,
}

/// A connection whose INIT has been answered.
pub struct Connection<O: Ops> {
    session: fuser::Session<Adapter<O>>,
    workers: Workers,
}

impl<O: Ops> Connection<O> {
    /// Waits for INIT on `device` (an open `/dev/fuse` that belongs to a mount), answers it, and
    /// attaches `notifier`.
    pub fn open(
        device: OwnedFd,
        ops: Arc<O>,
        metrics: Arc<Metrics>,
        notifier: &Notifier,
        config: SessionConfig,
    ) -> Result<Connection<O>, Error> {
        let second = device
            .try_clone()
            .map_err(|source| Error::Duplicate { source })?;
        let workers = Workers::default();
        let adapter = Adapter::new(ops, metrics, workers.clone(), config);
        let mut fuser_config = fuser::Config::default();
        fuser_config.n_threads = Some(config.threads);
        fuser_config.clone_fd = config.clone_fd;
        // Who may use the mount is the kernel's to decide, by allow_other and the permissions.
        let acl = fuser::SessionACL::All;
        let session = fuser::Session::from_fd(adapter, device, acl, fuser_config)
            .map_err(|source| Error::Handshake { source })?;
        notifier.attach(File::from(second));
        Ok(Connection { session, workers })
    }

    /// Serves requests until the mount is gone, then waits for those that were handed to a worker.
    pub fn serve(self) -> Result<End, Error> {
        let result = self.session.run();
        self.workers.drain();
        match result {
            Ok(()) => Ok(End::Unmounted),
            Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => Ok(End::Aborted),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(End::Unmounted),
            Err(source) => Err(Error::Serve { source }),
        }
    }
}
