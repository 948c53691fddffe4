//! System calls that the crates do not wrap safely; the only layer with `unsafe`.

pub mod process;
#[cfg(test)]
pub(crate) mod shared_map;
