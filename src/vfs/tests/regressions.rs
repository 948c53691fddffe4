//! Sequences that once showed something wrong, each with what it was.

use super::op::{Op::*, Sel, Word};
use super::run::run;
use super::tree::Onto;

pub(super) fn check(ops: &[super::op::Op]) {
    for sync in [false, true] {
        if let Err(error) = run(ops, sync, true) {
            panic!("{error}");
        }
    }
}

#[test]
fn names_kept_for_old_versions_are_no_links() {
    check(&[
        RemoveTree {
            b: Sel(0),
            dir: Sel(0),
        },
        Fork {
            b: Sel(0),
            name: Word(0),
        },
        Publish,
    ]);
}

#[test]
fn a_link_made_beside_removed_ones_counts_once() {
    check(&[
        RemoveTree {
            b: Sel(0),
            dir: Sel(10923),
        },
        Link {
            b: Sel(0),
            file: Sel(24584),
            dir: Sel(0),
            name: Word(0),
        },
        Publish,
    ]);
}

#[test]
fn a_directory_that_the_parent_filled_is_not_removed_by_a_commit() {
    check(&[
        Create {
            b: Sel(0),
            dir: Sel(37450),
            name: Word(0),
            mode: 0,
        },
        Rename {
            b: Sel(0),
            file: Sel(0),
            dir: Sel(18725),
            name: Word(2),
            onto: Onto::Replace,
        },
        Fork {
            b: Sel(0),
            name: Word(1),
        },
        Publish,
        Rmdir {
            b: Sel(32768),
            dir: Sel(10982),
        },
        Link {
            b: Sel(0),
            file: Sel(39179),
            dir: Sel(23055),
            name: Word(2),
        },
        Fork {
            b: Sel(18849),
            name: Word(8),
        },
        Commit { b: Sel(30221) },
    ]);
}

#[test]
fn a_diff_lists_every_name_that_a_file_lost() {
    check(&[
        Rmdir {
            b: Sel(0),
            dir: Sel(0),
        },
        Fork {
            b: Sel(0),
            name: Word(0),
        },
        RenameOnto {
            b: Sel(32768),
            file: Sel(23832),
            other: Sel(35747),
            onto: Onto::Replace,
        },
        Rename {
            b: Sel(33570),
            file: Sel(38048),
            dir: Sel(14064),
            name: Word(0),
            onto: Onto::Replace,
        },
    ]);
}

#[test]
fn a_file_is_found_by_the_name_that_it_still_has() {
    check(&[
        Unlink {
            b: Sel(0),
            file: Sel(10083),
        },
        Fork {
            b: Sel(0),
            name: Word(0),
        },
        Publish,
        Symlink {
            b: Sel(32768),
            dir: Sel(0),
            name: Word(4),
            target: Word(0),
        },
        SetXattr {
            b: Sel(32768),
            file: Sel(5461),
            name: Word(0),
            len: 0,
            flags: 0,
        },
    ]);
}

#[test]
fn a_directory_that_the_parent_moved_stays_moved_when_a_branch_that_filled_it_commits() {
    check(&[
        Rename {
            b: Sel(0),
            file: Sel(0),
            dir: Sel(0),
            name: Word(0),
            onto: Onto::Exchange,
        },
        Rename {
            b: Sel(0),
            file: Sel(44684),
            dir: Sel(0),
            name: Word(7),
            onto: Onto::Replace,
        },
        Fork {
            b: Sel(3103),
            name: Word(8),
        },
        Rename {
            b: Sel(0),
            file: Sel(42083),
            dir: Sel(39265),
            name: Word(7),
            onto: Onto::Replace,
        },
        Rename {
            b: Sel(62860),
            file: Sel(24263),
            dir: Sel(58461),
            name: Word(4),
            onto: Onto::NoReplace,
        },
        Commit { b: Sel(43836) },
    ]);
}

#[test]
fn an_unmount_leaves_no_link_that_no_branch_needs() {
    check(&[
        RemoveTree {
            b: Sel(0),
            dir: Sel(0),
        },
        Fork {
            b: Sel(0),
            name: Word(0),
        },
        Publish,
        Commit { b: Sel(32768) },
        Remount {
            clean: true,
            sync: false,
        },
    ]);
}

#[test]
fn attributes_set_in_a_directory_that_the_parent_removed_are_not_lost_silently() {
    check(&[
        Symlink {
            b: Sel(0),
            dir: Sel(0),
            name: Word(0),
            target: Word(0),
        },
        RemoveTree {
            b: Sel(0),
            dir: Sel(0),
        },
        Fork {
            b: Sel(0),
            name: Word(0),
        },
        SetXattr {
            b: Sel(32768),
            file: Sel(58983),
            name: Word(0),
            len: 0,
            flags: 0,
        },
        RemoveTree {
            b: Sel(0),
            dir: Sel(39322),
        },
        Commit { b: Sel(32768) },
    ]);
}

#[test]
fn an_unmount_leaves_nothing_of_files_that_were_open() {
    check(&[
        Create {
            b: Sel(13),
            dir: Sel(31367),
            name: Word(4),
            mode: 2405,
        },
        Open {
            b: Sel(19058),
            file: Sel(24956),
        },
        Fork {
            b: Sel(10277),
            name: Word(8),
        },
        Append {
            b: Sel(53604),
            file: Sel(15273),
            len: 63942,
            fill: 123,
        },
        Commit { b: Sel(64673) },
        RemoveTree {
            b: Sel(0),
            dir: Sel(35664),
        },
    ]);
}

#[test]
fn a_file_that_lost_a_link_before_the_fork_is_no_conflict_after_a_publish() {
    check(&[
        RemoveTree {
            b: Sel(0),
            dir: Sel(7140),
        },
        Fork {
            b: Sel(0),
            name: Word(3),
        },
        Allocate {
            b: Sel(42682),
            file: Sel(50000),
            at: 4994,
            len: 2,
            what: super::op::Range::ReserveKeep,
        },
        Publish,
        Commit { b: Sel(45686) },
    ]);
}

#[test]
fn a_moved_directory_is_listed_as_moved_though_its_place_was_taken() {
    check(&[
        RemoveTree {
            b: Sel(0),
            dir: Sel(10923),
        },
        Fork {
            b: Sel(0),
            name: Word(0),
        },
        Rename {
            b: Sel(32768),
            file: Sel(30248),
            dir: Sel(0),
            name: Word(0),
            onto: Onto::Replace,
        },
        Link {
            b: Sel(32768),
            file: Sel(1824),
            dir: Sel(9),
            name: Word(6),
        },
    ]);
}

#[test]
fn a_directory_moved_out_of_a_removed_one_keeps_what_is_in_it() {
    check(&[
        RemoveTree {
            b: Sel(0),
            dir: Sel(0),
        },
        Rename {
            b: Sel(0),
            file: Sel(57826),
            dir: Sel(21846),
            name: Word(0),
            onto: Onto::Replace,
        },
        RemoveTree {
            b: Sel(0),
            dir: Sel(10212),
        },
    ]);
}

#[test]
fn a_write_into_a_moved_directory_that_the_parent_removed_is_not_lost_silently() {
    check(&[
        Rename {
            b: Sel(0),
            file: Sel(32768),
            dir: Sel(46812),
            name: Word(0),
            onto: Onto::Replace,
        },
        Unlink {
            b: Sel(0),
            file: Sel(8),
        },
        Link {
            b: Sel(12975),
            file: Sel(57803),
            dir: Sel(47994),
            name: Word(2),
        },
        Mkdir {
            b: Sel(0),
            dir: Sel(17848),
            name: Word(5),
            mode: 2404,
        },
        Rename {
            b: Sel(0),
            file: Sel(45470),
            dir: Sel(31199),
            name: Word(0),
            onto: Onto::Replace,
        },
        Rename {
            b: Sel(0),
            file: Sel(43830),
            dir: Sel(41953),
            name: Word(7),
            onto: Onto::Replace,
        },
        Unlink {
            b: Sel(0),
            file: Sel(17215),
        },
        Fork {
            b: Sel(61347),
            name: Word(3),
        },
        RemoveTree {
            b: Sel(27755),
            dir: Sel(59912),
        },
        Write {
            b: Sel(50639),
            file: Sel(21821),
            at: 131072,
            len: 26,
            fill: 139,
        },
        RemoveTree {
            b: Sel(0),
            dir: Sel(52413),
        },
        Commit { b: Sel(46613) },
    ]);
}

#[test]
fn a_restart_counts_no_link_that_is_gone() {
    check(&[
        Rename {
            b: Sel(0),
            file: Sel(8937),
            dir: Sel(53150),
            name: Word(4),
            onto: Onto::Exchange,
        },
        Rename {
            b: Sel(0),
            file: Sel(2028),
            dir: Sel(7493),
            name: Word(7),
            onto: Onto::Replace,
        },
        Fork {
            b: Sel(48901),
            name: Word(0),
        },
        Publish,
        Unlink {
            b: Sel(4053),
            file: Sel(12028),
        },
        Commit { b: Sel(34978) },
        Remount {
            clean: false,
            sync: false,
        },
    ]);
}

#[test]
fn a_file_that_the_parent_published_and_removed_is_a_conflict_with_a_change_of_it() {
    check(&[
        Create {
            b: Sel(0),
            dir: Sel(9363),
            name: Word(0),
            mode: 0,
        },
        Fork {
            b: Sel(0),
            name: Word(0),
        },
        RemoveXattr {
            b: Sel(32768),
            file: Sel(14044),
            name: Word(0),
        },
        Copy {
            b: Sel(0),
            from: Sel(4688),
            to_b: Sel(0),
            to: Sel(22983),
            at: 0,
            to_at: 0,
            len: 1,
        },
        Open {
            b: Sel(0),
            file: Sel(0),
        },
        Publish,
        RemoveTree {
            b: Sel(0),
            dir: Sel(32768),
        },
        Commit { b: Sel(32768) },
    ]);
}

#[test]
fn a_restart_counts_no_link_that_was_deleted_before_it() {
    check(&[
        RemoveTree {
            b: Sel(0),
            dir: Sel(0),
        },
        Unlink {
            b: Sel(0),
            file: Sel(45876),
        },
        Unlink {
            b: Sel(0),
            file: Sel(2520),
        },
        Symlink {
            b: Sel(0),
            dir: Sel(43691),
            name: Word(0),
            target: Word(0),
        },
        Fork {
            b: Sel(0),
            name: Word(0),
        },
        RenameOnto {
            b: Sel(0),
            file: Sel(4370),
            other: Sel(34953),
            onto: Onto::Exchange,
        },
        RemoveTree {
            b: Sel(0),
            dir: Sel(0),
        },
        Create {
            b: Sel(0),
            dir: Sel(0),
            name: Word(0),
            mode: 0,
        },
        Publish,
        Abort {
            b: Sel(32768),
            by_rmdir: false,
        },
        Expire {
            b: Sel(0),
            entry: Sel(0),
        },
        Reclaim,
        Remount {
            clean: false,
            sync: false,
        },
    ]);
}

#[test]
fn a_file_that_the_parent_moved_and_the_branch_removed_is_a_conflict() {
    let moved = |end: Vec<super::op::Op>| {
        let start = [
            Fork {
                b: Sel(0),
                name: Word(3),
            },
            Fork {
                b: Sel(0),
                name: Word(0),
            },
            Rename {
                b: Sel(0),
                file: Sel(44684),
                dir: Sel(37450),
                name: Word(8),
                onto: Onto::Replace,
            },
            Unlink {
                b: Sel(21846),
                file: Sel(40330),
            },
            Chown {
                b: Sel(0),
                file: Sel(15184),
                uid: 0,
                gid: 1,
            },
        ];
        let ops: Vec<_> = start.into_iter().chain(end).collect();
        check(&ops);
    };
    moved(vec![Commit { b: Sel(21846) }]);
    moved(vec![Publish, Commit { b: Sel(21846) }]);
}
