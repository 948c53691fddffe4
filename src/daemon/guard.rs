//! A small process that cuts the connection where a killed daemon cannot let go of it.
//!
//! A daemon that is killed lets go of `/dev/fuse` once its last thread has ended, and with that
//! everybody who waits for the mount gets an error. A thread that waits in the kernel for a page or
//! a directory that a caller of the mount has locked does not end, as that caller waits for the
//! daemon. No thread of the daemon can do anything about it, and nobody else knows. So the daemon
//! starts the guard, before it has threads and before it opens anything; the guard has nothing open
//! but the end of a pipe, and later the file that cuts the connection.
//!
//! **How it learns of the end**: the signal of PR_SET_PDEATHSIG comes when the thread that started
//! it ends, the daemon's main thread. (A descriptor of the process, or waiting for it, says nothing
//! before its last thread has ended, and the pipe stays open as long as `/dev/fuse` does.) If the
//! pipe is closed a moment later, all is let go of. If it is not, the guard cuts.
//!
//! It ends with the daemon, whatever that ends of. Signals other than that one and SIGKILL do not
//! reach it, and its session is its own. Should somebody kill it, the daemon goes on without; then
//! the next `branchfs mount` or `umount` cuts, see [`super::abandoned`].
//!
//! **Invariant**: only the very connection is cut that it was told of: the kernel forgets what an
//! open control file stands for when the connection ends, and a mount that is to be cut is held
//! and compared first.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, WaitOptions};
use rustix::stdio::stdin;

use super::detach::control_file;
use super::error::DaemonError;
use super::system_log;
use crate::sys::process::{Forked, close_inherited_fds, exit_at_once, fork};
use crate::sys::title;

/// What ps(1) shows.
const NAME: &str = "branchfs-guard";
/// What the kernel sends when the daemon's main thread has ended. Nobody else uses it.
const DAEMON_ENDED: Signal = Signal::SIGUSR2;
/// How long the threads of a daemon that ends may take to let go of what they have open.
const GRACE: Duration = Duration::from_secs(1);

/// The daemon's side. Dropping it lets the guard end, and waits for that.
pub(super) struct Guard {
    pipe: Option<File>,
    pid: Pid,
}

impl Guard {
    /// Starts a guard for the mount that is to be made at `mountpoint` (absolute). It writes its
    /// log where the daemon does.
    ///
    /// Call it from the main thread, before the process has others.
    pub(super) fn start(mountpoint: &Path, foreground: bool) -> Result<Guard, DaemonError> {
        let failed = |step| move |source| DaemonError::Process { step, source };
        let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|e| failed("make a pipe")(e.into()))?;
        let daemon = rustix::process::getpid();
        match fork().map_err(failed("fork"))? {
            Forked::Parent(pid) => Ok(Guard {
                pipe: Some(File::from(theirs)),
                pid,
            }),
            Forked::Child => {
                drop(theirs);
                // Without it the daemon does as well as it can.
                let guarded = become_guard(ours.as_fd(), daemon, foreground).and_then(|ended| {
                    call_it(mountpoint);
                    watch(&ended, daemon, mountpoint)
                });
                exit_at_once(guarded.is_err().into())
            }
        }
    }

    /// Says which mount it is to cut, by the device number of that.
    pub(super) fn watch(&mut self, device: (u32, u32)) {
        let mut told = [0; 8];
        told[..4].copy_from_slice(&device.0.to_ne_bytes());
        told[4..].copy_from_slice(&device.1.to_ne_bytes());
        let written = self.pipe.as_mut().map(|pipe| pipe.write_all(&told));
        if let Some(Err(error)) = written {
            log::warn!("nobody cuts the connection if this process is killed: {error}");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // It ends at once; one that was killed has ended before.
        let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// Makes this process, which is a fork of the daemon, one that has nothing of it but `pipe`, as
/// standard input. What comes back can be read when the daemon has ended.
fn become_guard(pipe: BorrowedFd<'_>, daemon: Pid, foreground: bool) -> std::io::Result<SignalFd> {
    rustix::process::setsid()?;
    SigSet::all().thread_block()?;
    rustix::stdio::dup2_stdin(pipe)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    if !foreground {
        rustix::stdio::dup2_stderr(&null)?;
    }
    // Its number is about to be free, and may soon be another's.
    std::mem::forget(null);
    close_inherited_fds()?;
    if !foreground {
        system_log::leave_stderr();
    }
    let mut ended = SigSet::empty();
    ended.add(DAEMON_ENDED);
    let ended = SignalFd::with_flags(&ended, SfdFlags::SFD_CLOEXEC)?;
    let signal = rustix::process::Signal::from_named_raw(DAEMON_ENDED as i32);
    rustix::process::set_parent_process_death_signal(signal)?;
    // It may have ended before.
    match rustix::process::getppid() == Some(daemon) {
        true => Ok(ended),
        false => Err(std::io::ErrorKind::NotFound.into()),
    }
}

/// What ps(1) is to show; where that cannot be, it shows the daemon's line.
fn call_it(mountpoint: &Path) {
    let name = CString::new(NAME).expect("it has no NUL byte");
    let _ = rustix::thread::set_name(&name);
    let line = [NAME.as_bytes(), b"\0", mountpoint.as_os_str().as_bytes()].concat();
    let _ = title::set(&line);
}

/// Waits for the end of the daemon, and cuts what that leaves.
fn watch(ended: &SignalFd, daemon: Pid, mountpoint: &Path) -> std::io::Result<()> {
    let mut connection = None;
    loop {
        let [said, signalled] = ready([stdin().as_fd(), ended.as_fd()], None)?;
        if signalled && is_from(ended, daemon)? {
            break;
        }
        if said {
            let mut device = [0; 8];
            if rustix::io::read(stdin(), &mut device)? < device.len() {
                return Ok(());
            }
            connection = Some(Connection::open(device));
        }
    }
    // Closed with the rest, the pipe says that there is nothing left to do.
    let [closed] = ready([stdin().as_fd()], Some(GRACE))?;
    if !closed && let Some(connection) = connection {
        let cut = connection.cut(mountpoint);
        let place = mountpoint.display();
        match cut {
            true => log::warn!("the daemon of {place} was killed and is stuck: it is cut off"),
            false => log::error!(
                "the daemon of {place} was killed and is stuck, and its connection cannot be cut: \
                 mount fusectl on /sys/fs/fuse/connections"
            ),
        }
    }
    Ok(())
}

/// Whether a signal that has come is the kernel's word of the daemon's end.
fn is_from(ended: &SignalFd, daemon: Pid) -> std::io::Result<bool> {
    let signal = ended.read_signal()?;
    Ok(signal.is_some_and(|signal| i32::try_from(signal.ssi_pid) == Ok(daemon.as_raw_pid())))
}

/// Which of the descriptors can be read, once one can or `limit` has passed.
fn ready<const N: usize>(
    of: [BorrowedFd<'_>; N],
    limit: Option<Duration>,
) -> std::io::Result<[bool; N]> {
    let limit = limit.map(|limit| Timespec {
        tv_sec: limit.as_secs().cast_signed(),
        tv_nsec: limit.subsec_nanos().into(),
    });
    let mut fds = of.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    rustix::event::poll(&mut fds, limit.as_ref())?;
    Ok(fds.map(|fd| !fd.revents().is_empty()))
}

/// A connection that may have to be cut.
struct Connection {
    device: (u32, u32),
    /// Open from before it is needed: once the connection has ended it cuts nothing, whoever has
    /// its number then. `None` where the kernel's control file system is not mounted.
    control: Option<File>,
}

impl Connection {
    fn open(told: [u8; 8]) -> Connection {
        let [a, b, c, d, e, f, g, h] = told;
        let device = (
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
        );
        let control = File::options().write(true).open(control_file(device)).ok();
        Connection { device, control }
    }

    /// False where neither the control file nor umount2(2) may be used.
    fn cut(mut self, mountpoint: &Path) -> bool {
        match self.control.take() {
            Some(mut control) => control.write_all(b"1").is_ok(),
            None => rustix::process::geteuid().is_root() && self.cut_by_umount(mountpoint).is_ok(),
        }
    }

    /// MNT_FORCE cuts, and then finds that the mount is held, by us: it stays where it is, dead. To
    /// take it away would show those who work there what is below it.
    fn cut_by_umount(&self, mountpoint: &Path) -> rustix::io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, mountpoint, flags, Mode::empty())?;
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = rustix::fs::statx(&root, "", flags, StatxFlags::TYPE)?;
        if (stat.stx_dev_major, stat.stx_dev_minor) != self.device {
            return Err(Errno::NODEV);
        }
        let root = format!("/proc/self/fd/{}", root.as_raw_fd());
        match rustix::mount::unmount(root, UnmountFlags::FORCE) {
            Err(Errno::BUSY) => Ok(()),
            other => other,
        }
    }
}
