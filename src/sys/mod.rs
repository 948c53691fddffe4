//! System calls that the crates do not wrap safely; the only layer with `unsafe`.

pub mod process;
