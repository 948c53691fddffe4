//! beam-search: levels of strategies, of which the best few over all beams survive.
//!
//! As tree-of-thoughts, but every survivor of a level is expanded, in its own branch, and the
//! trials of all of them compete for the next level. Nothing lands before the end, so survivors
//! that share a parent are not in each other's way. A survivor whose expansion has nothing to say
//! stays in the competition with the score that it has.

use std::collections::HashSet;
use std::ffi::OsString;

use super::{land_nested, lines_of};
use crate::trial::TrialError;
use crate::trial::outcome::Summary;
use crate::trial::runner::{Action, Flow, Job, Runner};

/// What a beam search is made of.
#[derive(Clone, Debug)]
pub struct Beam {
    /// The first level's commands.
    pub strategies: Vec<OsString>,
    /// What prints the next level's, in each survivor.
    pub expand: Option<OsString>,
    /// How many survive a level.
    pub width: usize,
    /// How many levels there are at most.
    pub max_depth: u32,
}

/// Runs level after level.
pub fn beam_search(runner: &Runner<'_>, what: &Beam) -> Result<Summary, TrialError> {
    let mut summary = Summary::default();
    let mut standing: Vec<usize> = Vec::new();
    let mut index = 0;
    let mut jobs: Vec<Job> = Vec::new();
    for strategy in &what.strategies {
        jobs.push(runner.job(index, Action::Shell(strategy.clone(), Vec::new())));
        index += 1;
    }
    let mut finished: Vec<usize> = Vec::new();
    let mut exhausted = HashSet::new();
    for depth in 0..what.max_depth {
        if jobs.is_empty() || runner.is_over() {
            break;
        }
        let before = summary.outcomes.len();
        match runner.run_all(std::mem::take(&mut jobs), false, &mut |_, _| Flow::GoOn) {
            Ok(mut level) => summary.outcomes.append(&mut level),
            Err(error) => {
                land_nested(runner, &mut summary, None);
                return Err(error);
            }
        }
        let new = before..summary.outcomes.len();
        let next = survivors(&summary, finished.drain(..).chain(new), what.width);
        if next.is_empty() {
            break;
        }
        standing = next;
        let (Some(expand), true) = (&what.expand, depth + 1 < what.max_depth) else {
            break;
        };
        for place in &standing {
            let branch = &summary.outcomes[*place].branch;
            let strategies = match exhausted.contains(place) {
                true => Vec::new(),
                false => lines_of(runner, branch, expand, depth),
            };
            if strategies.is_empty() {
                exhausted.insert(*place);
                finished.push(*place);
            }
            for strategy in strategies {
                let mut job = runner.job(index, Action::Shell(strategy, Vec::new()));
                (job.parent, job.attempt) = (branch.clone(), depth + 1);
                jobs.push(job);
                index += 1;
            }
        }
    }
    let winner = standing.first().copied();
    land_nested(runner, &mut summary, winner);
    Ok(summary)
}

/// The best of `places`, at most `width`; of equals the first comes first.
fn survivors(summary: &Summary, places: impl Iterator<Item = usize>, width: usize) -> Vec<usize> {
    let outcomes = &summary.outcomes;
    let mut places: Vec<usize> = places.filter(|place| outcomes[*place].success()).collect();
    places.sort_by(|a, b| {
        let (first, second) = (outcomes[*a].score(), outcomes[*b].score());
        second.total_cmp(&first).then(a.cmp(b))
    });
    places.truncate(width);
    places
}
