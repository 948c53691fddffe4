//! `cargo xtask torture`: one report on what was done to lose data, and what was lost.
//!
//! Every part is a test that fails when something is lost, so the last line is reached only if
//! nothing was.

use clap::Args;

use crate::evidence::{FUZZ, LIB, MOUNTED, Test, count};
use crate::{Done, install};

/// What `cargo xtask torture` takes.
#[derive(Args)]
pub struct Arguments {
    /// Minutes rather than hours; the default
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// For about four hours
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
        ["60", "2400"],
    ),
    part(
        "faults injected into calls that change the disk",
        LIB,
        "vfs::tests::crash::faults::a_call_that_fails_loses_nothing",
        "SIM_SECONDS",
        ["60", "1800"],
    ),
    part(
        "random operations compared with a plain model",
        LIB,
        "vfs::tests::shows_what_a_plain_model_shows",
        "MODEL_CASES",
        ["300", "10000"],
    ),
    part(
        "kills in the middle of a commit",
        MOUNTED,
        "recovery::a_crash_at_any_moment_leaves_the_parent_wholly_before_or_wholly_after",
        "BRANCHFS_KILL_SECONDS",
        ["20", "900"],
    ),
    part(
        "kills under load: versions, untar, build, SQLite, parallel commits",
        MOUNTED,
        "kills::kills_under_load_lose_nothing_that_was_acknowledged",
        "BRANCHFS_KILLS",
        ["40", "500"],
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
        ["20", "900"],
    ),
    part(
        "journals of nonsense with good checksums",
        FUZZ,
        "records",
        "FUZZ_SECONDS",
        ["20", "900"],
    ),
    part(
        "anything written to the control files",
        FUZZ,
        "control",
        "FUZZ_SECONDS",
        ["20", "900"],
    ),
    part(
        "operations with any arguments",
        FUZZ,
        "vfs",
        "FUZZ_SECONDS",
        ["20", "900"],
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
        ["20", "900"],
    ),
];

/// Runs every part and prints what it said.
pub fn run(arguments: &Arguments) -> Done {
    install::ensure(install::FOR_TESTS)?;
    let mut failed = Vec::new();
    let (mut report, mut all) = (String::new(), Vec::new());
    for part in &PARTS {
        println!("== {}", part.title);
        let amount = part.amount[usize::from(arguments.long)];
        let done = part.test.run(&[(part.variable, amount.to_owned())]);
        let verdict = match &done {
            Ok(_) => "nothing lost",
            Err(said) => {
                failed.push(part.title);
                println!("{said}");
                "FAILED"
            }
        };
        let (title, variable) = (part.title, part.variable);
        report += &format!("{verdict:>12}  {title} ({variable}={amount})\n");
        for line in done.unwrap_or_default() {
            println!("   {line}");
            report += &format!("{:>12}  {line}\n", "");
            all.push(line);
        }
    }
    println!("\n{report}\n{}", summary(&all));
    match failed.is_empty() {
        true => {
            println!("zero lost");
            Ok(())
        }
        false => Err(format!("lost: {}", failed.join(", ")).into()),
    }
}

/// The sums over all parts.
fn summary(lines: &[String]) -> String {
    let kills = ["kills under load", "commits were interrupted", "deaths at"];
    let kills: u64 = kills.iter().map(|what| count(lines, what)).sum();
    let of = |what| format!("{} {what}", count(lines, what));
    [
        of("seeds"),
        of("crash points cut"),
        format!("{kills} kills survived"),
        of("faults injected"),
        format!("{} inputs fuzzed", count(lines, "inputs")),
        of("live branches"),
        of("racing commits"),
    ]
    .join(", ")
}
