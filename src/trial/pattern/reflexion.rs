//! reflexion: one command, again and again, told each time what was wrong with the last attempt.
//!
//! Every attempt has a fresh branch. The critique runs in the branch of the attempt that failed,
//! and finds what the attempt printed in BRANCHING_FEEDBACK; what it prints itself is the next
//! attempt's feedback. Without a critique that is what the attempt printed.

use std::ffi::OsString;

use super::finish;
use crate::proto::Text;
use crate::trial::TrialError;
use crate::trial::outcome::{Outcome, Summary};
use crate::trial::runner::{Action, Flow, Runner};

/// What a reflexion is made of.
#[derive(Clone, Debug)]
pub struct Reflexion {
    /// The command.
    pub action: Action,
    /// How often it is tried again.
    pub retries: u32,
    /// What says what was wrong.
    pub critique: Option<OsString>,
}

/// Tries until an attempt succeeds.
pub fn reflexion(runner: &Runner<'_>, what: &Reflexion) -> Result<Summary, TrialError> {
    let mut summary = Summary::default();
    let mut feedback = Vec::new();
    for attempt in 0..=what.retries {
        if runner.is_over() {
            break;
        }
        let mut job = runner.job(0, what.action.clone());
        (job.attempt, job.told, job.feedback) = (attempt, attempt, feedback);
        let mut outcomes = runner.run_all(vec![job], false, &mut |_, _| Flow::GoOn)?;
        let Some(mut outcome) = outcomes.pop() else {
            break;
        };
        if outcome.success() {
            summary.winner = Some(summary.outcomes.len());
            summary.outcomes.push(outcome);
            break;
        }
        let again = attempt < what.retries && !runner.is_over();
        feedback = match &what.critique {
            Some(critique) if again => criticise(runner, &outcome, critique),
            _ => outcome.feedback(),
        };
        runner.settle(&mut outcome);
        summary.outcomes.push(outcome);
    }
    finish(runner, &mut summary);
    Ok(summary)
}

fn criticise(runner: &Runner<'_>, outcome: &Outcome, critique: &OsString) -> Vec<u8> {
    let env = [
        (
            "BRANCHING_ATTEMPT",
            Text::from(&outcome.attempt.to_string()),
        ),
        ("BRANCHING_FEEDBACK", Text(outcome.feedback())),
    ];
    let action = Action::Shell(critique.clone(), Vec::new());
    let ended = runner.consult(&outcome.branch, &action, &env);
    if !ended.succeeded() {
        let code = ended.exit_code();
        runner
            .progress
            .note(&format!("the critique ended with {code}"));
    }
    ended.stdout
}
