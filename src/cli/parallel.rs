//! `branchfs parallel`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::{Color, Session};
use super::pattern_arguments::tell;
use super::trial_arguments::TrialArgs;
use crate::proto::display;
use crate::trial::Verdict;
use crate::trial::pattern::{self, Carried, Fold, Policy};

/// Run named commands at once and put their results together
///
/// Every command has a branch of its own. When all have ended, what succeeded is applied in the
/// order given, and lands as one commit: the parent takes all or nothing.
///
/// Exits with 0 if the results landed, 1 if a branch failed under fail-fast or none succeeded.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A branch and its shell command; give it once for each
    #[arg(
        short = 'b',
        long = "branch",
        value_name = "NAME=COMMAND",
        required = true
    )]
    branches: Vec<OsString>,
    /// What a failure does: fail-fast ends all and lands nothing, collect records it
    #[arg(long, value_name = "POLICY", default_value = "fail-fast",
          value_parser = ["fail-fast", "collect"])]
    policy: String,
    /// Carry FROM of the workspace to TO in the branch before its command
    #[arg(long, value_name = "NAME:FROM=TO")]
    input: Vec<OsString>,
    /// Carry FROM of the branch to TO in the workspace, and nothing else of it
    #[arg(long, value_name = "NAME:FROM=TO")]
    output: Vec<OsString>,
    /// How often a branch that failed is tried again
    #[arg(long, value_name = "COUNT", default_value = "0")]
    retries: u32,
    /// A file that two branches wrote: the last one's stands, or what each has added
    #[arg(long, value_name = "RULE", default_value = "last", value_parser = ["last", "append"],
          conflicts_with = "merge")]
    fold: String,
    /// A shell command that merges such a file: $1 as it was, $2 as it is (and the result), $3 as
    /// the next branch has it
    #[arg(long, value_name = "COMMAND")]
    merge: Option<OsString>,
    #[command(flatten)]
    trial: TrialArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    policy: &'a str,
    applied: &'a [String],
    failures: &'a [pattern::Failure],
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let what = what(args)?;
    let settings = args.trial.settings("parallel", None);
    let (workspace, done) = args
        .trial
        .with_runner(session, &settings, true, |runner, _| {
            Ok(pattern::parallel(runner, &what)?)
        })?;
    let report = Report {
        policy: &args.policy,
        applied: &done.applied,
        failures: &done.failures,
    };
    let json = args.trial.json;
    let exit = tell(("parallel", json), session, &workspace, &done, report)?;
    if !json {
        for failure in &done.failures {
            let what = format!("{} failed ({})", failure.branch, failure.category);
            let what = session.paint(Color::Red, display(what.as_bytes()));
            let cause = failure.cause.lines().last().unwrap_or_default();
            let cause = display(cause.as_bytes());
            session.line(format_args!("{what}: {} {cause}", failure.message))?;
        }
    }
    let failed = done.summary.verdict == Verdict::NobodyWon && done.summary.signal.is_none();
    Ok(if failed { Exit::Failed } else { exit })
}

fn what(args: &Args) -> Result<pattern::Parallel, CliError> {
    let mut branches = Vec::new();
    for text in &args.branches {
        let (name, command) = split(text, b'=', "NAME=COMMAND")?;
        branches.push((name.to_string_lossy().into_owned(), command.to_owned()));
    }
    let carried = |texts: &[OsString]| -> Result<Vec<Carried>, CliError> {
        texts
            .iter()
            .map(|text| {
                let (name, paths) = split(text, b':', "NAME:FROM=TO")?;
                let (from, to) = split(paths, b'=', "NAME:FROM=TO")?;
                Ok(Carried {
                    name: name.to_string_lossy().into_owned(),
                    from: from.into(),
                    to: to.into(),
                })
            })
            .collect()
    };
    Ok(pattern::Parallel {
        branches,
        inputs: carried(&args.input)?,
        outputs: carried(&args.output)?,
        policy: match args.policy.as_str() {
            "collect" => Policy::Collect,
            _ => Policy::FailFast,
        },
        retries: args.retries,
        fold: match (&args.merge, args.fold.as_str()) {
            (Some(command), _) => Fold::Merge(command.clone()),
            (None, "append") => Fold::Append,
            (None, _) => Fold::Last,
        },
    })
}

/// Splits at the first `at`.
fn split<'a>(
    text: &'a OsStr,
    at: u8,
    what: &'static str,
) -> Result<(&'a OsStr, &'a OsStr), CliError> {
    let bytes = text.as_bytes();
    let place = bytes.iter().position(|byte| *byte == at);
    let place = place.ok_or_else(|| CliError::Value {
        text: text.to_string_lossy().into_owned(),
        what,
    })?;
    let (before, after) = (&bytes[..place], &bytes[place + 1..]);
    Ok((OsStr::from_bytes(before), OsStr::from_bytes(after)))
}
