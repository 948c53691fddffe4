//! Work on whole trees: a git repository, and an archive of many small files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::backing::drop_caches;
use super::{Context, Res, Round};
use crate::mounted::quiet;

/// Milliseconds of a command that must succeed.
pub fn timed(command: &mut Command) -> Res<f64> {
    let start = Instant::now();
    quiet(command)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).args([
        "-c",
        "user.name=bench",
        "-c",
        "user.email=bench@localhost",
        "-c",
        "gc.auto=0",
        "-c",
        "maintenance.auto=false",
    ]);
    command
}

/// How many files are below `dir`, without `.git`.
pub fn count_files(dir: &Path) -> std::io::Result<u64> {
    let mut files = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true if entry.file_name() == ".git" => {}
            true => files += count_files(&entry.path())?,
            false => files += 1,
        }
    }
    Ok(files)
}

/// Makes a repository of the sources of the crates that this one is built from: two commits, with
/// `first` some thousand files away from the branch's head.
pub fn make_repository(at: &Path, files: u64) -> Res<()> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let sources = home.ok_or("no HOME")?.join("registry/src");
    fs::create_dir(at)?;
    let mut crates: Vec<PathBuf> = Vec::new();
    for registry in fs::read_dir(&sources)? {
        for source in fs::read_dir(registry?.path())? {
            crates.push(source?.path());
        }
    }
    crates.sort();
    let mut made = 0;
    for source in &crates {
        if made >= files {
            break;
        }
        if count_files(source)? > files / 4 {
            continue;
        }
        quiet(Command::new("cp").arg("-a").arg(source).arg(at))?;
        made += count_files(source)?;
    }
    if made < files {
        return Err(format!("{} has only {made} files", sources.display()).into());
    }
    quiet(git(at).args(["init", "--quiet"]))?;
    quiet(git(at).args(["add", "--all", "--force"]))?;
    quiet(git(at).args(["commit", "--quiet", "--message", "first"]))?;
    quiet(git(at).args(["tag", "first"]))?;
    change_every_third(at, &mut 0)?;
    quiet(git(at).args(["add", "--all", "--force"]))?;
    quiet(git(at).args(["commit", "--quiet", "--message", "second"]))
}

/// Every third file gets a line more, every thirtieth is removed.
fn change_every_third(dir: &Path, number: &mut u64) -> Res<()> {
    let mut entries: Vec<_> = fs::read_dir(dir)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() && entry.file_name() != ".git" {
            change_every_third(&path, number)?;
        } else if kind.is_file() {
            *number += 1;
            if number.is_multiple_of(30) {
                fs::remove_file(&path)?;
            } else if number.is_multiple_of(3) {
                let mut text = fs::read(&path)?;
                text.extend_from_slice(b"\n// changed\n");
                fs::write(&path, text)?;
            }
        }
    }
    Ok(())
}

/// Reads every file below `dir`; returns the number of bytes.
fn read_all(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            bytes += read_all(&entry.path())?;
        } else if kind.is_file() {
            bytes += fs::read(entry.path())?.len() as u64;
        }
    }
    Ok(bytes)
}

/// The first pass over a fresh workspace whose files the kernel has forgotten, the second, and
/// three more. The second is not warm on FUSE: a READ makes the kernel doubt the access time, so it
/// asks for the attributes of each file once more.
fn passes(round: &mut Round, what: &str, run: impl Fn() -> Res<f64>) -> Res<()> {
    drop_caches()?;
    round.add(&format!("{what}, cold"), "ms", run()?);
    round.add(&format!("{what}, second"), "ms", run()?);
    for _ in 0..3 {
        round.add(&format!("{what}, warm"), "ms", run()?);
    }
    Ok(())
}

/// What an agent does with a repository.
pub fn repository(context: &Context, workspace: &Path, round: &mut Round) -> Res<()> {
    let status = || timed(git(workspace).args(["status", "--porcelain"]));
    passes(round, "git status", status)?;
    let find = || timed(Command::new("find").arg(workspace).args(["-size", "+1G"]));
    passes(round, "find", find)?;
    let list = || timed(Command::new("ls").arg("-lR").arg(workspace));
    passes(round, "ls -lR", list)?;
    let grep = || {
        let mut grep = Command::new("grep");
        // grep answers 1 where nothing matches, so the pattern is in some file.
        timed(grep.args(["-rl", "fn main"]).arg(workspace))
    };
    passes(round, "grep -r", grep)?;
    let cat = || -> Res<f64> {
        let start = Instant::now();
        read_all(workspace)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    cat()?;
    round.add("cat every file, warm", "ms", cat()?);
    let archive = context.memory().join("out.tar");
    let mut tar = Command::new("tar");
    let out = timed(
        tar.arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(workspace)
            .arg("."),
    );
    round.add("tar out, warm", "ms", out?);
    fs::remove_file(archive)?;
    let checkout = timed(git(workspace).args(["checkout", "--quiet", "--force", "first"]));
    round.add("git checkout", "ms", checkout?);
    let to = workspace.join("copy");
    let files = context.plain_files() as f64;
    let mut copy = Command::new("cp");
    let copied = timed(copy.arg("-r").arg(context.plain_tree()).arg(&to))?;
    round.add("cp -r in", "us/file", copied * 1e3 / files);
    let removed = timed(Command::new("rm").arg("-r").arg(&to))?;
    round.add("rm -r", "us/file", removed * 1e3 / files);
    Ok(())
}

/// How many files the archive has.
const ARCHIVED: u64 = 20_000;

/// Makes the archive of many small files, as a package manager extracts them.
pub fn make_archive(context: &Context) -> Res<PathBuf> {
    let archive = context.memory().join("packages.tar");
    if archive.exists() {
        return Ok(archive);
    }
    let tree = context.memory().join("packages");
    for number in 0..ARCHIVED {
        let dir = tree.join(format!("node_modules/p{}/lib", number / 25));
        if number % 25 == 0 {
            fs::create_dir_all(&dir)?;
        }
        let length = 200 + (number * 7919 % 6000) as usize;
        fs::write(dir.join(format!("m{number}.js")), vec![b'j'; length])?;
    }
    let mut tar = Command::new("tar");
    quiet(tar.arg("-cf").arg(&archive).arg("-C").arg(&tree).arg("."))?;
    fs::remove_dir_all(tree)?;
    Ok(archive)
}

/// Extracts the archive and removes what came out.
pub fn packages(context: &Context, workspace: &Path, round: &mut Round) -> Res<()> {
    let archive = make_archive(context)?;
    let to = workspace.join("packages");
    fs::create_dir(&to)?;
    let mut tar = Command::new("tar");
    let took = timed(tar.arg("-xf").arg(archive).arg("-C").arg(&to))?;
    round.add(
        "untar 20,000 files",
        "us/file",
        took * 1e3 / ARCHIVED as f64,
    );
    let took = timed(Command::new("rm").arg("-r").arg(&to))?;
    round.add(
        "rm -r of 20,000 files",
        "us/file",
        took * 1e3 / ARCHIVED as f64,
    );
    Ok(())
}
