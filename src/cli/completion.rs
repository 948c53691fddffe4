//! Completion of command lines by the shell: the scripts, and the answers that they ask for.
//!
//! A script is a few lines that call the binary again, with [`VARIABLE`] set and the line so far as
//! arguments; what can follow is told by the definition of the commands itself, and the names of
//! branches by the workspace. So a script never grows old, and completion knows what the binary
//! does.
//!
//! **Invariant**: an answer takes a few readdir(2) calls and changes nothing.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::Command;
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;

use super::verb::definition;
use crate::client::{Address, Workspace, is_fuse};

/// Set by the scripts to the name of the shell.
const VARIABLE: &str = "_BRANCHFS_COMPLETE";
/// What a value is called that names a branch, in the definition of every command.
const BRANCH: &str = "BRANCH";

/// zsh loads a completion by calling it: the first call has to answer as well as to register.
const ZSH_FIRST_CALL: &[u8] =
    b"[ \"$funcstack[1]\" = _branchfs ] && _clap_dynamic_completer_branchfs \"$@\"\n";

/// The script that makes `shell` (bash, zsh, fish) complete `branchfs`; `None` for another shell.
pub fn script(shell: &str) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    Shells::builtins()
        .completer(shell)?
        .write_registration(VARIABLE, "branchfs", "branchfs", "branchfs", &mut text)
        .expect("a Vec takes everything");
    if shell == "zsh" {
        text.extend_from_slice(ZSH_FIRST_CALL);
    }
    Some(text)
}

/// Answers a shell, if it is one that asks; whether it was.
pub(super) fn answer(arguments: &[OsString]) -> bool {
    if std::env::var_os(VARIABLE).is_none() {
        return false;
    }
    let here = std::env::current_dir().ok();
    CompleteEnv::with_factory(|| with_branches(definition()))
        .var(VARIABLE)
        .try_complete(arguments.iter().cloned(), here.as_deref())
        .unwrap_or_else(|error| error.exit())
}

/// `command`, in which every value that names a branch is completed from the workspace.
fn with_branches(mut command: Command) -> Command {
    let named = |arg: &&clap::Arg| {
        let names = arg.get_value_names().unwrap_or_default();
        names.first().is_some_and(|name| name.as_str() == BRANCH)
    };
    let ids: Vec<_> = command
        .get_arguments()
        .filter(named)
        .map(|arg| arg.get_id().clone())
        .collect();
    for id in ids {
        command = command.mut_arg(id, |arg| arg.add(ArgValueCompleter::new(branches)));
    }
    if command.get_name() == "restore" {
        command = command.mut_arg("name", |arg| arg.add(ArgValueCompleter::new(trash)));
    }
    let verbs: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    for verb in verbs {
        command = command.mut_subcommand(verb, with_branches);
    }
    command
}

fn branches(typed: &OsStr) -> Vec<CompletionCandidate> {
    names_in(typed, |dir| dir)
}

fn trash(typed: &OsStr) -> Vec<CompletionCandidate> {
    names_in(typed, |dir| dir.join(crate::proto::reserved::TRASH))
}

/// The names in `@branches/` of the branch before the last `/` that was typed, or in what `of`
/// makes of it. An error is no completion: the command says it better.
fn names_in(typed: &OsStr, of: impl Fn(PathBuf) -> PathBuf) -> Vec<CompletionCandidate> {
    let typed = typed.as_bytes();
    let (above, prefix) = match typed.iter().rposition(|&b| b == b'/') {
        Some(at) => (&typed[..at], &typed[..=at]),
        None => (&b"main"[..], &b""[..]),
    };
    let dir = Workspace::find(workspace_argument().as_deref(), is_fuse).and_then(|workspace| {
        let branch = workspace.branch(&Address::parse(above)?)?;
        Ok(of(branch.dir.join(crate::proto::reserved::BRANCHES)))
    });
    let Some(entries) = dir.ok().and_then(|dir| std::fs::read_dir(dir).ok()) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| [prefix, entry.file_name().as_bytes()].concat())
        .filter(|name| name.starts_with(typed))
        .map(|name| CompletionCandidate::new(OsString::from_vec(name)))
        .collect()
}

/// What `-w` or `--workspace` says on the line that is completed.
fn workspace_argument() -> Option<PathBuf> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let at = words.iter().rposition(|w| w == "-w" || w == "--workspace");
    let after = at.and_then(|at| words.get(at + 1)).map(PathBuf::from);
    after.or_else(|| {
        let joined = words
            .iter()
            .rev()
            .find_map(|w| w.as_bytes().strip_prefix(b"--workspace="));
        joined.map(|path| PathBuf::from(OsStr::from_bytes(path)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_that_names_a_branch_is_completed() {
        let command = with_branches(definition());
        for (verb, id) in [
            ("commit", "branch"),
            ("abort", "branches"),
            ("restore", "name"),
        ] {
            let verb = command.find_subcommand(verb).expect("a command");
            let mut arguments = verb.get_arguments();
            let arg = arguments.find(|a| a.get_id() == id).expect("an argument");
            assert!(arg.get::<ArgValueCompleter>().is_some(), "{verb} {id}");
        }
        let fork = command.find_subcommand("fork").expect("a command");
        let mut arguments = fork.get_arguments();
        assert!(arguments.all(|a| a.get::<ArgValueCompleter>().is_none()));
    }

    #[test]
    fn there_is_a_script_for_each_shell() {
        for shell in ["bash", "zsh", "fish"] {
            let text = String::from_utf8(script(shell).expect("a script")).expect("UTF-8");
            assert!(
                text.contains(VARIABLE) && text.contains("branchfs"),
                "{text}"
            );
            assert!(
                !text.contains("target/"),
                "a path of this build is in:\n{text}"
            );
        }
        assert!(script("sh").is_none());
    }
}
