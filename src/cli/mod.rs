//! The command line: arguments, output for people, exit codes.
//!
//! Owns the only definition of the commands (it feeds the parser and the help) and everything that
//! is written to the terminal; nothing outside names clap. It must not know how a verb is done:
//! what concerns a mounted workspace is `client`, what makes or checks one is a call in `mount`,
//! `umount`, `gc` and `fsck`.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | failed |
//! | 2 | the command line is wrong |
//! | 3 | conflict, or another branch was first |
//! | 4 | a check found damage, or no trial won |
//!
//! **Invariants**: results go to stdout, errors and hints to stderr; colour only where stderr or
//! stdout is a terminal and NO_COLOR is unset or empty; bytes of names reach a terminal only quoted
//! (`proto::display`), except for paths that scripts take (`Session::path`).

mod abort;
mod arguments;
mod ask;
mod beam_search;
mod best_of_n;
mod blame;
mod cascade;
mod commit;
mod completion;
mod diff;
mod doctor;
mod error;
mod fork;
mod fsck;
mod gc;
mod invocation;
mod kill;
mod limits;
mod list;
mod log;
mod mount;
mod mount_helper;
mod note;
mod output;
mod parallel;
mod patch;
mod pattern_arguments;
mod progress;
mod publish;
mod reflexion;
mod rename;
mod restore;
mod review;
mod run;
mod speculate;
mod status;
mod tournament;
mod tree;
mod tree_of_thoughts;
mod trial_arguments;
mod trial_output;
mod trials;
mod umount;
mod umount_helper;
mod undo;
mod wait;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::trial::supervise;
pub use completion::{command, script as completion_script};
pub use error::{CliError, Exit};
use invocation::Invocation;
pub use output::Session;

/// The arguments of `branchfs`.
#[derive(Debug, Parser)]
#[command(
    name = "branchfs",
    version,
    about = "Copy-on-write branches for any directory",
    after_help = AFTER_HELP,
    max_term_width = 100,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

const AFTER_HELP: &str = "\
Branches are named from main on (fix-a, fix-a/sub), or from where you stand (., ./sub).

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 conflict or another branch was first,
4 a check found damage or no trial won. run exits with what its command exits with:
124 out of time, 126 and 127 as env(1), 128 and more a signal.";

#[derive(Debug, Subcommand)]
enum Verb {
    Mount(mount::Args),
    Umount(umount::Args),
    Fork(fork::Args),
    List(list::Args),
    Tree(tree::Args),
    Status(status::Args),
    Diff(diff::Args),
    Patch(patch::Args),
    Commit(commit::Args),
    Abort(abort::Args),
    Undo(undo::Args),
    Redo(undo::RedoArgs),
    Restore(restore::Args),
    Rename(rename::Args),
    Log(log::Args),
    Limits(limits::Args),
    Note(note::Args),
    Publish(publish::Args),
    Gc(gc::Args),
    Fsck(fsck::Args),
    Doctor(doctor::Args),
    Run(run::Args),
    Speculate(speculate::Args),
    BestOfN(best_of_n::Args),
    Reflexion(reflexion::Args),
    TreeOfThoughts(tree_of_thoughts::Args),
    BeamSearch(beam_search::Args),
    Tournament(tournament::Args),
    Cascade(cascade::Args),
    Parallel(parallel::Args),
    Trials(trials::Args),
    Wait(wait::Args),
    Kill(kill::Args),
    Review(review::Args),
    Blame(blame::Args),
}

impl Verb {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        match self {
            Verb::Mount(args) => mount::run(&args, session),
            Verb::Umount(args) => umount::run(&args, session),
            Verb::Fork(args) => fork::run(&args, session),
            Verb::List(args) => list::run(&args, session),
            Verb::Tree(args) => tree::run(&args, session),
            Verb::Status(args) => status::run(&args, session),
            Verb::Diff(args) => diff::run(&args, session),
            Verb::Patch(args) => patch::run(&args, session),
            Verb::Commit(args) => commit::run(&args, session),
            Verb::Abort(args) => abort::run(&args, session),
            Verb::Undo(args) => undo::run(&args, session),
            Verb::Redo(args) => undo::run_redo(&args, session),
            Verb::Restore(args) => restore::run(&args, session),
            Verb::Rename(args) => rename::run(&args, session),
            Verb::Log(args) => log::run(&args, session),
            Verb::Limits(args) => limits::run(&args, session),
            Verb::Note(args) => note::run(&args, session),
            Verb::Publish(args) => publish::run(&args, session),
            Verb::Gc(args) => gc::run(&args, session),
            Verb::Fsck(args) => fsck::run(&args, session),
            Verb::Doctor(args) => doctor::run(&args, session),
            Verb::Run(args) => run::run(&args, session),
            Verb::Speculate(args) => speculate::run(&args, session),
            Verb::BestOfN(args) => best_of_n::run(&args, session),
            Verb::Reflexion(args) => reflexion::run(&args, session),
            Verb::TreeOfThoughts(args) => tree_of_thoughts::run(&args, session),
            Verb::BeamSearch(args) => beam_search::run(&args, session),
            Verb::Tournament(args) => tournament::run(&args, session),
            Verb::Cascade(args) => cascade::run(&args, session),
            Verb::Parallel(args) => parallel::run(&args, session),
            Verb::Trials(args) => trials::run(&args, session),
            Verb::Wait(args) => wait::run(&args, session),
            Verb::Kill(args) => kill::run(&args, session),
            Verb::Review(args) => review::run(&args, session),
            Verb::Blame(args) => blame::run(&args, session),
        }
    }
}

/// Runs the process's own command line.
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Not for people, and once per trial: the definition of the commands is not even built for it.
    if let [_, only] = arguments.as_slice()
        && only == supervise::VERB
    {
        return ExitCode::from(supervise::supervise());
    }
    if completion::answer(&arguments) {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(output::with_process_session(|session| {
        run_with(&arguments, session)
    }))
}

/// Runs a command line; the answer is the process's exit code.
pub fn run_with(arguments: &[OsString], session: &mut Session<'_>) -> u8 {
    let result = match Invocation::of(arguments) {
        Invocation::Mount => return mount_helper::run(arguments, session),
        Invocation::Umount => return umount_helper::run(arguments, session),
        Invocation::Command => Cli::try_parse_from(arguments),
    };
    let result = match result {
        Ok(cli) => cli.command.run(session),
        Err(error) => session.usage(&error),
    };
    match result {
        Ok(exit) => exit.code(),
        Err(error) => session.fail(&error).code(),
    }
}

#[cfg(test)]
mod tests;
