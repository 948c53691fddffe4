//! Telling the workspace, and the telemetry, of each step of a trial.

use std::sync::PoisonError;

use super::{Forked, Runner};
use crate::client::{Branch, Verb};
use crate::proto::{Command, Trial, TrialPhase};
use crate::trial::outcome::Outcome;
use crate::trial::telemetry;

impl Runner<'_> {
    /// Writes a step of a trial into the workspace's events.
    pub(super) fn tell(&self, trial: &Trial, forked: &Forked) {
        self.tell_of(trial, &forked.job.parent, &forked.branch, forked.number);
    }

    fn tell_of(&self, trial: &Trial, parent: &Branch, branch: &Branch, number: u32) {
        let Some(name) = branch.path.names().last().cloned() else {
            return;
        };
        let told = telemetry::Told::now(branch.path.clone(), trial.clone());
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(told);
        let trial = Box::new(trial.clone());
        let command = Command::Trial {
            name,
            number,
            trial,
        };
        // A parent that has ended takes no more events; the trial's result does not depend on them.
        if let Err(error) = parent.command(Verb::Trial, &command) {
            log::debug!("{error}");
        }
    }

    /// Tells what became of a trial's branch.
    pub(in crate::trial) fn tell_fate(
        &self,
        outcome: &Outcome,
        phase: TrialPhase,
        paths: Vec<String>,
    ) {
        let trial = Trial {
            paths,
            label: outcome.label.clone(),
            ..self.head(outcome.index, outcome.attempt, phase)
        };
        self.tell_of(&trial, &outcome.parent, &outcome.branch, outcome.number);
    }

    pub(super) fn head_of(&self, forked: &Forked, phase: TrialPhase) -> Trial {
        Trial {
            label: forked.job.label.clone(),
            pid: Some(std::process::id()),
            ..self.head(forked.job.index, forked.job.attempt, phase)
        }
    }

    fn head(&self, index: u32, attempt: u32, phase: TrialPhase) -> Trial {
        Trial {
            pattern: self.settings.pattern.to_owned(),
            run: self.run.clone(),
            index,
            attempt,
            phase,
            label: None,
            pid: None,
            paths: Vec::new(),
            result: None,
        }
    }
}
