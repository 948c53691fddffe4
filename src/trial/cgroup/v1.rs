//! Control groups, version 1: one hierarchy per controller
//! (Documentation/admin-guide/cgroup-v1 of the kernel).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Limits, PERIOD_US, Used, keyed, number, quota_us};

/// One group in each hierarchy that is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirs {
    /// Under the memory controller.
    pub memory: Option<PathBuf>,
    /// Under the CPU controller.
    pub cpu: Option<PathBuf>,
}

impl Dirs {
    /// Those that there are.
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        self.memory.iter().chain(&self.cpu).map(PathBuf::as_path)
    }

    /// Makes a group below each.
    pub fn child(&self, name: &str) -> io::Result<Dirs> {
        let below = |dir: &Option<PathBuf>| dir.as_ref().map(|dir| dir.join(name));
        let dirs = Dirs {
            memory: below(&self.memory),
            cpu: below(&self.cpu),
        };
        // Controllers that are mounted together are one directory.
        for dir in dirs.all() {
            match fs::create_dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
        }
        Ok(dirs)
    }
}

/// Makes a group in each hierarchy that is needed.
pub fn create(parents: &Dirs, name: &str, memory: bool, cpu: bool) -> io::Result<Dirs> {
    let need = |wanted: bool, dir: &Option<PathBuf>, controller: &str| match (wanted, dir) {
        (false, _) => Ok(None),
        (true, Some(dir)) => Ok(Some(dir.clone())),
        (true, None) => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("the {controller} controller is not mounted"),
        )),
    };
    let parents = Dirs {
        memory: need(memory, &parents.memory, "memory")?,
        cpu: need(cpu, &parents.cpu, "cpu")?,
    };
    parents.child(name)
}

/// Sets the limits of a group.
pub fn limit(dirs: &Dirs, limits: &Limits) -> io::Result<()> {
    if let Some(memory) = &dirs.memory {
        if let Some(bytes) = limits.memory_bytes {
            fs::write(memory.join("memory.limit_in_bytes"), bytes.to_string())?;
            // Where swap is not accounted there is no such file.
            let _ = fs::write(
                memory.join("memory.memsw.limit_in_bytes"),
                bytes.to_string(),
            );
        }
        if let Some(bytes) = limits.memory_high_bytes {
            fs::write(memory.join("memory.soft_limit_in_bytes"), bytes.to_string())?;
        }
    }
    if let (Some(cpu), Some(cpus)) = (&dirs.cpu, limits.cpus) {
        fs::write(cpu.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
        fs::write(cpu.join("cpu.cfs_quota_us"), quota_us(cpus).to_string())?;
    }
    Ok(())
}

/// What was used in a group.
pub fn used(dirs: &Dirs) -> Used {
    let mut used = Used::default();
    if let Some(memory) = &dirs.memory {
        used.peak_bytes = number(&memory.join("memory.max_usage_in_bytes"));
        used.oom_kills = keyed(&memory.join("memory.oom_control"), "oom_kill ").unwrap_or(0);
    }
    if let Some(cpu) = &dirs.cpu {
        used.throttled = keyed(&cpu.join("cpu.stat"), "nr_throttled ").unwrap_or(0);
    }
    used
}
