//! Arguments that all patterns of trials share, and how their values are written.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::arguments::WorkspaceArg;
use super::error::CliError;
use super::output::Session;
use super::progress::Terminal;
use crate::client::Workspace;
use crate::proto::LimitsChange;
use crate::trial::cgroup::Limits;
use crate::trial::{Isolation, Prepared, Runner, Settings};

/// How trials run.
#[derive(Debug, clap::Args)]
pub struct TrialArgs {
    #[command(flatten)]
    pub workspace: WorkspaceArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// End everything after this long: 90, 500ms, 2m, 1h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// End a trial after this long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    trial_timeout: Option<Duration>,
    /// Leave the branches of those that did not win
    #[arg(long)]
    pub keep: bool,
    /// Leave the winner as a branch and the parent as it is
    #[arg(long)]
    no_commit: bool,
    /// How many trials run at once; the others wait for their turn
    #[arg(short = 'j', long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
    /// Refuse to make more branches than this at once
    #[arg(long, value_name = "COUNT", default_value = "256")]
    max_branches: usize,
    /// Refuse to nest branches deeper than this below main
    #[arg(long, value_name = "COUNT", default_value = "32")]
    max_nesting: usize,
    /// Append an OpenTelemetry trace to a file, as a line of OTLP/JSON
    #[arg(long, value_name = "FILE")]
    telemetry: Option<PathBuf>,
    #[command(flatten)]
    isolation: IsolationArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

/// What a trial sees.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Isolation")]
struct IsolationArgs {
    /// Fail where a trial cannot be isolated; isolated, it sees its branch at the workspace's path,
    /// and no other
    #[arg(long, overrides_with = "no_isolate")]
    isolate: bool,
    /// Let trials see the whole workspace
    #[arg(long)]
    no_isolate: bool,
    /// Make everything but the branch read-only, with empty directories for temporary files
    #[arg(long, conflicts_with = "no_isolate")]
    ro_root: bool,
    /// Leave a trial no network but a loopback of its own
    #[arg(long, conflicts_with = "no_isolate")]
    no_network: bool,
}

/// What a trial may use.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// The most memory of one trial, with K, M or G; what needs more is killed
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_limit: Option<u64>,
    /// From here on memory is taken back and the trial slowed down
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_high: Option<u64>,
    /// The most CPUs of one trial: 0.5, 2
    #[arg(long, value_name = "CPUS", value_parser = cpus)]
    cpu_limit: Option<f64>,
    /// End the whole trial when it is out of memory, and not only its largest process
    #[arg(long, requires = "memory_limit")]
    oom_group: bool,
    /// The most memory of all trials together
    #[arg(long, value_name = "SIZE", value_parser = size)]
    group_memory_limit: Option<u64>,
    /// The most CPUs of all trials together
    #[arg(long, value_name = "CPUS", value_parser = cpus)]
    group_cpu_limit: Option<f64>,
    /// The most bytes that a branch may hold
    #[arg(long, value_name = "SIZE", value_parser = size)]
    bytes_limit: Option<u64>,
    /// The most files and directories that a branch may hold
    #[arg(long, value_name = "COUNT")]
    inodes_limit: Option<u64>,
}

/// The name of the branches.
#[derive(Debug, clap::Args)]
pub struct NameArg {
    /// The branch's name, or what the branches' names begin with
    #[arg(short = 'b', long = "branch", value_name = "NAME")]
    pub name: Option<OsString>,
}

impl TrialArgs {
    /// The settings of a pattern.
    pub fn settings(&self, pattern: &'static str, name: Option<&NameArg>) -> Settings {
        let name = name.and_then(|arg| arg.name.as_ref());
        let limits = &self.limits;
        let isolation = match (self.isolation.isolate, self.isolation.no_isolate) {
            (_, true) => Isolation::Off,
            (true, _) => Isolation::Required,
            // What was asked for by name is not left out in silence.
            _ if self.isolation.ro_root || self.isolation.no_network => Isolation::Required,
            _ => Isolation::Auto,
        };
        Settings {
            pattern,
            name: name.map(|name| name.as_bytes().to_vec()),
            jobs: self.jobs.map_or(usize::MAX, NonZeroUsize::get),
            timeout: self.timeout,
            trial_timeout: self.trial_timeout,
            keep: self.keep,
            commit: !self.no_commit,
            isolation,
            read_only_root: self.isolation.ro_root,
            no_network: self.isolation.no_network,
            limits: Limits {
                memory_bytes: limits.memory_limit,
                memory_high_bytes: limits.memory_high,
                cpus: limits.cpu_limit,
                oom_group: limits.oom_group,
            },
            group_limits: Limits {
                memory_bytes: limits.group_memory_limit,
                cpus: limits.group_cpu_limit,
                ..Limits::default()
            },
            branch_limits: LimitsChange {
                bytes: limits.bytes_limit.map(Some),
                inodes: limits.inodes_limit.map(Some),
            },
            max_branches: self.max_branches,
            max_nesting: self.max_nesting,
            telemetry: self.telemetry.clone(),
        }
    }

    /// Finds the workspace, listens for Ctrl-C and runs `pattern`; how its trials go is shown if it
    /// is to be `live`.
    pub fn with_runner<T>(
        &self,
        session: &mut Session<'_>,
        settings: &Settings,
        live: bool,
        pattern: impl FnOnce(&mut Runner<'_>, &mut Session<'_>) -> Result<T, CliError>,
    ) -> Result<(Workspace, T), CliError> {
        let prepared = Prepared::new()?;
        let workspace = self.workspace.find(session)?;
        let terminal = Terminal::new(live && !self.json);
        let mut runner = Runner::new(&workspace, settings, &terminal, prepared)?;
        let done = pattern(&mut runner, session);
        runner.write_telemetry()?;
        terminal.close();
        drop(runner);
        Ok((workspace, done?))
    }
}

/// `90`, `1.5`, `500ms`, `2s`, `3m`, `1h`.
pub fn duration(text: &str) -> Result<Duration, CliError> {
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "" | "s" => Some(1.0),
        "ms" => Some(0.001),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    };
    let seconds = number
        .parse::<f64>()
        .ok()
        .zip(unit)
        .map(|(number, unit)| number * unit);
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| CliError::Value {
        text: text.to_owned(),
        what: "length of time: 90, 1.5, 500ms, 2m, 1h",
    })
}

/// `1048576`, `512M`.
fn size(text: &str) -> Result<u64, CliError> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => Some(0),
        "K" => Some(10),
        "M" => Some(20),
        "G" => Some(30),
        "T" => Some(40),
        _ => None,
    };
    let bytes = digits.parse::<u64>().ok().zip(shift);
    bytes
        .and_then(|(number, shift)| number.checked_mul(1 << shift))
        .ok_or_else(|| CliError::Value {
            text: text.to_owned(),
            what: "size: 1048576, 512M, 2G",
        })
}

/// `0.5`, `2`.
fn cpus(text: &str) -> Result<f64, CliError> {
    let cpus = text
        .parse()
        .ok()
        .filter(|cpus: &f64| cpus.is_finite() && *cpus > 0.0);
    cpus.ok_or_else(|| CliError::Value {
        text: text.to_owned(),
        what: "number of CPUs: 0.5, 2",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_sizes_and_cpus_are_read() {
        assert_eq!(duration("90").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        for bad in ["", "-1", "1d", "x", "nan"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(size("512M").unwrap(), 512 << 20);
        assert_eq!(size("7").unwrap(), 7);
        for bad in ["", "M", "1.5G", "-1", "99999999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(cpus("0.5").unwrap(), 0.5);
        for bad in ["0", "-1", "inf", "x"] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
    }
}
