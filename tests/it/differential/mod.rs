//! The same random operations in a branch and in a plain directory, with the same results.
//!
//! `BRANCHFS_DIFFERENTIAL_SEED` and `BRANCHFS_DIFFERENTIAL_SECONDS` choose the seed and the time;
//! the verb `cargo xtask differential` sets them. With a time alone the seeds are new ones, with
//! neither they are the same in every run, so that it says something about a change. A failure
//! prints its seed and a shortened history.

mod generator;
mod lockstep;
mod op;
mod random;
mod subject;
mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::CWD;

use lockstep::{Event, Size, run, shrink};
use op::Op;
use subject::{Faulty, Make, Mounted, Plain, Subject};

/// The first seed of an ordinary test run.
const USUAL_SEED: u64 = 1;

/// How long shrinking may take.
const SHRINKING: Duration = Duration::from_secs(90);

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|e| panic!("{variable}={text}: {e}")),
    )
}

/// Runs seed after seed until the time is over, at least one; a chosen seed comes first.
fn check(make: &Make<'_>, seconds: u64, size: Size) {
    let since_epoch = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock after 1970");
    let fresh = match number_from("BRANCHFS_DIFFERENTIAL_SECONDS") {
        Some(_) => since_epoch.as_nanos() as u64 % 1_000_000_007,
        None => USUAL_SEED,
    };
    let first = number_from("BRANCHFS_DIFFERENTIAL_SEED").unwrap_or(fresh);
    let start = Instant::now();
    let (mut seed, mut operations) = (first, 0);
    loop {
        println!("differential: seed {seed}");
        match run(make, seed, size) {
            Ok(count) => operations += count,
            Err(found) => panic!("{}", shrink(make, seed, found, SHRINKING).report(seed)),
        }
        seed += 1;
        if start.elapsed() > Duration::from_secs(seconds) {
            break;
        }
    }
    println!(
        "differential: {operations} operations alike, seeds {first} to {}",
        seed - 1
    );
}

#[test]
fn a_branch_and_a_plain_directory_cannot_be_told_apart() {
    let seconds = number_from("BRANCHFS_DIFFERENTIAL_SECONDS").unwrap_or(60);
    let make = |seed| Box::new(Mounted::new(seed, 600)) as Box<dyn Subject>;
    check(
        &make,
        seconds,
        Size {
            batches: 4,
            ops: 250,
        },
    );
}

#[test]
fn two_plain_directories_cannot_be_told_apart() {
    let make = |seed| Box::new(Plain::new(seed)) as Box<dyn Subject>;
    check(
        &make,
        2,
        Size {
            batches: 3,
            ops: 400,
        },
    );
}

/// Runs until the fault shows, shrinks, and checks what is left of the history.
fn check_fault(fault: fn(&Path, &Op), most_steps: usize, needed: fn(&Op) -> bool) {
    let make = move |seed| {
        Box::new(Faulty {
            plain: Plain::new(seed),
            fault,
        }) as Box<dyn Subject>
    };
    let size = Size {
        batches: 2,
        ops: 400,
    };
    let found = (1..50).find_map(|seed| run(&make, seed, size).err().map(|d| (seed, d)));
    let (seed, difference) = found.expect("the fault shows within 50 seeds");
    let shrunk = shrink(&make, seed, difference, SHRINKING);
    let report = shrunk.report(seed);
    assert!(shrunk.history.len() <= most_steps, "{report}");
    let has = shrunk
        .history
        .iter()
        .any(|e| matches!(e, Event::Did(_, op) if needed(op)));
    assert!(has, "{report}");
    assert!(report.contains(&format!("--seed {seed}")), "{report}");
}

#[test]
fn a_rename_that_loses_an_attribute_is_found_and_shrunk() {
    fn fault(root: &Path, op: &Op) {
        if let Op::Rename { to, .. } = op {
            let path = root.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(to));
            // Where the rename failed there may be nothing to remove.
            let _ = rustix::fs::lremovexattr(path, "user.a");
        }
    }
    check_fault(fault, 6, |op| matches!(op, Op::Rename { .. }));
}

#[test]
fn a_hard_link_that_is_a_copy_is_found_and_shrunk() {
    fn fault(root: &Path, op: &Op) {
        if let Op::Link { new, .. } = op {
            let path =
                root.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(new));
            let copy = root.join("copy");
            if path.is_file() && std::fs::copy(&path, &copy).is_ok() {
                rustix::fs::renameat(CWD, &copy, CWD, &path).expect("put the copy in place");
            }
        }
    }
    check_fault(fault, 6, |op| matches!(op, Op::Link { .. }));
}

#[test]
fn a_write_that_reaches_one_byte_too_far_is_found_and_shrunk() {
    fn fault(root: &Path, op: &Op) {
        if let Op::Append { path, .. } = op {
            let path =
                root.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path));
            if path.is_file() && path.metadata().is_ok_and(|m| m.len() % 2 == 0) {
                use std::io::Write;
                let file = std::fs::OpenOptions::new().append(true).open(path);
                // A file that its owner may not write is left alone.
                let _ = file.and_then(|mut f| f.write_all(b"\0"));
            }
        }
    }
    check_fault(fault, 4, |op| matches!(op, Op::Append { .. }));
}
