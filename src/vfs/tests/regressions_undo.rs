//! More of [`super::regressions`]: what was changed between a commit and its undo.

use super::op::{Op::*, Sel, Word};
use super::regressions::check;
use super::tree::Onto;

/// The file that these cases are about, of the base.
const FILE: Sel = Sel(5042);

fn set_xattr(b: Sel, name: u8) -> super::op::Op {
    SetXattr {
        b,
        file: FILE,
        name: Word(name),
        len: 0,
        flags: 0,
    }
}

const FORK: super::op::Op = Fork {
    b: Sel(0),
    name: Word(0),
};
const CHILD: Sel = Sel(32768);

#[test]
fn an_attribute_that_was_set_and_published_since_an_undo_is_a_conflict_of_the_redo() {
    let way = |redo| Undo { b: Sel(0), redo };
    check(&[
        FORK,
        set_xattr(CHILD, 2),
        Commit { b: CHILD },
        way(false),
        set_xattr(Sel(0), 0),
        Publish,
        way(true),
    ]);
}

#[test]
fn an_attribute_that_was_set_and_published_since_the_fork_is_a_conflict() {
    let append = |b| Append {
        b,
        file: FILE,
        len: 1,
        fill: 7,
    };
    check(&[
        append(Sel(0)),
        FORK,
        set_xattr(Sel(0), 0),
        Publish,
        append(CHILD),
        Commit { b: CHILD },
    ]);
}

/// Of a directory too, of the base's and of the fork's.
#[test]
fn attributes_that_both_sides_set_are_a_conflict_after_a_publish_whatever_they_are_of() {
    let set = |b, file, name| SetXattr {
        b,
        file,
        name: Word(name),
        len: 3,
        flags: 0,
    };
    for sel in (0..u16::MAX).step_by(2731) {
        let sel = Sel(sel);
        let both = [
            FORK,
            set(CHILD, sel, 2),
            set(Sel(0), sel, 0),
            Publish,
            Commit { b: CHILD },
        ];
        check(&both);
        check(&[&[set(Sel(0), sel, 1)], &both[..]].concat());
    }
}

#[test]
fn a_link_that_a_commit_made_goes_with_its_undo_after_a_publish() {
    check(&[
        FORK,
        Remount {
            clean: false,
            sync: true,
        },
        Link {
            b: CHILD,
            file: Sel(1320),
            dir: Sel(46812),
            name: Word(1),
        },
        RenameOnto {
            b: Sel(0),
            file: Sel(38726),
            other: Sel(50642),
            onto: Onto::Replace,
        },
        Commit { b: CHILD },
        Undo {
            b: Sel(0),
            redo: false,
        },
    ]);
}
