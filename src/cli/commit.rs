//! `branchfs commit`.

use super::arguments::BranchArg;
use super::error::{CliError, Exit};
use super::output::Session;
use crate::client::{Branch, Verb, Workspace};
use crate::proto::{Command, Verdict};

/// Land a branch's changes in its parent
///
/// Exits with 3 if another branch was first, or if the parent changed the same paths. On main it
/// publishes into the base.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    branch: BranchArg,
    /// Only show what would land, and whether it would be accepted
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let (workspace, branch) = args.branch.find(session)?;
    if args.dry_run {
        let preview = branch.preview()?;
        session.line(preview.to_string().trim_end())?;
        return Ok(match preview.verdict {
            Verdict::Accepted => Exit::Done,
            Verdict::Refused { .. } => Exit::Conflict,
        });
    }
    let Some(parent) = branch.path.parent() else {
        branch.command(Verb::Commit, &Command::Commit)?;
        session.line("published main into the base")?;
        return Ok(Exit::Done);
    };
    let unpublished = match branch.status() {
        Ok(status) => branch.commit(status.number)?,
        // It is over, or not there: the commit's own answer says which.
        Err(_) => {
            branch.command(Verb::Commit, &Command::Commit)?;
            None
        }
    };
    session.line(format_args!("committed {} into {parent}", branch.path))?;
    leave(&workspace, &branch, session);
    if let Some(error) = unpublished {
        session.warn(error);
    }
    Ok(Exit::Done)
}

/// Tells one who stands in a branch that is over to go elsewhere.
pub(super) fn leave(workspace: &Workspace, over: &Branch, session: &mut Session<'_>) {
    let inside = workspace.here().below(&over.path).is_some();
    if inside && over.path.parent().is_some() {
        session.hint(format_args!(
            "this branch is over: cd {}",
            workspace.root().display()
        ));
    }
}
