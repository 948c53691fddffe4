//! Driving a workspace from outside, by file operations on the mount and nothing else.
//!
//! Owns finding the workspace that a path is in, mapping branch addresses to directories, one
//! method per verb, and telling what an errno means for a verb. What it does here, a shell script
//! can do with `mkdir`, `mv`, `cat` and `echo`. It must not know how branches are kept, nor how
//! anything is shown to people.
//!
//! **Invariant**: nothing is created outside reserved files: control files are opened without
//! O_CREAT, so a path that turns out not to be a workspace is left as it was.

mod address;
mod branch;
mod error;
mod explain;
#[cfg(test)]
pub(crate) mod fake;
mod files;
mod workspace;

pub use address::Address;
pub use branch::{Branch, TrashEntry};
pub use error::{ClientError, Verb};
pub use files::Control;
pub use workspace::{IsMount, Workspace, is_fuse};
