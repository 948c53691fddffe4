//! Builds that run at the same time, one in each branch, and the first that succeeds.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Idea, report};
use crate::mounted::Mounted;
use crate::transcript::{say, shell};

/// How much of a line is shown.
const SHOWN_COLUMNS: usize = 100;

/// How long a build that lost may take to notice.
const END: Duration = Duration::from_secs(30);

/// A build in one branch.
pub struct Attempt<'a> {
    /// What is built.
    pub idea: &'a Idea,
    child: Child,
    log: PathBuf,
    ended: bool,
}

/// All builds.
pub struct Race<'a> {
    attempts: Vec<Attempt<'a>>,
    start: Instant,
}

impl<'a> Race<'a> {
    /// Starts a build in every branch.
    pub fn start(
        mounted: &Mounted,
        scratch: &Path,
        ideas: &'a [Idea],
    ) -> Result<Race<'a>, Box<dyn std::error::Error>> {
        shell("cd @branches/NAME; CARGO_TARGET_DIR=target cargo test --test integration    # x 3");
        let mut attempts = Vec::new();
        for idea in ideas {
            let root = mounted.branch(idea.name);
            let log = scratch.join(format!("{}.log", idea.name));
            let output = File::create(&log)?;
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut command = Command::new(cargo);
            command.args(["test", "--locked", "--offline", "--test", "integration"]);
            command
                .current_dir(&root)
                .env("CARGO_TARGET_DIR", root.join("target"));
            // The program's tests make files of fixed names there.
            let temporary = scratch.join(format!("{}-tmp", idea.name));
            std::fs::create_dir(&temporary)?;
            command.env("TMPDIR", temporary);
            // Debug information doubles the time and says nothing here.
            command
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .env("CARGO_INCREMENTAL", "0");
            // A backtrace that the caller asked for changes what a test of the program prints.
            command
                .env_remove("RUST_BACKTRACE")
                .env_remove("RUST_TEST_THREADS");
            command
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output);
            let child = command.process_group(0).spawn()?;
            attempts.push(Attempt {
                idea,
                child,
                log,
                ended: false,
            });
        }
        Ok(Race {
            attempts,
            start: Instant::now(),
        })
    }

    /// Waits for the first build whose tests pass.
    pub fn first_success(&mut self) -> Result<&Attempt<'a>, Box<dyn std::error::Error>> {
        loop {
            for index in 0..self.attempts.len() {
                let attempt = &mut self.attempts[index];
                let Some(status) = (!attempt.ended)
                    .then(|| attempt.child.try_wait())
                    .transpose()?
                    .flatten()
                else {
                    continue;
                };
                attempt.ended = true;
                report(attempt, self.start.elapsed().as_secs(), status.success());
                if status.success() {
                    return Ok(&self.attempts[index]);
                }
            }
            if self.attempts.iter().all(|a| a.ended) {
                let logs = self
                    .attempts
                    .iter()
                    .map(|a| format!("{}:\n{}", a.idea.name, a.tail()));
                return Err(format!("no build succeeded:\n{}", logs.collect::<String>()).into());
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// Waits for the builds that still ran when their branch died, and shows what they said.
    pub fn show_ends(&mut self) {
        let deadline = Instant::now() + END;
        for attempt in self.attempts.iter_mut().filter(|a| !a.ended) {
            while matches!(attempt.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                sleep(Duration::from_millis(50));
            }
            let line = attempt.stale_line().unwrap_or_else(|| attempt.last_line());
            // Cargo quotes a whole command line where a compiler gave no answer.
            let start: String = line.chars().take(SHOWN_COLUMNS).collect();
            let more = if start.len() < line.len() { "…" } else { "" };
            say(&format!(
                "{}: its build ends: {start}{more}",
                attempt.idea.name
            ));
        }
    }
}

impl Attempt<'_> {
    fn lines(&self) -> Vec<String> {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(30)..].join("\n") + "\n"
    }

    fn stale_line(&self) -> Option<String> {
        let lines = self.lines();
        lines
            .into_iter()
            .rev()
            .find(|l| l.contains("tale") || l.contains("os error"))
    }

    /// The line that says how the build ended.
    pub fn last_line(&self) -> String {
        let lines = self.lines();
        let result = lines.iter().rev().find(|l| l.starts_with("test result:"));
        let line = result.or_else(|| lines.iter().rev().find(|l| !l.trim().is_empty()));
        line.map(|l| l.trim().to_owned()).unwrap_or_default()
    }
}

impl Drop for Race<'_> {
    fn drop(&mut self) {
        for attempt in &mut self.attempts {
            // A compiler is a child of cargo, so the whole group is ended; most have ended already.
            let group = format!("-{}", attempt.child.id());
            if matches!(attempt.child.try_wait(), Ok(None)) {
                let _ = Command::new("kill").args(["-KILL", "--", &group]).output();
            }
            let _ = attempt.child.wait();
        }
    }
}
