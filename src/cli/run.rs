//! `branchfs run`.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Serialize;

use super::ask::{Answer, ask};
use super::error::{CliError, Exit};
use super::output::Session;
use super::trial_arguments::{NameArg, TrialArgs};
use crate::proto::{BranchPath, display};
use crate::trial::pattern::{self, After};
use crate::trial::{Action, Fate, Outcome, Streams, Summary, TrialError, TrialReport, Verdict};

/// Run a command in a branch: success lands, failure leaves no trace
///
/// The command runs in a fresh fork of the branch that you are in. If it exits with 0 its changes
/// land, else they are dropped. Exits with what the command exits with; 3 if the changes could not
/// land, 124 if its time was over.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What happens to the branch if the command fails
    #[arg(long, value_name = "WHAT", default_value = "abort", value_parser = ["abort", "keep"])]
    on_error: String,
    /// What happens to the branch if it succeeds
    #[arg(long, value_name = "WHAT", default_value = "commit", value_parser = ["commit", "keep"])]
    on_success: String,
    /// Show the changes and ask what to do; the end of input aborts
    #[arg(long, conflicts_with_all = ["json", "detach"])]
    ask: bool,
    /// Print the branch's name and return at once; see wait, kill and trials
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    name: NameArg,
    #[command(flatten)]
    trial: TrialArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Serialize)]
struct Report {
    branch: BranchPath,
    exit_code: i32,
    action: Option<Fate>,
    committed: bool,
    #[serde(flatten)]
    trial: Rest,
}

/// What a trial's report has beside the fields above.
#[derive(Serialize)]
struct Rest {
    argv: Vec<String>,
    result: TrialReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let mut settings = args.trial.settings("run", Some(&args.name));
    if args.detach {
        return detach(args, session);
    }
    let on_success = match (args.on_success.as_str(), settings.commit) {
        ("keep", _) | (_, false) => After::Keep,
        _ => After::Commit,
    };
    let on_error = match (args.on_error.as_str(), settings.keep) {
        ("keep", _) | (_, true) => After::Keep,
        _ => After::Abort,
    };
    // What is kept is decided above.
    settings.keep = false;
    // The command itself shows how it goes.
    let live = false;
    let (workspace, summary) =
        args.trial
            .with_runner(session, &settings, live, |runner, session| {
                runner.own_session = false;
                runner.streams = match (args.trial.json, std::io::stdout().is_terminal()) {
                    (true, _) => Streams::Captured,
                    (false, true) => Streams::Inherited,
                    (false, false) => Streams::Shown,
                };
                let mut decide = |outcome: &Outcome| match ask(session, &outcome.branch) {
                    Answer::Do(after) => after,
                    Answer::Patch | Answer::Quit => After::Abort,
                };
                let what = pattern::Run {
                    action: Action::Argv(args.command.clone()),
                    on_success,
                    on_error,
                    ask: if args.ask { Some(&mut decide) } else { None },
                };
                Ok(pattern::run(runner, what)?)
            })?;
    let Some(outcome) = summary.outcomes.first() else {
        return Ok(Exit::Failed);
    };
    if args.trial.json {
        let argv = args
            .command
            .iter()
            .map(|word| word.to_string_lossy().into_owned());
        let report = Report {
            branch: outcome.branch.path.clone(),
            exit_code: exit_code(&summary, outcome),
            action: outcome.fate,
            committed: summary.committed,
            trial: Rest {
                argv: argv.collect(),
                result: outcome.report(),
                refused: outcome.refused.clone(),
            },
        };
        session.json("run", &workspace, report)?;
    } else {
        tell(session, &summary, outcome);
    }
    Ok(exit(&summary, outcome))
}

/// Says only what the command itself cannot have said.
fn tell(session: &mut Session<'_>, summary: &Summary, outcome: &Outcome) {
    if let Some(error) = outcome.not_started() {
        session.fail(&error.into());
    }
    for note in &summary.notes {
        session.hint(display(note.as_bytes()));
    }
    if outcome.used.oom_kills > 0 {
        session.hint("a process of it was killed: it needed more memory than it may have");
    }
    if outcome.ended.timed_out || summary.timed_out {
        session.hint("its time was over");
    }
    if outcome.fate == Some(Fate::Kept) {
        session.hint(format_args!("the branch is {}", outcome.branch.path));
    }
}

/// What the command exited with; 124 where the time of the whole run was over too.
fn exit_code(summary: &Summary, outcome: &Outcome) -> i32 {
    match summary.timed_out && outcome.ended.cancelled {
        true => 124,
        false => outcome.ended_with(),
    }
}

fn exit(summary: &Summary, outcome: &Outcome) -> Exit {
    match (summary.signal, summary.verdict) {
        (Some(signal), _) => Exit::Passed(u8::try_from(128 + signal).unwrap_or(255)),
        (None, Verdict::LostRace) => Exit::Conflict,
        _ => Exit::Passed(u8::try_from(exit_code(summary, outcome)).unwrap_or(255)),
    }
}

/// Starts the same command line in the background, under a name that is known here.
fn detach(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let workspace = args.trial.workspace.find(session)?;
    let here = workspace.here().clone();
    let mut words = std::env::args_os().skip(1).collect::<Vec<OsString>>();
    // Behind `--` the same word is the command's.
    let own = words
        .iter()
        .position(|word| word == "--")
        .unwrap_or(words.len());
    if let Some(at) = words[..own].iter().position(|word| word == "--detach") {
        words.remove(at);
    }
    let name = match &args.name.name {
        Some(name) => name.clone(),
        None => {
            let name = OsString::from(format!("run-{:x}", std::process::id()));
            words.splice(1..1, ["-b".into(), name.clone()]);
            name
        }
    };
    let name = crate::proto::BranchName::new(std::os::unix::ffi::OsStrExt::as_bytes(&*name))?;
    let branch = here.child(name);
    let program = std::env::current_exe().map_err(TrialError::from)?;
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(TrialError::from)?;
    // It tells of its start in the events; until then nobody could wait for it.
    loop {
        if crate::trial::detached::is_known(&workspace, &branch, child.id())? {
            session.line(&branch)?;
            return Ok(Exit::Done);
        }
        if let Some(status) = child.try_wait().map_err(TrialError::from)? {
            return Ok(Exit::Passed(
                u8::try_from(status.code().unwrap_or(1)).unwrap_or(1),
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
