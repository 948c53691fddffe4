//! Large files: one after the other, at random, and the first write into one of the base.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use super::backing::drop_caches;
use super::figures::quantile;
use super::{Context, Res, Round};

/// The large file of the tree.
pub const LARGE: &str = "large";

const MIB: usize = 1 << 20;

/// Files that are only there to be written to for the first time; one alone would be one sample.
const FIRSTS: usize = 7;

/// Makes the large files.
pub fn make_large(context: &Context, at: &Path) -> Res<()> {
    std::fs::create_dir(at)?;
    make(&at.join(LARGE), context.large_mib())?;
    for number in 0..FIRSTS {
        make(&at.join(format!("first{number}")), context.large_mib() / 8)?;
    }
    Ok(())
}

fn make(at: &Path, mib: u64) -> Res<()> {
    let mut file = File::create(at)?;
    let mut chunk = vec![0; MIB];
    for number in 0..mib {
        chunk.fill(number as u8);
        file.write_all(&chunk)?;
    }
    Ok(())
}

fn read_through(path: &Path) -> Res<f64> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; MIB];
    let (start, mut bytes) = (Instant::now(), 0);
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            n => bytes += n,
        }
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / (bytes / MIB) as f64)
}

/// All of it, in a fresh workspace.
pub fn run(context: &Context, workspace: &Path, round: &mut Round) -> Res<()> {
    let large = workspace.join(LARGE);
    drop_caches()?;
    round.add("sequential read, cold", "us/MiB", read_through(&large)?);
    round.add("sequential read, warm", "us/MiB", read_through(&large)?);
    let mut firsts = Vec::new();
    for number in 0..FIRSTS {
        let path = workspace.join(format!("first{number}"));
        let start = Instant::now();
        let file = OpenOptions::new().write(true).open(path)?;
        file.write_all_at(b"x", 12345)?;
        firsts.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let name = "first open and write of a large file";
    round.add(name, "us", quantile(&firsts, 0.5));
    let file = OpenOptions::new().read(true).write(true).open(&large)?;
    at_random(context, &file, round)?;
    drop(file);
    let new = workspace.join("new");
    let mut file = File::create(&new)?;
    let chunk = vec![3; MIB];
    let start = Instant::now();
    for _ in 0..context.large_mib() {
        file.write_all(&chunk)?;
    }
    let took = start.elapsed().as_secs_f64() * 1e6;
    drop(file);
    round.add(
        "sequential write",
        "us/MiB",
        took / context.large_mib() as f64,
    );
    drop_caches()?;
    let again = read_through(&new)?;
    round.add("sequential read of what was written", "us/MiB", again);
    Ok(std::fs::remove_file(new)?)
}

fn at_random(context: &Context, file: &File, round: &mut Round) -> Res<()> {
    let blocks = context.large_mib() * 256;
    // A multiplicative step visits blocks in an order that no readahead guesses.
    let place = |number: u64| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % blocks) * 4096;
    let mut block = [9; 4096];
    let count = context.pick(2000, 500);
    let mut times = Vec::new();
    for number in 0..count as u64 {
        let start = Instant::now();
        file.write_all_at(&block, place(number))?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    round.add("random write 4 KB", "us", quantile(&times, 0.5));
    times.clear();
    for number in 0..count as u64 {
        let start = Instant::now();
        file.read_exact_at(&mut block, place(number + 1_000_000))?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    round.add("random read 4 KB", "us", quantile(&times, 0.5));
    Ok(())
}
