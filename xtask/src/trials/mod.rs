//! `cargo xtask trials`: the commands that run commands in branches, shown on a real repository.
//!
//! Every claim is checked, and the verb fails with the first that does not hold. Everything happens
//! in a directory that is gone afterwards, however the verb ends.

mod race;
mod repository;
mod scenes;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::mounted::Mounted;
use crate::scratch::Scratch;
use crate::transcript::{say, shell, step};
use crate::{Done, cargo, install};

type Res<T> = Result<T, Box<dyn std::error::Error>>;

/// A mounted repository, and the commands on it.
pub struct World {
    mounted: Mounted,
    binary: PathBuf,
    scratch: PathBuf,
}

/// Shows everything.
pub fn run() -> Done {
    let start = Instant::now();
    step("A real program with its tests, in a git repository, and branchfs mounted on it");
    install::ensure("git git\nsed sed\nsetsid util-linux\n")?;
    let binary = cargo::release_binary()?;
    let scratch = Scratch::new("branchfs-trials-")?;
    let base = scratch.path().join("strsim");
    repository::make(&base)?;
    shell(&format!("branchfs mount {}", base.display()));
    let world = World {
        mounted: Mounted::mount(&binary, &base)?,
        binary,
        scratch: scratch.path().to_owned(),
    };
    race::show(&world)?;
    scenes::best_of_n(&world)?;
    scenes::reflexion(&world)?;
    scenes::parallel(&world)?;
    scenes::memory_limit(&world)?;
    step("Nothing is left but what has landed");
    world.check_at_rest()?;
    world.mounted.unmount()?;
    show_end(&base)?;
    let path = scratch.path().to_owned();
    drop(scratch);
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    expect(
        !path.exists() && !mounts.contains(&*path.to_string_lossy()),
        "the directory is gone, and so are its mounts",
    )?;
    say(&format!("it took {} s", start.elapsed().as_secs()));
    Ok(())
}

/// The base, unmounted, is a repository that its own tests pass in.
fn show_end(base: &Path) -> Done {
    shell("branchfs umount . && git diff --stat && git fsck --strict && cargo test");
    for line in repository::git(base, &["diff", "--stat"])?.lines() {
        say(line.trim());
    }
    repository::git(base, &["fsck", "--strict"])?;
    let mut tests = Command::new("sh");
    tests.args(["-c", &suite()]).current_dir(base);
    crate::mounted::quiet(&mut tests)
}

/// A shell command that runs the repository's unit tests.
fn suite() -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    format!(
        "CARGO_TARGET_DIR=target CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 \
         '{cargo}' test --offline --lib"
    )
}

/// Says what holds, or fails with it.
fn expect(holds: bool, what: impl AsRef<str>) -> Done {
    let what = what.as_ref();
    if !holds {
        return Err(format!("this does not hold: {what}").into());
    }
    say(what);
    Ok(())
}

impl World {
    fn root(&self) -> &Path {
        self.mounted.root()
    }

    /// Starts `branchfs VERB --json ARGS` in the repository; what it prints goes to files.
    fn start(&self, verb: &str, args: &[&str]) -> Res<Child> {
        let mut command = Command::new(&self.binary);
        command.arg(verb).arg("--json").args(args);
        let output = |name: &str| File::create(self.scratch.join(name));
        let (out, err) = (output("out")?, output("err")?);
        command.current_dir(self.root()).stdin(Stdio::null());
        Ok(command.stdout(out).stderr(err).spawn()?)
    }

    /// Waits for what [`World::start`] has started: its exit code and what it printed.
    fn finish(&self, mut child: Child) -> Res<(i32, Value)> {
        let code = child.wait()?.code().unwrap_or(-1);
        let text = fs::read_to_string(self.scratch.join("out"))?;
        let value = serde_json::from_str(&text).map_err(|error| {
            let said = fs::read_to_string(self.scratch.join("err")).unwrap_or_default();
            format!("no JSON ({error}): {text}{said}")
        })?;
        Ok((code, value))
    }

    fn branchfs(&self, verb: &str, args: &[&str]) -> Res<(i32, Value)> {
        let child = self.start(verb, args)?;
        self.finish(child)
    }

    /// The branches that there are.
    fn branches(&self) -> std::io::Result<usize> {
        Ok(fs::read_dir(self.root().join("@branches"))?.count())
    }

    /// The processes of this repository's trials: each has the workspace in its environment.
    fn processes(&self) -> std::io::Result<Vec<String>> {
        let mark = format!("BRANCHFS_WORKSPACE={}", self.root().display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            // Another user's, or one that has just ended.
            let environ = fs::read(format!("/proc/{name}/environ")).unwrap_or_default();
            let text = String::from_utf8_lossy(&environ);
            if text.contains(&mark) {
                found.push(name);
            }
        }
        Ok(found)
    }

    fn check_at_rest(&self) -> Done {
        expect(
            self.branches()? == 0 && self.processes()?.is_empty(),
            "no branch and no process of a trial is left",
        )
    }
}
