//! Real programs at work in branches, as their users run them.
//!
//! Each does its work in a branch of a branch. What it left is then committed all the way down and
//! has to be the same in the base after the unmount, where the program is asked once more.

mod cargo;
mod copying;
mod git;
mod make;
mod npm;
mod pip;
mod sqlite;

use crate::harness::{Branch, Tree, Workspace, snapshot};

/// Runs `work` in a branch of a branch of a base that `given` filled, commits both, and runs
/// `check` in the base after the unmount.
#[track_caller]
fn in_a_nested_branch(given: fn(&Tree), work: impl FnOnce(&Branch), check: impl FnOnce(&Tree)) {
    let ws = Workspace::build().base(given).seconds(240).mount();
    let before = snapshot::of(ws.main().root());
    let outer = ws.fork("outer");
    let branch = outer.fork("inner");
    work(&branch);
    let after = snapshot::of(branch.root());
    for (untouched, what) in [(ws.main(), "main"), (outer.clone(), "the branch above")] {
        snapshot::assert_same(&before, &snapshot::of(untouched.root()), what);
    }
    branch.commit();
    snapshot::assert_same(&after, &snapshot::of(outer.root()), "the branch above");
    outer.commit();
    snapshot::assert_same(&after, &snapshot::of(ws.main().root()), "main");
    ws.unmount();
    snapshot::assert_same(&after, &snapshot::of(ws.base()), "the base");
    ws.fsck();
    check(&Tree::at(ws.base()));
}
