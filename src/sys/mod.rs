//! System calls and shared memory that the crates do not wrap safely, and small protocols of
//! several calls.
//!
//! The only layer with `unsafe`, one file per subject. It must not know anything of branches,
//! stores or FUSE: whatever is here could be in a crate of its own.

pub mod beneath;
pub mod boot_id;
pub mod confine;
pub mod disk;
pub mod failpoint;
pub mod heap;
pub mod inode;
pub mod limits;
pub mod mapping;
pub mod process;
pub mod rename;
#[cfg(test)]
pub(crate) mod shared_map;
pub mod spawn;
pub mod title;
pub mod writing;
