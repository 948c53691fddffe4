//! `branchfs mount`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::{CliError, Exit};
use super::output::Session;
use crate::daemon::{
    DaemonConfig, MountOptions, Request, mount_workspace, mounted_options, remount, start_log,
};
use crate::sys::process::close_inherited_fds;

/// Mount a directory with branches; it shows the branch main
///
/// Without MOUNTPOINT the base is mounted over itself, so paths stay the same. Returns when the
/// mount answers.
///
/// Options for -o, separated by commas: policy=first-winner|merge, publish=sync|async|manual,
/// trash=24h, store=DIR, show_ctl, noxattr, writeback, allow_other, ro, and the usual ones of
/// mount(8).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory to mount
    pub base: PathBuf,
    /// Where to mount it; over itself if not given
    pub mountpoint: Option<PathBuf>,
    /// Where the branches are kept, instead of BASE/.branchfs
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Mount options, separated by commas; may be given several times
    #[arg(short = 'o', value_name = "OPTIONS")]
    pub options: Vec<OsString>,
    /// Stay in the foreground until the mount ends
    #[arg(short, long)]
    pub foreground: bool,
    /// Say more; twice for still more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Pass over options that are not known, as `mount -s` asks for
    #[arg(skip)]
    pub sloppy: bool,
}

impl Args {
    /// What `-o` says.
    pub(super) fn options(&self) -> Result<MountOptions, CliError> {
        self.options_over(MountOptions::default())
    }

    /// What `-o` makes of `options`.
    fn options_over(&self, mut options: MountOptions) -> Result<MountOptions, CliError> {
        for list in &self.options {
            if !self.sloppy {
                options.apply(list)?;
                continue;
            }
            for name in options.apply_known(list)? {
                log::warn!("mount option {name:?} is not known and has no effect");
            }
        }
        Ok(options)
    }
}

/// Runs the command.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, CliError> {
    serve(args)?;
    if args.mountpoint.is_none() && !args.foreground && stays_below(&args.base, session) {
        session.hint("this shell still sees the directory below the mount; run: cd \"$PWD\"");
    }
    Ok(Exit::Done)
}

/// Mounts, and serves the mount in the background or until it ends.
fn serve(args: &Args) -> Result<(), CliError> {
    start_log(args.verbose);
    let options = args.options()?;
    // The daemon must not keep the caller's pipes and locks.
    close_inherited_fds()?;
    if options.remount {
        let mountpoint = args.mountpoint.as_ref().unwrap_or(&args.base);
        let now = mounted_options(mountpoint)?;
        let wanted = args.options_over(now.clone())?;
        return Ok(remount(mountpoint, &now, &wanted)?);
    }
    Ok(mount_workspace(Request {
        base: args.base.clone(),
        mountpoint: args.mountpoint.clone(),
        store: args.store.clone(),
        options,
        daemon: DaemonConfig {
            foreground: args.foreground,
            log: None,
        },
    })?)
}

/// Whether the current directory is one that the mount now covers.
fn stays_below(base: &Path, session: &Session<'_>) -> bool {
    let (Ok(here), Ok(base)) = (std::env::current_dir(), base.canonicalize()) else {
        return false;
    };
    here.starts_with(base) && (session.is_mount)(Path::new(".")).is_ok_and(|mounted| !mounted)
}
