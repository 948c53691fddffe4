//! Control groups, version 2 (Documentation/admin-guide/cgroup-v2.rst of the kernel).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Limits, PERIOD_US, Used, keyed, number, quota_us};

/// Makes a group in `parent` whose children can be limited.
pub fn create(parent: &Path, name: &str, memory: bool, cpu: bool) -> io::Result<PathBuf> {
    let wanted: Vec<&str> = [("memory", memory), ("cpu", cpu)]
        .into_iter()
        .filter_map(|(controller, wanted)| wanted.then_some(controller))
        .collect();
    hand_on(parent, &wanted)?;
    let group = parent.join(name);
    fs::create_dir(&group)?;
    match hand_on(&group, &wanted) {
        Ok(()) => Ok(group),
        Err(error) => {
            fs::remove_dir(&group)?;
            Err(error)
        }
    }
}

/// Sees to it that children of `group` have the controllers.
///
/// A group with processes of its own refuses it (EBUSY), the root aside.
fn hand_on(group: &Path, controllers: &[&str]) -> io::Result<()> {
    let file = group.join("cgroup.subtree_control");
    let now = fs::read_to_string(&file).unwrap_or_default();
    for controller in controllers {
        if !now.split_ascii_whitespace().any(|has| has == *controller) {
            fs::write(&file, format!("+{controller}"))?;
        }
    }
    Ok(())
}

/// Sets the limits of a group.
pub fn limit(group: &Path, limits: &Limits) -> io::Result<()> {
    let set = |file: &str, value: String| fs::write(group.join(file), value);
    if let Some(bytes) = limits.memory_bytes {
        set("memory.max", bytes.to_string())?;
        // Without swap, or where it is not accounted, there is no such file.
        let _ = set("memory.swap.max", "0".to_owned());
    }
    if let Some(bytes) = limits.memory_high_bytes {
        set("memory.high", bytes.to_string())?;
    }
    if limits.oom_group {
        set("memory.oom.group", "1".to_owned())?;
    }
    if let Some(cpus) = limits.cpus {
        set("cpu.max", format!("{} {PERIOD_US}", quota_us(cpus)))?;
    }
    Ok(())
}

/// What was used in a group.
pub fn used(group: &Path) -> Used {
    Used {
        peak_bytes: number(&group.join("memory.peak")),
        oom_kills: keyed(&group.join("memory.events"), "oom_kill ").unwrap_or(0),
        throttled: keyed(&group.join("cpu.stat"), "nr_throttled ").unwrap_or(0),
    }
}
