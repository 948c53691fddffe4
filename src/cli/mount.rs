//! `branchfs mount`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::{CliError, Exit};
use super::output::Session;

/// Mount a directory with branches; it shows the branch main
///
/// Without MOUNTPOINT the base is mounted over itself, so paths stay the same. Returns when the
/// mount answers.
///
/// Options for -o, separated by commas: policy=first-winner|merge, publish=sync|async|manual,
/// trash=24h, store=DIR, show_ctl, allow_other, ro, and the usual ones of mount(8).
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
fn serve(_args: &Args) -> Result<(), CliError> {
    Err(CliError::NotInThisBuild { verb: "mount" })
}

/// Whether the current directory is one that the mount now covers.
fn stays_below(base: &Path, session: &Session<'_>) -> bool {
    let (Ok(here), Ok(base)) = (std::env::current_dir(), base.canonicalize()) else {
        return false;
    };
    here.starts_with(base) && (session.is_mount)(Path::new(".")).is_ok_and(|mounted| !mounted)
}
