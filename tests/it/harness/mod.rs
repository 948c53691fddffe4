//! What the tests stand on: a workspace per test, trees, commands, comparisons, time limits.

mod branch;
pub mod inotify;
pub mod mapping;
pub mod mounts;
pub mod posix;
mod power;
pub mod process;
pub mod requirements;
pub mod run_dir;
pub mod snapshot;
mod tree;
mod watchdog;
mod workspace;

pub use branch::Branch;
pub use tree::{Tree, assert_errno, read_rest};
pub use workspace::Workspace;
