//! Three repairs race, the first that makes the tests pass lands, and the losers are gone at once.

use std::fs::{self, OpenOptions};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::repository::BUGS;
use super::{Res, World, expect, suite};
use crate::Done;
use crate::transcript::{say, shell, step};

/// How long a loser may outlive the moment in which the winner is seen.
const GONE_MS: u128 = 100;

/// How long the race may take.
const RACE: Duration = Duration::from_secs(300);

/// Shows it.
pub fn show(world: &World) -> Done {
    let bug = &BUGS[0];
    step("speculate: three repairs of a failing test suite race");
    let before = world.branchfs("run", &["--", "sh", "-c", &suite()])?;
    expect(before.0 == 101, "the tests fail before")?;
    let mark = |name: &str| world.scratch.join(name);
    let (failed, slow_runs, go) = (mark("failed"), mark("slow"), mark("go"));
    let wrong = format!(
        "sed -i 's/let mut count = 0/let mut count = 1/' src/lib.rs && {} ||
         {{ touch {}; exit 101; }}",
        suite(),
        failed.display()
    );
    // It leaves a daemon behind, ignores what is meant to end it, and would have been right.
    let slow = format!(
        "trap '' TERM HUP INT; setsid sleep 1000 & {} && touch {} && {} && exec sleep 1000",
        bug.repair(),
        slow_runs.display(),
        suite()
    );
    // It is told when the first has failed and the second runs, so there is a loser to be ended.
    let right = format!(
        "until [ -e {} ]; do sleep 0.01; done; {} && {}",
        go.display(),
        bug.repair(),
        suite()
    );
    shell("branchfs speculate -c WRONG -c SLOW -c RIGHT");
    let args = ["-c", &wrong, "-c", &slow, "-c", &right];
    let race = world.start("speculate", &args)?;
    let deadline = Instant::now() + RACE;
    until(deadline, || Ok(slow_runs.exists() && failed.exists()))?;
    let running = world.processes()?.len();
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(&go)?;
    until(deadline, || Ok(!bug.is_in(world.root())?))?;
    let seen = Instant::now();
    until(deadline, || {
        Ok(world.branches()? == 0 && world.processes()?.is_empty())
    })?;
    let gone = seen.elapsed().as_millis();
    let (code, told) = world.finish(race)?;
    expect(
        running >= 3,
        format!("{running} processes ran in the branches"),
    )?;
    expect(
        gone <= GONE_MS,
        format!("{gone} ms after the repair was seen no loser's process and no branch was there"),
    )?;
    expect(
        code == 0 && told["committed"] == true && told["winner"] == 2,
        "the third has landed",
    )?;
    expect(
        told["results"][0]["error"] == "exit code 101"
            && told["results"][1]["error"] == "cancelled",
        "the first had failed its tests, the second was ended",
    )?;
    for file in [&failed, &slow_runs, &go] {
        fs::remove_file(file)?;
    }
    let diff = super::repository::git(world.root(), &["diff", "--unified=0"])?;
    for line in diff.lines().filter(|line| line.contains("if x")) {
        say(line);
    }
    expect(
        diff.lines().filter(|l| l.starts_with('+')).count() == 2,
        "git diff shows one line",
    )
}

/// Looks every millisecond until `holds`.
fn until(deadline: Instant, holds: impl Fn() -> Res<bool>) -> Done {
    while !holds()? {
        if Instant::now() > deadline {
            return Err("the race does not end".into());
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}
