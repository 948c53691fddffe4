//! pjdfstest: what POSIX says of each system call, case by case.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::case::{Cases, Verdict};
use super::run::{Run, from_crates_io};
use super::{Ran, file};
use crate::mounted::quiet;

const VERSION: &str = "0.2.2";
/// The longest path to run in: a socket's path has at most 107 bytes, and 55 are pjdfstest's own.
const DIR_BYTES: usize = 52;

/// Runs every case, and those of EROFS once more where they may remount.
pub fn run(run: &Run<'_>) -> Ran {
    if run.dir.as_os_str().len() > DIR_BYTES {
        let dir = run.dir.display();
        return Err(
            format!("{dir} is too long a path for sockets: set TMPDIR to a short one").into(),
        );
    }
    let program = from_crates_io("pjdfstest", VERSION)?;
    let config = fs::read_to_string(file("pjdfstest.toml"))?;
    let remounting = config.replace("allow_remount = false", "allow_remount = true");
    if config == remounting {
        return Err("pjdfstest.toml has no `allow_remount = false`".into());
    }
    let other = other_file_system(run.scratch)?;
    let mut cases = Cases::default();
    for (config, filter) in [(config, None), (remounting, Some("erofs"))] {
        let path = run.scratch.join("pjdfstest.toml");
        fs::write(&path, config)?;
        let mut command = Command::new(&program);
        command
            .arg("-c")
            .arg(path)
            .arg("-p")
            .arg(run.dir)
            .arg("-s")
            .arg(&other);
        command.args(filter).env("NO_COLOR", "1");
        let found = parse(&run.log.run(&command, 600)?.text);
        if found.is_empty() {
            return Err(format!("pjdfstest ran nothing: see {}", run.log.path().display()).into());
        }
        // The second run's are the ones that the first skipped.
        let mut both = found;
        both.add_all(cases);
        cases = both;
    }
    Ok(cases)
}

/// A second file system, for EXDEV.
fn other_file_system(scratch: &Path) -> Result<std::path::PathBuf, Box<dyn Error>> {
    let dir = scratch.join("other");
    if !dir.exists() {
        fs::create_dir(&dir)?;
        quiet(
            Command::new("mount")
                .args(["-t", "tmpfs", "tmpfs"])
                .arg(&dir),
        )?;
    }
    Ok(dir)
}

/// `NAME  ok`, `NAME  FAILED` or `NAME  skipped`, with what was said on the lines after it.
fn parse(text: &str) -> Cases {
    let mut cases = Cases::default();
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some((name, verdict)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let said = || lines.get(at + 1).map_or("", |line| line.trim()).to_owned();
        match verdict.trim() {
            "ok" => cases.add(name, Verdict::Passed),
            "FAILED" => cases.add(name, Verdict::Failed(said())),
            "skipped" => cases.add(name, Verdict::Skipped(said())),
            _ => {}
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_with_a_verdict_is_a_case() {
        let text = "chmod::change_perm::dir      ok\n\
                    unlink::erofs_named   skipped\n\tRemounts are not allowed\n\
                    link::enotdir    FAILED\n\tassertion failed\nBacktrace:\n   0: std\n\
                    Summary: 1 failed, 1 skipped, 1 passed\n";
        let cases = parse(text);
        assert_eq!(cases.iter().count(), 3);
        assert_eq!(cases.get("chmod::change_perm::dir"), Some(&Verdict::Passed));
        let failed = Verdict::Failed("assertion failed".into());
        assert_eq!(cases.get("link::enotdir"), Some(&failed));
        let skipped = Verdict::Skipped("Remounts are not allowed".into());
        assert_eq!(cases.get("unlink::erofs_named"), Some(&skipped));
    }
}
