//! Forks, commits and aborts of children while a test runs in their parent.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Between two rounds, so that the test gets its share of the machine.
const PAUSE: Duration = Duration::from_millis(50);
/// Rounds between two publishes.
const PUBLISH_EVERY: usize = 10;

/// Until `stop`, forks children of the branch at `root` in which `watched` is under test.
///
/// By turns a child commits files of its own, or overwrites `watched` and is aborted; neither may
/// be seen by the test. What a child sees of `watched` must not move. Returns the number of rounds.
pub fn churn(root: &Path, watched: &str, stop: &AtomicBool) -> Result<usize, String> {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let name = format!("churn-{watched}-{round}");
        let child = root.join("@branches").join(&name);
        let at = |what: &str| format!("round {round}, {what}");
        fs::create_dir(&child).map_err(|error| at(&format!("fork: {error}")))?;
        let done = if round % 2 == 0 {
            commit(&child, watched, round)
        } else {
            abort(&child, watched)
        };
        done.map_err(|error| at(&error))?;
        if round % PUBLISH_EVERY == 0 && is_main(root) {
            say(root, "publish").map_err(|error| at(&format!("publish: {error}")))?;
        }
        thread::sleep(PAUSE);
    }
    Ok(round)
}

fn commit(child: &Path, watched: &str, round: usize) -> Result<(), String> {
    let dir = child.join(format!("churn-{watched}"));
    fs::create_dir_all(&dir).map_err(|error| format!("mkdir in the child: {error}"))?;
    let content = vec![round as u8; round * 37 % 9_000];
    fs::write(dir.join((round % 10).to_string()), content)
        .map_err(|error| format!("write in the child: {error}"))?;
    say(child, "commit").map_err(|error| format!("commit: {error}"))
}

fn abort(child: &Path, watched: &str) -> Result<(), String> {
    let path = child.join(watched);
    let first = fs::read(&path).map_err(|error| format!("read in the child: {error}"))?;
    // Readahead or not, cached or not: what a fork holds is what it held.
    let second = fs::read(&path).map_err(|error| format!("second read: {error}"))?;
    if first != second {
        return Err(format!("{watched} moved in a fork of it"));
    }
    let spoil = || {
        let file = File::options().write(true).open(&path)?;
        file.write_all_at(&[0xEE; 9_000], 5_000)?;
        file.set_len(100_000)
    };
    spoil().map_err(|error| format!("overwrite in the child: {error}"))?;
    fs::remove_dir(child).map_err(|error| format!("abort: {error}"))
}

fn say(branch: &Path, command: &str) -> std::io::Result<()> {
    let mut control = File::options().write(true).open(branch.join(".ctl"))?;
    control.write_all(command.as_bytes())
}

fn is_main(root: &Path) -> bool {
    !root.iter().any(|part| part == "@branches")
}
