//! `branchfs status`.

use serde::Serialize;

use super::arguments::BranchArg;
use super::error::{CliError, Exit};
use super::output::{Color, Session, size};
use crate::proto::{BranchName, Conflict, ConflictKind, Limits, State, Status, Usage, display};

/// Show the state of a branch
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    branch: BranchArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `branches` are the live branches of the workspace, `children` those of the branch that was asked
/// for.
#[derive(Serialize)]
struct Report {
    branches: Vec<BranchName>,
    status: Status,
    children: Vec<BranchName>,
    conflicts: Vec<Conflict>,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let (workspace, branch) = args.branch.find(session)?;
    let report = Report {
        status: branch.status()?,
        children: branch.children()?,
        conflicts: branch.conflicts()?,
        branches: workspace.top().children()?,
    };
    if args.json {
        session.json("status", &workspace, report)?;
    } else {
        print(&report, session)?;
    }
    Ok(Exit::Done)
}

fn print(report: &Report, session: &mut Session<'_>) -> Result<(), CliError> {
    let Status {
        branch,
        number,
        state,
        policy,
        ..
    } = &report.status;
    let color = if *state == State::Open {
        Color::Green
    } else {
        Color::Red
    };
    let state = session.paint(color, state);
    session.line(format_args!("{branch}  #{number} {state}, {policy}"))?;
    for (key, value) in rows(&report.status) {
        session.line(format_args!("  {key:9} {value}"))?;
    }
    if !report.children.is_empty() {
        let names: Vec<String> = report.children.iter().map(ToString::to_string).collect();
        session.line(format_args!("  {:9} {}", "branches", names.join(", ")))?;
    }
    for conflict in &report.conflicts {
        let color = match conflict.kind {
            ConflictKind::Conflict => Color::Red,
            ConflictKind::Overlap => Color::Yellow,
        };
        let line = session.paint(color, conflict);
        session.line(format_args!("  {line}"))?;
    }
    Ok(())
}

/// What there is to say, as key and value.
fn rows(status: &Status) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(counts) = status.changed {
        rows.push(("changes", counts.to_string()));
    }
    rows.push(("holds", usage(&status.usage, &status.limits)));
    if let Some(parent) = &status.parent {
        rows.push(("forked", format!("from {parent}, {}", status.created)));
    }
    if let Some(expires) = status.expires {
        rows.push(("expires", expires.to_string()));
    }
    for (key, entry) in [("undo", &status.undo), ("redo", &status.redo)] {
        if let Some(entry) = entry {
            let place = format!("@branches/.trash/{}", display(&entry.0));
            rows.push((key, format!("possible; {place} shows what was before")));
        }
    }
    if let Some(reason) = &status.read_only {
        rows.push(("read-only", display(reason.as_bytes())));
    }
    if let Some(reason) = &status.publish_error {
        rows.push(("publish", format!("failed: {}", display(reason.as_bytes()))));
    }
    if let Some(sentence) = &status.last_error {
        let errno = status
            .last_errno
            .map(|errno| format!("{errno}: "))
            .unwrap_or_default();
        rows.push((
            "refused",
            format!("{errno}{}", display(sentence.as_bytes())),
        ));
    }
    rows.extend(
        status
            .note
            .lines()
            .map(|line| ("note", display(line.as_bytes()))),
    );
    rows
}

/// `1.0 MiB in 12 inodes, of 1.0 GiB and 1000 inodes`
pub(super) fn usage(usage: &Usage, limits: &Limits) -> String {
    let mut text = format!("{} in {} inodes", size(usage.bytes), usage.inodes);
    let limits = [
        limits.bytes.map(size),
        limits.inodes.map(|inodes| format!("{inodes} inodes")),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    if !limits.is_empty() {
        text.push_str(&format!(", of {}", limits.join(" and ")));
    }
    text
}
