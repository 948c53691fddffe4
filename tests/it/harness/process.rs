//! Commands with a time limit, processes to be ended, and waiting for one that is not our child.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long one command may take.
const COMMAND_SECONDS: u32 = 100;

/// What a command did.
#[derive(Debug)]
pub struct Done {
    /// The exit code; 124 or 137 after the time limit, as timeout(1) has it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Done {
    /// Panics with all that the command said unless it exited with 0.
    #[track_caller]
    pub fn ok(self) -> Done {
        assert_eq!(self.code, 0, "the command failed: {}{}", self.out, self.err);
        self
    }

    /// Panics unless the command failed by itself (and not by the time limit).
    #[track_caller]
    pub fn fails(self) -> Done {
        assert!(
            self.code != 0,
            "the command worked: {}{}",
            self.out,
            self.err
        );
        assert!(
            self.code < 124,
            "the command was cut off: {}{}",
            self.out,
            self.err
        );
        self
    }
}

/// Runs `program` in `dir` and collects what it prints.
///
/// Output goes through files and not pipes, so a daemon that keeps them open holds nobody up.
#[track_caller]
pub fn run<A: AsRef<OsStr>>(dir: &Path, program: impl AsRef<OsStr>, args: &[A]) -> Done {
    let mut command = limited(program);
    command.args(args).current_dir(dir);
    finish(command)
}

/// `program` under a time limit and with a clean environment for git.
pub fn limited(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["-k", "5", &COMMAND_SECONDS.to_string()])
        .arg(program);
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "Test")
        .env("GIT_AUTHOR_EMAIL", "test@example.org")
        .env("GIT_COMMITTER_NAME", "Test")
        .env("GIT_COMMITTER_EMAIL", "test@example.org")
        .env("LC_ALL", "C");
    command
}

/// Runs a command to its end.
#[track_caller]
pub fn finish(mut command: Command) -> Done {
    let mut out = tempfile::tempfile().expect("a temporary file");
    let mut err = tempfile::tempfile().expect("a temporary file");
    let started = command
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("dup"))
        .stderr(err.try_clone().expect("dup"))
        .status();
    let code = match started {
        Ok(status) => status.code().unwrap_or(128),
        // Its directory went with a daemon that a test has killed.
        Err(e) if e.raw_os_error() == Some(libc::ENOTCONN) => 128,
        Err(e) => panic!("start {command:?}: {e}"),
    };
    Done {
        code,
        out: text(&mut out),
        err: text(&mut err),
    }
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().expect("rewind");
    file.read_to_end(&mut bytes).expect("read output");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Runs a shell script in `dir`; `$1`, `$2`, ... are `args`.
#[track_caller]
pub fn sh<A: AsRef<OsStr>>(dir: &Path, script: &str, args: &[A]) -> Done {
    let mut command = limited("bash");
    command
        .args(["-euc", script, "bash"])
        .args(args)
        .current_dir(dir);
    finish(command)
}

/// Runs git in `dir` and returns what it prints.
#[track_caller]
pub fn git(dir: &Path, args: &[&str]) -> String {
    run(dir, "git", args).ok().out
}

/// A Python program that talks by lines: it prints one, and waits for one.
///
/// It is killed when dropped.
pub struct Python {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Python {
    /// Starts `script`, with `args` in `sys.argv[1:]`. `say(text)` and `wait()` are predefined.
    #[track_caller]
    pub fn start<A: AsRef<OsStr>>(script: &str, args: &[A]) -> Python {
        let prelude = "import errno, fcntl, mmap, os, sys\n\
            def say(text): print(text, flush=True)\n\
            def wait(): return sys.stdin.readline()\n";
        let mut child = Command::new("python3")
            .arg("-c")
            .arg(format!("{prelude}{script}"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start python3");
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        Python { child, to, from }
    }

    /// The next line that it prints, or an empty one when it has ended.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("read from python3");
        line.trim_end().to_owned()
    }

    /// Lets its `wait()` return.
    pub fn go(&mut self) {
        let to = self.to.as_mut().expect("the pipe to python3");
        to.write_all(b"go\n").expect("write to python3");
    }

    /// Its exit code, or minus the number of the signal that ended it.
    pub fn end(mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        drop(self.to.take());
        let status = self.child.wait().expect("wait for python3");
        status
            .code()
            .unwrap_or_else(|| -status.signal().unwrap_or(0))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // Both fail when it has ended by itself, which is what most tests see to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that need not be our child, held by descriptor so that its number cannot be reused.
pub struct Held {
    fd: OwnedFd,
}

impl Held {
    /// Holds process `pid`; `None` where there is none.
    pub fn open(pid: i32) -> Option<Held> {
        let pid = Pid::from_raw(pid)?;
        pidfd_open(pid, PidfdFlags::empty())
            .ok()
            .map(|fd| Held { fd })
    }

    /// Sends SIGKILL.
    pub fn kill(&self) {
        // It fails only when the process has ended already.
        let _ = pidfd_send_signal(&self.fd, Signal::KILL);
    }

    /// Waits for its end; `false` when `seconds` have passed.
    pub fn ended_within(&self, seconds: i64) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        loop {
            match poll(&mut fds, Some(&limit)) {
                Ok(ready) => return ready > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => panic!("poll a pidfd: {e}"),
            }
        }
    }
}
