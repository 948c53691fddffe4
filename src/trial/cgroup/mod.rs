//! Limits on memory and CPU time, by control groups.
//!
//! One group per command line, one in it per trial. Version 2 is used where a group below which
//! this process may make others hands on the controllers that are needed, else version 1. Files are
//! written directly: what is needed is a handful of numbers, in a tree that a test can imitate.
//!
//! A trial's supervisor joins its group before it starts anything, so the limits hold from the
//! program's first instruction.

mod find;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use find::Hierarchies;

use super::TrialError;

/// What a trial, or all trials together, may use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// At most this much memory; more is killed.
    pub memory_bytes: Option<u64>,
    /// From here on memory is taken back and the trial slowed down.
    pub memory_high_bytes: Option<u64>,
    /// At most this many CPUs' time.
    pub cpus: Option<f64>,
    /// Whether running out of memory ends the whole trial.
    pub oom_group: bool,
}

impl Limits {
    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.memory() || self.cpus.is_some()
    }

    fn memory(&self) -> bool {
        self.memory_bytes.is_some() || self.memory_high_bytes.is_some()
    }
}

/// What a trial has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// The most memory at once, if known.
    pub peak_bytes: Option<u64>,
    /// How many processes were killed for want of memory.
    pub oom_kills: u64,
    /// How many periods it was held back in.
    pub throttled: u64,
}

/// One group: a directory, or with version 1 one per controller.
#[derive(Debug)]
pub enum Group {
    /// Version 2.
    V2(PathBuf),
    /// Version 1.
    V1(v1::Dirs),
}

/// The length of a period of CPU time, as the kernel has it by default.
const PERIOD_US: u64 = 100_000;

fn quota_us(cpus: f64) -> u64 {
    // The kernel takes no less than 1 ms.
    ((cpus * PERIOD_US as f64) as u64).max(1000)
}

impl Group {
    /// Makes the group of a command line, for trials with the limits `each`.
    pub fn create(
        hierarchies: &Hierarchies,
        name: &str,
        all: &Limits,
        each: &Limits,
    ) -> Result<Group, TrialError> {
        let memory = all.memory() || each.memory();
        let cpu = all.cpus.is_some() || each.cpus.is_some();
        let mut reasons = Vec::new();
        for dir in &hierarchies.v2 {
            // A group whose limits cannot be set goes with the value.
            let group = v2::create(dir, name, memory, cpu).map(Group::V2);
            let limited = group.and_then(|group| group.limit(all).map(|()| group));
            match limited {
                Ok(group) => return Ok(group),
                Err(error) => reasons.push(format!("{}: {error}", dir.display())),
            }
        }
        match v1::create(&hierarchies.v1, name, memory, cpu) {
            Ok(dirs) => {
                let group = Group::V1(dirs);
                let limited = group.limit(all);
                limited.map_err(|source| TrialError::Limit { source })?;
                Ok(group)
            }
            Err(error) => {
                reasons.push(format!("version 1: {error}"));
                Err(TrialError::NoCgroup { reasons })
            }
        }
    }

    /// Makes the group of one trial in this one.
    pub fn trial(&self, name: &str, limits: &Limits) -> Result<Group, TrialError> {
        let made = match self {
            Group::V2(dir) => {
                let dir = dir.join(name);
                fs::create_dir(&dir).map(|()| Group::V2(dir))
            }
            Group::V1(dirs) => dirs.child(name).map(Group::V1),
        };
        let limited = made.and_then(|group| group.limit(limits).map(|()| group));
        limited.map_err(|source| TrialError::Limit { source })
    }

    fn limit(&self, limits: &Limits) -> io::Result<()> {
        match self {
            Group::V2(dir) => v2::limit(dir, limits),
            Group::V1(dirs) => v1::limit(dirs, limits),
        }
    }

    /// The files that a process writes "0" to, to join.
    pub fn procs(&self) -> Vec<PathBuf> {
        self.dirs().map(|dir| dir.join("cgroup.procs")).collect()
    }

    /// What was used in it.
    pub fn used(&self) -> Used {
        match self {
            Group::V2(dir) => v2::used(dir),
            Group::V1(dirs) => v1::used(dirs),
        }
    }

    /// Whether the kernel itself ends all of the group for want of memory.
    pub fn kills_whole_group(&self) -> bool {
        matches!(self, Group::V2(_))
    }

    fn dirs(&self) -> Box<dyn Iterator<Item = &Path> + '_> {
        match self {
            Group::V2(dir) => Box::new(std::iter::once(dir.as_path())),
            Group::V1(dirs) => Box::new(dirs.all()),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let dirs: Vec<&Path> = self.dirs().collect();
        for dir in dirs {
            remove(dir);
        }
    }
}

/// Removes a group. The kernel counts a process as in it for a moment after its end.
fn remove(dir: &Path) {
    let late = Instant::now() + Duration::from_secs(1);
    while let Err(error) = fs::remove_dir(dir) {
        let busy = error.raw_os_error() == Some(libc::EBUSY);
        if !busy || Instant::now() >= late {
            log::warn!("cannot remove the control group {}: {error}", dir.display());
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The number behind `key` in a file of `key number` lines.
fn keyed(file: &Path, key: &str) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
    Ok(value.unwrap_or(0))
}

/// The number in a file.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}
