//! A mount that threads of this process serve, from INIT to its end.
//!
//! **Invariant**: however a [`Mounted`] ends, the mount is taken out of the tree, its requests are
//! done or cut off, and [`Ops::unmounted`] was called once, after the last of them.

use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::attach::Attach;
use super::detach::{absolute, ask, clear_dead_mount, unmount};
use super::error::DaemonError;
use super::options::MountOptions;
use super::site::Site;
use super::watchdog::{Patience, Watchdog};
use crate::fuse::{self, Connection, End, Notifier, SessionConfig};
use crate::vfs::metrics::Metrics;
use crate::vfs::ops::{KernelCache, Ops};

/// What is to be mounted where.
pub struct MountConfig {
    /// The base, which findmnt shows as the source; absolute.
    pub source: PathBuf,
    /// Where to mount.
    pub mountpoint: PathBuf,
    /// The mountpoint opened with O_PATH, so that the mount lands on what was checked. Root only;
    /// fusermount3 takes a path.
    pub mountpoint_fd: Option<OwnedFd>,
    /// What `-o` said.
    pub options: MountOptions,
    /// Threads and the like.
    pub session: SessionConfig,
    /// When a request stands still, and what then.
    pub patience: Patience,
}

impl MountConfig {
    /// `source` on `mountpoint` with the defaults.
    pub fn new(source: impl Into<PathBuf>, mountpoint: impl Into<PathBuf>) -> MountConfig {
        MountConfig {
            source: source.into(),
            mountpoint: mountpoint.into(),
            mountpoint_fd: None,
            options: MountOptions::default(),
            session: SessionConfig::default(),
            patience: Patience::default(),
        }
    }
}

/// What a file system gets from its mount, before the mount is made.
#[derive(Clone)]
pub struct Kernel {
    /// The kernel's caches; empty until the mount is there.
    pub cache: Arc<dyn KernelCache>,
    /// What the mount counts.
    pub metrics: Arc<Metrics>,
}

/// A mount that threads of this process serve. Dropping it unmounts, whoever uses the mount.
pub struct Mounted<O: Ops> {
    ops: Arc<O>,
    kernel: Kernel,
    site: Site,
    server: Option<JoinHandle<Result<End, fuse::Error>>>,
    /// Ends after everything that may stand still.
    watchdog: Option<Watchdog>,
}

impl<O: Ops> Mounted<O> {
    /// Mounts what `build` makes; returns when the mount answers. A dead mount at the mountpoint is
    /// replaced.
    pub fn start<E, F>(config: &MountConfig, build: F) -> Result<Mounted<O>, DaemonError>
    where
        E: Display,
        F: FnOnce(Kernel) -> Result<Arc<O>, E>,
    {
        clear_dead_mount(&config.mountpoint)?;
        let mountpoint = absolute(&config.mountpoint)?;
        let metrics = Arc::new(Metrics::default());
        let notifier = Arc::new(Notifier::new(Arc::clone(&metrics)));
        let kernel = Kernel {
            cache: Arc::clone(&notifier) as _,
            metrics,
        };
        let ops = build(kernel.clone()).map_err(|error| DaemonError::Build {
            said: error.to_string(),
        })?;
        let attach = Attach {
            source: &config.source,
            mountpoint: &mountpoint,
            mountpoint_fd: config.mountpoint_fd.as_ref().map(AsFd::as_fd),
            options: &config.options,
        };
        let device = attach.attach()?;
        let site = Site::find(&mountpoint)?;
        // From here on a failure unmounts: by the drop of this value.
        let mut mounted = Mounted {
            ops: Arc::clone(&ops),
            kernel,
            site,
            server: None,
            watchdog: None,
        };
        mounted.serve(device, &notifier, config.session)?;
        mounted.watch(config.patience)?;
        ask(&mountpoint).map_err(|error| DaemonError::NoAnswer {
            mountpoint,
            source: error.into(),
        })?;
        mounted.site.tune(config.session.writeback);
        Ok(mounted)
    }

    fn serve(
        &mut self,
        device: OwnedFd,
        notifier: &Notifier,
        session: SessionConfig,
    ) -> Result<(), DaemonError> {
        let (ops, metrics) = (Arc::clone(&self.ops), Arc::clone(&self.kernel.metrics));
        let connection = Connection::open(device, ops, metrics, notifier, session)?;
        let server = thread::Builder::new().name("serve".into());
        let server =
            server
                .spawn(move || connection.serve())
                .map_err(|source| DaemonError::Process {
                    step: "start a thread",
                    source,
                })?;
        self.server = Some(server);
        Ok(())
    }

    fn watch(&mut self, patience: Patience) -> Result<(), DaemonError> {
        let (site, ops) = (self.site.clone(), Arc::clone(&self.ops));
        let cut = move || {
            ops.doubt("a request stood still");
            site.abort();
        };
        let metrics = Arc::clone(&self.kernel.metrics);
        let watchdog = Watchdog::start(patience, metrics, cut);
        let watchdog = watchdog.map_err(|source| DaemonError::Process {
            step: "start a thread",
            source,
        })?;
        self.watchdog = Some(watchdog);
        Ok(())
    }

    /// What is mounted.
    pub fn ops(&self) -> &Arc<O> {
        &self.ops
    }

    /// The kernel's caches and the counters of this mount.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    pub(super) fn site(&self) -> &Site {
        &self.site
    }

    /// Where it is mounted.
    pub fn mountpoint(&self) -> &Path {
        self.site.mountpoint()
    }

    /// Waits until somebody unmounts it.
    pub fn wait(self) -> Result<(), DaemonError> {
        self.wait_until(|| {})
    }

    /// As [`Mounted::wait`]; `gone` is called once the mount is gone, before what is left is done.
    pub fn wait_until(mut self, gone: impl FnOnce()) -> Result<(), DaemonError> {
        self.finish_after(gone)
    }

    /// Unmounts it in order. Where that fails (it is busy), it is unmounted as by dropping it, and
    /// the error says why.
    pub fn unmount(mut self) -> Result<(), DaemonError> {
        unmount(self.site.mountpoint(), false)?;
        self.finish()
    }

    /// Once the mount is gone or cut off: waits for its last request, publishes, and takes a dead
    /// mount out of the tree.
    fn finish(&mut self) -> Result<(), DaemonError> {
        self.finish_after(|| {})
    }

    fn finish_after(&mut self, gone: impl FnOnce()) -> Result<(), DaemonError> {
        let Some(server) = self.server.take() else {
            return Ok(());
        };
        let end = server.join();
        gone();
        self.ops.unmounted();
        match end {
            Ok(Ok(End::Unmounted)) => return Ok(()),
            Ok(Ok(End::Aborted)) => log::warn!("the connection was cut"),
            Ok(Err(error)) => {
                self.site.clear();
                return Err(error.into());
            }
            Err(_) => log::error!("the serving thread panicked"),
        }
        self.site.clear();
        Ok(())
    }
}

impl<O: Ops> Drop for Mounted<O> {
    fn drop(&mut self) {
        let cut = self.server.is_none() || self.site.cut();
        if self.server.is_none() {
            self.site.clear();
        } else if cut && let Err(error) = self.finish() {
            log::error!("{}", error.chain());
        }
    }
}
