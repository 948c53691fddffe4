//! `mount.branchfs SRC DIR [-sfnv] [-N NAMESPACE] [-o OPTS] [-t TYPE]`: what mount(8) calls.
//!
//! It is called for an fstab line, for a remount (`-o remount,…`) and for a line of a plain user
//! alike. Exit codes are those of mount(8): 0, 1 for wrong usage, 32 for a mount that failed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use rustix::thread::LinkNameSpaceType;

use super::error::CliError;
use super::mount;
use super::output::Session;

/// mount(8) and umount(8): the arguments are wrong.
pub(super) const WRONG_USAGE: u8 = 1;
/// mount(8) and umount(8): it was not done.
pub(super) const FAILED: u8 = 32;

/// Mount a directory with branches; what mount(8) calls for the type branchfs
#[derive(Debug, Parser)]
#[command(name = "mount.branchfs", version, max_term_width = 100)]
pub(super) struct Helper {
    /// The base directory
    source: PathBuf,
    /// Where to mount it; the base itself for an in-place mount
    directory: PathBuf,
    /// Mount options, separated by commas
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<OsString>,
    /// Say more; twice for still more
    #[arg(short, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Check the options, and mount nothing
    #[arg(short)]
    fake: bool,
    /// Pass over options that are not known, with a warning
    #[arg(short)]
    sloppy: bool,
    /// Accepted and without effect: there is no /etc/mtab to write
    #[arg(short)]
    no_mtab: bool,
    /// Mount in the mount namespace that this file stands for
    #[arg(short = 'N', value_name = "FILE")]
    namespace: Option<PathBuf>,
    /// Accepted and without effect: the type is in the program's name
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
            sloppy: self.sloppy,
        }
    }
}

/// Runs the helper; the answer is the exit code.
pub fn run(arguments: &[OsString], session: &mut Session<'_>) -> u8 {
    let helper = match Helper::try_parse_from(arguments) {
        Ok(helper) => helper,
        Err(error) => return usage(&error, session),
    };
    answer(mount(helper, session), session)
}

fn mount(helper: Helper, session: &mut Session<'_>) -> Result<(), CliError> {
    enter(helper.namespace.as_deref())?;
    let fake = helper.fake;
    let args = helper.into_mount();
    if fake {
        args.options()?;
        return Ok(());
    }
    mount::run(&args, session).map(drop)
}

/// Moves this process into another mount namespace. Call it before the process has threads.
pub(super) fn enter(namespace: Option<&Path>) -> Result<(), CliError> {
    let Some(path) = namespace else { return Ok(()) };
    let failed = |source| CliError::Namespace {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    rustix::thread::move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&file),
        Some(LinkNameSpaceType::Mount),
    )
    .map_err(|error| failed(error.into()))
}

/// Shows what clap has to say; the answer is the exit code.
pub(super) fn usage(error: &clap::Error, session: &mut Session<'_>) -> u8 {
    match session.usage(error) {
        Ok(_) if !error.use_stderr() => 0,
        Ok(_) | Err(_) => WRONG_USAGE,
    }
}

/// Reports an error; the answer is the exit code.
pub(super) fn answer(result: Result<(), CliError>, session: &mut Session<'_>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            session.fail(&error);
            FAILED
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
        assert!(!args.foreground && args.sloppy);
    }

    #[test]
    fn a_base_mounted_on_itself_is_in_place() {
        assert_eq!(check("mount.branchfs /src /src -o rw").mountpoint, None);
    }

    #[test]
    fn only_a_sloppy_mount_passes_over_an_option_that_is_not_known() {
        let error = check("mount.branchfs /src /dir -o trash=1h,nonsense")
            .options()
            .unwrap_err();
        assert!(error.to_string().contains("nonsense"), "{error}");
        let options = check("mount.branchfs /src /dir -s -o trash=1h,nonsense")
            .options()
            .unwrap();
        assert_eq!(options.trash.as_secs(), 3600);
        let error = check("mount.branchfs /src /dir -s -o trash=bad").options();
        assert!(error.is_err(), "a bad value is no unknown option");
    }
}
