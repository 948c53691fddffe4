//! What a user decides about the trials of one command line.

use std::path::PathBuf;
use std::time::Duration;

use super::cgroup::Limits;
use crate::proto::LimitsChange;

/// Whether a trial sees its branch at the workspace's path, and no other branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Where the system allows it.
    Auto,
    /// Yes, or fail.
    Required,
    /// No.
    Off,
}

/// What holds for every trial of a pattern.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the pattern, as its events have it.
    pub pattern: &'static str,
    /// The branch's name, or what the branches' names begin with.
    pub name: Option<Vec<u8>>,
    /// How many run at once.
    pub jobs: usize,
    /// How long the whole pattern may take.
    pub timeout: Option<Duration>,
    /// How long one trial may take.
    pub trial_timeout: Option<Duration>,
    /// Whether the branches of those that did not win stay.
    pub keep: bool,
    /// Whether the winner lands.
    pub commit: bool,
    /// What a trial sees.
    pub isolation: Isolation,
    /// Whether everything but its branch is read-only for it.
    pub read_only_root: bool,
    /// Whether it has no network.
    pub no_network: bool,
    /// Limits of one trial.
    pub limits: Limits,
    /// Limits of all together.
    pub group_limits: Limits,
    /// What a trial's branch may hold.
    pub branch_limits: LimitsChange,
    /// How many branches there may be at once.
    pub max_branches: usize,
    /// How deep branches may be nested.
    pub max_nesting: usize,
    /// A file that takes the spans of an OpenTelemetry trace.
    pub telemetry: Option<PathBuf>,
}
