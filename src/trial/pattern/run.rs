//! run: one command in one branch.

use crate::trial::land::Landing;
use crate::trial::outcome::{Fate, Outcome, Summary, Verdict};
use crate::trial::runner::{Action, Flow, Runner};
use crate::trial::{TrialError, pattern::conclude};

/// What is done with a branch after its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It lands.
    Commit,
    /// It is aborted.
    Abort,
    /// It stays.
    Keep,
}

/// What a person decides about a branch.
pub type Decision<'a> = dyn FnMut(&Outcome) -> After + 'a;

/// What a run is made of.
pub struct Run<'a> {
    /// The command.
    pub action: Action,
    /// What is done where it succeeds.
    pub on_success: After,
    /// What is done where it fails.
    pub on_error: After,
    /// Who is asked instead.
    pub ask: Option<&'a mut Decision<'a>>,
}

/// Runs the command.
pub fn run(runner: &Runner<'_>, what: Run<'_>) -> Result<Summary, TrialError> {
    let job = runner.job(0, what.action);
    let mut summary = Summary {
        outcomes: runner.run_all(vec![job], true, &mut |_, _| Flow::GoOn)?,
        ..Summary::default()
    };
    conclude(runner, &mut summary);
    let Some(outcome) = summary.outcomes.first_mut() else {
        return Ok(summary);
    };
    let interrupted = summary.signal.is_some() || outcome.ended.cancelled;
    let after = match (what.ask, outcome.success()) {
        _ if interrupted => After::Abort,
        (Some(ask), _) if outcome.ended.not_started.is_none() => ask(outcome),
        (_, true) => what.on_success,
        (_, false) => what.on_error,
    };
    summary.verdict = match outcome.success() {
        true => Verdict::Won,
        false => Verdict::NobodyWon,
    };
    match after {
        After::Commit => match runner.land(outcome) {
            Landing::Landed => summary.committed = true,
            Landing::LostRace(error) | Landing::Refused(error) => {
                if error.is_conflict() {
                    summary.verdict = Verdict::LostRace;
                }
                summary.notes.push(error.to_string());
                // What was refused may still be worth something; what has lost is in the trash.
                if outcome.fate != Some(Fate::Lost) {
                    runner.leave(outcome);
                }
            }
        },
        After::Abort => runner.settle(outcome),
        After::Keep => runner.leave(outcome),
    }
    Ok(summary)
}
