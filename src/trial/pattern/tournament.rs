//! tournament: one command so many times; a judge compares the results two by two.
//!
//! Only successes enter, in the order of their indices. In each round neighbours meet, an odd last
//! one goes on without a match. The judge gets the two branches' directories as `$1` and `$2` and
//! prints 0 or 1; a judge that says anything else ends the tournament, and nothing lands.

use std::ffi::OsString;

use serde::Serialize;

use super::finish;
use crate::proto::Text;
use crate::trial::TrialError;
use crate::trial::outcome::{Outcome, Summary};
use crate::trial::runner::{Action, Flow, Runner};

/// What a tournament is made of.
#[derive(Clone, Debug)]
pub struct Tournament {
    /// The command.
    pub action: Action,
    /// How often it runs.
    pub count: u32,
    /// What compares two branches.
    pub judge: OsString,
}

/// One match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Round {
    /// Its round, from 0.
    pub round: u32,
    /// The indices of the two; the second is missing where the first goes on without a match.
    pub pair: (u32, Option<u32>),
    /// Who goes on.
    pub winner: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct TournamentSummary {
    /// The trials, and whether the winner landed.
    pub summary: Summary,
    /// The matches, in the order in which they were played.
    pub rounds: Vec<Round>,
}

/// Runs the trials, then the matches.
pub fn tournament(runner: &Runner<'_>, what: &Tournament) -> Result<TournamentSummary, TrialError> {
    let jobs = (0..what.count).map(|index| runner.job(index, what.action.clone()));
    let outcomes = runner.run_all(jobs.collect(), false, &mut |_, _| Flow::GoOn)?;
    let mut summary = Summary {
        outcomes,
        ..Summary::default()
    };
    let mut rounds = Vec::new();
    let entrants = (0..summary.outcomes.len()).filter(|place| summary.outcomes[*place].success());
    let entrants: Vec<usize> = entrants.collect();
    let outcomes = &summary.outcomes;
    let played = play(runner, &what.judge, outcomes, entrants, &mut rounds);
    let failed = match played {
        Ok(winner) => {
            summary.winner = winner;
            None
        }
        Err(error) => {
            // Where the time is over, that is why.
            runner.is_over();
            Some(error)
        }
    };
    finish(runner, &mut summary);
    let ended = summary.signal.is_some() || summary.timed_out;
    match failed.filter(|_| !ended) {
        Some(error) => Err(error),
        None => Ok(TournamentSummary { summary, rounds }),
    }
}

fn play(
    runner: &Runner<'_>,
    judge: &OsString,
    outcomes: &[Outcome],
    mut standing: Vec<usize>,
    rounds: &mut Vec<Round>,
) -> Result<Option<usize>, TrialError> {
    let mut round = 0;
    while standing.len() > 1 {
        let mut next = Vec::new();
        for pair in standing.chunks(2) {
            let second = pair.get(1).copied();
            let winner = match second {
                Some(second) => match_of(runner, judge, outcomes, (pair[0], second))?,
                None => pair[0],
            };
            rounds.push(Round {
                round,
                pair: (
                    outcomes[pair[0]].index,
                    second.map(|place| outcomes[place].index),
                ),
                winner: outcomes[winner].index,
            });
            next.push(winner);
        }
        standing = next;
        round += 1;
    }
    Ok(standing.pop())
}

fn match_of(
    runner: &Runner<'_>,
    judge: &OsString,
    outcomes: &[Outcome],
    (first, second): (usize, usize),
) -> Result<usize, TrialError> {
    let dir = |place: usize| OsString::from(&outcomes[place].branch.dir);
    let action = Action::Shell(judge.clone(), vec![dir(first), dir(second)]);
    let ended = runner.consult_outside(&action);
    match (ended.succeeded(), ended.stdout.trim_ascii()) {
        (true, b"0") => Ok(first),
        (true, b"1") => Ok(second),
        (succeeded, said) => Err(TrialError::Judge {
            first: outcomes[first].branch.path.clone(),
            second: outcomes[second].branch.path.clone(),
            said: match succeeded {
                true => Text::from(&said[..said.len().min(80)]),
                false => Text::from(&format!("exit code {}", ended.exit_code())),
            },
        }),
    }
}
