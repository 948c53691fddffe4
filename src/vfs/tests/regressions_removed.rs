//! More of [`super::regressions`]: what the parent removed while the branch worked in it.

use super::op::{Op::*, Sel, Word};
use super::regressions::check;
use super::tree::Onto;

#[test]
fn a_file_that_the_branch_wrote_and_the_parent_removed_with_its_directory_is_a_conflict() {
    let lost = |start: &[super::op::Op]| {
        let fork = Fork {
            b: Sel(0),
            name: Word(0),
        };
        let end = [
            RemoveTree {
                b: Sel(0),
                dir: Sel(0),
            },
            Write {
                b: Sel(32768),
                file: Sel(53224),
                at: 0,
                len: 1,
                fill: 0,
            },
            Commit { b: Sel(32768) },
        ];
        check(&[start, std::slice::from_ref(&fork), &end].concat());
        check(&[start, &[fork, Publish], &end].concat());
    };
    lost(&[]);
    let removed = RemoveTree {
        b: Sel(0),
        dir: Sel(37450),
    };
    lost(std::slice::from_ref(&removed));
    let made = Mkdir {
        b: Sel(0),
        dir: Sel(46812),
        name: Word(5),
        mode: 0,
    };
    lost(&[made, removed]);
}

#[test]
fn a_file_whose_names_both_sides_removed_is_a_conflict_after_a_publish_too() {
    check(&[
        SetXattr {
            b: Sel(0),
            file: Sel(0),
            name: Word(0),
            len: 0,
            flags: 0,
        },
        Create {
            b: Sel(0),
            dir: Sel(18725),
            name: Word(2),
            mode: 0,
        },
        Write {
            b: Sel(0),
            file: Sel(0),
            at: 0,
            len: 1,
            fill: 0,
        },
        Rename {
            b: Sel(0),
            file: Sel(0),
            dir: Sel(0),
            name: Word(0),
            onto: Onto::Replace,
        },
        Mkdir {
            b: Sel(0),
            dir: Sel(9363),
            name: Word(5),
            mode: 0,
        },
        Write {
            b: Sel(0),
            file: Sel(4682),
            at: 0,
            len: 1,
            fill: 0,
        },
        Rmdir {
            b: Sel(0),
            dir: Sel(18725),
        },
        Create {
            b: Sel(0),
            dir: Sel(0),
            name: Word(2),
            mode: 0,
        },
        Fork {
            b: Sel(0),
            name: Word(0),
        },
        Unlink {
            b: Sel(0),
            file: Sel(9363),
        },
        Publish,
        Unlink {
            b: Sel(32768),
            file: Sel(11903),
        },
        Commit { b: Sel(32768) },
    ]);
}

#[test]
fn a_file_that_the_parent_wrote_and_moved_and_the_branch_removed_is_a_conflict_after_a_publish() {
    check(&[
        Rename {
            b: Sel(0),
            file: Sel(0),
            dir: Sel(56174),
            name: Word(0),
            onto: Onto::Replace,
        },
        Symlink {
            b: Sel(0),
            dir: Sel(37450),
            name: Word(6),
            target: Word(0),
        },
        RenameOnto {
            b: Sel(0),
            file: Sel(19946),
            other: Sel(42741),
            onto: Onto::Exchange,
        },
        Unlink {
            b: Sel(0),
            file: Sel(0),
        },
        Fork {
            b: Sel(0),
            name: Word(0),
        },
        Write {
            b: Sel(0),
            file: Sel(43728),
            at: 0,
            len: 1,
            fill: 0,
        },
        Unlink {
            b: Sel(32768),
            file: Sel(43696),
        },
        Link {
            b: Sel(0),
            file: Sel(56),
            dir: Sel(0),
            name: Word(7),
        },
        RenameOnto {
            b: Sel(0),
            file: Sel(48440),
            other: Sel(8549),
            onto: Onto::Replace,
        },
        Publish,
        Commit { b: Sel(32768) },
    ]);
}

#[test]
fn a_directory_that_left_one_that_is_gone_is_listed_as_moved() {
    check(&[
        Fork {
            b: Sel(0),
            name: Word(0),
        },
        Fork {
            b: Sel(32768),
            name: Word(0),
        },
        Mkdir {
            b: Sel(21846),
            dir: Sel(18725),
            name: Word(2),
            mode: 0,
        },
        Unlink {
            b: Sel(0),
            file: Sel(0),
        },
        Rename {
            b: Sel(21846),
            file: Sel(48440),
            dir: Sel(24576),
            name: Word(0),
            onto: Onto::Replace,
        },
        RemoveTree {
            b: Sel(21846),
            dir: Sel(46812),
        },
    ]);
}

#[test]
fn a_name_that_the_branch_removed_with_its_directory_and_the_parent_moved_is_a_conflict() {
    check(&[
        Link {
            b: Sel(0),
            file: Sel(0),
            dir: Sel(28087),
            name: Word(0),
        },
        Fork {
            b: Sel(0),
            name: Word(0),
        },
        Rename {
            b: Sel(0),
            file: Sel(2850),
            dir: Sel(9363),
            name: Word(5),
            onto: Onto::Replace,
        },
        RenameOnto {
            b: Sel(32768),
            file: Sel(0),
            other: Sel(0),
            onto: Onto::Replace,
        },
        RenameOnto {
            b: Sel(0),
            file: Sel(25645),
            other: Sel(8549),
            onto: Onto::Replace,
        },
        RemoveTree {
            b: Sel(32768),
            dir: Sel(21846),
        },
        Commit { b: Sel(32768) },
    ]);
}

#[test]
fn a_file_that_the_branch_removed_and_the_parent_linked_is_a_conflict_after_a_publish_too() {
    check(&[
        Truncate {
            b: Sel(0),
            file: Sel(0),
            size: 0,
        },
        Fork {
            b: Sel(0),
            name: Word(0),
        },
        Link {
            b: Sel(0),
            file: Sel(40),
            dir: Sel(9363),
            name: Word(5),
        },
        Unlink {
            b: Sel(32768),
            file: Sel(0),
        },
        Publish,
        Commit { b: Sel(32768) },
    ]);
}
