//! `branchfs beam-search`.

use std::ffi::OsString;

use super::error::{CliError, Exit};
use super::output::Session;
use super::tree_of_thoughts::Report;
use super::trial_arguments::{NameArg, TrialArgs};
use super::trial_output::print;
use crate::trial::pattern;

/// Run levels of strategies and keep the best few over all beams of each level
///
/// As tree-of-thoughts, but the best few trials of a level survive, each is expanded in its own
/// branch, and what comes of all of them competes for the next level.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A shell command of the first level; give it once for each
    #[arg(short = 'c', long = "command", value_name = "COMMAND", required = true)]
    commands: Vec<OsString>,
    /// A shell command that prints the next level's for one survivor, one per line
    #[arg(long, value_name = "COMMAND")]
    expand: Option<OsString>,
    /// How many survive a level
    #[arg(short = 'k', long, value_name = "COUNT", default_value = "2",
          value_parser = clap::value_parser!(u32).range(1..))]
    width: u32,
    /// How many levels at most
    #[arg(long, value_name = "COUNT", default_value = "3",
          value_parser = clap::value_parser!(u32).range(1..))]
    max_depth: u32,
    #[command(flatten)]
    name: NameArg,
    #[command(flatten)]
    trial: TrialArgs,
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let settings = args.trial.settings("beam-search", Some(&args.name));
    let what = pattern::Beam {
        strategies: args.commands.clone(),
        expand: args.expand.clone(),
        width: args.width as usize,
        max_depth: args.max_depth,
    };
    let (workspace, summary) = args.trial.with_runner(session, &settings, |runner, _| {
        Ok(pattern::beam_search(runner, &what)?)
    })?;
    let report = Report::of(&summary);
    print(
        session,
        ("beam-search", args.trial.json),
        &workspace,
        &summary,
        report,
    )
}
