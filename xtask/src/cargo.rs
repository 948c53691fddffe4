//! Runs cargo on this repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Done;

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is in the repository")
}

/// A cargo command in the root of the repository.
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Runs a command to its end with inherited output; an exit code other than 0 is an error.
pub fn succeed(mut command: Command) -> Done {
    let status = command
        .status()
        .map_err(|e| format!("cannot start {command:?}: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

/// Builds the `branchfs` binary with optimisation and returns its path.
pub fn release_binary() -> Result<PathBuf, Box<dyn std::error::Error>> {
    release("branchfs", "branchfs")
}

/// Builds a binary of a package with optimisation and returns its path.
pub fn release(package: &str, binary: &str) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let mut build = cargo();
    build.args(["build", "--release", "--quiet"]);
    build.args(["--package", package, "--bin", binary]);
    succeed(build)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), |dir| {
        let dir = PathBuf::from(dir);
        if dir.is_absolute() {
            dir
        } else {
            root().join(dir)
        }
    });
    Ok(target.join("release").join(binary))
}
