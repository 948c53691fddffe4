//! Arguments that several commands share.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::error::CliError;
use super::output::Session;
use crate::client::{Address, Branch, Workspace};
use crate::proto::ProtoError;

/// Which workspace.
#[derive(Debug, clap::Args)]
pub struct WorkspaceArg {
    /// A path in the workspace; the current directory if not given
    #[arg(short = 'w', long = "workspace", value_name = "PATH")]
    path: Option<PathBuf>,
}

impl WorkspaceArg {
    /// Finds it.
    pub fn find(&self, session: &Session<'_>) -> Result<Workspace, CliError> {
        Ok(Workspace::find(self.path.as_deref(), session.is_mount)?)
    }
}

/// One branch; the one that one stands in if none is named.
#[derive(Debug, clap::Args)]
pub struct BranchArg {
    /// The branch: fix-a, fix-a/sub, main, or . for the one you are in
    #[arg(value_name = "BRANCH", default_value = ".")]
    branch: OsString,
    #[command(flatten)]
    workspace: WorkspaceArg,
}

impl BranchArg {
    /// Finds the workspace and, in it, where the branch is or would be.
    pub fn find(&self, session: &Session<'_>) -> Result<(Workspace, Branch), CliError> {
        let address = address(&self.branch)?;
        let workspace = self.workspace.find(session)?;
        let branch = workspace.branch(&address)?;
        Ok((workspace, branch))
    }
}

/// Reads a branch's address.
pub fn address(text: &OsString) -> Result<Address, ProtoError> {
    Address::parse(text.as_bytes())
}
