//! Starting the program of a trial and waiting for it.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use super::outside::Outside;
use super::protocol::{Order, Report, SCORE_FD, Step};
use super::{Failed, namespaces};
use crate::sys;
use crate::sys::process::Forked;

/// Forks, and executes the order's program in the child.
pub fn start(order: &Order, control: &UnixStream) -> io::Result<Pid> {
    match sys::process::fork()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => {
            let (step, error) = become_program(order);
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            let report = Report::Failed { step, errno };
            let line = serde_json::to_string(&report).unwrap_or_default() + "\n";
            let mut control = control;
            // Nobody may listen any more; the exit code says it too, as env(1) does.
            let _ = control.write_all(line.as_bytes());
            std::process::exit(if errno == libc::ENOENT { 127 } else { 126 });
        }
    }
}

/// Executes the program; returns only if that fails.
fn become_program(order: &Order) -> (Step, io::Error) {
    if let Err(error) = prepare(order) {
        return error;
    }
    let (program, arguments) = match order.argv.split_first() {
        Some((program, arguments)) => (program, arguments),
        None => return (Step::Exec, io::Error::from_raw_os_error(libc::EINVAL)),
    };
    let mut command = Command::new(program.as_os_str());
    command.args(arguments.iter().map(|argument| argument.as_os_str()));
    command.current_dir(order.dir.as_path());
    for (name, value) in &order.env {
        // A string of the environment ends at a zero byte.
        let value: Vec<u8> = value.0.iter().copied().filter(|b| *b != 0).collect();
        command.env(name, std::ffi::OsStr::from_bytes(&value));
    }
    (Step::Exec, command.exec())
}

fn prepare(order: &Order) -> Result<(), (Step, io::Error)> {
    let fork = |error: Errno| (Step::Fork, io::Error::from(error));
    if order.own_session {
        rustix::process::setsid().map_err(fork)?;
    }
    if order.view.is_some() {
        namespaces::lock_mounts().map_err(|Failed(step, error)| (step, error))?;
    }
    // Last, since a change of credentials may take it back.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(fork)?;
    if !order.cgroups.is_empty() {
        // The trial is to be killed for want of memory, and not its supervisor.
        let _ = std::fs::write("/proc/self/oom_score_adj", b"500");
    }
    sys::confine::close_on_exec_from(SCORE_FD + 1).map_err(|error| (Step::Fork, error))?;
    let signals = SigSet::empty().thread_set_mask();
    signals.map_err(|error| (Step::Fork, error.into()))
}

/// Reaps whatever has ended; how the program ended, if it has.
pub fn reap(program: Pid) -> Option<Report> {
    let mut ended = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() == raw(program) => {
                ended = Some((Some(code), None));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() == raw(program) => {
                ended = Some((None, Some(signal as i32)));
            }
            Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => break,
            Ok(_) | Err(_) => {}
        }
    }
    ended.map(|(code, signal)| Report::Ended { code, signal })
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

/// Waits for a child's end or for the end of the control socket; whether it was the latter.
pub fn wait_for_child_or_hangup(signals: &SignalFd, control: &UnixStream) -> bool {
    let mut fds = [
        PollFd::new(signals, PollFlags::IN),
        PollFd::new(control, PollFlags::IN),
    ];
    match poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(_) => return true,
    }
    let hangup = !fds[1].revents().is_empty();
    while let Ok(Some(_)) = signals.read_signal() {}
    hangup
}

/// Waits for the end of a namespace's init; kills it when the control socket ends.
pub fn wait_or_kill(init: Pid, control: &UnixStream, outside: &mut Outside) {
    let Ok(held) = rustix::process::pidfd_open(init, rustix::process::PidfdFlags::empty()) else {
        let _ = kill_process(init, Signal::KILL);
        wait_for(init);
        return;
    };
    loop {
        let mut fds = [
            PollFd::new(&held, PollFlags::IN),
            PollFd::new(control, PollFlags::IN),
            PollFd::from_borrowed_fd(outside.changes(), PollFlags::PRI),
        ];
        let polled = poll(&mut fds, None);
        let [ended, hangup, changed] = [0, 1, 2].map(|fd: usize| !fds[fd].revents().is_empty());
        match polled {
            Err(Errno::INTR) => {}
            Ok(_) if hangup => {
                let _ = kill_process(init, Signal::KILL);
                break;
            }
            Ok(_) if ended => break,
            Ok(_) if changed => outside.follow(),
            Ok(_) => {}
            Err(_) => {
                let _ = kill_process(init, Signal::KILL);
                break;
            }
        }
    }
    wait_for(init);
}

fn wait_for(pid: Pid) {
    let pid = nix::unistd::Pid::from_raw(raw(pid));
    while matches!(waitpid(pid, None), Err(nix::Error::EINTR)) {}
}
