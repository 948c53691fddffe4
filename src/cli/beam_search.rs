//! `branchfs beam-search`.

use super::error::{CliError, Exit};
use super::output::Session;
use super::pattern_arguments::Strategies;
use crate::trial::pattern;

/// Run levels of strategies and keep the best few over all beams of each level
///
/// As tree-of-thoughts, but the best few trials of a level survive, each is expanded in its own
/// branch, and what comes of all of them competes for the next level.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many survive a level
    #[arg(short = 'k', long, value_name = "COUNT", default_value = "2",
          value_parser = clap::value_parser!(u32).range(1..))]
    width: u32,
    #[command(flatten)]
    strategies: Strategies,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let what = pattern::Beam {
        strategies: args.strategies.first(),
        expand: args.strategies.expand.clone(),
        width: args.width as usize,
        max_depth: args.strategies.max_depth,
    };
    args.strategies.play(session, "beam-search", |runner| {
        pattern::beam_search(runner, &what)
    })
}
