//! `branchfs doctor`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::{Color, Session};
use crate::client::{ClientError, Workspace};
use crate::daemon::{STORE_NAME, Verdict, check_store, examine_machine};

/// Say whether this machine can mount workspaces, and whether a store is healthy
///
/// Exits with 1 if something that is needed is not there, with 4 if the store is damaged.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A workspace, a base or a store; the workspace that one is in if not given
    path: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line {
    subject: String,
    verdict: &'static str,
    finding: String,
    hint: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let machine = examine_machine();
    let mut exit = match machine.iter().any(|check| check.verdict == Verdict::Bad) {
        true => Exit::Failed,
        false => Exit::Done,
    };
    let mut lines: Vec<Line> = machine
        .into_iter()
        .map(|check| Line {
            subject: check.subject.to_owned(),
            verdict: match check.verdict {
                Verdict::Good => "ok",
                Verdict::Limited => "limited",
                Verdict::Bad => "bad",
            },
            finding: check.finding,
            hint: check.hint.map(str::to_owned),
        })
        .collect();
    if let Some(line) = store(args.path.as_deref(), session)? {
        if line.verdict == "bad" {
            exit = Exit::Damaged;
        }
        lines.push(line);
    }
    if args.json {
        let mut text = serde_json::to_string_pretty(&lines).map_err(std::io::Error::from)?;
        text.push('\n');
        session.out.write_all(text.as_bytes())?;
        return Ok(exit);
    }
    for Line {
        subject,
        verdict,
        finding,
        hint,
    } in lines
    {
        let color = match verdict {
            "ok" => Color::Green,
            "limited" => Color::Yellow,
            _ => Color::Red,
        };
        let verdict = session.paint(color, format_args!("{verdict:7}"));
        session.line(format_args!("{verdict}  {subject:15}  {finding}"))?;
        if let Some(hint) = hint {
            session.line(format_args!("{:26}hint: {hint}", ""))?;
        }
    }
    Ok(exit)
}

/// What there is to say of a store; nothing where none was named and none is here.
fn store(path: Option<&Path>, session: &Session<'_>) -> Result<Option<Line>, CliError> {
    match Workspace::find(path, session.is_mount) {
        Ok(workspace) => Ok(Some(mounted(&workspace)?)),
        Err(ClientError::NotAWorkspace { .. }) => match path {
            Some(path) => unmounted(path).map(Some),
            None => Ok(None),
        },
        Err(error) => Err(error.into()),
    }
}

/// A store in use is asked itself; reading all of it is for when nobody writes.
fn mounted(workspace: &Workspace) -> Result<Line, CliError> {
    let status = workspace.top().status()?;
    let root = workspace.root().display();
    Ok(match (status.read_only, status.publish_error) {
        (None, None) => Line {
            subject: "store".to_owned(),
            verdict: "ok",
            finding: format!("{root} is mounted and answers"),
            hint: None,
        },
        (None, Some(why)) => Line {
            subject: "store".to_owned(),
            verdict: "limited",
            finding: format!("{root} has what is not yet in the base: {why}"),
            hint: Some("it is tried again by itself; branchfs publish tries at once".to_owned()),
        },
        (Some(why), _) => Line {
            subject: "store".to_owned(),
            verdict: "bad",
            finding: format!("{root} takes no more writes: {why}"),
            hint: Some("look at the disk, unmount, and check the store: branchfs fsck".to_owned()),
        },
    })
}

fn unmounted(path: &Path) -> Result<Line, CliError> {
    let inside = path.join(STORE_NAME);
    let store = match inside.is_dir() {
        true => inside,
        false => path.to_owned(),
    };
    let shown = store.display().to_string();
    let findings = check_store(&store)?.findings.len();
    Ok(match findings {
        0 => Line {
            subject: "store".to_owned(),
            verdict: "ok",
            finding: format!("{shown}: every invariant holds"),
            hint: None,
        },
        count => Line {
            subject: "store".to_owned(),
            verdict: "bad",
            finding: format!("{shown}: {count} invariants do not hold"),
            hint: Some(format!("branchfs fsck {shown} names them")),
        },
    })
}
