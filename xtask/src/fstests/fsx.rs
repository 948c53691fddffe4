//! fsx: random operations on one file, checked byte for byte, while its branch is forked, committed
//! into and published.
//!
//! fsx overwrites what a file held before; what begins with the base's content is in the test
//! `exerciser` of tests/it.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::case::{Cases, Verdict};
use super::churn::churn;
use super::run::{Log, Output, Run, from_crates_io};
use super::{Ran, file};

const VERSION: &str = "0.3.2";
const SEEDS: u64 = 5;
const OPERATIONS: u64 = 100_000;
const OPERATIONS_QUICK: u64 = 3_000;
/// The largest file, as fsx.toml has it.
const LEN_BYTES: usize = 256 << 10;

/// What a run works on.
#[derive(Clone, Copy)]
enum Subject {
    /// A file that does not exist before.
    New,
    /// A file of the base, which fsx cuts to nothing first.
    Base,
}

impl Subject {
    const ALL: [Subject; 2] = [Subject::New, Subject::Base];

    fn name(self) -> &'static str {
        match self {
            Subject::New => "new",
            Subject::Base => "base",
        }
    }
}

/// Puts the files of the base there.
pub fn seed(base: &Path) -> std::io::Result<()> {
    let bytes: Vec<u8> = (0..LEN_BYTES).map(|at| (at * 7 / 3) as u8).collect();
    for seed in 1..=SEEDS {
        fs::write(
            base.join(format!("{}-{seed}", Subject::Base.name())),
            &bytes,
        )?;
    }
    Ok(())
}

/// Every seed on every subject.
pub fn run(run: &Run<'_>) -> Ran {
    let program = from_crates_io("fsx", VERSION)?;
    let seeds = if run.quick { 1 } else { SEEDS };
    let mut cases = Cases::default();
    for seed in 1..=seeds {
        for subject in Subject::ALL {
            let name = format!("{}-{seed}", subject.name());
            cases.add(&name, one(run, &program, subject, seed, &name)?);
        }
    }
    Ok(cases)
}

fn one(
    run: &Run<'_>,
    program: &Path,
    subject: Subject,
    seed: u64,
    name: &str,
) -> Result<Verdict, Box<dyn Error>> {
    let path = run.dir.join(name);
    if matches!(subject, Subject::New) {
        // A child looks for it from its first round on.
        fs::write(&path, b"")?;
    }
    let operations = if run.quick {
        OPERATIONS_QUICK
    } else {
        OPERATIONS
    };
    let artifacts: PathBuf = run.scratch.join("fsx");
    fs::create_dir_all(&artifacts)?;
    let mut command = Command::new(program);
    command
        .arg("-f")
        .arg(file("fsx.toml"))
        .arg("-P")
        .arg(artifacts);
    command
        .args(["-N", &operations.to_string(), "-S", &seed.to_string()])
        .arg(&path);
    let stop = AtomicBool::new(false);
    let (output, churned) = thread::scope(|scope| {
        let churning = scope.spawn(|| churn(run.dir, name, &stop));
        let output = exercise(run.log, &command);
        stop.store(true, Ordering::Relaxed);
        (output, churning.join())
    });
    let churned = churned.map_err(|_| "the churning thread panicked")?;
    let output = output?;
    Ok(match churned {
        _ if !output.status.success() => {
            let lines: Vec<&str> = output.text.lines().take(4).collect();
            Verdict::Failed(format!("{}: {}", output.status, lines.join("; ")))
        }
        Err(said) => Verdict::Failed(said),
        Ok(0) => Verdict::Failed("no child was forked meanwhile".to_owned()),
        Ok(_) => Verdict::Passed,
    })
}

fn exercise(log: &Log, command: &Command) -> Result<Output, String> {
    log.run(command, 1_800).map_err(|error| error.to_string())
}
