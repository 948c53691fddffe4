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
mod verb;
mod wait;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::trial::supervise;
pub use completion::script as completion_script;
pub use error::{CliError, Exit};
use invocation::Invocation;
pub use output::Session;
pub use verb::definition as command;

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
        Invocation::Command => verb::parse(arguments),
    };
    let result = match result {
        Ok(verb) => verb.run(session),
        Err(error) => session.usage(&error),
    };
    match result {
        Ok(exit) => exit.code(),
        Err(error) => session.fail(&error).code(),
    }
}

#[cfg(test)]
mod tests;
