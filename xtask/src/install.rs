//! Programs that a verb needs: checked, and installed where that can be done without asking.

use std::path::Path;
use std::process::Command;

use crate::Done;
use crate::cargo::succeed;

/// Programs that the tests start, each with the Debian package that has it.
pub const FOR_TESTS: &str = include_str!("../../tests/requirements.txt");

/// Makes sure that every program of a list (`PROGRAM PACKAGE` lines) is there.
///
/// As root, with apt-get, what is missing is installed; else the error says what to install.
pub fn ensure(list: &str) -> Done {
    if !Path::new("/dev/fuse").exists() {
        return Err(
            "there is no /dev/fuse: `modprobe fuse`, or start the container with it".into(),
        );
    }
    let missing = missing_packages(list);
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)?;
    match missing_packages(list).as_slice() {
        [] => Ok(()),
        still => Err(format!("still missing after the installation: {}", still.join(" ")).into()),
    }
}

/// Installs packages; where that cannot be done without asking, the error says which.
pub fn install(missing: &[&str]) -> Done {
    let packages = missing.join(" ");
    if !is_root() || !has("apt-get") {
        return Err(
            format!("packages are missing; install them: apt-get install {packages}").into(),
        );
    }
    println!("installing {packages}");
    let mut update = Command::new("apt-get");
    update.args(["update", "-qq"]);
    succeed(update)?;
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    succeed(install)
}

fn missing_packages(list: &str) -> Vec<&str> {
    let pairs = list.lines().filter_map(|line| line.split_once(' '));
    let mut missing: Vec<&str> = pairs
        .filter(|(program, _)| !has(program))
        .map(|(_, p)| p)
        .collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

/// Whether a program is on the PATH.
pub fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}
