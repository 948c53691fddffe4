//! `cargo xtask torture`: one report on what was done to lose data, and what was lost.
//!
//! Every part is a test that fails when something is lost, so the last line is reached only if
//! nothing was. The parts run in two lanes at the same time, those within the process of the test
//! beside those through a mount, so that two processors are in use all the time; within a lane they
//! follow one another. No part knows of another: each has a directory of its own.

use std::time::{Duration, Instant};

use clap::Args;

use crate::cargo::{cargo, succeed};
use crate::evidence::{FUZZ, LIB, MOUNTED, Test, count};
use crate::{Done, install};

/// What `cargo xtask torture` takes.
#[derive(Args)]
pub struct Arguments {
    /// Minutes rather than hours; the default
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// For about an hour
    #[arg(long)]
    long: bool,
}

/// One part of the report.
struct Part {
    /// What it shows.
    title: &'static str,
    test: Test,
    /// The variable that says how long, or how much; for the quick form and for the long one.
    variable: &'static str,
    amount: [&'static str; 2],
}

const fn part(
    title: &'static str,
    target: &'static [&'static str],
    name: &'static str,
    variable: &'static str,
    amount: [&'static str; 2],
) -> Part {
    let test = Test { target, name };
    Part {
        title,
        test,
        variable,
        amount,
    }
}

const PARTS: [Part; 17] = [
    part(
        "power cuts: seeds run, crash points cut",
        LIB,
        "vfs::tests::crash::a_power_cut_anywhere_loses_nothing_durable",
        "SIM_SECONDS",
        ["60", "900"],
    ),
    part(
        "kills in the middle of a commit",
        MOUNTED,
        "recovery::a_crash_at_any_moment_leaves_the_parent_wholly_before_or_wholly_after",
        "BRANCHFS_KILL_SECONDS",
        ["20", "300"],
    ),
    part(
        "kills under load: versions, untar, build, SQLite, parallel commits",
        MOUNTED,
        "kills::kills_under_load_lose_nothing_that_was_acknowledged",
        "BRANCHFS_KILLS",
        ["40", "300"],
    ),
    part(
        "deaths at named points of a commit",
        MOUNTED,
        "failpoints::a_daemon_that_dies_within_a_commit_loses_nothing",
        "BRANCHFS_FAILPOINT_TIMES",
        ["1", "2"],
    ),
    part(
        "deaths at named points of a publish",
        MOUNTED,
        "failpoints::a_daemon_that_dies_within_a_publish_loses_nothing",
        "BRANCHFS_FAILPOINT_TIMES",
        ["2", "20"],
    ),
    part(
        "deaths at named points of a checkpoint",
        MOUNTED,
        "failpoints::a_daemon_that_dies_within_a_checkpoint_loses_nothing",
        "BRANCHFS_FAILPOINT_TIMES",
        ["1", "2"],
    ),
    part(
        "deaths at named points of a reclaim",
        MOUNTED,
        "failpoints::a_daemon_that_dies_within_a_reclaim_loses_nothing",
        "BRANCHFS_FAILPOINT_TIMES",
        ["1", "2"],
    ),
    part(
        "damaged journals, checkpoints and superblocks",
        FUZZ,
        "store",
        "FUZZ_SECONDS",
        ["20", "180"],
    ),
    part(
        "journals of nonsense with good checksums",
        FUZZ,
        "records",
        "FUZZ_SECONDS",
        ["20", "180"],
    ),
    part(
        "anything written to the control files",
        FUZZ,
        "control",
        "FUZZ_SECONDS",
        ["20", "180"],
    ),
    part(
        "operations with any arguments",
        FUZZ,
        "vfs",
        "FUZZ_SECONDS",
        ["20", "180"],
    ),
    part(
        "faults injected into calls that change the disk",
        LIB,
        "vfs::tests::crash::faults::a_call_that_fails_loses_nothing",
        "SIM_SECONDS",
        ["60", "600"],
    ),
    part(
        "random operations compared with a plain model",
        LIB,
        "vfs::tests::shows_what_a_plain_model_shows",
        "MODEL_CASES",
        ["300", "3000"],
    ),
    part(
        "load: live branches",
        MOUNTED,
        "load::thousands_of_live_branches_keep_apart_and_come_back",
        "BRANCHFS_LOAD",
        ["quick", "long"],
    ),
    part(
        "load: processes that write",
        MOUNTED,
        "load::processes_that_write_in_many_branches_at_once_lose_nothing",
        "BRANCHFS_LOAD",
        ["quick", "long"],
    ),
    part(
        "load: commits that race for one parent",
        MOUNTED,
        "load::of_commits_that_race_one_wins_and_nobody_sees_half_of_it",
        "BRANCHFS_LOAD",
        ["quick", "long"],
    ),
    part(
        "random operations in a branch and in a plain directory",
        MOUNTED,
        "differential::a_branch_and_a_plain_directory_cannot_be_told_apart",
        "BRANCHFS_DIFFERENTIAL_SECONDS",
        ["20", "600"],
    ),
];

/// What one part said, and how long it took.
struct Said {
    part: &'static Part,
    took: Duration,
    lines: Result<Vec<String>, String>,
}

/// Runs every part and prints what it said.
pub fn run(arguments: &Arguments) -> Done {
    install::ensure(install::FOR_TESTS)?;
    build()?;
    let long = arguments.long;
    let start = Instant::now();
    let mounted = |part: &&Part| part.test.target == MOUNTED;
    let (through_mounts, within): (Vec<_>, Vec<_>) = PARTS.iter().partition(mounted);
    let said: Vec<Said> = std::thread::scope(|scope| {
        let lane = |parts: Vec<&'static Part>| {
            scope.spawn(move || parts.into_iter().map(|p| run_part(p, long)).collect())
        };
        let lanes: [_; 2] = [within, through_mounts].map(lane);
        let ends = lanes.map(|lane| lane.join().expect("a lane does not panic"));
        ends.into_iter().flat_map(|said: Vec<Said>| said).collect()
    });
    let minutes = start.elapsed().as_secs().div_ceil(60);
    println!(
        "\n{}\nin {minutes} minutes: {}",
        report(&said, long),
        summary(&said)
    );
    let failed = said.iter().filter(|said| said.lines.is_err());
    let failed: Vec<_> = failed.map(|said| said.part.title).collect();
    match failed.is_empty() {
        true => {
            println!("zero lost");
            Ok(())
        }
        false => Err(format!("lost: {}", failed.join(", ")).into()),
    }
}

/// Builds all tests, so that no lane waits for the compiler of another.
fn build() -> Done {
    let mut build = cargo();
    build.args(["test", "--quiet", "--package", "branchfs", "--no-run"]);
    succeed(build)
}

fn run_part(part: &'static Part, long: bool) -> Said {
    println!("== {}", part.title);
    let start = Instant::now();
    let amount = part.amount[usize::from(long)].to_owned();
    let lines = part.test.run(&[(part.variable, amount)]);
    let took = start.elapsed();
    match &lines {
        Ok(lines) => println!("== {}: {}", part.title, lines.join("\n   ")),
        Err(said) => println!("== FAILED: {}\n{said}", part.title),
    }
    Said { part, took, lines }
}

/// Each part with its verdict, what was asked of it, its time and what it said.
fn report(said: &[Said], long: bool) -> String {
    let mut report = String::new();
    for Said { part, took, lines } in said {
        let verdict = match lines {
            Ok(_) => "nothing lost",
            Err(_) => "FAILED",
        };
        let (title, variable) = (part.title, part.variable);
        let (amount, took) = (part.amount[usize::from(long)], took.as_secs());
        report += &format!("{verdict:>12}  {title} ({variable}={amount}, {took} s)\n");
        for line in lines.iter().flatten() {
            report += &format!("{:>12}  {line}\n", "");
        }
    }
    report
}

/// The sums over all parts.
fn summary(said: &[Said]) -> String {
    let lines = || {
        said.iter()
            .filter_map(|said| said.lines.as_ref().ok())
            .flatten()
    };
    let kills = ["kills under load", "commits were interrupted", "deaths at"];
    let kills: u64 = kills.iter().map(|what| count(lines(), what)).sum();
    let of = |what| format!("{} {what}", count(lines(), what));
    [
        of("seeds"),
        of("crash points cut"),
        format!("{kills} kills survived"),
        of("faults injected"),
        format!("{} inputs fuzzed", count(lines(), "inputs")),
        of("live branches"),
        of("racing commits"),
    ]
    .join(", ")
}
