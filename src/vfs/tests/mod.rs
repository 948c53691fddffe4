//! The vfs against a plain model of it, by random operations and without FUSE.
//!
//! A case is a sequence of file operations in several branches, forks, commits, aborts, restores,
//! publishes, remounts after an unmount and after a kill, checkpoints and reclaims. Everything that
//! a user can see is compared on the way: see `compare`.
//!
//! Without `MODEL_CASES` it is the same run every time, so that it says something about a change.
//! `MODEL_CASES` (how many) makes a run of new cases, `MODEL_SEED` repeats one, `MODEL_STEPS` is
//! the longest sequence; `MODEL_EVERY=1` compares everything after each step. A failure prints the
//! seed and the shortest sequence that shows it.

mod branch_ops;
mod branches;
mod calls;
mod clock;
mod compare;
mod crash;
mod data;
mod diff;
mod doubt;
mod hostile;
mod kernel;
mod names;
mod op;
mod pieces;
mod regressions;
mod regressions_removed;
mod regressions_undo;
mod run;
mod tree;
mod world;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// The seed of an ordinary test run.
const USUAL_SEED: u64 = 1;

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => otherwise,
    }
}

#[test]
fn shows_what_a_plain_model_shows() {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let fresh = match std::env::var_os("MODEL_CASES") {
        Some(_) => time.expect("it is after 1970").as_micros() as u64,
        None => USUAL_SEED,
    };
    let seed = number("MODEL_SEED", fresh);
    let cases = number("MODEL_CASES", 50) as u32;
    let steps = number("MODEL_STEPS", 60) as usize;
    let every = number("MODEL_EVERY", 0) == 1;
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: number("MODEL_SHRINK", 3000) as u32,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let strategy = (op::ops(steps), proptest::arbitrary::any::<bool>());
    let done = runner.run(&strategy, |(ops, sync)| {
        run::run(&ops, sync, every).map_err(TestCaseError::fail)
    });
    match done {
        Ok(()) => {}
        Err(TestError::Fail(reason, (ops, sync))) => {
            let steps: String = ops.iter().map(|op| format!("\n    {op:?},")).collect();
            panic!("MODEL_SEED={seed}: {reason}\nsync: {sync}, steps: {steps}");
        }
        Err(error) => panic!("MODEL_SEED={seed}: {error}"),
    }
}
