//! Sequences that once showed something wrong, each with what it was.

use super::op::{Op::*, Sel, Word};
use super::run::run;

fn check(ops: &[super::op::Op]) {
    for sync in [false, true] {
        if let Err(error) = run(ops, sync, true) {
            panic!("{error}");
        }
    }
}

#[test]
fn names_kept_for_old_versions_are_no_links() {
    check(&[RemoveTree { b: Sel(0), dir: Sel(0) }, Fork { b: Sel(0), name: Word(0) }, Publish]);
}

#[test]
fn a_link_made_beside_removed_ones_counts_once() {
    check(&[
        RemoveTree { b: Sel(0), dir: Sel(10923) },
        Link { b: Sel(0), file: Sel(24584), dir: Sel(0), name: Word(0) },
        Publish,
    ]);
}
