//! `cargo xtask test`: every test of the workspace.

use clap::Args;

use crate::cargo::{cargo, succeed};
use crate::{Done, install};

/// What `cargo xtask test` takes.
#[derive(Args)]
pub struct Arguments {
    /// Passed on to `cargo test --workspace`: a filter, or `-- --nocapture`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    passed_on: Vec<String>,
}

/// Installs what the tests need, then runs them.
pub fn run(arguments: &Arguments) -> Done {
    install::ensure(install::FOR_TESTS)?;
    let mut test = cargo();
    test.args(["test", "--workspace"])
        .args(&arguments.passed_on);
    succeed(test)
}
