//! Input that nobody meant: damaged stores, nonsense in control files, operations that no program
//! would ask for.
//!
//! Whatever comes, there is no panic, no hang and no unbounded memory; and each target says what
//! else has to hold. See `driver` for how a case is run and repeated. A target that finds
//! something gets a regression test where the fault was, which says more than a seed does.

mod control;
mod driver;
mod files;
mod mounted;
mod mutate;
mod random;
mod records;
mod store;
mod vfs;

/// Damaged files of a store: see `store`.
#[test]
fn store() {
    driver::run(&store::TARGET);
}

/// Records that check and say nonsense: see `records`.
#[test]
fn records() {
    driver::run(&records::TARGET);
}

/// What is written to the control files: see `control`.
#[test]
fn control() {
    driver::run(&control::TARGET);
}

/// File operations with any arguments: see `vfs`.
#[test]
fn vfs() {
    driver::run(&vfs::TARGET);
}
