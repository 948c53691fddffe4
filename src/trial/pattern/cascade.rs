//! cascade: one command in waves of 1, 2, 4, ... trials, until one succeeds.
//!
//! Each wave is told what the trials of the wave before printed as they failed. In a wave the first
//! success lands and the others are ended. A trial is told its number over all waves as
//! BRANCHING_ATTEMPT; its attempt in events is its wave.

use super::{finish, race};
use crate::trial::TrialError;
use crate::trial::outcome::{Summary, Verdict};
use crate::trial::runner::{Action, Runner};

/// What a cascade is made of.
#[derive(Clone, Debug)]
pub struct Cascade {
    /// The command.
    pub action: Action,
    /// How many waves there are at most.
    pub waves: u32,
}

/// Runs wave after wave.
pub fn cascade(runner: &Runner<'_>, what: &Cascade) -> Result<Summary, TrialError> {
    let mut all = Summary::default();
    let mut feedback = Vec::new();
    let mut next = 0;
    for wave in 0..what.waves {
        if runner.is_over() {
            break;
        }
        let jobs = (0..1u32 << wave.min(16)).map(|place| {
            let mut job = runner.job(next + place, what.action.clone());
            job.attempt = wave;
            job.feedback.clone_from(&feedback);
            job
        });
        let mut won = race(runner, jobs.collect())?;
        finish(runner, &mut won);
        next += won.outcomes.len() as u32;
        feedback = won
            .outcomes
            .iter()
            .flat_map(|outcome| outcome.feedback())
            .collect();
        let before = all.outcomes.len();
        all.outcomes.append(&mut won.outcomes);
        all.winner = won.winner.map(|place| before + place);
        (all.verdict, all.committed) = (won.verdict, won.committed);
        (all.timed_out, all.signal) = (won.timed_out, won.signal);
        if all.verdict != Verdict::NobodyWon {
            break;
        }
    }
    Ok(all)
}
