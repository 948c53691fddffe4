//! Single operations, timed one by one in this process.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};

use super::figures::quantile;
use super::{Context, Res, Round};

/// Microseconds of each of `count` calls.
fn each(count: usize, mut call: impl FnMut(usize) -> std::io::Result<()>) -> Res<Vec<f64>> {
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        let start = Instant::now();
        call(number)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}

/// Paths made in advance, so that making them is not timed.
fn paths(dir: &Path, prefix: &str, count: usize) -> Vec<CString> {
    let path = |number| dir.join(format!("{prefix}{number}"));
    let text = |path: PathBuf| CString::new(path.as_os_str().as_bytes()).expect("no NUL byte");
    (0..count).map(|number| text(path(number))).collect()
}

/// Every operation, `count` times each, in a directory of its own.
pub fn run(context: &Context, workspace: &Path, round: &mut Round) -> Res<()> {
    let count = context.pick(1000, 300);
    let dir = workspace.join("ops");
    fs::create_dir(&dir)?;
    names(&dir, count, round)?;
    data(&dir, count, round)
}

fn note(round: &mut Round, name: &str, times: Vec<f64>) {
    round.add(name, "us", quantile(&times, 0.5));
    round.add(&format!("{name}, p99"), "us", quantile(&times, 0.99));
}

fn names(dir: &Path, count: usize, round: &mut Round) -> Res<()> {
    let files = paths(dir, "f", count);
    let data = [7; 2048];
    let create = |number: usize| {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = rustix::fs::open(&files[number], flags, Mode::from(0o644))?;
        rustix::io::write(&file, &data)?;
        Ok(())
    };
    note(round, "create+write+close", each(count, create)?);
    let stat = |number: usize| {
        rustix::fs::stat(&files[number])?;
        Ok(())
    };
    each(count, stat)?;
    note(round, "stat", each(count, stat)?);
    let absent = paths(dir, "absent", 1);
    let miss = |_| {
        assert!(rustix::fs::stat(&absent[0]).is_err());
        Ok(())
    };
    note(round, "stat, ENOENT", each(count, miss)?);
    let open = |number: usize| {
        rustix::fs::open(&files[number], OFlags::RDONLY, Mode::empty())?;
        Ok(())
    };
    note(round, "open+close", each(count, open)?);
    let mut buffer = [0; 3072];
    let mut read = |number: usize| {
        let file = rustix::fs::open(&files[number], OFlags::RDONLY, Mode::empty())?;
        rustix::io::read(&file, &mut buffer)?;
        Ok(())
    };
    each(count, &mut read)?;
    note(round, "open+read+close", each(count, read)?);
    let moved = paths(dir, "g", count);
    let rename = |number: usize| Ok(rustix::fs::rename(&files[number], &moved[number])?);
    note(round, "rename", each(count, rename)?);
    let unlink = |number: usize| Ok(rustix::fs::unlink(&moved[number])?);
    note(round, "unlink", each(count, unlink)?);
    let dirs = paths(dir, "d", count);
    let mkdir = |number: usize| Ok(rustix::fs::mkdir(&dirs[number], Mode::from(0o755))?);
    note(round, "mkdir", each(count, mkdir)?);
    let rmdir = |number: usize| Ok(rustix::fs::rmdir(&dirs[number])?);
    note(round, "rmdir", each(count, rmdir)?);
    Ok(())
}

fn data(dir: &Path, count: usize, round: &mut Round) -> Res<()> {
    const BLOCKS: usize = 256;
    let path = dir.join("data");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    let mut block = [5; 4096];
    for number in 0..BLOCKS {
        file.write_all_at(&block, number as u64 * 4096)?;
    }
    let place = |number: usize| ((number * 97) % BLOCKS) as u64 * 4096;
    let write = |number: usize| file.write_all_at(&block, place(number));
    note(round, "pwrite 4 KB", each(count, write)?);
    let mut read = |number: usize| file.read_exact_at(&mut block, place(number));
    each(BLOCKS, &mut read)?;
    note(round, "pread 4 KB", each(count, read)?);
    let mut log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(dir.join("log"))?;
    let line = [b'x'; 100];
    note(
        round,
        "append 100 B",
        each(count, |_| log.write_all(&line))?,
    );
    let sync = |_| {
        log.write_all(&line)?;
        log.sync_data()
    };
    note(round, "append+fdatasync", each(count / 10, sync)?);
    Ok(())
}
