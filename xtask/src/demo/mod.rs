//! `cargo xtask demo`: three branches of a real program are built at once, and the first whose
//! tests pass lands.
//!
//! The program is ripgrep, from crates.io: 299 integration tests, half a minute of work for one
//! core without optimisation, and its package holds its tests and its Cargo.lock. Everything
//! happens in a directory that is gone afterwards, however the demo ends.

mod build;
mod source;

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::mounted::{Mounted, quiet};
use crate::scratch::Scratch;
use crate::transcript::{say, shell, step};
use crate::{Done, cargo, install};
use build::{Attempt, Race};

/// What is needed beside cargo: git, and without root a program that may mount.
fn requirements() -> &'static str {
    if install::is_root() {
        "git git\ndiff diffutils\n"
    } else {
        "git git\ndiff diffutils\nfusermount3 fuse3\n"
    }
}

/// A branch and the change that is tried in it.
pub struct Idea {
    /// The branch's name.
    pub name: &'static str,
    /// What the change is, in a few words.
    pub what: &'static str,
    /// The file that is changed.
    pub file: &'static str,
    /// The text that is replaced; nothing at all where `to` goes to the end.
    pub from: &'static str,
    /// What takes its place.
    pub to: &'static str,
}

const IDEAS: [Idea; 3] = [
    Idea {
        name: "broken",
        what: "exit with 0 when nothing was found: its tests fail",
        file: "crates/core/main.rs",
        from: "        ExitCode::from(1)\n",
        to: "        ExitCode::from(0)\n",
    },
    Idea {
        name: "slow",
        what: "optimise the debug build: right, but it takes its time",
        file: "Cargo.toml",
        from: "",
        to: "\n[profile.dev]\nopt-level = 3\n",
    },
    Idea {
        name: "good",
        what: "a version line that says what this is",
        file: "crates/core/flags/doc/version.rs",
        from: "format!(\"ripgrep {digits}\")",
        to: "format!(\"ripgrep {digits}, built in a branch\")",
    },
];

/// Runs the demo.
pub fn run() -> Done {
    let start = Instant::now();
    step("What this needs");
    install::ensure(requirements())?;
    say("git and /dev/fuse are here; building branchfs itself");
    let binary = cargo::release_binary()?;
    let scratch = Scratch::new("branchfs-demo-")?;
    let base = scratch.path().join("ripgrep");
    step("The sources of a real program, in a git repository");
    source::fetch(scratch.path(), &base)?;
    let mounted = show_mount(&binary, &base)?;
    let outcome = race_and_commit(&mounted, scratch.path());
    let winner = match outcome {
        Ok(winner) => winner,
        Err(error) => return Err(format!("{error} (everything is being removed)").into()),
    };
    step("Unmounted, the base is an ordinary directory with the winner in it");
    shell(&format!("branchfs umount {}", base.display()));
    mounted.unmount()?;
    show_base(&base, &winner)?;
    let path = scratch.path().to_owned();
    drop(scratch);
    check_nothing_left(&path)?;
    step("Done");
    say(&format!(
        "nothing is left behind; it took {} s",
        start.elapsed().as_secs()
    ));
    Ok(())
}

fn show_mount(binary: &Path, base: &Path) -> Result<Mounted, Box<dyn Error>> {
    step("Mounted in place: the same path now has branches");
    shell(&format!("branchfs mount {}", base.display()));
    let mounted = Mounted::mount(binary, base)?;
    say(&format!(
        "it answers after {} ms",
        mounted.mount_time().as_millis()
    ));
    Ok(mounted)
}

/// The winner's name, and a copy of its tree from before the commit.
struct Winner {
    name: &'static str,
    copy: PathBuf,
}

fn race_and_commit(mounted: &Mounted, scratch: &Path) -> Result<Winner, Box<dyn Error>> {
    step("Three branches, each made by mkdir, each with a change of its own");
    for idea in &IDEAS {
        let root = mounted.branch(idea.name);
        let start = Instant::now();
        fs::create_dir(&root).map_err(|e| format!("mkdir {}: {e}", root.display()))?;
        shell(&format!("mkdir @branches/{}", idea.name));
        say(&format!(
            "{} us; {}",
            start.elapsed().as_micros(),
            idea.what
        ));
        idea.apply(&root)?;
    }
    step("All three are built and tested at once, each in its own branch");
    let mut race = Race::start(mounted, scratch, &IDEAS)?;
    let winner = race.first_success()?;
    let name = winner.idea.name;
    let root = mounted.branch(name);
    git(
        &root,
        &["commit", "--quiet", "--all", "--message", winner.idea.what],
    )?;
    let copy = scratch.join("winner");
    quiet(Command::new("cp").arg("-a").arg(&root).arg(&copy))?;
    let mut losers = Vec::new();
    for idea in IDEAS.iter().filter(|i| i.name != name) {
        losers.push(Loser::open(mounted, idea)?);
    }
    step("The first whose tests pass is committed by writing a file");
    shell(&format!("echo commit > @branches/{name}/.ctl"));
    let start = Instant::now();
    let control = File::options()
        .write(true)
        .truncate(true)
        .open(root.join(".ctl"));
    control
        .and_then(|mut f| f.write_all(b"commit\n"))
        .map_err(|e| format!("the commit: {e}"))?;
    say(&format!(
        "accepted after {} ms",
        start.elapsed().as_millis()
    ));
    step("The other two are dead at once");
    for loser in losers {
        loser.show()?;
    }
    race.show_ends();
    Ok(Winner { name, copy })
}

impl Idea {
    fn apply(&self, root: &Path) -> Done {
        let path = root.join(self.file);
        let text = fs::read_to_string(&path)?;
        let changed = match self.from {
            "" => text + self.to,
            from if text.contains(from) => text.replacen(from, self.to, 1),
            from => return Err(format!("{}: there is no {from:?}", path.display()).into()),
        };
        Ok(fs::write(&path, changed)?)
    }
}

/// Descriptors that were opened in a branch while it was alive.
struct Loser {
    name: &'static str,
    file: File,
    control: File,
}

impl Loser {
    fn open(mounted: &Mounted, idea: &Idea) -> Result<Loser, Box<dyn Error>> {
        let root = mounted.branch(idea.name);
        let file = File::open(root.join(idea.file))?;
        let control = File::options().write(true).open(root.join(".ctl"))?;
        Ok(Loser {
            name: idea.name,
            file,
            control,
        })
    }

    /// Reads and commits through the descriptors, which has to fail with ESTALE.
    fn show(mut self) -> Done {
        const ESTALE: i32 = 116;
        let mut text = String::new();
        let attempts = [
            (
                "read from a file that was open",
                self.file.read_to_string(&mut text).map(drop),
            ),
            ("echo commit > .ctl", self.control.write_all(b"commit\n")),
        ];
        for (what, result) in attempts {
            let name = self.name;
            match result {
                Err(e) if e.raw_os_error() == Some(ESTALE) => say(&format!("{name}: {what}: {e}")),
                other => return Err(format!("{name}: {what}: not ESTALE but {other:?}").into()),
            }
        }
        Ok(())
    }
}

fn show_base(base: &Path, winner: &Winner) -> Done {
    shell(&format!(
        "diff -r --no-dereference --exclude=.branchfs {} winner",
        base.display()
    ));
    let mut diff = Command::new("diff");
    diff.args(["-r", "--no-dereference", "--exclude=.branchfs"])
        .arg(base)
        .arg(&winner.copy);
    quiet(&mut diff)?;
    let files = count_files(&winner.copy)?;
    say(&format!(
        "{files} files are those of {}, byte for byte, its build included",
        winner.name
    ));
    shell("git status --short && git fsck --strict && git log --oneline");
    let status = git(base, &["status", "--short"])?;
    if !status.is_empty() {
        return Err(format!("git status is not clean:\n{status}").into());
    }
    git(base, &["fsck", "--strict"])?;
    for line in git(base, &["log", "--oneline"])?.lines() {
        say(line);
    }
    shell("target/debug/rg --version");
    let version = Command::new(base.join("target/debug/rg"))
        .arg("--version")
        .output()?;
    say(String::from_utf8_lossy(&version.stdout)
        .lines()
        .next()
        .unwrap_or_default());
    Ok(())
}

fn count_files(dir: &Path) -> std::io::Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() {
            count_files(&entry.path())?
        } else {
            1
        };
    }
    Ok(count)
}

/// Runs git without the user's configuration and returns what it prints.
fn git(dir: &Path, args: &[&str]) -> Result<String, Box<dyn Error>> {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=Demo", "-c", "user.email=demo@example.org"]);
    git.args(["-c", "init.defaultBranch=main", "-c", "gc.auto=0"]);
    git.args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = git.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("git {}: {said}{error}", args.join(" ")).into())
}

/// No mount and no file below the demo's directory is there any more.
fn check_nothing_left(path: &Path) -> Done {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let name = path.to_string_lossy();
    if path.exists() || mounts.contains(name.as_ref()) {
        return Err(format!("{name} is still there").into());
    }
    Ok(())
}

/// An attempt that ended, for the transcript.
fn report(attempt: &Attempt<'_>, seconds: u64, success: bool) {
    let outcome = if success { "tests pass" } else { "fails" };
    say(&format!(
        "{}: {outcome} after {seconds} s: {}",
        attempt.idea.name,
        attempt.last_line()
    ));
}
