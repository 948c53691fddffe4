//! What a mount needs of a filesystem, and what it counts while it serves one.

#[cfg(test)]
pub(crate) mod memory;
pub mod metrics;
pub mod ops;
