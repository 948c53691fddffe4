//! branchfs: a FUSE filesystem that gives any directory copy-on-write branches.
//!
//! # Code map
//!
//! ```text
//! main -> cli -> trial -> client -> proto
//!      -> daemon -> fuse -> vfs -> ctlfs -> overlay -> branch -> { store, base } -> tree -> sys
//! ```
//!
//! | layer | what it owns |
//! | --- | --- |
//! | [`sys`] | system calls that the crates do not wrap; the only place with `unsafe` |
//! | [`tree`] | ids, attributes, inodes, extents, views: pure values |
//! | [`store`] | the journal, checkpoints, data segments, blobs, the superblock: bytes on disk |
//! | [`base`] | the directory below, at any published version, and the only code that writes it |
//! | [`branch`] | fork, commit, abort, trash, recovery: what the records mean |
//! | [`overlay`] | POSIX operations on one branch: a view laid over the base |
//! | [`ctlfs`] | the reserved files: `.ctl`, `@self/...` |
//! | [`vfs`] | nodes that the kernel knows, dispatch, invalidation |
//! | [`fuse`] | fuser; nothing else names it |
//! | [`daemon`] | mounting, the process, signals |
//! | [`proto`] | the texts that cross the control files, shared by both sides |
//! | [`client`] | finding a workspace and driving it by file operations |
//! | [`trial`] | commands in branches, and patterns that keep the best |
//! | [`cli`] | arguments (clap), output for people |

pub mod base;
pub mod branch;
pub mod cli;
pub mod client;
pub mod ctlfs;
pub mod daemon;
pub mod fuse;
pub mod overlay;
pub mod proto;
pub mod store;
pub mod sys;
pub mod tree;
pub mod trial;
pub mod vfs;
