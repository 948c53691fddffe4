//! `mount.branchfs SRC DIR [-sfnv] [-o OPTS]`: what mount(8) calls.
//!
//! Exit codes are those of mount(8): 0, 1 for wrong usage, 32 for a mount that failed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use super::error::CliError;
use super::mount;
use super::output::Session;

const WRONG_USAGE: u8 = 1;
const MOUNT_FAILED: u8 = 32;

/// The arguments that mount(8) gives its helpers.
#[derive(Debug, Parser)]
#[command(
    name = "mount.branchfs",
    version,
    about = "Mount a directory with branches"
)]
struct Helper {
    /// The base directory
    source: PathBuf,
    /// Where to mount it; the base itself for an in-place mount
    directory: PathBuf,
    /// Mount options, separated by commas
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<OsString>,
    /// Say more
    #[arg(short, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Do everything but mount
    #[arg(short)]
    fake: bool,
    /// Accepted and without effect: options are checked all the same
    #[arg(short)]
    sloppy: bool,
    /// Accepted and without effect: there is no /etc/mtab to write
    #[arg(short)]
    no_mtab: bool,
    /// Accepted and without effect: the type is in the helper's name
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<OsString>,
}

impl Helper {
    fn into_mount(self) -> mount::Args {
        let in_place = self.source == self.directory;
        mount::Args {
            mountpoint: (!in_place).then_some(self.directory),
            base: self.source,
            store: None,
            options: self.options,
            foreground: false,
            verbose: self.verbose,
        }
    }
}

/// Runs the helper; the answer is the exit code.
pub fn run(arguments: &[OsString], session: &mut Session<'_>) -> u8 {
    let result = match Helper::try_parse_from(arguments) {
        Ok(helper) if helper.fake => return 0,
        Ok(helper) => mount::run(&helper.into_mount(), session),
        Err(error) => {
            let shown: Result<_, CliError> = session.usage(&error);
            return match shown {
                Ok(_) if !error.use_stderr() => 0,
                Ok(_) | Err(_) => WRONG_USAGE,
            };
        }
    };
    match result {
        Ok(_) => 0,
        Err(error) => {
            session.fail(&error);
            MOUNT_FAILED
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str) -> mount::Args {
        Helper::try_parse_from(line.split(' '))
            .unwrap()
            .into_mount()
    }

    #[test]
    fn what_mount_passes_becomes_a_mount() {
        let args = check("mount.branchfs /src /dir -sfnv -o rw,trash=1h -t branchfs");
        assert_eq!(args.base, PathBuf::from("/src"));
        assert_eq!(args.mountpoint, Some(PathBuf::from("/dir")));
        assert_eq!(args.options, ["rw,trash=1h"]);
        assert_eq!(args.verbose, 1);
        assert!(!args.foreground);
    }

    #[test]
    fn a_base_mounted_on_itself_is_in_place() {
        assert_eq!(check("mount.branchfs /src /src -o rw").mountpoint, None);
    }
}
