//! tree-of-thoughts: levels of strategies, of which the best of each level is expanded.
//!
//! A level's trials are forked from the branch of the best trial of the level above, so work adds
//! up from level to level. The expansion runs in that branch and prints the strategies of the next
//! level, one shell command per line; without one there is a single level. It ends where the
//! expansion has nothing more to say, where a whole level fails, or at the greatest depth; the best
//! of the last level that had a success lands, through all branches that it is nested in.

use std::ffi::OsString;

use super::{best, land_nested, lines_of};
use crate::trial::TrialError;
use crate::trial::outcome::Summary;
use crate::trial::runner::{Action, Flow, Runner};

/// What a tree of thoughts is made of.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The first level's commands.
    pub strategies: Vec<OsString>,
    /// What prints the next level's.
    pub expand: Option<OsString>,
    /// How many levels there are at most.
    pub max_depth: u32,
}

/// Runs level after level.
pub fn tree_of_thoughts(runner: &Runner<'_>, what: &Tree) -> Result<Summary, TrialError> {
    let mut summary = Summary::default();
    let mut chosen: Option<usize> = None;
    let mut strategies = what.strategies.clone();
    for depth in 0..what.max_depth {
        if strategies.is_empty() || runner.is_over() {
            break;
        }
        let before = summary.outcomes.len();
        let parent = chosen.map_or(&runner.parent, |place| &summary.outcomes[place].branch);
        let jobs = (0..).zip(&strategies).map(|(index, strategy)| {
            let mut job = runner.job(index, Action::Shell(strategy.clone(), Vec::new()));
            (job.parent, job.attempt) = (parent.clone(), depth);
            job
        });
        match runner.run_all(jobs.collect(), false, &mut |_, _| Flow::GoOn) {
            Ok(mut level) => summary.outcomes.append(&mut level),
            Err(error) => {
                land_nested(runner, &mut summary, None);
                return Err(error);
            }
        }
        let Some(place) = best(&summary.outcomes[before..]) else {
            break;
        };
        chosen = Some(before + place);
        strategies = match &what.expand {
            Some(expand) if depth + 1 < what.max_depth => {
                let branch = &summary.outcomes[before + place].branch;
                lines_of(runner, branch, expand, depth)
            }
            _ => break,
        };
    }
    land_nested(runner, &mut summary, chosen);
    Ok(summary)
}
