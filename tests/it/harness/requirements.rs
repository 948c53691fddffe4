//! What a machine must have for these tests. A missing piece fails a test and says what to install.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// Programs that the tests start, each with the Debian package that has it. `cargo xtask test`
/// reads the same list.
const PROGRAMS: &str = include_str!("../../requirements.txt");

/// Panics, saying what to do, unless the tests can run here.
pub fn check() {
    static MISSING: OnceLock<Vec<String>> = OnceLock::new();
    let missing = MISSING.get_or_init(find_missing);
    assert!(
        missing.is_empty(),
        "the tests cannot run here:\n{}",
        missing.join("\n")
    );
}

/// Panics unless the tests run as root.
#[track_caller]
pub fn root() {
    assert!(
        is_root(),
        "this test needs root: run `sudo -E cargo xtask test`"
    );
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn find_missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !Path::new("/dev/fuse").exists() {
        missing
            .push("there is no /dev/fuse: `modprobe fuse`, or start the container with it".into());
    }
    let device = Path::new("/dev/fuse");
    if is_root() && device.metadata().is_ok_and(|it| it.mode() & 0o666 != 0o666) {
        // As every distribution has it; without it nobody but root mounts anything.
        let opened = fs::set_permissions(device, PermissionsExt::from_mode(0o666));
        if let Err(error) = opened {
            missing.push(format!("/dev/fuse is root's alone and stays so: {error}"));
        }
    }
    for (program, package) in PROGRAMS.lines().filter_map(|line| line.split_once(' ')) {
        if !has(program) {
            missing.push(format!(
                "{program} is missing; install it: apt-get install {package}"
            ));
        }
    }
    missing
}

fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$1\"", "sh", program])
        .output();
    found.is_ok_and(|o| o.status.success())
}
