//! System calls that the crates do not wrap, and small protocols of several calls; the only place
//! with `unsafe`. Knows nothing of branches, views or the store.

pub mod beneath;
pub mod inode;
pub mod rename;
