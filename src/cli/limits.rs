//! `branchfs limits`.

use serde::Serialize;

use super::arguments::BranchArg;
use super::error::{CliError, Exit};
use super::output::Session;
use super::status::usage;
use crate::proto::{BranchPath, Limits, LimitsChange, Usage};

/// Show or change what a branch may hold
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    branch: BranchArg,
    /// At most this many bytes, with K, M, G or T; or none
    #[arg(long, value_name = "SIZE")]
    bytes: Option<String>,
    /// At most this many files and directories; or none
    #[arg(long, value_name = "COUNT")]
    inodes: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    branch: BranchPath,
    limits: Limits,
    usage: Usage,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let mut change = LimitsChange::default();
    for (key, value) in [("bytes", &args.bytes), ("inodes", &args.inodes)] {
        if let Some(value) = value {
            change.set(format!("{key}={value}").as_bytes())?;
        }
    }
    let (workspace, branch) = args.branch.find(session)?;
    if change != LimitsChange::default() {
        branch.set_limits(&change)?;
    }
    let status = branch.status()?;
    if args.json {
        let report = Report {
            branch: branch.path,
            limits: status.limits,
            usage: status.usage,
        };
        session.json("limits", &workspace, report)?;
    } else {
        session.line(usage(&status.usage, &status.limits))?;
    }
    Ok(Exit::Done)
}
