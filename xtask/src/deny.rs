//! `cargo xtask deny`: licenses, bans and sources of everything that is built in.
//!
//! By cargo-deny, which is installed below `target/` where there is none. Advisories are asked for
//! only by `--advisories`: their database is on the network, and what is out of reach shall be an
//! error of its own and not a check that was skipped.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;

use crate::Done;
use crate::cargo::{cargo, root, succeed};

/// What `cargo xtask deny` takes.
#[derive(Args)]
pub struct Arguments {
    /// Ask the advisory database too, which is on the network
    #[arg(long)]
    advisories: bool,
}

/// The version that the settings were written for.
const VERSION: &str = "^0.20";

/// Runs the checks.
pub fn run(arguments: &Arguments) -> Done {
    let mut check = Command::new(program()?);
    check.current_dir(root());
    check.args(["--workspace", "--locked", "--config", ".cargo/deny.toml"]);
    check.args([
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]);
    if arguments.advisories {
        check.arg("advisories");
    }
    succeed(check)?;
    if !arguments.advisories {
        println!("advisories: not asked for; cargo xtask deny --advisories does, on the network");
    }
    Ok(())
}

/// cargo-deny: that of the machine, or one of our own.
fn program() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let installed = Command::new("cargo-deny")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if installed.is_ok_and(|status| status.success()) {
        return Ok("cargo-deny".into());
    }
    let tools = root().join("target/tools");
    let own = tools.join("bin/cargo-deny");
    if !own.exists() {
        println!("installing cargo-deny {VERSION} in {}", tools.display());
        let mut install = cargo();
        install.args(["install", "cargo-deny", "--locked", "--version", VERSION]);
        install.arg("--root").arg(&tools);
        succeed(install)?;
    }
    Ok(own)
}
