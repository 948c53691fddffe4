//! What the daemon keeps in memory and the store on disk: per inode that the kernel knows, per
//! changed file, per idle branch.

use std::fs;

use super::figures::Figures;
use super::system::Kind;
use super::{Context, Res};
use crate::mounted::Mounted;
use crate::scale::base::fill;

/// Adds the figures.
pub fn run(context: &Context, figures: &mut Figures) -> Res<()> {
    let count = context.pick(200_000, 20_000u64);
    let base = context.backing().join("memory");
    fs::create_dir(&base)?;
    fill(&base, count, b"content\n")?;
    let mounted = Mounted::mount(context.binary(), &base)?;
    let mut last = mounted.resident_bytes()?;
    let mut grown = |mounted: &Mounted| -> Res<u64> {
        let now = mounted.resident_bytes()?;
        let more = now.saturating_sub(last);
        last = now;
        Ok(more)
    };
    let known = walk(mounted.root())?;
    let per = grown(&mounted)? as f64 / known as f64;
    figures.add(
        Kind::Branchfs,
        "memory per inode known to the kernel",
        "B",
        per,
    );
    let branches = context.pick(10_000, 1000);
    let holder = mounted.branch("holder");
    fs::create_dir(&holder)?;
    for number in 0..branches {
        fs::create_dir(holder.join("@branches").join(format!("b{number}")))?;
    }
    let per = grown(&mounted)? as f64 / f64::from(branches);
    figures.add(Kind::Branchfs, "memory per idle branch", "B", per);
    let branch = mounted.branch("changed");
    fs::create_dir(&branch)?;
    let disk = mounted.store_bytes()?;
    let work = branch.join("work");
    fs::create_dir(&work)?;
    fill(&work, count, b"changed\n")?;
    let per = grown(&mounted)? as f64 / count as f64;
    figures.add(
        Kind::Branchfs,
        "memory per changed (and known) file",
        "B",
        per,
    );
    let per = mounted.store_bytes()?.saturating_sub(disk) as f64 / count as f64;
    figures.add(Kind::Branchfs, "store per changed file of 8 B", "B", per);
    mounted.unmount()?;
    Ok(fs::remove_dir_all(base)?)
}

/// Lists everything with its attributes; returns how much there is.
fn walk(dir: &std::path::Path) -> std::io::Result<u64> {
    let mut seen = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        entry.metadata()?;
        seen += 1;
        if entry.file_type()?.is_dir() {
            seen += walk(&entry.path())?;
        }
    }
    Ok(seen)
}
