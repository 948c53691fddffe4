//! `branchfs list`.

use std::ffi::OsString;

use serde::Serialize;

use super::arguments::{WorkspaceArg, address};
use super::error::{CliError, Exit};
use super::output::{Color, Session};
use crate::client::{Branch, Workspace};
use crate::proto::{State, Status, Text, TreeNode, display};

/// List the live branches
#[derive(Debug, clap::Args)]
pub struct Args {
    /// List the children of this branch; of main if not given
    #[arg(value_name = "BRANCH")]
    branch: Option<OsString>,
    /// List branches below branches too
    #[arg(short, long, conflicts_with = "trash")]
    recursive: bool,
    /// List what can be restored instead
    #[arg(long)]
    trash: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    workspace: WorkspaceArg,
}

/// A row: the name that is shown, and the branch's own words.
#[derive(Serialize)]
struct Row {
    entry: Text,
    #[serde(flatten)]
    status: Status,
}

#[derive(Serialize)]
struct Listing<'a> {
    branches: Vec<&'a Text>,
    details: &'a [Row],
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let workspace = args.workspace.find(session)?;
    let branch = match &args.branch {
        Some(text) => workspace.branch(&address(text)?)?,
        None => workspace.top(),
    };
    let rows = if args.trash {
        trash(&branch)?
    } else {
        live(&branch, args.recursive)?
    };
    if args.json {
        print_json(&workspace, &rows, session)?;
    } else {
        print_table(&rows, session)?;
    }
    Ok(Exit::Done)
}

fn trash(branch: &Branch) -> Result<Vec<Row>, CliError> {
    let entries = branch.trash()?.into_iter();
    Ok(entries
        .map(|e| Row {
            entry: Text::from(e.entry.as_bytes()),
            status: e.status,
        })
        .collect())
}

fn live(branch: &Branch, recursive: bool) -> Result<Vec<Row>, CliError> {
    let mut rows = Vec::new();
    if recursive {
        flatten(branch.tree()?.children, &mut Vec::new(), &mut rows);
    } else {
        let children = branch.child_statuses()?.into_iter();
        rows.extend(children.map(|(_, status)| Row {
            entry: status.name.clone(),
            status,
        }));
    }
    Ok(rows)
}

fn flatten(nodes: Vec<TreeNode>, above: &mut Vec<u8>, rows: &mut Vec<Row>) {
    for TreeNode { status, children } in nodes {
        let before = above.len();
        above.extend_from_slice(&status.name.0);
        rows.push(Row {
            entry: Text(above.clone()),
            status,
        });
        above.push(b'/');
        flatten(children, above, rows);
        above.truncate(before);
    }
}

fn print_json(
    workspace: &Workspace,
    rows: &[Row],
    session: &mut Session<'_>,
) -> Result<(), CliError> {
    let branches = rows.iter().map(|row| &row.entry).collect();
    session.json(
        "list",
        workspace,
        Listing {
            branches,
            details: rows,
        },
    )
}

fn print_table(rows: &[Row], session: &mut Session<'_>) -> Result<(), CliError> {
    let width = |row: &Row| row.entry.to_string().chars().count();
    let width = rows.iter().map(width).max().unwrap_or(0);
    for Row { entry, status } in rows {
        let state = match status.state {
            State::Open => session.paint(Color::Green, format_args!("{:9}", status.state)),
            _ => session.paint(Color::Red, format_args!("{:9}", status.state)),
        };
        let mut line = format!("{:width$}  {state}", entry.to_string());
        if let Some(counts) = status.changed {
            line.push_str(&format!("  {counts}"));
        }
        if let Some(expires) = status.expires {
            line.push_str(&format!("  until {expires}"));
        }
        if let Some(note) = status.note.lines().next() {
            let note = display(note.as_bytes());
            line.push_str(&format!("  {}", session.paint(Color::Dim, note)));
        }
        session.line(line.trim_end())?;
    }
    Ok(())
}
