//! The daemon from start to end.
//!
//! Order of a start: fork (before any thread), start the guard, build what is served, mount, answer
//! INIT, serve, ask the mount for its root, tell the parent. Order of an end: the mount is gone,
//! every request and every worker is done, [`Ops::unmounted`] publishes, the process exits and with
//! it the store's lock goes.
//!
//! **Signals**: TERM, INT and HUP unmount. A mount that is busy is synced, taken out of the tree
//! and cut off, so that the process ends soon whoever holds it; what was acknowledged is in the
//! journal. They are blocked in every thread and taken by one that waits for them.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::exit;
use std::sync::Arc;
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use rustix::fs::Mode;

use super::background::{self, Ready, Side};
use super::detach::{absolute, clear_dead_mount};
use super::error::DaemonError;
use super::guard::Guard;
use super::mounted::{Kernel, MountConfig, Mounted};
use super::site::Site;
use super::{supervisor, system_log};
use crate::sys::limits::raise_open_files;
use crate::vfs::ops::Ops;

/// Descriptors that are enough for every operation: 256 for the directories of blobs, and what the
/// caches hold of so many.
const ENOUGH_FILES: u64 = 512;

/// How the process that serves a mount runs.
#[derive(Clone, Debug, Default)]
pub struct DaemonConfig {
    /// Stay in this process.
    pub foreground: bool,
    /// Where a daemon in the background appends its stderr, and with it its log; absolute. Without
    /// it the log goes to the system's.
    pub log: Option<PathBuf>,
}

/// Mounts what `build` makes and serves it until it is unmounted.
///
/// In the background (the default) this returns as soon as the mount answers, and the daemon goes
/// on in a child, in which `build` runs: a store that it opens is open in the daemon alone. Call it
/// before the process has threads. With `foreground` it returns after the unmount. Either way the
/// working directory of the process that serves becomes `/` and its umask 0, before `build` runs.
///
/// A dead mount at the mountpoint is replaced. A caller that does not wait for the answer (it was
/// interrupted) gets no mount.
///
/// # Errors
/// Whatever kept the mount from answering; `build`'s error as [`DaemonError::Build`], or, from the
/// background, as [`DaemonError::Daemon`] with the daemon's text.
pub fn serve<O, E, F>(
    mut mount: MountConfig,
    daemon: &DaemonConfig,
    build: F,
) -> Result<(), DaemonError>
where
    O: Ops,
    E: Display,
    F: FnOnce(Kernel) -> Result<Arc<O>, E>,
{
    clear_dead_mount(&mount.mountpoint)?;
    // The working directory is about to change.
    mount.mountpoint = absolute(&mount.mountpoint)?;
    mount.patience.end_process = true;
    if daemon.foreground {
        return run(&mount, daemon, build, &mut Ready::nobody());
    }
    match background::split()? {
        Side::Parent(waiting) => waiting.wait(),
        Side::Daemon(mut ready) => {
            let result = run(&mount, daemon, build, &mut ready);
            if let Err(error) = &result {
                if ready.is_told() {
                    log::error!("{}", error.chain());
                }
                ready.failed(&error.chain());
            }
            exit(result.is_err().into())
        }
    }
}

fn run<O, E, F>(
    mount: &MountConfig,
    daemon: &DaemonConfig,
    build: F,
    ready: &mut Ready,
) -> Result<(), DaemonError>
where
    O: Ops,
    E: Display,
    F: FnOnce(Kernel) -> Result<Arc<O>, E>,
{
    let signals = prepare_process()?;
    let guard = Guard::start(&mount.mountpoint, daemon.foreground);
    let mounted = Mounted::start(mount, build)?;
    // It waits for the guard's end, when what is mounted has ended.
    let _guard = guard
        .map(|mut guard| {
            guard.watch(mounted.site().device());
            guard
        })
        .inspect_err(|error| log::warn!("no guard: {}", error.chain()));
    let (site, ops) = (mounted.site().clone(), Arc::clone(mounted.ops()));
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || end_on_signal(&signals, &site, &*ops))
        .map_err(|source| DaemonError::Process {
            step: "start a thread",
            source,
        })?;
    if daemon.foreground {
        supervisor::ready(&mount.mountpoint);
    } else if daemon.log.is_none() {
        system_log::leave_stderr();
    }
    ready
        .ready(daemon.log.as_deref())
        .map_err(|source| DaemonError::Process {
            step: "leave the terminal",
            source,
        })?;
    log::info!(
        "{} is mounted on {}",
        mount.source.display(),
        mount.mountpoint.display()
    );
    mounted.wait_until(|| {
        if daemon.foreground {
            supervisor::stopping();
        }
    })
}

/// What a daemon is apart from its caller: no working directory to keep busy, no umask, as many
/// descriptors as allowed, and signals that wait to be taken.
fn prepare_process() -> Result<SigSet, DaemonError> {
    let failed = |step| move |source| DaemonError::Process { step, source };
    rustix::process::chdir("/").map_err(|e| failed("change to /")(e.into()))?;
    rustix::process::umask(Mode::empty());
    let limit = raise_open_files();
    if limit < ENOUGH_FILES {
        log::warn!(
            "at most {limit} files may be open, less than {ENOUGH_FILES}: what needs more fails \
             and loses nothing; raise the hard limit (ulimit -Hn)"
        );
    }
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals
        .thread_block()
        .map_err(|e| failed("block signals")(e.into()))?;
    Ok(signals)
}

fn end_on_signal<O: Ops>(signals: &SigSet, site: &Site, ops: &O) {
    loop {
        match signals.wait() {
            Ok(signal) => log::info!("{signal}: unmounting"),
            Err(error) => {
                log::error!("signals cannot be taken: {error}");
                return;
            }
        }
        if !site.end() {
            // The requests of those who hold the mount cannot be ended from here; the process can.
            ops.unmounted();
            exit(0);
        }
    }
}
