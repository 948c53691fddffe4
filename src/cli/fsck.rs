//! `branchfs fsck`.

use std::path::{Path, PathBuf};

use super::error::{CliError, Exit};
use super::output::Session;
use crate::client::{ClientError, Workspace};
use crate::daemon::{Finding, Verified, check_store};

/// Check every invariant of a store that is not mounted
///
/// Exits with 4 if it finds damage.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The store: BASE/.branchfs, or what --store named
    store: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    match Workspace::find(Some(&args.store), session.is_mount) {
        Ok(workspace) => {
            return Err(CliError::Mounted {
                path: workspace.root().to_owned(),
            });
        }
        Err(error @ ClientError::DeadMount { .. }) => return Err(error.into()),
        // Not in a workspace, as it should be; what else is wrong with the path, the check says.
        Err(_) => {}
    }
    check(&args.store, session)
}

/// Checks, and says what is wrong.
fn check(store: &Path, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let verified = check_store(store)?;
    for Finding { place, what } in &verified.findings {
        writeln!(session.out, "{place}: {what}")?;
    }
    let Verified {
        branches,
        records,
        files,
        findings,
    } = &verified;
    writeln!(
        session.out,
        "{}: {branches} branches, {files} files, {records} records, {} problems",
        store.display(),
        findings.len(),
    )?;
    Ok(if findings.is_empty() {
        Exit::Done
    } else {
        Exit::Damaged
    })
}
