//! Running one command in a branch, under a supervisor.

use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::{Action, Forked, Runner};
use crate::client::Branch;
use crate::proto::Text;
use crate::trial::TrialError;
use crate::trial::cancel::Group;
use crate::trial::cgroup::{self, Limits, Used};
use crate::trial::process::{Ended, Process, Streams};
use crate::trial::settings::{Isolation, Settings};
use crate::trial::supervise::protocol::{Order, Step};

/// The longest feedback: one string of an environment has at most 128 KiB (execve(2)).
const FEEDBACK_BYTES: usize = 96 << 10;

/// What ends a command from here.
struct Ends<'a> {
    /// With whom it is ended.
    group: &'a Arc<Group>,
    /// Called every so often; it is ended by the answer `true`.
    look: Option<&'a dyn Fn() -> bool>,
    /// When it is ended, whatever its own time limit.
    deadline: Option<Instant>,
}

impl Runner<'_> {
    pub(super) fn execute(&self, forked: &Forked, group: &Arc<Group>) -> (Ended, Used) {
        let limits = &self.settings.limits;
        let cgroup = match self.cgroup_of(forked, limits) {
            Ok(cgroup) => cgroup,
            Err(error) => {
                self.progress.note(&error.to_string());
                let ended = Ended {
                    not_started: Some((Step::Cgroup, libc::EIO)),
                    ..Ended::default()
                };
                return (ended, Used::default());
            }
        };
        let job = &forked.job;
        let env = [
            ("BRANCHING_ATTEMPT", Text::from(&job.told.to_string())),
            (
                "BRANCHING_FEEDBACK",
                Text::from(last(job.feedback.trim_ascii_end())),
            ),
        ];
        let look = || match &cgroup {
            Some(cgroup) => cgroup.used().oom_kills > 0,
            None => false,
        };
        // Version 2 does it by itself.
        let ends_group = |cgroup: &cgroup::Group| limits.oom_group && !cgroup.kills_whole_group();
        let look = cgroup
            .as_ref()
            .is_some_and(ends_group)
            .then_some(&look as &dyn Fn() -> bool);
        let ended = self.supervised(
            &forked.branch,
            &job.action,
            &env,
            cgroup.as_ref(),
            &Ends {
                group,
                look,
                // The pattern ends its trials together.
                deadline: None,
            },
        );
        let used = cgroup.as_ref().map(cgroup::Group::used).unwrap_or_default();
        (ended, used)
    }

    fn cgroup_of(
        &self,
        forked: &Forked,
        limits: &Limits,
    ) -> Result<Option<cgroup::Group>, TrialError> {
        let Some(group) = &self.cgroup else {
            return Ok(None);
        };
        let name = format!("trial-{}", forked.number);
        group.trial(&name, limits).map(Some)
    }

    /// Runs a command in `branch` under a supervisor; without isolation where that is not to be had
    /// and not required.
    fn supervised(
        &self,
        branch: &Branch,
        action: &Action,
        env: &[(&str, Text)],
        cgroup: Option<&cgroup::Group>,
        ends: &Ends<'_>,
    ) -> Ended {
        loop {
            let isolated = !self.not_isolated.load(Ordering::Relaxed);
            let order = self.order((branch, isolated), action, env, cgroup, self.streams);
            let mut ended = self.start(&order, self.streams, ends);
            match ended.not_started {
                Some((step, _))
                    if step.isolates() && self.settings.isolation == Isolation::Auto =>
                {
                    if !self.not_isolated.swap(true, Ordering::Relaxed) {
                        self.progress.note(&format!(
                            "trials are not isolated here (cannot {})",
                            step.describe()
                        ));
                    }
                }
                _ => {
                    let killed = ended.code.is_none() && !ended.timed_out;
                    ended.cancelled = killed && ends.group.is_stopped();
                    return ended;
                }
            }
        }
    }

    fn start(&self, order: &Order, streams: Streams, ends: &Ends<'_>) -> Ended {
        let spare = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let started = Process::start(order, streams, spare).and_then(|process| {
            let killer = process.killer()?;
            Ok((process, ends.group.register(killer)))
        });
        match started {
            Ok((process, key)) => {
                let own = self.settings.trial_timeout;
                let own = own.map(|limit| Instant::now() + limit);
                let deadline = own.into_iter().chain(ends.deadline).min();
                let (ended, exiting) = process.wait(deadline, &self.interrupt, ends.look);
                ends.group.remove(key);
                // Until it is gone it keeps its control group, which is to be removed.
                let exiting = exiting.filter(|_| order.cgroups.is_empty());
                let mut last = self.exiting.lock().unwrap_or_else(PoisonError::into_inner);
                *last = exiting;
                ended
            }
            Err(error) => Ended {
                not_started: Some((Step::Fork, error.raw_os_error().unwrap_or(libc::EIO))),
                ..Ended::default()
            },
        }
    }

    fn order(
        &self,
        (branch, isolated): (&Branch, bool),
        action: &Action,
        env: &[(&str, Text)],
        cgroup: Option<&cgroup::Group>,
        streams: Streams,
    ) -> Order {
        let bytes = |path: &std::path::Path| Text::from(path.as_os_str().as_bytes());
        let dir = self.place.start_dir(branch, isolated);
        let root = self.place.seen_root(branch, isolated);
        let mut variables = vec![
            ("BRANCHFS_BRANCH".to_owned(), Text(branch.path.to_bytes())),
            ("BRANCHFS_WORKSPACE".to_owned(), bytes(root)),
            ("PWD".to_owned(), bytes(&dir)),
        ];
        variables.extend(
            env.iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        let procs = cgroup.map(cgroup::Group::procs).unwrap_or_default();
        let Settings {
            read_only_root,
            no_network,
            ..
        } = *self.settings;
        Order {
            argv: action.argv(),
            env: variables,
            dir: bytes(&dir),
            own_session: self.own_session,
            captured: streams != Streams::Inherited,
            cgroups: procs.iter().map(|file| bytes(file)).collect(),
            view: isolated.then(|| self.place.view(branch, read_only_root, no_network)),
        }
    }

    /// Runs a command of the pattern's own in `branch`: a critique, an expansion.
    pub fn consult(&self, branch: &Branch, action: &Action, env: &[(&str, Text)]) -> Ended {
        let group = self.interrupt.group();
        self.supervised(branch, action, env, None, &self.ends_with_pattern(&group))
    }

    fn ends_with_pattern<'a>(&self, group: &'a Arc<Group>) -> Ends<'a> {
        Ends {
            group,
            look: None,
            deadline: self.interrupt.deadline(),
        }
    }

    /// Runs a command of the pattern's own at the workspace's root, where it sees all branches: a
    /// judge, a merge.
    pub fn consult_outside(&self, action: &Action) -> Ended {
        let group = self.interrupt.group();
        let branch = &self.parent;
        let streams = Streams::Captured;
        let order = self.order((branch, false), action, &[], None, streams);
        let mut ended = self.start(&order, streams, &self.ends_with_pattern(&group));
        ended.cancelled = ended.code.is_none() && group.is_stopped();
        ended
    }
}

/// The end of a text that is too long.
fn last(text: &[u8]) -> &[u8] {
    &text[text.len().saturating_sub(FEEDBACK_BYTES)..]
}
