//! Forks and aborts: their time depends on nothing, and a fork costs the store next to nothing.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Bench;
use super::base::{drop_caches, fill, median_ms, time};
use super::table::Table;
use crate::mounted::Mounted;

/// How many forks a median is taken over.
const FORKS: usize = 101;

/// Bytes of the journal's records.
const JOURNAL_BYTES: &str = "branchfs_journal_bytes_since_checkpoint";

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

/// The journal's growth over 5,000 forks, divided by their number. The journal is allocated in
/// advance, so its records are counted and not the space that it takes.
pub fn growth(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let base = bench.base("growth")?;
    fill(&base, 100, b"content\n")?;
    let mounted = Mounted::mount(bench.binary(), &base)?;
    let (space, records) = (mounted.store_bytes()?, mounted.metric(JOURNAL_BYTES)?);
    for number in 0..5000 {
        fs::create_dir(mounted.branch(&format!("b{number}")))?;
    }
    let space = mounted.store_bytes()?.saturating_sub(space);
    let records = mounted.metric(JOURNAL_BYTES)? - records;
    mounted.unmount()?;
    let grown = records.max(space as f64);
    table.below(
        "growth of the store per fork",
        grown / 5000.0,
        1024.0,
        "bytes",
    );
    Ok(())
}

/// How a branch is ended.
#[derive(Clone, Copy)]
enum By {
    Write,
    Rmdir,
}

fn abort_ms(root: &Path, by: By) -> Result<f64, Box<dyn Error>> {
    let abort = || match by {
        By::Write => fs::write(root.join(".abort"), b"abort\n"),
        By::Rmdir => fs::remove_dir(root),
    };
    Ok(time(abort)?.1.as_secs_f64() * 1000.0)
}

/// A branch with 100,000 changed files, which the kernel still knows or has forgotten.
fn full_branch(mounted: &Mounted, known: bool) -> Result<PathBuf, Box<dyn Error>> {
    let root = mounted.branch("full");
    fs::create_dir(&root)?;
    let work = root.join("work");
    fs::create_dir(&work)?;
    fill(&work, 100_000, b"changed\n")?;
    if !known {
        drop_caches()?;
        mounted.forgotten()?;
    }
    Ok(root)
}

/// The abort of an empty branch against that of one with 100,000 changed files.
///
/// rmdir(2) of a branch whose files the kernel knows is left out: the kernel itself drops its
/// entries before it returns, about 4 us for each.
pub fn abort(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let base = bench.base("abort")?;
    fill(&base, 100, b"content\n")?;
    let mounted = Mounted::mount(bench.binary(), &base)?;
    let cases = [
        (By::Write, true, ".abort, known to the kernel"),
        (By::Write, false, ".abort, forgotten by the kernel"),
        (By::Rmdir, false, "rmdir, forgotten by the kernel"),
    ];
    for (by, known, shown) in cases {
        let mut empty = Vec::new();
        for number in 0..if known { 21 } else { 5 } {
            let root = mounted.branch(&format!("empty{number}"));
            fs::create_dir(&root)?;
            if !known {
                // What else is cold then is cold for both.
                drop_caches()?;
                mounted.forgotten()?;
            }
            empty.push(Duration::from_secs_f64(abort_ms(&root, by)? / 1000.0));
        }
        let empty = median_ms(empty);
        let full = abort_ms(&full_branch(&mounted, known)?, by)?;
        let what = format!("abort of 100,000 changed files by {shown} ({empty:.2} ms with none)");
        // A single abort is taken, so it gets more slack than a median.
        table.below(&what, full, empty * FACTOR + 15.0, "ms");
    }
    mounted.unmount()
}
