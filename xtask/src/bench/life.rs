//! How the life of a branch depends on what grows: fork, commit, abort and lookup against the size
//! of the base, the changes, the live branches and the nesting. Of branchfs alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::backing::drop_caches;
use super::figures::median;
use super::plot::Series;
use super::{Context, Res};
use crate::mounted::Mounted;
use crate::scale::base::fill;

/// Repetitions of what is short.
const TIMES: usize = 31;

/// How long one call takes, in microseconds.
pub fn us(call: impl FnOnce() -> std::io::Result<()>) -> Res<f64> {
    let start = Instant::now();
    call()?;
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

/// What one point of a curve is measured on.
struct World {
    mounted: Mounted,
    base: PathBuf,
    made: u64,
}

impl World {
    fn new(context: &Context, name: &str, files: u64) -> Res<World> {
        World::with(context, name, files, "rw")
    }

    /// The same with mount options.
    fn with(context: &Context, name: &str, files: u64, options: &str) -> Res<World> {
        let base = context.backing().join(format!("life-{name}"));
        fs::create_dir(&base)?;
        // Empty: a million files take half a gigabyte as they are.
        fill(&base, files, b"")?;
        let mounted = Mounted::mount_with(context.binary(), &base, options)?;
        Ok(World {
            mounted,
            base,
            made: 0,
        })
    }

    /// The median times of a fork, an abort, and a commit of one new file, in microseconds, in the
    /// branch whose root is `at`.
    fn life(&mut self, at: &Path) -> Res<[f64; 3]> {
        let [mut forks, mut aborts, mut commits] = [const { Vec::new() }; 3];
        for _ in 0..TIMES {
            self.made += 2;
            let path = |number| at.join("@branches").join(format!("life{number}"));
            let (ended, landed) = (path(self.made), path(self.made + 1));
            forks.push(us(|| fs::create_dir(&ended))?);
            aborts.push(us(|| fs::write(ended.join(".abort"), b"1"))?);
            fs::create_dir(&landed)?;
            fs::write(landed.join("landed"), self.made.to_string())?;
            commits.push(us(|| fs::write(landed.join(".commit"), b"1"))?);
        }
        Ok([median(&forks), median(&aborts), median(&commits)])
    }

    /// The median time of the first stat of a file, and of a name that is absent.
    fn lookups(&self, at: &Path) -> Res<[f64; 2]> {
        drop_caches()?;
        let [mut there, mut absent] = [const { Vec::new() }; 2];
        // The directory itself is known before the names in it are asked for.
        fs::symlink_metadata(at.join("d0"))?;
        for number in 0..100 {
            let path = at.join("d0").join(format!("f{number}"));
            there.push(us(|| fs::symlink_metadata(&path).map(|_| ()))?);
            let path = at.join("d0").join(format!("none{number}"));
            let start = Instant::now();
            let found = fs::symlink_metadata(&path).is_ok();
            absent.push(start.elapsed().as_secs_f64() * 1e6);
            assert!(!found, "nothing has that name");
        }
        Ok([median(&there), median(&absent)])
    }

    fn end(self) -> Res<()> {
        self.mounted.unmount()?;
        Ok(fs::remove_dir_all(self.base)?)
    }
}

fn note(series: &mut Series, x: u64, life: [f64; 3], lookups: [f64; 2]) {
    for (name, value) in ["fork", "abort", "commit of one file"]
        .into_iter()
        .zip(life)
    {
        series.add(name, x as f64, value);
    }
    for (name, value) in ["lookup", "lookup, absent"].into_iter().zip(lookups) {
        series.add(name, x as f64, value);
    }
}

fn decades(from: u64, to: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(from), move |n| Some(n * 10)).take_while(move |&n| n <= to)
}

/// Against the number of files in the base.
pub fn base_size(context: &Context) -> Res<Series> {
    let mut series = Series::new("base-size", "files in the base", "us");
    for files in decades(100, context.pick(1_000_000, 1000)) {
        eprintln!("life: a base of {files} files");
        let mut world = World::new(context, "base", files)?;
        let root = world.mounted.root().to_owned();
        let life = world.life(&root)?;
        note(&mut series, files, life, world.lookups(&root)?);
        world.end()?;
    }
    Ok(series)
}

/// Against the number of files that the parent changed.
pub fn changed_files(context: &Context) -> Res<Series> {
    let mut series = Series::new("changed-files", "changed files of the branch", "us");
    for files in decades(1, context.pick(100_000, 100)) {
        eprintln!("life: {files} changed files");
        let mut world = World::new(context, "changes", 1000)?;
        let branch = world.mounted.branch("changed");
        fs::create_dir(&branch)?;
        let work = branch.join("work");
        fs::create_dir(&work)?;
        fill(&work, files, b"changed\n")?;
        let life = world.life(&branch)?;
        note(&mut series, files, life, world.lookups(&branch)?);
        let whole = us(|| fs::write(branch.join(".commit"), b"1"))?;
        series.add("commit of all of them", files as f64, whole);
        world.end()?;
    }
    Ok(series)
}

/// Against the number of live branches.
pub fn live_branches(context: &Context) -> Res<Series> {
    let mut series = Series::new("live-branches", "live branches", "us");
    let mut world = World::new(context, "live", 1000)?;
    let mut live = 0;
    for branches in decades(1, context.pick(10_000, 100)) {
        eprintln!("life: {branches} live branches");
        // They live in a branch beside the one that is measured, which a commit would make lost.
        let holder = world.mounted.branch("holder");
        if live == 0 {
            fs::create_dir(&holder)?;
            fs::create_dir(holder.join("@branches/measured"))?;
        }
        while live < branches {
            fs::create_dir(holder.join("@branches").join(format!("live{live}")))?;
            live += 1;
        }
        let at = holder.join("@branches/measured");
        let life = world.life(&at)?;
        note(&mut series, branches, life, world.lookups(&at)?);
    }
    world.end()?;
    Ok(series)
}

/// Against how deep the branch is nested.
pub fn nesting(context: &Context) -> Res<Series> {
    let mut series = Series::new("nesting", "levels above the branch", "us");
    let most = context.pick(64u64, 8);
    // One more is forked from the last.
    let options = format!("max_depth={}", most + 1);
    let mut world = World::with(context, "nesting", 1000, &options)?;
    let mut at = world.mounted.root().to_owned();
    for level in 1..=most {
        at = at.join("@branches/n");
        fs::create_dir(&at)?;
        fs::write(at.join(format!("level{level}")), "x")?;
        if level.is_power_of_two() {
            eprintln!("life: {level} levels");
            let life = world.life(&at)?;
            note(&mut series, level, life, world.lookups(&at)?);
        }
    }
    world.end()?;
    Ok(series)
}

/// A commit against the bytes in it.
pub fn bytes(context: &Context) -> Res<Series> {
    let mut series = Series::new("changed-bytes", "bytes committed", "us");
    for bytes in decades(1000, context.pick(1_000_000_000, 1_000_000)) {
        eprintln!("life: {bytes} bytes");
        let world = World::new(context, "bytes", 100)?;
        let branch = world.mounted.branch("b");
        fs::create_dir(&branch)?;
        fs::write(branch.join("content"), vec![7; bytes as usize])?;
        let took = us(|| fs::write(branch.join(".commit"), b"1"))?;
        series.add("commit", bytes as f64, took);
        world.end()?;
    }
    Ok(series)
}
