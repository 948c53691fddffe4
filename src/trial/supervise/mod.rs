//! The process that stands between a pattern and one trial: `branchfs supervise`.
//!
//! It is a process of its own, with one thread, so it may fork, unshare and wait for whatever comes
//! without regard to the threads of the pattern. It joins the control groups, makes the namespaces,
//! starts the program, and sees to it that nothing which the program started outlives it.
//!
//! **Invariant**: once this process has said [`Report::Over`], or has exited, every process of the
//! trial has ended. Without namespaces it is the reaper of all its descendants
//! (PR_SET_CHILD_SUBREAPER), so none can get away from it by forking twice or by a session of its
//! own; it stops them all before it kills them, so a process that forks faster than /proc is read
//! does not win. With namespaces the program's init is pid 1, and the kernel ends a pid namespace
//! with its pid 1.
//!
//! It ends the trial when the control socket is closed at the other end, which the kernel does even
//! if the pattern is killed. A SIGKILL to the supervisor itself ends the program (by
//! PR_SET_PDEATHSIG) and with namespaces everything; without them, daemons that the program has
//! started before go on.

mod descendants;
mod namespaces;
mod outside;
mod program;
pub mod protocol;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::Pid;

use super::supervise::protocol::{Order, Report, SCORE_FD, Step};
use crate::sys;
use outside::Outside;

/// A step that failed.
#[derive(Debug)]
struct Failed(Step, io::Error);

/// What goes wrong while a step is done.
trait At<T> {
    fn at(self, step: Step) -> Result<T, Failed>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: Step) -> Result<T, Failed> {
        self.map_err(|error| Failed(step, error.into()))
    }
}

/// What the program is called with to be a supervisor, and nothing else.
pub const VERB: &str = "supervise";

/// Runs an executed supervisor to its end and gives its exit code; nobody but [`super::waiting`]
/// starts one.
pub fn supervise() -> u8 {
    // The numbers from 3 on are the trial's; what this process opens has to be elsewhere.
    match sys::spawn::standard_input() {
        Ok(control) => with_socket(control.into()),
        Err(error) => refuse(&error),
    }
}

/// Runs a supervisor with this control socket to its end and gives its exit code.
pub fn with_socket(control: UnixStream) -> u8 {
    match take_order(&control) {
        Ok(Some(order)) => {
            let mut supervisor = Supervisor {
                control,
                reports: String::new(),
            };
            if let Err(Failed(step, error)) = supervisor.run(&order) {
                supervisor.fail(step, &error);
            }
            supervisor.tell();
            0
        }
        // Nothing was to be done.
        Ok(None) => 0,
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &io::Error) -> u8 {
    let _ = writeln!(
        io::stderr(),
        "branchfs: only branchfs itself starts a supervisor: {error}"
    );
    2
}

/// Reads the order and puts the descriptors where the program looks for them; `None` if there is
/// none.
fn take_order(control: &UnixStream) -> io::Result<Option<Order>> {
    let fds = match sys::spawn::receive(control) {
        Ok(fds) => fds,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut line = String::new();
    BufReader::new(control).read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line)?;
    let mut numbers = vec![SCORE_FD];
    if order.captured {
        numbers.extend([1, 2]);
    }
    match order.own_session {
        true => sys::spawn::place(File::open("/dev/null")?, 0)?,
        false => numbers.push(0),
    }
    for (fd, number) in fds.into_iter().zip(numbers) {
        sys::spawn::place(fd, number)?;
    }
    Ok(Some(order))
}

/// One end of the control socket, and what is done behind it.
struct Supervisor {
    control: UnixStream,
    /// What it has to say once it is done, at once: nobody needs it before.
    reports: String,
}

impl Supervisor {
    fn report(&mut self, report: &Report) {
        let line = serde_json::to_string(report).expect("a report has only string keys");
        self.reports.push_str(&line);
        self.reports.push('\n');
    }

    fn tell(&mut self) {
        // Where nobody listens any more, the trial is being ended anyway.
        let _ = self.control.write_all(self.reports.as_bytes());
    }

    fn fail(&mut self, step: Step, error: &io::Error) {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        self.report(&Report::Failed { step, errno });
    }

    fn run(&mut self, order: &Order) -> Result<(), Failed> {
        for procs in &order.cgroups {
            std::fs::write(procs.as_path(), b"0").at(Step::Cgroup)?;
        }
        let signals = own_signals().at(Step::Fork)?;
        if order.view.is_some() {
            self.run_isolated(order, &signals)?;
        } else {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid())).at(Step::Fork)?;
            let program = program::start(order, &self.control).at(Step::Fork)?;
            let ended = self.watch(program, &signals);
            descendants::end();
            self.report(&ended);
        }
        self.report_over();
        Ok(())
    }

    /// Two processes: this one, and the init of the trial's pid namespace.
    fn run_isolated(&mut self, order: &Order, signals: &SignalFd) -> Result<(), Failed> {
        let view = order.view.as_ref().expect("an isolated trial has a view");
        let mut outside = Outside::open(view.root()).at(Step::Mounts)?;
        namespaces::enter(view)?;
        match sys::process::fork().at(Step::Fork)? {
            sys::process::Forked::Child => {
                if let Err(Failed(step, error)) = self.init(order, signals) {
                    self.fail(step, &error);
                }
                self.tell();
                // The kernel ends the namespace with this process.
                std::process::exit(0);
            }
            sys::process::Forked::Parent(init) => {
                program::wait_or_kill(init, &self.control, &mut outside);
                Ok(())
            }
        }
    }

    /// The life of pid 1.
    fn init(&mut self, order: &Order, signals: &SignalFd) -> Result<(), Failed> {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .at(Step::Fork)?;
        namespaces::mount_proc()?;
        let program = program::start(order, &self.control).at(Step::Fork)?;
        let ended = self.watch(program, signals);
        self.report(&ended);
        Ok(())
    }

    /// Reaps until the program has ended, or nobody wants it any more.
    fn watch(&mut self, program: Pid, signals: &SignalFd) -> Report {
        loop {
            if let Some(ended) = program::reap(program) {
                return ended;
            }
            if program::wait_for_child_or_hangup(signals, &self.control) {
                let killed = Signal::SIGKILL as i32;
                let _ = rustix::process::kill_process(program, rustix::process::Signal::KILL);
                return Report::Ended {
                    code: None,
                    signal: Some(killed),
                };
            }
        }
    }

    fn report_over(&mut self) {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN);
        // ru_maxrss is in KiB (getrusage(2)).
        let peak = usage.map_or(0, |usage| u64::try_from(usage.max_rss()).unwrap_or(0));
        self.report(&Report::Over {
            peak_bytes: peak * 1024,
        });
    }
}

/// Takes the signals that would end this process: Ctrl-C reaches the whole group of processes, and
/// the pattern decides what it means.
fn own_signals() -> nix::Result<SignalFd> {
    let mut blocked = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ] {
        blocked.add(signal);
    }
    blocked.thread_block()?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}
