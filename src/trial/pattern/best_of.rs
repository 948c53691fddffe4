//! best-of-n: one command so many times; the highest score lands.
//!
//! All run to their end or their time limit. Only successes count; of equal scores the lowest index
//! wins. Each is told its index as BRANCHING_ATTEMPT.

use super::{best, finish};
use crate::trial::TrialError;
use crate::trial::outcome::Summary;
use crate::trial::runner::{Action, Flow, Runner};

/// Runs `count` trials of `action`.
pub fn best_of(runner: &Runner<'_>, count: u32, action: &Action) -> Result<Summary, TrialError> {
    let jobs = (0..count).map(|index| runner.job(index, action.clone()));
    let outcomes = runner.run_all(jobs.collect(), false, &mut |_, _| Flow::GoOn)?;
    let mut summary = Summary {
        winner: best(&outcomes),
        outcomes,
        ..Summary::default()
    };
    finish(runner, &mut summary);
    Ok(summary)
}
