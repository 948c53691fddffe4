//! Telling the workspace, and the telemetry, of each step of a trial.

use std::sync::PoisonError;

use super::{Forked, Runner};
use crate::client::{Branch, ClientError, Control, Verb};
use crate::proto::{Command, Trial, TrialPhase};
use crate::trial::outcome::Outcome;
use crate::trial::telemetry;

/// Writes steps into the events of the branches that trials were forked from.
#[derive(Debug, Default)]
pub(super) struct Teller {
    /// Steps that nobody waits for, with the branch that is told: they go with the next one.
    waiting: Vec<(Branch, Command)>,
    /// What the last one was written to.
    control: Option<Control>,
}

impl Teller {
    fn tell_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for steps in waiting.chunk_by(|one, next| one.0.path == next.0.path) {
            let commands: Vec<Command> = steps.iter().map(|(_, step)| step.clone()).collect();
            // A parent that has ended takes no more events; the trial's result does not depend on
            // them.
            if let Err(error) = self.write(&steps[0].0, &commands) {
                log::debug!("{error}");
            }
        }
    }

    fn write(&mut self, parent: &Branch, commands: &[Command]) -> Result<(), ClientError> {
        let open = self.control.take();
        let control = match open.filter(|control| control.branch().path == parent.path) {
            Some(control) => control,
            None => parent.control(Verb::Trial)?,
        };
        control.write(Verb::Trial, commands)?;
        self.control = Some(control);
        Ok(())
    }
}

impl Runner<'_> {
    /// Writes a step of a trial into the workspace's events.
    pub(super) fn tell(&self, trial: Trial, forked: &Forked) {
        self.tell_of(
            trial,
            &forked.job.parent,
            &forked.branch,
            forked.number,
            true,
        );
    }

    /// The same, together with the next step of any trial.
    pub(super) fn tell_later(&self, trial: Trial, forked: &Forked) {
        self.tell_of(
            trial,
            &forked.job.parent,
            &forked.branch,
            forked.number,
            false,
        );
    }

    fn tell_of(&self, trial: Trial, parent: &Branch, branch: &Branch, number: u32, now: bool) {
        let Some(name) = branch.path.names().last().cloned() else {
            return;
        };
        let told = telemetry::Told::now(branch.path.clone(), trial.clone());
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(told);
        let command = Command::Trial {
            name,
            number,
            trial: Box::new(trial),
        };
        let mut teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner);
        teller.waiting.push((parent.clone(), command));
        if now {
            teller.tell_waiting();
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
        self.tell_of(
            trial,
            &outcome.parent,
            &outcome.branch,
            outcome.number,
            true,
        );
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
