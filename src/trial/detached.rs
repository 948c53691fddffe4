//! Trials that another process runs: finding them in the events, waiting for them, ending them.
//!
//! A trial's start names the process that runs its pattern; what that process leaves in the events
//! is the result. So nothing is kept about a trial but what the workspace itself keeps.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;

use super::TrialError;
use crate::client::Workspace;
use crate::proto::{BranchPath, EventKind, Trial, TrialPhase, TrialResult};

/// Where a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TrialState {
    /// It has not begun.
    Pending,
    /// Its command runs.
    Running,
    /// Its command runs, and so does that of a trial in a branch of its branch.
    Waiting,
    /// Its command has ended with success.
    Completed,
    /// Its command has failed, or nobody runs it any more.
    Failed,
}

impl TrialState {
    /// Whether it has not ended.
    pub fn is_active(self) -> bool {
        !matches!(self, TrialState::Completed | TrialState::Failed)
    }
}

/// One trial, as the events show it.
#[derive(Clone, Debug, Serialize)]
pub struct Known {
    /// Its branch.
    pub branch: BranchPath,
    /// Its branch's number.
    pub number: u32,
    /// Where it is.
    pub state: TrialState,
    /// Its last step.
    pub phase: TrialPhase,
    /// Its pattern.
    pub pattern: String,
    /// Which of the pattern's commands it is.
    pub index: u32,
    /// Which attempt.
    pub attempt: u32,
    /// The name that the user gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The process that runs it.
    #[serde(skip)]
    pub pid: Option<u32>,
    /// The results, once it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<TrialResult>,
    /// The first of the paths that it changed, once it has landed.
    #[serde(skip)]
    pub paths: Vec<String>,
}

/// Every trial since the workspace was mounted, in the order of their branches' numbers.
pub fn all(workspace: &Workspace) -> Result<Vec<Known>, TrialError> {
    let mut known: BTreeMap<u32, Known> = BTreeMap::new();
    for event in workspace.top().events()? {
        if let EventKind::Trial(trial) = event.kind {
            let entry = known
                .entry(event.number)
                .or_insert_with(|| first(&event.branch, event.number, &trial));
            take(entry, *trial);
        }
    }
    let mut known: Vec<Known> = known.into_values().collect();
    mark_waiting(&mut known);
    Ok(known)
}

fn first(branch: &BranchPath, number: u32, trial: &Trial) -> Known {
    Known {
        branch: branch.clone(),
        number,
        state: TrialState::Pending,
        phase: trial.phase,
        pattern: trial.pattern.clone(),
        index: trial.index,
        attempt: trial.attempt,
        label: trial.label.clone(),
        pid: None,
        result: None,
        paths: Vec::new(),
    }
}

fn take(known: &mut Known, trial: Trial) {
    known.phase = trial.phase;
    known.pid = trial.pid.or(known.pid);
    if !trial.paths.is_empty() {
        known.paths = trial.paths;
    }
    if let Some(result) = trial.result {
        known.result = Some(*result);
    }
    let succeeded = known
        .result
        .as_ref()
        .is_some_and(|r| r.exit_code == 0 && !r.timed_out);
    known.state = match known.phase {
        TrialPhase::Pending if runs(known.pid) => TrialState::Pending,
        TrialPhase::Start if runs(known.pid) => TrialState::Running,
        TrialPhase::Pending | TrialPhase::Start => TrialState::Failed,
        _ if succeeded => TrialState::Completed,
        _ => TrialState::Failed,
    };
}

/// A trial waits while one in a branch of its branch runs.
fn mark_waiting(known: &mut [Known]) {
    let running: Vec<BranchPath> = known
        .iter()
        .filter(|trial| trial.state == TrialState::Running)
        .map(|trial| trial.branch.clone())
        .collect();
    for trial in known
        .iter_mut()
        .filter(|trial| trial.state == TrialState::Running)
    {
        let below =
            |path: &&BranchPath| **path != trial.branch && path.below(&trial.branch).is_some();
        if running.iter().any(|path| below(&path)) {
            trial.state = TrialState::Waiting;
        }
    }
}

/// Whether that process still runs, and is one of ours.
fn runs(pid: Option<u32>) -> bool {
    let Some(pid) = pid.filter(|pid| fs::exists(format!("/proc/{pid}")).unwrap_or(false)) else {
        return false;
    };
    // Another user's program cannot be looked at; nor is it a reason to say that it is over.
    let program = fs::read_link(format!("/proc/{pid}/exe"));
    let name = program.map(|path| path.file_name().map(|name| name.as_bytes().to_vec()));
    name.map_or(true, |name| {
        name.is_some_and(|name| name.starts_with(b"branchfs"))
    })
}

/// The last trial in `branch`.
pub fn find(workspace: &Workspace, branch: &BranchPath) -> Result<Known, TrialError> {
    let known = all(workspace)?
        .into_iter()
        .rfind(|known| known.branch == *branch);
    known.ok_or_else(|| TrialError::NoTrial {
        branch: branch.clone(),
    })
}

/// Whether process `pid` has told of its trial in `branch`.
pub fn is_known(workspace: &Workspace, branch: &BranchPath, pid: u32) -> Result<bool, TrialError> {
    let mut known = all(workspace)?.into_iter();
    Ok(known.any(|known| known.branch == *branch && known.pid == Some(pid)))
}

/// Waits until what runs the trial has ended, and gives the trial as it is then.
pub fn wait(
    workspace: &Workspace,
    branch: &BranchPath,
    deadline: Option<Instant>,
) -> Result<Known, TrialError> {
    let known = find(workspace, branch)?;
    let Some(pid) = runner_of(&known) else {
        return Ok(known);
    };
    let Ok(held) = pidfd_open(pid, PidfdFlags::empty()) else {
        return find(workspace, branch);
    };
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(&held, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) => {
                return Err(TrialError::StillRuns {
                    branch: branch.clone(),
                });
            }
            Ok(_) => return find(workspace, branch),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
    }
}

/// Ends the pattern that the trial belongs to, as Ctrl-C does; whether it still ran.
pub fn kill(workspace: &Workspace, branch: &BranchPath) -> Result<bool, TrialError> {
    let known = find(workspace, branch)?;
    let Some(held) = runner_of(&known).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
    else {
        return Ok(false);
    };
    Ok(pidfd_send_signal(&held, Signal::TERM).is_ok())
}

/// The process that still has to do with the trial.
fn runner_of(known: &Known) -> Option<Pid> {
    if known.phase.is_final() || !runs(known.pid) {
        return None;
    }
    Pid::from_raw(i32::try_from(known.pid?).ok()?)
}
