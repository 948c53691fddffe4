//! What becomes of a trial's branch: it lands, is aborted, or is left.
//!
//! **Invariant**: a pattern says "committed" only where the write that commits has returned without
//! an error.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::cancel::Group;
use super::outcome::{Fate, Outcome};
use super::runner::Runner;
use crate::client::{Branch, ClientError, Verb};
use crate::proto::{BranchName, Command, State, TrialPhase};

/// How many paths the event of a commit names.
const MOST_PATHS: usize = 500;

/// How often it is looked whether a commit is decided.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How an attempt to land went.
#[derive(Debug)]
pub enum Landing {
    /// It is in the parent.
    Landed,
    /// Somebody else was first, and no sibling can land any more.
    LostRace(ClientError),
    /// It was refused, which says nothing of its siblings.
    Refused(ClientError),
}

impl Runner<'_> {
    /// Commits a trial's branch into its parent.
    pub fn land(&self, outcome: &mut Outcome) -> Landing {
        let changes = outcome.branch.changes().unwrap_or_default();
        let paths = changes.iter().take(MOST_PATHS);
        let paths = paths.map(|change| change.path.to_string()).collect();
        let commit = || outcome.branch.commit(outcome.number);
        let mut done = commit();
        if done.as_ref().is_err_and(has_children) {
            // What the trial forked in its turn and left behind is in the way.
            end_children(&outcome.branch);
            done = commit();
        }
        match done {
            Ok(unpublished) => {
                if let Some(error) = unpublished {
                    let note = format!("{} has landed, but {error}", outcome.branch.path);
                    self.progress.note(&note);
                }
                outcome.fate = Some(Fate::Committed);
                self.tell_fate(outcome, TrialPhase::Commit, paths);
                Landing::Landed
            }
            Err(error) => {
                outcome.refused = Some(error.to_string());
                if is_lost(&error) {
                    outcome.fate = Some(Fate::Lost);
                    outcome.lost = true;
                    self.tell_fate(outcome, TrialPhase::Lost, Vec::new());
                    return Landing::LostRace(error);
                }
                Landing::Refused(error)
            }
        }
    }

    /// As [`Runner::land`], and ends `others` as soon as the commit is decided: they are lost then,
    /// and what is still done to publish it takes a while.
    pub fn land_before(&self, outcome: &mut Outcome, others: &Group) -> Landing {
        let dir = outcome.branch.dir.clone();
        while_landing(&dir, others, || self.land(outcome))
    }

    /// Ends the branch of a trial that did not win, or leaves it where the user wants to see it.
    pub fn settle(&self, outcome: &mut Outcome) {
        if outcome.fate.is_some_and(|fate| fate != Fate::Lost) {
            return;
        }
        if self.settings.keep {
            self.leave(outcome);
        } else if outcome.fate.is_none() {
            let (fate, phase) = match end_tree(&outcome.branch) {
                Some(State::Lost) => (Fate::Lost, TrialPhase::Lost),
                _ => (Fate::Aborted, TrialPhase::Abort),
            };
            outcome.fate = Some(fate);
            outcome.lost = fate == Fate::Lost;
            self.tell_fate(outcome, phase, Vec::new());
        }
    }

    /// Leaves a trial's branch; brings it back where a sibling's commit has ended it.
    pub fn leave(&self, outcome: &mut Outcome) {
        let gone = !outcome.branch.dir.exists();
        outcome.lost |= gone;
        if gone && !self.bring_back(outcome) {
            if outcome.fate.is_none() {
                outcome.fate = Some(Fate::Lost);
                self.tell_fate(outcome, TrialPhase::Lost, Vec::new());
            }
            return;
        }
        outcome.fate = Some(Fate::Kept);
        self.tell_fate(outcome, TrialPhase::Keep, Vec::new());
    }

    /// Brings back copies that were kept, and that a commit has ended since.
    pub fn restore_kept(&self, outcomes: &mut [Outcome]) {
        for outcome in outcomes.iter_mut().filter(|o| o.fate == Some(Fate::Kept)) {
            if !outcome.branch.dir.exists() && !self.bring_back(outcome) {
                outcome.fate = Some(Fate::Lost);
            }
        }
    }

    fn bring_back(&self, outcome: &Outcome) -> bool {
        let Ok(trash) = outcome.parent.trash() else {
            return false;
        };
        let entry = trash
            .into_iter()
            .find(|entry| entry.status.number == outcome.number);
        let name = outcome.branch.path.names().last().cloned();
        entry.is_some_and(|entry| outcome.parent.restore(&entry.entry, name).is_ok())
    }

    /// Leaves a copy of a trial's work as a branch of the branch that the winner lands in, for one
    /// whose own parent is going to end.
    pub fn leave_copy(&self, outcome: &mut Outcome) {
        let name = format!("{}-kept", String::from_utf8_lossy(&self.base_name()));
        let name = format!("{name}-{}-{}", outcome.index, outcome.attempt);
        let copy = BranchName::new(name.as_bytes())
            .map_err(ClientError::from)
            .and_then(|name| self.parent.fork(name));
        match copy {
            Ok(copy) if super::carry::all(&outcome.branch, &copy).is_ok() => {
                end_tree(&outcome.branch);
                outcome.number = copy.status().map_or(outcome.number, |status| status.number);
                outcome.branch = copy;
                outcome.parent = self.parent.clone();
                outcome.fate = Some(Fate::Kept);
            }
            Ok(_) | Err(_) => {
                self.progress
                    .note(&format!("{} cannot be kept", outcome.branch.path));
                self.settle_ended(outcome);
            }
        }
    }

    fn settle_ended(&self, outcome: &mut Outcome) {
        end_tree(&outcome.branch);
        outcome.fate = Some(Fate::Aborted);
        self.tell_fate(outcome, TrialPhase::Abort, Vec::new());
    }
}

/// Runs `land`; ends `others` when the branch at `dir` is gone, or has landed.
fn while_landing<T>(dir: &Path, others: &Group, land: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        let (running, over) = mpsc::channel::<()>();
        scope.spawn(move || {
            while over.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                if !dir.exists() {
                    others.stop();
                    break;
                }
            }
        });
        let landed = land();
        drop(running);
        landed
    })
}

fn has_children(error: &ClientError) -> bool {
    error
        .errno()
        .is_some_and(|errno| errno.0 == libc::ENOTEMPTY)
}

/// Whether an error says that a branch can never land.
pub fn is_lost(error: &ClientError) -> bool {
    match error {
        ClientError::Ended { state, .. } => *state != State::Aborted,
        _ => error.errno().is_some_and(|errno| errno.0 == libc::ESTALE),
    }
}

/// Aborts a branch and all below it; how it had ended before, if it had.
pub fn end_tree(branch: &Branch) -> Option<State> {
    end_children(branch);
    match branch.command(Verb::Abort, &Command::Abort) {
        Ok(()) => None,
        Err(ClientError::Ended { state, .. }) => Some(state),
        Err(error) if is_lost(&error) => Some(State::Lost),
        Err(error) => {
            log::warn!("{error}");
            None
        }
    }
}

/// Aborts all below a branch.
pub fn end_children(branch: &Branch) {
    for name in branch.children().unwrap_or_default() {
        end_tree(&branch.child(name));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_others_end_when_the_branch_is_gone_and_not_when_its_publication_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let (branch, others) = (dir.path().join("branch"), Group::default());
        fs::create_dir(&branch).unwrap();
        while_landing(&branch, &others, || {
            fs::remove_dir(&branch).unwrap();
            let start = Instant::now();
            while !others.is_stopped() {
                assert!(
                    start.elapsed() < Duration::from_secs(60),
                    "the others go on"
                );
                std::thread::yield_now();
            }
        });
    }

    #[test]
    fn the_others_go_on_when_a_commit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let others = Group::default();
        while_landing(dir.path(), &others, || std::thread::sleep(5 * LOOK_EVERY));
        assert!(!others.is_stopped());
    }
}
