//! `branchfs patch`.

use std::io::Read;

use super::arguments::BranchArg;
use super::error::{CliError, Exit};
use super::output::Session;

/// Print a branch's changes as a patch for git apply
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    branch: BranchArg,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let (_, branch) = args.branch.find(session)?;
    let mut patch = branch.patch()?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        // Reading and writing fail for different reasons, so they are not one io::copy.
        let len = patch.read(&mut buffer).map_err(|source| CliError::Patch {
            branch: branch.path.to_string(),
            source,
        })?;
        if len == 0 {
            return Ok(Exit::Done);
        }
        session.out.write_all(&buffer[..len])?;
    }
}
