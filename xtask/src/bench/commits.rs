//! What a decision costs: a fork beside a mkdir on the floor, and a commit beside what makes the
//! same files durable without one: an fsync of one file, `cp -a` of many.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::figures::Figures;
use super::life::us;
use super::system::{Kind, System};
use super::trees::timed;
use super::{Context, Res};
use crate::mounted::Mounted;
use crate::scale::base::fill;

const FORK: &str = "fork (floor: mkdir)";
const INTO_MAIN: &str = "commit of one small file into main (plain: fsync)";
const INTO_BRANCH: &str = "commit of one small file into a branch (plain: fsync)";
const MANY_INTO_MAIN: &str = "commit of 10,000 changed files into main (plain: cp -a)";
const MANY_INTO_BRANCH: &str = "commit of 10,000 changed files into a branch (plain: cp -a)";

/// Adds the figures; what is compared takes turns.
pub fn run(context: &Context, figures: &mut Figures) -> Res<()> {
    let base = context.backing().join("commits");
    let plain = context.backing().join("commits-plain");
    for dir in [&base.join("many"), &plain] {
        fs::create_dir_all(dir)?;
        fill(dir, context.pick(10_000, 1000), &[b'x'; 1000])?;
    }
    // The parent of the second row would lose to the commits of the first.
    let mounted = Mounted::mount_with(context.binary(), &base, "policy=merge")?;
    let empty = context.backing().join("commits-empty");
    fs::create_dir(&empty)?;
    let floor = System::start(context, Kind::Floor, &empty, "commits")?;
    let parent = mounted.branch("parent");
    fs::create_dir(&parent)?;
    for round in 0..context.pick(200, 20) {
        let name = format!("b{round}");
        let at = floor.root().join(&name);
        figures.add(Kind::Floor, FORK, "us", us(|| fs::create_dir(at))?);
        let synced = sync_one(&context.backing().join(format!("commits-{name}")))?;
        for (row, at) in [(INTO_MAIN, mounted.root()), (INTO_BRANCH, &parent)] {
            let branch = at.join("@branches").join(&name);
            let took = us(|| fs::create_dir(&branch))?;
            if row == INTO_MAIN {
                figures.add(Kind::Branchfs, FORK, "us", took);
            }
            fs::write(branch.join("small"), name.as_bytes())?;
            let took = us(|| fs::write(branch.join(".commit"), b"1"))?;
            figures.add(Kind::Branchfs, row, "us", took);
            figures.add(Kind::Plain, row, "us", synced);
        }
    }
    floor.stop()?;
    for round in 0..context.pick(5, 2) {
        let name = format!("many{round}");
        let copy = context.backing().join(&name);
        let copied = timed(Command::new("cp").arg("-a").arg(&plain).arg(&copy))?;
        fs::remove_dir_all(copy)?;
        for (row, at) in [
            (MANY_INTO_MAIN, mounted.root()),
            (MANY_INTO_BRANCH, &parent),
        ] {
            let branch = at.join("@branches").join(&name);
            fs::create_dir(&branch)?;
            overwrite(&branch.join("many"), name.as_bytes())?;
            let took = us(|| fs::write(branch.join(".commit"), b"1"))?;
            figures.add(Kind::Branchfs, row, "ms", took / 1e3);
            figures.add(Kind::Plain, row, "ms", copied);
        }
    }
    mounted.unmount()?;
    fs::remove_dir_all(plain)?;
    Ok(fs::remove_dir_all(base)?)
}

/// How long it takes to make a new small file durable, in microseconds.
fn sync_one(path: &Path) -> Res<f64> {
    let mut file = File::create(path)?;
    file.write_all(b"small")?;
    let took = us(|| file.sync_all())?;
    fs::remove_file(path)?;
    Ok(took)
}

/// Gives every file below a directory this content.
fn overwrite(dir: &Path, content: &[u8]) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => overwrite(&entry.path(), content)?,
            false => fs::write(entry.path(), content)?,
        }
    }
    Ok(())
}
