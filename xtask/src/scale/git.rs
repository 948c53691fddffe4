//! git in a fresh branch: it opens none of the files, and takes little longer than without a mount.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Bench;
use super::base::{fill, median_ms, time};
use super::table::Table;
use crate::Done;
use crate::mounted::{Mounted, quiet};

const FILES: u64 = 5000;

/// READs of git's own files: the index, HEAD, the configuration.
const OWN_READS: f64 = 60.0;

fn git(dir: &Path, arguments: &[&str]) -> Done {
    let mut git = Command::new("git");
    git.arg("-C").arg(dir);
    git.args(["-c", "user.name=scale", "-c", "user.email=scale@localhost"]);
    quiet(git.args(arguments))
}

/// Without optional locks git does not rewrite the index, so each run does the same.
fn status_ms(dir: &Path) -> Result<f64, Box<dyn Error>> {
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..11 {
        let status = || {
            git(dir, &["--no-optional-locks", "status", "--short"])
                .map_err(|error| std::io::Error::other(error.to_string()))
        };
        times.push(time(status)?.1);
    }
    Ok(median_ms(times))
}

/// `git status` in a fresh branch of a repository with 5,000 files.
pub fn status(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let base = bench.base("git")?;
    fill(&base, FILES, b"content\n")?;
    // Files as old as the index are read again (git calls them racy), so these are older.
    quiet(Command::new("find").arg(&base).args([
        "-exec",
        "touch",
        "-d",
        "@1500000000",
        "{}",
        "+",
    ]))?;
    git(&base, &["init", "-q"])?;
    git(&base, &["add", "."])?;
    git(&base, &["commit", "-qm", "base"])?;
    let plain = status_ms(&base)?;
    let mounted = Mounted::mount(bench.binary(), &base)?;
    let branch = mounted.branch("b");
    std::fs::create_dir(&branch)?;
    let reads = "branchfs_request_seconds_count{op=\"read\"}";
    let before = mounted.metric(reads).unwrap_or(0.0);
    let (first, took) = time(|| {
        Ok(git(&branch, &["--no-optional-locks", "status", "--short"]).map_err(|e| e.to_string()))
    })?;
    first?;
    let caused = mounted.metric(reads)? - before;
    table.below(
        "READs by git status in a fresh branch of 5,000 files",
        caused,
        OWN_READS,
        "",
    );
    let warm = status_ms(&branch)?;
    mounted.unmount()?;
    let what = format!(
        "git status again (first time {:.1} ms, plain directory {plain:.1} ms)",
        took.as_secs_f64() * 1000.0
    );
    table.below(&what, warm, plain * 3.0 + 5.0, "ms");
    Ok(())
}
