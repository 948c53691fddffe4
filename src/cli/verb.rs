//! The commands: what each is called, what its arguments are, and who does it.
//!
//! **Why a table**: to define the arguments of every command takes longer than most commands take
//! to run. So a command line is read with the definition of its own command alone, and only the
//! help, completion and the manual have all of them.

use std::ffi::{OsStr, OsString};

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::error::{CliError, Exit};
use super::output::Session;
use super::{
    abort, beam_search, best_of_n, blame, cascade, commit, diff, doctor, fork, fsck, gc, kill,
    limits, list, log, mount, note, parallel, patch, publish, reflexion, rename, restore, review,
    run, speculate, status, tournament, tree, tree_of_thoughts, trials, umount, undo, wait,
};

const AFTER_HELP: &str = "\
Branches are named from main on (fix-a, fix-a/sub), or from where you stand (., ./sub).

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 conflict or another branch was first,
4 a check found damage or no trial won. run exits with what its command exits with:
124 out of time, 126 and 127 as env(1), 128 and more a signal.";

/// A command's name, and what adds its arguments to its definition.
type Definition = (&'static str, fn(Command) -> Command);

macro_rules! verbs {
    ($($verb:ident, $name:literal, $args:ty, $run:path;)*) => {
        /// A command with its arguments.
        #[derive(Debug)]
        pub enum Verb {
            $($verb($args),)*
        }

        /// All of them, in the order in which the help has them.
        const ALL: &[Definition] = &[$(($name, <$args as Args>::augment_args),)*];

        impl Verb {
            fn of(name: &str, matches: &ArgMatches) -> Result<Verb, clap::Error> {
                match name {
                    $($name => <$args>::from_arg_matches(matches).map(Verb::$verb),)*
                    _ => unreachable!("clap knows only the commands of this table"),
                }
            }

            /// Does it.
            pub fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
                match self {
                    $(Verb::$verb(args) => $run(&args, session),)*
                }
            }
        }
    };
}

verbs! {
    Mount, "mount", mount::Args, mount::run;
    Umount, "umount", umount::Args, umount::run;
    Fork, "fork", fork::Args, fork::run;
    List, "list", list::Args, list::run;
    Tree, "tree", tree::Args, tree::run;
    Status, "status", status::Args, status::run;
    Diff, "diff", diff::Args, diff::run;
    Patch, "patch", patch::Args, patch::run;
    Commit, "commit", commit::Args, commit::run;
    Abort, "abort", abort::Args, abort::run;
    Undo, "undo", undo::Args, undo::run;
    Redo, "redo", undo::RedoArgs, undo::run_redo;
    Restore, "restore", restore::Args, restore::run;
    Rename, "rename", rename::Args, rename::run;
    Log, "log", log::Args, log::run;
    Limits, "limits", limits::Args, limits::run;
    Note, "note", note::Args, note::run;
    Publish, "publish", publish::Args, publish::run;
    Gc, "gc", gc::Args, gc::run;
    Fsck, "fsck", fsck::Args, fsck::run;
    Doctor, "doctor", doctor::Args, doctor::run;
    Run, "run", run::Args, run::run;
    Speculate, "speculate", speculate::Args, speculate::run;
    BestOfN, "best-of-n", best_of_n::Args, best_of_n::run;
    Reflexion, "reflexion", reflexion::Args, reflexion::run;
    TreeOfThoughts, "tree-of-thoughts", tree_of_thoughts::Args, tree_of_thoughts::run;
    BeamSearch, "beam-search", beam_search::Args, beam_search::run;
    Tournament, "tournament", tournament::Args, tournament::run;
    Cascade, "cascade", cascade::Args, cascade::run;
    Parallel, "parallel", parallel::Args, parallel::run;
    Trials, "trials", trials::Args, trials::run;
    Wait, "wait", wait::Args, wait::run;
    Kill, "kill", kill::Args, kill::run;
    Review, "review", review::Args, review::run;
    Blame, "blame", blame::Args, blame::run;
}

/// The command that is called `name`.
fn named(name: &OsStr) -> Option<&'static Definition> {
    ALL.iter().find(|(verb, _)| name == *verb)
}

/// Whether a command is called `name`.
pub fn is_verb(name: &OsStr) -> bool {
    named(name).is_some()
}

/// The definition of all commands.
pub fn definition() -> Command {
    define(ALL)
}

fn define(verbs: &[Definition]) -> Command {
    let subcommands = verbs
        .iter()
        .map(|(name, define)| define(Command::new(name)));
    Command::new("branchfs")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Copy-on-write branches for any directory")
        .after_help(AFTER_HELP)
        .max_term_width(100)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(subcommands)
}

/// Reads a command line, argv\[0\] included.
pub fn parse(arguments: &[OsString]) -> Result<Verb, clap::Error> {
    let mut definition = match arguments.get(1).and_then(|word| named(word)) {
        Some(only) => define(std::slice::from_ref(only)),
        None => definition(),
    };
    let matches = definition.try_get_matches_from_mut(arguments)?;
    let (name, matches) = matches.subcommand().expect("clap requires a command");
    Verb::of(name, matches).map_err(|error| error.format(&mut definition))
}
