//! `branchfs tree`.

use std::ffi::OsString;

use serde::Serialize;

use super::arguments::{WorkspaceArg, address};
use super::error::{CliError, Exit};
use super::output::Session;
use crate::proto::{Text, TreeNode};

/// Draw the tree of branches
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the tree starts; at main if not given
    #[arg(value_name = "BRANCH")]
    branch: Option<OsString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    workspace: WorkspaceArg,
}

#[derive(Serialize)]
struct Listing<'a> {
    branches: Vec<&'a Text>,
    tree: &'a TreeNode,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let workspace = args.workspace.find(session)?;
    let branch = match &args.branch {
        Some(text) => workspace.branch(&address(text)?)?,
        None => workspace.top(),
    };
    let tree = branch.tree()?;
    if args.json {
        let branches = tree
            .children
            .iter()
            .map(|child| &child.status.name)
            .collect();
        session.json(
            "tree",
            &workspace,
            Listing {
                branches,
                tree: &tree,
            },
        )?;
    } else {
        session.line(tree.to_string().trim_end())?;
    }
    Ok(Exit::Done)
}
