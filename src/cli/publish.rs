//! `branchfs publish`.

use super::arguments::WorkspaceArg;
use super::error::{CliError, Exit};
use super::output::Session;
use crate::client::{Address, Verb};
use crate::proto::Command;

/// Move what main holds into the base directory
///
/// Exits with 3 if a file of the base was changed behind the mount.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    workspace: WorkspaceArg,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let workspace = args.workspace.find(session)?;
    let main = workspace.branch(&Address::main())?;
    main.command(Verb::Publish, &Command::Publish)?;
    session.line("published main into the base")?;
    Ok(Exit::Done)
}
