//! `branchfs tree-of-thoughts`.

use std::ffi::OsString;

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::Session;
use super::trial_arguments::{NameArg, TrialArgs};
use super::trial_output::{Common, print};
use crate::proto::BranchPath;
use crate::trial::pattern;

/// Run levels of strategies, each on top of the best of the level above
///
/// The strategies of the first level are given; the expansion, a shell command, runs in the branch
/// of the best trial of a level and prints those of the next, one per line. A trial writes its
///
/// score
/// to descriptor 3. The best of the last level that had a success lands, with all that it builds
/// on.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A shell command of the first level; give it once for each
    #[arg(short = 'c', long = "command", value_name = "COMMAND", required = true)]
    commands: Vec<OsString>,
    /// A shell command that prints the next level's, one per line
    #[arg(long, value_name = "COMMAND")]
    expand: Option<OsString>,
    /// How many levels at most
    #[arg(long, value_name = "COUNT", default_value = "3",
          value_parser = clap::value_parser!(u32).range(1..))]
    max_depth: u32,
    #[command(flatten)]
    name: NameArg,
    #[command(flatten)]
    trial: TrialArgs,
}

/// `winner` is the branch that landed last; its results are those with this `branch`.
#[derive(Serialize)]
pub(super) struct Report {
    levels: u32,
    winner: Option<BranchPath>,
    #[serde(flatten)]
    common: Common,
}

impl Report {
    /// From what came of it.
    pub(super) fn of(summary: &crate::trial::Summary) -> Report {
        let levels = summary.outcomes.iter().map(|outcome| outcome.attempt + 1);
        Report {
            levels: levels.max().unwrap_or(0),
            winner: summary.winner().map(|winner| winner.branch.path.clone()),
            common: Common::of(summary),
        }
    }
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let settings = args.trial.settings("tree-of-thoughts", Some(&args.name));
    let what = pattern::Tree {
        strategies: args.commands.clone(),
        expand: args.expand.clone(),
        max_depth: args.max_depth,
    };
    let (workspace, summary) = args.trial.with_runner(session, &settings, |runner, _| {
        Ok(pattern::tree_of_thoughts(runner, &what)?)
    })?;
    let report = Report::of(&summary);
    print(
        session,
        ("tree-of-thoughts", args.trial.json),
        &workspace,
        &summary,
        report,
    )
}
