//! xfstests: what it demands of a mount helper, and its own `./check` where there is a checkout.
//!
//! xfstests knows a FUSE file system by `FSTYP=fuse` and `FUSE_SUBTYP=.branchfs`. It mounts with
//! `mount -t fuse.branchfs DEVICE DIR` and finds the mount by the device's string again, so a base
//! is the device and is mounted elsewhere.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::case::{Cases, Excludes, Verdict};
use super::run::Log;
use super::script::driver;
use super::{Ran, file};

/// Tests the helper against what the suite's README.fuse and common/rc ask of it.
pub fn contract(scratch: &Path, binary: &Path, log: &Log) -> Ran {
    let home = scratch.join("contract");
    fs::create_dir(&home)?;
    let mut command = Command::new("sh");
    command
        .arg(file("xfstests/contract.sh"))
        .arg(&home)
        .arg(binary);
    driver(&command, log)
}

/// Runs `./check -fuse -g quick` of a checkout that is built.
pub fn check(scratch: &Path, checkout: &Path, excludes: &Excludes, log: &Log) -> Ran {
    let check = checkout.join("check");
    if !check.exists() {
        return Err(format!("{} is no checkout of xfstests", checkout.display()).into());
    }
    if !checkout.join("ltp/fsstress").exists() {
        return Err(format!("{} is not built: run make in it", checkout.display()).into());
    }
    let home = scratch.join("xfstests");
    for dir in [
        "test-device",
        "test",
        "scratch-device",
        "scratch",
        "results",
    ] {
        fs::create_dir_all(home.join(dir))?;
    }
    // `check` has its exclusions as one name on a line.
    let list = home.join("exclude");
    fs::write(
        &list,
        excludes
            .names()
            .map(|name| format!("{name}\n"))
            .collect::<String>(),
    )?;
    let mut command = Command::new("./check");
    command.current_dir(checkout);
    command.args(["-fuse", "-g", "quick", "-E"]).arg(&list);
    command.env("HOST_OPTIONS", file("xfstests/local.config"));
    command.env("BRANCHFS_XFSTESTS", &home);
    let output = log.run(&command, 6 * 60 * 60)?;
    let cases = parse(&output.text);
    if cases.is_empty() {
        return Err(format!("./check ran nothing: see {}", log.path().display()).into());
    }
    Ok(cases)
}

/// The three lists that `check` ends with.
fn parse(text: &str) -> Cases {
    let mut cases = Cases::default();
    let list = |title: &str| {
        let line = text.lines().rev().find_map(|line| line.strip_prefix(title));
        line.unwrap_or_default().split_whitespace()
    };
    for name in list("Failures: ") {
        cases.add(name, Verdict::Failed("see its output".to_owned()));
    }
    for name in list("Not run: ") {
        cases.add(
            name,
            Verdict::Skipped("it says that it does not apply".to_owned()),
        );
    }
    for name in list("Ran: ") {
        if cases.get(name).is_none() {
            cases.add(name, Verdict::Passed);
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_at_the_end_of_check_become_cases() {
        let text = "generic/001 3s ...  2s\n\
                    Ran: generic/001 generic/002 generic/003\n\
                    Not run: generic/003\nFailures: generic/002\nFailed 1 of 3 tests\n";
        let cases = parse(text);
        assert_eq!(cases.get("generic/001"), Some(&Verdict::Passed));
        assert!(matches!(cases.get("generic/002"), Some(Verdict::Failed(_))));
        assert!(matches!(
            cases.get("generic/003"),
            Some(Verdict::Skipped(_))
        ));
    }
}
