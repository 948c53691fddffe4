//! parallel: named branches with a command each, whose results are put together.
//!
//! A *join* is forked from the parent, and every branch from the join. What succeeded is applied to
//! the join in the order given, however long each took; then the join is committed. So the parent
//! takes all or nothing, and a branch that fails in the middle leaves it exactly as it was.
//!
//! A branch that wrote nothing that one before it wrote, and has no paths of its own mapped, is
//! applied by a commit. Otherwise its files are carried, and a path that two wrote is folded by
//! rule.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Fold;
use crate::client::{Branch, Verb};
use crate::proto::{Change, Command, Policy as BranchPolicy, Text};
use crate::trial::land::{self, Landing};
use crate::trial::outcome::{Fate, Outcome, Summary, Verdict};
use crate::trial::runner::{Action, Flow, Job, Runner};
use crate::trial::{TrialError, carry, pattern::conclude};

/// What a failure does to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It ends them, and nothing lands.
    #[default]
    FailFast,
    /// It is recorded, and what succeeds lands.
    Collect,
}

/// A path that is carried into a branch before its command, or out of it afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The branch's name.
    pub name: String,
    /// Where it is.
    pub from: PathBuf,
    /// Where it goes.
    pub to: PathBuf,
}

/// What a parallel is made of.
#[derive(Clone, Debug, Default)]
pub struct Parallel {
    /// The names and commands, in order.
    pub branches: Vec<(String, OsString)>,
    /// What is carried from the parent into a branch.
    pub inputs: Vec<Carried>,
    /// What is carried from a branch to the parent; all it has changed, where it has none of these.
    pub outputs: Vec<Carried>,
    /// What a failure does.
    pub policy: Policy,
    /// How often one that failed is tried again.
    pub retries: u32,
    /// What becomes of files that two wrote.
    pub fold: Fold,
}

/// A branch that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its name.
    pub branch: String,
    /// What kind of failure it was.
    pub category: &'static str,
    /// What happened.
    pub message: String,
    /// What it printed as errors.
    pub cause: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct ParallelSummary {
    /// The trials, and whether anything landed.
    pub summary: Summary,
    /// The names of those that were applied, in order.
    pub applied: Vec<String>,
    /// Those that failed.
    pub failures: Vec<Failure>,
}

/// Runs all and applies what succeeded.
pub fn parallel(runner: &Runner<'_>, what: &Parallel) -> Result<ParallelSummary, TrialError> {
    check(runner, what)?;
    let mut name = runner.base_name();
    name.extend(b"-join");
    let join = runner.fork_below(&runner.parent, &name)?;
    let done = in_join(runner, what, &join);
    match done {
        Ok(summary) => Ok(summary),
        Err(error) => {
            land::end_tree(&join);
            Err(error)
        }
    }
}

/// Refuses what cannot work before there is any branch.
fn check(runner: &Runner<'_>, what: &Parallel) -> Result<(), TrialError> {
    let refuse = |message, text: &[u8]| {
        Err(TrialError::Argument {
            what: message,
            text: Text::from(text),
        })
    };
    if what.branches.is_empty() {
        return refuse("no branch is given", b"-b NAME=COMMAND");
    }
    let mut names = HashSet::new();
    for (name, command) in &what.branches {
        if name.is_empty() {
            return refuse("a branch has no name", command.as_bytes());
        }
        if !names.insert(name.as_str()) {
            return refuse("two branches have one name", name.as_bytes());
        }
    }
    for carried in what.inputs.iter().chain(&what.outputs) {
        if !names.contains(carried.name.as_str()) {
            return refuse("no branch has that name", carried.name.as_bytes());
        }
        for path in [&carried.from, &carried.to] {
            if !carry::is_inside(path) {
                let path = path.as_os_str().as_bytes();
                return refuse("a path has to be inside of the workspace", path);
            }
        }
    }
    for input in &what.inputs {
        if std::fs::symlink_metadata(runner.parent.dir.join(&input.from)).is_err() {
            return refuse("no such path", input.from.as_os_str().as_bytes());
        }
    }
    Ok(())
}

fn in_join(
    runner: &Runner<'_>,
    what: &Parallel,
    join: &Branch,
) -> Result<ParallelSummary, TrialError> {
    // Children of the join do not end each other: only what they wrote is compared.
    join.command(Verb::Policy, &Command::Policy(BranchPolicy::Merge))?;
    let number = join.status()?.number;
    let pristine = runner.fork_below(join, b"pristine")?;
    let mut done = ParallelSummary {
        summary: Summary {
            outcomes: run_with_retries(runner, what, join)?,
            ..Summary::default()
        },
        ..ParallelSummary::default()
    };
    conclude(runner, &mut done.summary);
    let interrupted = done.summary.signal.is_some() || done.summary.timed_out;
    done.failures = failures(what, &done.summary.outcomes);
    let stopped = what.policy == Policy::FailFast && !done.failures.is_empty();
    if interrupted || stopped {
        give_up(runner, &mut done.summary, join);
        return Ok(done);
    }
    let mut written = HashSet::new();
    for place in 0..done.summary.outcomes.len() {
        let outcome = &mut done.summary.outcomes[place];
        if !is_last_attempt(what, outcome) || !outcome.success() {
            continue;
        }
        let applied = apply(runner, what, (join, &pristine), outcome, &mut written);
        if let Err(error) = applied {
            if what.policy == Policy::FailFast || !matches!(error, TrialError::Argument { .. }) {
                return Err(error);
            }
            outcome.refused = Some(error.to_string());
            continue;
        }
        done.applied.push(outcome.label.clone().unwrap_or_default());
    }
    done.failures = failures(what, &done.summary.outcomes);
    land::end_tree(&pristine);
    if done.applied.is_empty() {
        give_up(runner, &mut done.summary, join);
        return Ok(done);
    }
    for outcome in &mut done.summary.outcomes {
        settle(runner, outcome);
    }
    land_join(runner, &mut done, join, number)?;
    Ok(done)
}

fn is_last_attempt(what: &Parallel, outcome: &Outcome) -> bool {
    outcome.success() || outcome.attempt == what.retries || outcome.ended.cancelled
}

/// Runs all, and those that failed again.
fn run_with_retries(
    runner: &Runner<'_>,
    what: &Parallel,
    join: &Branch,
) -> Result<Vec<Outcome>, TrialError> {
    let mut all: Vec<Outcome> = Vec::new();
    let mut todo: Vec<u32> = (0..what.branches.len() as u32).collect();
    let mut stopped = false;
    for attempt in 0..=what.retries {
        if todo.is_empty() || stopped || runner.is_over() {
            break;
        }
        let jobs = todo
            .iter()
            .map(|index| job(runner, what, join, (*index, attempt)));
        let fail_fast = what.policy == Policy::FailFast && attempt == what.retries;
        let prepare = |label: Option<&str>, branch: &Branch| carry_in(what, label, join, branch);
        let outcomes = runner.run_prepared(jobs.collect(), &prepare, &mut |outcome, _| {
            if !outcome.success() && fail_fast {
                stopped = true;
                return Flow::Stop;
            }
            Flow::GoOn
        })?;
        let failed = outcomes.iter().filter(|outcome| !outcome.success());
        todo = failed.map(|outcome| outcome.index).collect();
        all.extend(outcomes);
    }
    all.sort_by_key(|outcome| (outcome.index, outcome.attempt));
    Ok(all)
}

fn job(runner: &Runner<'_>, what: &Parallel, join: &Branch, (index, attempt): (u32, u32)) -> Job {
    let (name, command) = &what.branches[index as usize];
    let mut job = runner.job(index, Action::Shell(command.clone(), Vec::new()));
    job.parent = join.clone();
    (job.attempt, job.told) = (attempt, attempt);
    job.label = Some(name.clone());
    job
}

fn carry_in(
    what: &Parallel,
    label: Option<&str>,
    join: &Branch,
    branch: &Branch,
) -> Result<(), TrialError> {
    let inputs = what
        .inputs
        .iter()
        .filter(|input| Some(input.name.as_str()) == label);
    for Carried { from, to, .. } in inputs {
        let (source, target) = (join.dir.join(from), branch.dir.join(to));
        carry::tree(&source, &target).map_err(carry::at(from))?;
    }
    Ok(())
}

/// Puts what a branch has done into the join.
fn apply(
    runner: &Runner<'_>,
    what: &Parallel,
    (join, pristine): (&Branch, &Branch),
    outcome: &mut Outcome,
    written: &mut HashSet<Vec<u8>>,
) -> Result<(), TrialError> {
    let label = outcome.label.clone().unwrap_or_default();
    let outputs: Vec<&Carried> = what.outputs.iter().filter(|o| o.name == label).collect();
    let inputs: Vec<&Carried> = what.inputs.iter().filter(|i| i.name == label).collect();
    let changes = outcome.branch.changes()?;
    let apart = changes
        .iter()
        .all(|change| !written.contains(&change.path.0));
    if outputs.is_empty() && inputs.is_empty() && apart {
        match runner.land(outcome) {
            Landing::Landed => {
                written.extend(changes.into_iter().map(|change| change.path.0));
                return Ok(());
            }
            Landing::LostRace(error) => return Err(error.into()),
            // Paths that are not the same can be in each other's way: a directory that one removes
            // and the other fills.
            Landing::Refused(_) => outcome.refused = None,
        }
    }
    let mut fold = |path: &Path, source: &Path, target: &Path| {
        let first = written.insert(path.as_os_str().as_bytes().to_vec());
        if first {
            return Ok(false);
        }
        let base = pristine.dir.join(path);
        what.fold.apply(runner, (&base, target, source), path)
    };
    let dir = &outcome.branch.dir;
    if outputs.is_empty() {
        let given = |change: &Change| {
            inputs
                .iter()
                .any(|i| change.path.as_path().starts_with(&i.to))
        };
        let own: Vec<Change> = changes
            .into_iter()
            .filter(|change| !given(change))
            .collect();
        carry::changes(dir, &own, &join.dir, &mut fold)?;
    }
    for Carried { from, to, .. } in outputs {
        let (source, target) = (dir.join(from), join.dir.join(to));
        if std::fs::symlink_metadata(&source).is_err() {
            return Err(TrialError::Argument {
                what: "a branch did not make its output",
                text: Text::from(from.as_os_str().as_bytes()),
            });
        }
        if !fold(to, &source, &target)? {
            carry::tree(&source, &target).map_err(carry::at(to))?;
        }
    }
    land::end_tree(&outcome.branch);
    outcome.fate = Some(Fate::Committed);
    let paths = Vec::new();
    runner.tell_fate(outcome, crate::proto::TrialPhase::Commit, paths);
    Ok(())
}

fn land_join(
    runner: &Runner<'_>,
    done: &mut ParallelSummary,
    join: &Branch,
    number: u32,
) -> Result<(), TrialError> {
    if !runner.settings.commit {
        done.summary.verdict = Verdict::Won;
        done.summary
            .notes
            .push(format!("the result is in {}", join.path));
        return Ok(());
    }
    match join.commit(number) {
        Ok(unpublished) => {
            let notes = unpublished.map(|error| format!("the results have landed, but {error}"));
            done.summary.notes.extend(notes);
            done.summary.committed = true;
            done.summary.verdict = Verdict::Won;
            runner.restore_kept(&mut done.summary.outcomes);
        }
        Err(error) => {
            log::debug!("the join #{number} was refused");
            for outcome in &mut done.summary.outcomes {
                if outcome.fate == Some(Fate::Committed) {
                    outcome.fate = Some(Fate::Aborted);
                    outcome.refused = Some(error.to_string());
                }
            }
            if !land::is_lost(&error) {
                land::end_tree(join);
            }
            done.applied.clear();
            done.summary.verdict = match error.is_conflict() {
                true => Verdict::LostRace,
                false => Verdict::NobodyWon,
            };
            done.summary.notes.push(error.to_string());
        }
    }
    Ok(())
}

/// Ends a branch, or leaves a copy of it, since the join is going to end.
fn settle(runner: &Runner<'_>, outcome: &mut Outcome) {
    if runner.settings.keep && outcome.fate.is_none() {
        runner.leave_copy(outcome);
    }
    runner.settle(outcome);
}

fn give_up(runner: &Runner<'_>, summary: &mut Summary, join: &Branch) {
    for outcome in &mut summary.outcomes {
        settle(runner, outcome);
    }
    land::end_tree(join);
}

fn failures(what: &Parallel, outcomes: &[Outcome]) -> Vec<Failure> {
    outcomes
        .iter()
        .filter(|outcome| !outcome.success() && is_last_attempt(what, outcome))
        .filter(|outcome| !(outcome.ended.cancelled && what.policy == Policy::FailFast))
        .map(|outcome| Failure {
            branch: outcome.label.clone().unwrap_or_default(),
            category: outcome.category(),
            message: outcome.error().unwrap_or_default(),
            cause: String::from_utf8_lossy(outcome.ended.stderr.trim_ascii()).into_owned(),
        })
        .collect()
}
