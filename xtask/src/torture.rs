//! `cargo xtask torture`: one report on what was done to lose data, and what was lost.
//!
//! Every part is a test that fails when something is lost, so the last line is reached only if
//! nothing was.

use clap::Args;

use crate::cargo::{cargo, root};
use crate::{Done, install};

/// What `cargo xtask torture` takes.
#[derive(Args)]
pub struct Arguments {
    /// Minutes rather than hours; the default
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// For about two hours
    #[arg(long)]
    long: bool,
}

/// One part of the report.
struct Part {
    /// What it shows.
    title: &'static str,
    /// Of the library's own tests, or those through a mount.
    target: &'static [&'static str],
    test: &'static str,
    /// The variable that says how long, or how much; for the quick form and for the long one.
    variable: &'static str,
    amount: [u64; 2],
}

const LIB: &[&str] = &["--lib"];
const MOUNTED: &[&str] = &["--test", "it"];

const PARTS: [Part; 5] = [
    Part {
        title: "power cuts: seeds run, crash points cut",
        target: LIB,
        test: "vfs::tests::crash::a_power_cut_anywhere_loses_nothing_durable",
        variable: "SIM_SECONDS",
        amount: [60, 2400],
    },
    Part {
        title: "faults injected into calls that change the disk",
        target: LIB,
        test: "vfs::tests::crash::faults::a_call_that_fails_loses_nothing",
        variable: "SIM_SECONDS",
        amount: [60, 1800],
    },
    Part {
        title: "random operations compared with a plain model",
        target: LIB,
        test: "vfs::tests::shows_what_a_plain_model_shows",
        variable: "MODEL_CASES",
        amount: [300, 10_000],
    },
    Part {
        title: "kills in the middle of a commit, through a mount",
        target: MOUNTED,
        test: "recovery::a_kill_at_any_moment_of_a_commit_leaves_it_wholly_done_or_wholly_undone",
        variable: "BRANCHFS_KILL_SECONDS",
        amount: [30, 900],
    },
    Part {
        title: "kills under load, through a mount",
        target: MOUNTED,
        test: "recovery::kills_under_load_lose_nothing_that_was_acknowledged",
        variable: "BRANCHFS_KILL_SECONDS",
        amount: [30, 900],
    },
];

/// Runs every part and prints what it said.
pub fn run(arguments: &Arguments) -> Done {
    install::ensure(install::FOR_TESTS)?;
    let mut failed = Vec::new();
    let mut report = String::new();
    for part in &PARTS {
        println!("== {}", part.title);
        let mut test = cargo();
        test.args(["test", "--quiet", "--package", "branchfs"]);
        test.args(part.target);
        test.args([
            "--",
            "--nocapture",
            "--test-threads",
            "1",
            "--exact",
            part.test,
        ]);
        let amount = part.amount[usize::from(arguments.long)];
        test.env(part.variable, amount.to_string());
        let output = test.current_dir(root()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = said.lines().filter(|line| !is_of_the_harness(line));
        let lines: String = lines.map(|line| format!("   {line}\n")).collect();
        let verdict = match output.status.success() {
            true => "nothing lost",
            false => {
                failed.push(part.title);
                print!("{}", String::from_utf8_lossy(&output.stderr));
                "FAILED"
            }
        };
        print!("{lines}");
        report += &format!(
            "{verdict:>12}  {} ({}={amount})\n",
            part.title, part.variable
        );
        report += &lines;
    }
    println!("\n{report}");
    match failed.is_empty() {
        true => {
            println!("zero lost");
            Ok(())
        }
        false => Err(format!("lost: {}", failed.join(", ")).into()),
    }
}

fn is_of_the_harness(line: &str) -> bool {
    line.is_empty()
        || line == "."
        || line.starts_with("running ")
        || line.starts_with("test result")
}
