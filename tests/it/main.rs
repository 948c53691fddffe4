//! The integration tests: one binary, in which each test gets a directory and a command.
//!
//! Everything here goes through the kernel and the `branchfs` binary, as a user does.

mod differential;
mod harness;
