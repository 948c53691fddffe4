//! `branchfs undo` and `branchfs redo`.

use super::arguments::BranchArg;
use super::error::{CliError, Exit};
use super::output::Session;
use crate::client::Verb;
use crate::proto::{Command, Status, Text};

/// Take back the last commit into a branch
///
/// What has been changed since stays; where that is the same path nothing is done, and the exit
/// code is 3. Commits can be taken back, the last one first, for as long as the trash keeps things;
/// redo takes an undo back.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    branch: BranchArg,
}

/// Take back the last undo in a branch: the commit is there again
///
/// Exits with 3 if the same paths were changed since.
#[derive(Debug, clap::Args)]
pub struct RedoArgs {
    #[command(flatten)]
    branch: BranchArg,
}

/// Runs `undo`.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let what = (Verb::Undo, Command::Undo, "took back the commit of");
    go_back(&args.branch, what, |status| status.undo, session)
}

/// Runs `redo`.
pub fn run_redo(args: &RedoArgs, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let what = (Verb::Redo, Command::Redo, "did again the commit of");
    go_back(&args.branch, what, |status| status.redo, session)
}

fn go_back(
    branch: &BranchArg,
    (verb, command, done): (Verb, Command, &str),
    entry: fn(Status) -> Option<Text>,
    session: &mut Session<'_>,
) -> Result<Exit, CliError> {
    let (_, branch) = branch.find(session)?;
    let entry = entry(branch.status()?).and_then(|entry| branch.trashed(&entry));
    branch.command(verb, &command)?;
    let name = entry.map_or(Text(Vec::new()), |status| status.name);
    session.line(format_args!("{done} {name} in {}", branch.path))?;
    Ok(Exit::Done)
}
