//! The integration tests: one binary, in which each test gets a directory and a command.
//!
//! Everything here goes through the kernel and the `branchfs` binary, as a user does.

mod branches;
mod caches;
mod cli;
mod commit;
mod control;
mod diagnostics;
mod differential;
mod elsewhere;
mod errnos;
mod exerciser;
mod failpoints;
mod faults;
mod git;
mod harness;
mod kills;
mod limits;
mod load;
mod lost;
mod main_and_base;
mod mount8;
mod mounting;
mod names;
mod patch;
mod posix_attrs;
mod posix_data;
mod posix_files;
mod posix_names;
mod posix_special;
mod programs;
mod publish;
mod recovery;
mod relative;
mod security;
mod semantics;
mod service;
mod trial;
mod undo;
mod unfinished;
mod watching;
mod writeback;
