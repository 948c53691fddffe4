//! System calls that the crates do not wrap safely; the only layer with `unsafe`.

pub mod process;
#[cfg(test)]
pub(crate) mod shared_map;
//! System calls that the crates do not wrap, and small protocols of several calls; the only place
//! with `unsafe`. Knows nothing of branches, views or the store.

pub mod beneath;
pub mod inode;
pub mod rename;
//! System calls and shared memory that the crates do not wrap safely.
//!
//! The only layer with `unsafe`, one file per subject. It must not know anything of branches,
//! stores or FUSE: whatever is here could be in a crate of its own.

pub mod boot_id;
pub mod limits;
pub mod mapping;
