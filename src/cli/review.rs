//! `branchfs review`.

use super::arguments::WorkspaceArg;
use super::ask::{Answer, ask};
use super::error::{CliError, Exit};
use super::output::Session;
use crate::client::{Branch, Workspace};
use crate::trial::pattern::After;
use crate::trial::{detached, end_tree};

/// Go through the branches whose work has not landed, and decide on each
///
/// Shows every live branch that has changes and in which nothing runs, with what it has changed,
/// and asks whether to commit it, to abort it or to leave it. The end of input leaves what is left.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    workspace: WorkspaceArg,
    /// Only list them
    #[arg(short = 'l', long)]
    list: bool,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let workspace = args.workspace.find(session)?;
    let waiting = finished(&workspace)?;
    if args.list {
        waiting
            .iter()
            .try_for_each(|branch| session.line(&branch.path))?;
        return Ok(Exit::Done);
    }
    let mut exit = Exit::Done;
    for branch in waiting {
        // A commit before this one may have ended it.
        let Ok(status) = branch.status() else {
            continue;
        };
        let after = match ask(session, &branch) {
            Answer::Do(after) => after,
            Answer::Patch | Answer::Quit => break,
        };
        match after {
            After::Keep => {}
            After::Abort => {
                end_tree(&branch);
                session.line(format_args!("aborted {}", branch.path))?;
            }
            After::Commit => match branch.commit(status.number) {
                Ok(unpublished) => {
                    session.line(format_args!("committed {}", branch.path))?;
                    if let Some(error) = unpublished {
                        session.warn(error);
                    }
                }
                Err(error) => exit = session.fail(&error.into()),
            },
        }
    }
    Ok(exit)
}

/// Live branches with changes in which nothing runs, the innermost first.
fn finished(workspace: &Workspace) -> Result<Vec<Branch>, CliError> {
    let active = detached::all(workspace)?
        .into_iter()
        .filter(|trial| trial.state.is_active());
    let active: Vec<u32> = active.map(|trial| trial.number).collect();
    let mut found = Vec::new();
    collect(&workspace.top(), &active, &mut found)?;
    Ok(found)
}

fn collect(branch: &Branch, active: &[u32], found: &mut Vec<Branch>) -> Result<(), CliError> {
    for (child, status) in branch.child_statuses()? {
        collect(&child, active, found)?;
        let changed = status.changed.is_some_and(|counts| counts.total() > 0);
        if changed && !active.contains(&status.number) {
            found.push(child);
        }
    }
    Ok(())
}
