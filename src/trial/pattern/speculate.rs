//! speculate: all commands at once; the first that succeeds lands, the others are ended.

use super::{finish, race};
use crate::trial::TrialError;
use crate::trial::outcome::Summary;
use crate::trial::runner::{Action, Runner};

/// Runs one trial per command.
pub fn speculate(runner: &Runner<'_>, actions: Vec<Action>) -> Result<Summary, TrialError> {
    let jobs = (0..)
        .zip(actions)
        .map(|(index, action)| runner.job(index, action));
    let mut summary = race(runner, jobs.collect())?;
    finish(runner, &mut summary);
    Ok(summary)
}
