//! Mounting and unmounting, and the life of the process that serves a mount.
//!
//! Knows mount(2), fusermount3, mountinfo, signals and processes; knows nothing of branches: what
//! is served comes in as an [`Ops`](crate::vfs::ops::Ops).
//!
//! | file | what it owns |
//! | --- | --- |
//! | [`options`] | what `-o` says |
//! | [`attach`] | making the mount, by mount(2) or fusermount3 |
//! | [`mod@remount`] | other options for a mount that is there |
//! | [`detach`] | ending it, dead mounts included |
//! | [`guard`] | cutting the connection of a daemon that was killed and is stuck |
//! | [`abandoned`] | mounts whose daemon is neither dead nor alive |
//! | [`ending`] | waiting for a daemon whose mount is gone |
//! | [`holders`] | who keeps a mount busy |
//! | [`mountinfo`] | which mounts there are |
//! | [`background`] | fork, and telling the parent when the mount answers |
//! | [`serve`](mod@serve) | the daemon from start to end, signals included |
//! | [`mounted`] | a mount served by threads of this process |
//! | [`watchdog`] | requests that stand still |
//! | [`system_log`] | where the log goes |
//! | [`supervisor`] | telling systemd that the mount answers |
//! | [`doctor`] | whether this machine can do it |
//! | [`visitor`] | who makes inotify tell of a commit |
//! | [`write_back`] | what shared mappings hold |
//! | [`site`] | which mount is ours, and ending that one only |
//!
//! # Who may use a mount
//!
//! `allow_other` is on for a mount that root makes: everybody keeps the access to an in-place mount
//! that they had to the directory below, since the kernel checks the same owners, modes and ACLs
//! (default_permissions is always on). FUSE's reason to be stricter, a server that spies on or
//! stalls other users' processes, does not hold of root. Without root it is off unless asked for,
//! which fusermount3 allows only with `user_allow_other` in /etc/fuse.conf.
//!
//! For the same reason a root mount is nosuid, nodev or noexec where the file system of its base
//! is, unless the options say otherwise.

mod abandoned;
mod attach;
mod background;
mod detach;
mod doctor;
mod ending;
mod error;
mod guard;
mod holders;
mod mounted;
mod mountinfo;
mod option_texts;
mod options;
mod processes;
mod remount;
mod serve;
mod site;
mod supervisor;
mod system_log;
#[cfg(test)]
mod tests;
mod visitor;
mod watchdog;
mod workspace;
mod write_back;

pub use detach::{ProcessWatch, clear_dead_mount, cut_abandoned, unmount, unmount_by_force};
pub use doctor::{Check, Verdict, examine_machine};
pub use error::DaemonError;
pub use holders::Holder;
pub use mounted::{Kernel, MountConfig, Mounted};
pub use mountinfo::{Mount, MountTable};
pub use option_texts::{OPTION_TEXTS, OptionText};
pub use options::{MountFlag, MountOptions, OptionError, Policy, Publish};
pub use remount::{mounted_options, remount};
pub use serve::{DaemonConfig, serve};
pub use system_log::start_log;
pub use watchdog::Patience;
pub use workspace::{
    Finding, Request, STORE_NAME, Verified, check_store, collect_store, mount_workspace,
};
