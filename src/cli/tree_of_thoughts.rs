//! `branchfs tree-of-thoughts`.

use super::error::{CliError, Exit};
use super::output::Session;
use super::pattern_arguments::Strategies;
use crate::trial::pattern;

/// Run levels of strategies, each on top of the best of the level above
///
/// The strategies of the first level are given; the expansion, a shell command, runs in the branch
/// of the best trial of a level and prints those of the next, one per line. A trial writes its
/// score to descriptor 3. The best of the last level that had a success lands, with all that it
/// builds on.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    strategies: Strategies,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let what = pattern::Tree {
        strategies: args.strategies.first(),
        expand: args.strategies.expand.clone(),
        max_depth: args.strategies.max_depth,
    };
    args.strategies.play(session, "tree-of-thoughts", |runner| {
        pattern::tree_of_thoughts(runner, &what)
    })
}
