//! Large files and very many files.

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Bench;
use super::base::{drop_caches, fill, time};
use super::table::Table;
use crate::mounted::Mounted;

const MIB: f64 = 1024.0 * 1024.0;

/// One byte into a sparse file of 4 GiB: what the first write takes, and what the store grows by.
pub fn first_write(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let base = bench.base("sparse")?;
    let file = File::create(base.join("big"))?;
    file.set_len(4 << 30)?;
    file.write_all_at(b"end", (4 << 30) - 3)?;
    drop(file);
    let mounted = Mounted::mount(bench.binary(), &base)?;
    let branch = mounted.branch("b");
    fs::create_dir(&branch)?;
    let before = mounted.store_bytes()?;
    let file = File::options().write(true).open(branch.join("big"))?;
    let ((), took) = time(|| file.write_all_at(b"!", 1 << 31))?;
    drop(file);
    let grown = mounted.store_bytes()?.saturating_sub(before);
    mounted.unmount()?;
    table.below(
        "first write into a base file of 4 GiB",
        took.as_secs_f64() * 1000.0,
        5.0,
        "ms",
    );
    table.below("growth of the store for it", grown as f64 / MIB, 1.0, "MiB");
    Ok(())
}

/// A base with a million files: mounting, walking it all, and the memory before and after.
pub fn million_files(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let base = bench.base("million")?;
    fill(&base, bench.files, b"")?;
    let mounted = Mounted::mount(bench.binary(), &base)?;
    let files = bench.files;
    let seconds = mounted.mount_time().as_secs_f64();
    table.below(&format!("mount, base of {files} files"), seconds, 1.0, "s");
    let start = mounted.resident_bytes()? as f64 / MIB;
    let walked = walk(mounted.root())?;
    if walked < files {
        return Err(format!("the walk saw {walked} of {files} files").into());
    }
    let full = mounted.resident_bytes()? as f64 / MIB;
    table.below(
        &format!("memory after a walk of {files} files"),
        full,
        400.0,
        "MB",
    );
    drop_caches()?;
    let after = settled(&mounted)? / MIB;
    mounted.unmount()?;
    // "Comes back" is what it was at the start and a tenth of what the walk had added.
    let limit = start + (full - start) * 0.1 + 32.0;
    let what = format!("memory after the kernel forgot them ({start:.0} MB before)");
    table.below(&what, after, limit, "MB");
    Ok(())
}

/// Looks at every file below `dir`, as `find -size` would.
fn walk(dir: &Path) -> std::io::Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            count += walk(&entry.path())?;
        } else {
            count += u64::from(fs::symlink_metadata(entry.path())?.nlink() > 0);
        }
    }
    Ok(count)
}

/// The daemon's memory once it no longer falls: the kernel's FORGETs arrive in its own time.
fn settled(mounted: &Mounted) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    let mut least = u64::MAX;
    let mut still = 0;
    while still < 20 && start.elapsed() < Duration::from_secs(120) {
        let now = mounted.resident_bytes()?;
        still = if now < least { 0 } else { still + 1 };
        least = least.min(now);
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(least as f64)
}
