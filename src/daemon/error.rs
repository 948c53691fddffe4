//! Why a mount could not be made, served or ended.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::holders::Holder;
use super::options::OptionError;
use crate::fuse;

/// Why a mount could not be made, served or ended.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Others may change the base of a mount elsewhere.
    #[error(
        "-o writeback is for a mount in place: elsewhere the kernel would not notice what changes \
         in {}; leave the mountpoint out, or the option", base.display()
    )]
    WritebackElsewhere {
        /// The base.
        base: PathBuf,
    },
    /// `/dev/fuse` cannot be opened.
    #[error("cannot open /dev/fuse (is the fuse module loaded, and may this user open it?)")]
    Device {
        /// The cause.
        source: io::Error,
    },
    /// mount(2) refused.
    #[error("cannot mount on {}", mountpoint.display())]
    Mount {
        /// Where.
        mountpoint: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Mounting without root needs a program that is not there.
    #[error("fusermount3 is needed to mount without root: apt install fuse3")]
    NoFusermount {
        /// The cause.
        source: io::Error,
    },
    /// fusermount3 refused.
    #[error("{said}")]
    Fusermount {
        /// What it wrote to stderr.
        said: String,
    },
    /// fusermount3 ended without handing over the descriptor of the mount.
    #[error("fusermount3 did not hand over the mount")]
    NoDescriptor {
        /// The cause, where there is one.
        source: io::Error,
    },
    /// A path cannot be made absolute.
    #[error("{}", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The path is shown by a branchfs mount already.
    #[error("{} is a branchfs mount already{}", path.display(), by(pid))]
    AlreadyMounted {
        /// The mount.
        path: PathBuf,
        /// Its daemon, where that could be told.
        pid: Option<u32>,
    },
    /// The base is a store, or lies in one.
    #[error("{} is inside {}, a branchfs store", path.display(), store.display())]
    InsideStore {
        /// The base.
        path: PathBuf,
        /// The store.
        store: PathBuf,
    },
    /// The store could have been made up by somebody else.
    #[error(
        "{} is not trusted as a store: it belongs to user {owner} (mode {mode:o}). What is in a \
         store goes into the base with the rights of who mounts it; mount as that user, or make it \
         yours alone (chown -R, chmod o-w) if you know what is in it",
        path.display()
    )]
    ForeignStore {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// The store's directory cannot be used.
    #[error("cannot use {} as a store", path.display())]
    Store {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Publishing renames files from the store into the base.
    #[error(
        "the store {} must be on the filesystem of {}; name another with --store",
        store.display(),
        base.display()
    )]
    OtherFilesystem {
        /// The store.
        store: PathBuf,
        /// The base.
        base: PathBuf,
    },
    /// `/proc/self/mountinfo` cannot be read.
    #[error("cannot read /proc/self/mountinfo")]
    MountInfo {
        /// The cause.
        source: io::Error,
    },
    /// There is no branchfs mount where one was to be ended.
    #[error("{} is not a branchfs mount", path.display())]
    NotMounted {
        /// Where.
        path: PathBuf,
    },
    /// An option that a remount cannot change.
    #[error("the option {option} cannot be changed by a remount; unmount and mount again")]
    Fixed {
        /// Which.
        option: &'static str,
    },
    /// A mount tells an option that is none.
    #[error("cannot read the options of the mount")]
    Config {
        /// The cause.
        source: OptionError,
    },
    /// A mount is in use.
    #[error("{} is busy: {}", path.display(), list(holders))]
    Busy {
        /// Where.
        path: PathBuf,
        /// By whom, as far as it can be seen.
        holders: Vec<Holder>,
    },
    /// umount2(2) refused.
    #[error("cannot unmount {}", path.display())]
    Unmount {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file system to be served could not be made ready.
    #[error("{said}")]
    Build {
        /// Its own error.
        said: String,
    },
    /// The mount was made but does not answer.
    #[error("{} does not answer", mountpoint.display())]
    NoAnswer {
        /// Where.
        mountpoint: PathBuf,
        /// What stat(2) said.
        source: io::Error,
    },
    /// A step of becoming a daemon failed.
    #[error("cannot {step}")]
    Process {
        /// What was tried.
        step: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The daemon reported an error before its mount answered.
    #[error("{said}")]
    Daemon {
        /// The error as the daemon wrote it.
        said: String,
    },
    /// The daemon ended before its mount answered, without a word.
    #[error("the daemon died before the mount answered (wait status {status:#x})")]
    DaemonDied {
        /// As waitpid(2) gives it.
        status: i32,
    },
    /// The FUSE connection.
    #[error(transparent)]
    Fuse(#[from] fuse::Error),
}

impl DaemonError {
    /// The error with its causes, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

fn list(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return "in use by a process that this user cannot see".into();
    }
    let shown: Vec<String> = holders.iter().take(10).map(Holder::to_string).collect();
    let more = match holders.len() - shown.len() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!("held by {}{more}", shown.join(", "))
}

fn by(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(", served by process {pid}"))
        .unwrap_or_default()
}
