//! What a mount needs of a filesystem, and what it counts while it serves one.

pub mod metrics;
pub mod ops;
