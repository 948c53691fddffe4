//! A directory for one run of a verb, and the process that removes it however the run ends.
//!
//! On a failure, on Ctrl-C and on SIGKILL alike: a shell of its own process group waits for the end
//! of its standard input, then ends what runs in the directory, unmounts what is mounted there, and
//! removes it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A directory that is gone once this is dropped.
pub struct Scratch {
    path: PathBuf,
    reaper: Child,
}

impl Scratch {
    /// Makes one on a disk: in `TMPDIR`, or in /var/tmp since /tmp may be memory.
    pub fn new(prefix: &str) -> io::Result<Scratch> {
        let parent = std::env::var_os("TMPDIR").map_or(PathBuf::from("/var/tmp"), PathBuf::from);
        Scratch::new_in(&parent, prefix)
    }

    /// Makes one in `parent`.
    pub fn new_in(parent: &Path, prefix: &str) -> io::Result<Scratch> {
        let path = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(parent)?
            .keep();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let reaper = Command::new("sh")
            .args(["-c", include_str!("../../tests/it/harness/reap.sh"), "reap"])
            .arg(&path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Scratch { path, reaper })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.reaper.stdin.take());
        // It ends by itself once its input is closed; a failure to wait leaves it to do so.
        let _ = self.reaper.wait();
    }
}
