//! Forks and aborts: their time depends on nothing, and a fork costs the store next to nothing.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::Bench;
use super::base::{fill, median_ms, time};
use super::table::Table;
use crate::mounted::Mounted;

/// How many forks a median is taken over.
const FORKS: usize = 101;

/// A time may be this many times what it is compared with before it counts as growth ...
const FACTOR: f64 = 3.0;
/// ... and this much more, since the times are fractions of a millisecond.
const SLACK_MS: f64 = 0.3;

/// The median time of a fork, in milliseconds. The branches are left as they are.
fn fork_ms(mounted: &Mounted, prefix: &str) -> Result<f64, Box<dyn Error>> {
    let mut times = Vec::new();
    for number in 0..FORKS {
        let path = mounted.branch(&format!("{prefix}{number}"));
        times.push(time(|| fs::create_dir(&path))?.1);
    }
    Ok(median_ms(times))
}

fn compare(table: &mut Table, what: &str, small: f64, large: f64) {
    table.below(what, large, small * FACTOR + SLACK_MS, "ms");
}

/// 100 files against 200,000.
pub fn size_of_base(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::new();
    for count in [100, 200_000] {
        let base = bench.base(&format!("size-{count}"))?;
        fill(&base, count, b"content\n")?;
        let mounted = Mounted::mount(bench.binary(), &base)?;
        times.push(fork_ms(&mounted, "b")?);
        mounted.unmount()?;
    }
    compare(
        table,
        &format!("fork, base of 200,000 files ({:.2} ms with 100)", times[0]),
        times[0],
        times[1],
    );
    Ok(())
}

/// 1 live branch against 5,000.
pub fn live_branches(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let base = bench.base("live")?;
    fill(&base, 100, b"content\n")?;
    let mounted = Mounted::mount(bench.binary(), &base)?;
    let few = fork_ms(&mounted, "few")?;
    for number in 0..5000 {
        fs::create_dir(mounted.branch(&format!("live{number}")))?;
    }
    let many = fork_ms(&mounted, "many")?;
    mounted.unmount()?;
    compare(
        table,
        &format!("fork, 5,000 live branches ({few:.2} ms with few)"),
        few,
        many,
    );
    Ok(())
}

/// An unchanged parent against one with 100,000 changed files.
pub fn changes_of_parent(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let base = bench.base("changes")?;
    fill(&base, 100, b"content\n")?;
    let mounted = Mounted::mount(bench.binary(), &base)?;
    let parent = mounted.branch("parent");
    fs::create_dir(&parent)?;
    let forks = |prefix: &str| -> Result<f64, Box<dyn Error>> {
        let mut times: Vec<Duration> = Vec::new();
        for number in 0..FORKS {
            let path = parent.join("@branches").join(format!("{prefix}{number}"));
            times.push(time(|| fs::create_dir(&path))?.1);
        }
        Ok(median_ms(times))
    };
    let before = forks("before")?;
    let work = parent.join("work");
    fs::create_dir(&work)?;
    fill(&work, 100_000, b"changed\n")?;
    let after = forks("after")?;
    mounted.unmount()?;
    let what = format!("fork, 100,000 changes in the parent ({before:.2} ms with none)");
    compare(table, &what, before, after);
    Ok(())
}

/// The store's growth over 5,000 forks, divided by their number.
pub fn growth(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let base = bench.base("growth")?;
    fill(&base, 100, b"content\n")?;
    let mounted = Mounted::mount(bench.binary(), &base)?;
    let before = mounted.store_bytes()?;
    for number in 0..5000 {
        fs::create_dir(mounted.branch(&format!("b{number}")))?;
    }
    let grown = mounted.store_bytes()?.saturating_sub(before);
    mounted.unmount()?;
    table.below(
        "growth of the store per fork",
        grown as f64 / 5000.0,
        1024.0,
        "bytes",
    );
    Ok(())
}

/// The abort of an empty branch against that of one with 100,000 changed files.
pub fn abort(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let base = bench.base("abort")?;
    fill(&base, 100, b"content\n")?;
    let mounted = Mounted::mount(bench.binary(), &base)?;
    let abort = |root: &Path| time(|| fs::write(root.join(".abort"), b"abort\n"));
    let mut empty = Vec::new();
    for number in 0..21 {
        let root = mounted.branch(&format!("empty{number}"));
        fs::create_dir(&root)?;
        empty.push(abort(&root)?.1);
    }
    let empty = median_ms(empty);
    let root = mounted.branch("full");
    fs::create_dir(&root)?;
    fill(&root, 100_000, b"changed\n")?;
    // What the kernel still knows of the branch is forgotten first, as it would be after a while:
    // the figure is the filesystem's, not that of dropping 100,000 entries from the kernel's
    // caches.
    if fs::write("/proc/sys/vm/drop_caches", "2").is_err() {
        return Err("dropping the kernel's caches needs root".into());
    }
    let full = abort(&root)?.1.as_secs_f64() * 1000.0;
    mounted.unmount()?;
    let what = format!("abort, 100,000 changed files ({empty:.2} ms with none)");
    // A single abort is taken, so it gets more slack than a median.
    table.below(&what, full, empty * FACTOR + 5.0, "ms");
    Ok(())
}
