//! The patterns: who runs, who wins, what the next ones are told.
//!
//! Each is one function from a [`Runner`] to a [`Summary`]; what they share is here.

mod beam;
mod best_of;
mod cascade;
mod fold;
mod parallel;
mod reflexion;
mod run;
mod speculate;
mod tournament;
mod tree;

pub use beam::{Beam, beam_search};
pub use best_of::best_of;
pub use cascade::{Cascade, cascade};
pub use fold::Fold;
pub use parallel::{Carried, Failure, Parallel, ParallelSummary, Policy, parallel};
pub use reflexion::{Reflexion, reflexion};
pub use run::{After, Decision, Run, run};
pub use speculate::speculate;
pub use tournament::{Round, Tournament, TournamentSummary, tournament};
pub use tree::{Tree, tree_of_thoughts};

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::TrialError;
use super::land::Landing;
use super::outcome::{Outcome, Summary, Verdict};
use super::runner::{Action, Flow, Job, Runner};
use crate::client::Branch;
use crate::proto::Text;

/// Runs all at once; the first that succeeds wins, and the others are ended.
fn race(runner: &Runner<'_>, jobs: Vec<Job>) -> Result<Summary, TrialError> {
    let mut summary = Summary::default();
    let mut winner = None;
    let mut refused = false;
    summary.outcomes = runner.run_all(jobs, false, &mut |outcome, others| {
        if !outcome.success() {
            return Flow::GoOn;
        }
        let place = Some(outcome.number);
        if !runner.settings.commit {
            winner = place;
            return Flow::Stop;
        }
        match runner.land_before(outcome, others) {
            Landing::Landed => {
                winner = place;
                summary.committed = true;
                Flow::Stop
            }
            Landing::LostRace(_) => {
                refused = true;
                Flow::Stop
            }
            Landing::Refused(error) => {
                refused |= error.is_conflict();
                Flow::GoOn
            }
        }
    })?;
    let is_winner = |outcome: &Outcome| Some(outcome.number) == winner;
    summary.winner = summary.outcomes.iter().position(is_winner);
    summary.verdict = match (winner, refused) {
        (Some(_), _) => Verdict::Won,
        (None, true) => Verdict::LostRace,
        (None, false) => Verdict::NobodyWon,
    };
    Ok(summary)
}

/// Lands the winner that a pattern has chosen, and ends or leaves all others.
fn finish(runner: &Runner<'_>, summary: &mut Summary) {
    if let Some(place) = summary.winner.filter(|_| !summary.committed) {
        let winner = &mut summary.outcomes[place];
        if !runner.settings.commit {
            runner.leave(winner);
            summary.verdict = Verdict::Won;
        } else if runner.interrupt.signal().is_none() {
            match runner.land(winner) {
                Landing::Landed => {
                    summary.committed = true;
                    summary.verdict = Verdict::Won;
                }
                Landing::LostRace(error) | Landing::Refused(error) => {
                    summary.winner = None;
                    summary.verdict = match error.is_conflict() {
                        true => Verdict::LostRace,
                        false => Verdict::NobodyWon,
                    };
                }
            }
        }
    }
    for outcome in &mut summary.outcomes {
        runner.settle(outcome);
    }
    conclude(runner, summary);
}

/// Takes down what ended the pattern from outside.
fn conclude(runner: &Runner<'_>, summary: &mut Summary) {
    if summary.verdict == Verdict::NobodyWon && summary.outcomes.iter().any(|one| one.lost) {
        summary.verdict = Verdict::LostRace;
    }
    summary.timed_out = runner.timed_out();
    summary.signal = runner.interrupt.signal();
}

/// The best success: the highest score, and of equals the first.
fn best(outcomes: &[Outcome]) -> Option<usize> {
    ranked(outcomes).first().copied()
}

/// The successes from the best on; of equals the first comes first.
fn ranked(outcomes: &[Outcome]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..outcomes.len())
        .filter(|place| outcomes[*place].success())
        .collect();
    places.sort_by(|a, b| outcomes[*b].score().total_cmp(&outcomes[*a].score()));
    places
}

/// What a command in a branch prints, line by line, if it succeeds.
fn lines_of(runner: &Runner<'_>, branch: &Branch, command: &OsString, depth: u32) -> Vec<OsString> {
    let action = Action::Shell(command.clone(), Vec::new());
    let env = [("BRANCHING_DEPTH", Text::from(&depth.to_string()))];
    let ended = runner.consult(branch, &action, &env);
    if !ended.succeeded() {
        let code = ended.exit_code();
        runner.progress.note(&format!(
            "the expansion of {} ended with {code}",
            branch.path
        ));
        return Vec::new();
    }
    ended
        .stdout
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .map(|line| OsString::from_vec(line.to_vec()))
        .collect()
}

/// Lands the branch of `outcomes[winner]` where its own parent may be a trial's branch too: each
/// branch of the way up is committed into its parent, the innermost first. All other branches end
/// before that, since one with live children does not commit.
fn land_nested(runner: &Runner<'_>, summary: &mut Summary, winner: Option<usize>) {
    let interrupted = runner.interrupt.signal().is_some();
    let winner = winner.filter(|_| !interrupted);
    let way: Vec<usize> = winner.map_or_else(Vec::new, |winner| way_up(&summary.outcomes, winner));
    let mut others: Vec<usize> = (0..summary.outcomes.len())
        .filter(|place| !way.contains(place))
        .collect();
    // The innermost first, so that nothing is ended with what is below it still to be kept.
    others
        .sort_by_key(|place| std::cmp::Reverse(summary.outcomes[*place].branch.path.names().len()));
    for place in others {
        let outcome = &mut summary.outcomes[place];
        if runner.settings.keep && outcome.fate.is_none() {
            runner.leave_copy(outcome);
        }
        runner.settle(outcome);
    }
    conclude(runner, summary);
    if way.is_empty() {
        return;
    }
    if !runner.settings.commit {
        summary.winner = winner;
        summary.verdict = Verdict::Won;
        way.iter()
            .for_each(|place| runner.leave(&mut summary.outcomes[*place]));
        return;
    }
    for place in &way {
        match runner.land(&mut summary.outcomes[*place]) {
            Landing::Landed => {}
            Landing::LostRace(error) | Landing::Refused(error) => {
                summary.verdict = match error.is_conflict() {
                    true => Verdict::LostRace,
                    false => Verdict::NobodyWon,
                };
                for place in &way {
                    runner.settle(&mut summary.outcomes[*place]);
                }
                return;
            }
        }
    }
    runner.restore_kept(&mut summary.outcomes);
    summary.winner = winner;
    summary.committed = true;
    summary.verdict = Verdict::Won;
}

/// A trial and those whose branches its own is nested in, the innermost first.
fn way_up(outcomes: &[Outcome], from: usize) -> Vec<usize> {
    let mut way = vec![from];
    let mut parent = &outcomes[from].parent.path;
    while let Some(place) = outcomes.iter().position(|o| o.branch.path == *parent) {
        way.push(place);
        parent = &outcomes[place].parent.path;
    }
    way
}
