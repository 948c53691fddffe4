//! What a suite gets, and programs that are run with a limit of time and a log.

use std::cell::RefCell;
use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use super::case::Excludes;
use crate::cargo::root;

/// A suite's surroundings.
pub struct Run<'a> {
    /// The directory under test.
    pub dir: &'a Path,
    /// Whether a short run was asked for.
    pub quick: bool,
    /// A directory that is not under test.
    pub scratch: &'a Path,
    /// Where output goes.
    pub log: &'a Log,
    /// The suite's excluded cases.
    pub excludes: &'a Excludes,
}

/// What a program left.
pub struct Output {
    /// How it ended; 124 says that its time was up.
    pub status: ExitStatus,
    /// What it printed, to both outputs.
    pub text: String,
}

/// A file in target/fstests/log.
pub struct Log {
    file: RefCell<File>,
    path: PathBuf,
}

impl Log {
    /// Makes `NAME.log` anew.
    pub fn create(name: &str) -> std::io::Result<Log> {
        let dir = installed().join("log");
        fs::create_dir_all(&dir)?;
        let path = dir.join(format!("{name}.log"));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        Ok(Log {
            file: RefCell::new(file),
            path,
        })
    }

    /// Runs a program for at most `seconds`, after which it and its children are killed.
    pub fn run(&self, command: &Command, seconds: u64) -> Result<Output, Box<dyn Error>> {
        let mut output = tempfile::tempfile()?;
        let status = limited(command, seconds)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .status()
            .map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let mut bytes = Vec::new();
        output.seek(SeekFrom::Start(0))?;
        output.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut file = self.file.borrow_mut();
        writeln!(file, "# {command:?}: {status}\n{text}")?;
        Ok(Output { status, text })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The same command under timeout(1).
pub fn limited(command: &Command, seconds: u64) -> Command {
    let mut limited = Command::new("timeout");
    limited.arg("--kill-after=10").arg(seconds.to_string());
    limited.arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        limited.current_dir(dir);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

/// Where the suites are installed: target/fstests.
pub fn installed() -> PathBuf {
    root().join("target/fstests")
}

/// A program from crates.io at this version, installed there with cargo.
pub fn from_crates_io(name: &str, version: &str) -> Result<PathBuf, Box<dyn Error>> {
    let root = installed();
    let binary = root.join("bin").join(name);
    let mut install = crate::cargo::cargo();
    install.args([
        "install",
        "--quiet",
        "--locked",
        name,
        "--version",
        version,
        "--root",
    ]);
    install
        .arg(&root)
        .arg("--target-dir")
        .arg(root.join("build"));
    // It builds nothing where this version is there already.
    crate::cargo::succeed(install)?;
    Ok(binary)
}
