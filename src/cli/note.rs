//! `branchfs note`.

use super::arguments::BranchArg;
use super::error::{CliError, Exit};
use super::output::Session;
use crate::proto::display;

/// Show or replace the note of a branch
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    branch: BranchArg,
    /// The new note; empty for none
    #[arg(short = 'm', long = "message", value_name = "TEXT")]
    text: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let (_, branch) = args.branch.find(session)?;
    match &args.text {
        Some(text) => branch.set_note(text)?,
        None => {
            let note = branch.note()?;
            for line in note
                .trim_ascii_end()
                .split(|&b| b == b'\n')
                .filter(|l| !l.is_empty())
            {
                session.line(display(line))?;
            }
        }
    }
    Ok(Exit::Done)
}
