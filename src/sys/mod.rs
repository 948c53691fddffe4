//! System calls and shared memory that the crates do not wrap safely.
//!
//! The only layer with `unsafe`, one file per subject. It must not know anything of branches,
//! stores or FUSE: whatever is here could be in a crate of its own.

pub mod boot_id;
pub mod limits;
pub mod mapping;
