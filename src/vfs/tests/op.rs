//! The operations of a case and how they are drawn.
//!
//! A file, a directory or a branch is drawn as a [`Sel`], a place in whatever list there is when
//! the operation runs, so that a sequence stays meaningful when others are taken out of it.

use proptest::prelude::*;

use super::tree::Onto;

/// A place in a list of any length.
#[derive(Clone, Copy, Debug)]
pub struct Sel(pub u16);

impl Sel {
    pub fn of<T: Clone>(self, list: &[T]) -> Option<T> {
        list.get((usize::from(self.0) * list.len()) >> 16).cloned()
    }
}

/// A name: one of [`NAMES`].
#[derive(Clone, Copy, Debug)]
pub struct Word(pub u8);

/// Few enough that they meet often.
pub const NAMES: [&[u8]; 9] = [
    b"a",
    b"b",
    b"c",
    b"d",
    b"x y",
    b"caf\xc3\xa9",
    b"\xff\xfe",
    b"new\nline",
    b"@scope",
];

impl Word {
    pub fn name(self) -> &'static [u8] {
        NAMES[usize::from(self.0) % NAMES.len()]
    }

    pub fn branch(self) -> &'static [u8] {
        [&b"one"[..], b"two", b"three", b"x y"][usize::from(self.0) % 4]
    }
}

/// What a fallocate does.
#[derive(Clone, Copy, Debug)]
pub enum Range {
    Reserve,
    ReserveKeep,
    Punch,
    Zero,
    ZeroKeep,
}

/// One step of a case.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Create {
        b: Sel,
        dir: Sel,
        name: Word,
        mode: u16,
    },
    Mkdir {
        b: Sel,
        dir: Sel,
        name: Word,
        mode: u16,
    },
    Symlink {
        b: Sel,
        dir: Sel,
        name: Word,
        target: Word,
    },
    Fifo {
        b: Sel,
        dir: Sel,
        name: Word,
    },
    Write {
        b: Sel,
        file: Sel,
        at: u32,
        len: u32,
        fill: u8,
    },
    Append {
        b: Sel,
        file: Sel,
        len: u32,
        fill: u8,
    },
    Truncate {
        b: Sel,
        file: Sel,
        size: u32,
    },
    Unlink {
        b: Sel,
        file: Sel,
    },
    Rmdir {
        b: Sel,
        dir: Sel,
    },
    RemoveTree {
        b: Sel,
        dir: Sel,
    },
    Rename {
        b: Sel,
        file: Sel,
        dir: Sel,
        name: Word,
        onto: Onto,
    },
    RenameOnto {
        b: Sel,
        file: Sel,
        other: Sel,
        onto: Onto,
    },
    Link {
        b: Sel,
        file: Sel,
        dir: Sel,
        name: Word,
    },
    Chmod {
        b: Sel,
        file: Sel,
        mode: u16,
    },
    Chown {
        b: Sel,
        file: Sel,
        uid: u8,
        gid: u8,
    },
    Utimes {
        b: Sel,
        file: Sel,
        sec: i32,
    },
    SetXattr {
        b: Sel,
        file: Sel,
        name: Word,
        len: u16,
        flags: u8,
    },
    RemoveXattr {
        b: Sel,
        file: Sel,
        name: Word,
    },
    Allocate {
        b: Sel,
        file: Sel,
        at: u32,
        len: u32,
        what: Range,
    },
    Copy {
        b: Sel,
        from: Sel,
        to_b: Sel,
        to: Sel,
        at: u32,
        to_at: u32,
        len: u32,
    },
    Open {
        b: Sel,
        file: Sel,
    },
    Close {
        handle: Sel,
    },
    WriteOpen {
        handle: Sel,
        at: u32,
        len: u32,
        fill: u8,
    },
    TruncateOpen {
        handle: Sel,
        size: u32,
    },
    CreateOpen {
        handle: Sel,
        name: Word,
    },
    ReadOpen,
    Fork {
        b: Sel,
        name: Word,
    },
    Commit {
        b: Sel,
    },
    Undo {
        b: Sel,
        redo: bool,
    },
    Abort {
        b: Sel,
        by_rmdir: bool,
    },
    RenameBranch {
        b: Sel,
        name: Word,
    },
    Restore {
        b: Sel,
        entry: Sel,
        name: Word,
    },
    Expire {
        b: Sel,
        entry: Sel,
    },
    Policy {
        b: Sel,
        merges: bool,
    },
    Publish,
    Remount {
        clean: bool,
        sync: bool,
    },
    Checkpoint,
    Reclaim,
    Fsync,
    Forget {
        keep: u8,
    },
    Compare {
        chunk: u8,
        plus: bool,
    },
}

fn sel() -> impl Strategy<Value = Sel> + Clone {
    any::<u16>().prop_map(Sel)
}

/// A branch: main often, since it alone is published.
fn branch() -> impl Strategy<Value = Sel> + Clone {
    prop_oneof![2 => Just(Sel(0)), 3 => sel()]
}

fn word() -> impl Strategy<Value = Word> + Clone {
    (0..NAMES.len() as u8).prop_map(Word)
}

fn offset() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![
        4 => 0u32..64,
        2 => 0u32..9000,
        1 => prop::sample::select(vec![4095u32, 4096, 65535, 65536, 65537, 131072]),
        1 => 0u32..260_000,
    ]
}

fn len() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![5 => 1u32..40, 2 => 1u32..9000, 1 => 60_000u32..140_000]
}

fn onto() -> impl Strategy<Value = Onto> + Clone {
    prop_oneof![3 => Just(Onto::Replace), 1 => Just(Onto::NoReplace), 2 => Just(Onto::Exchange)]
}

fn range() -> impl Strategy<Value = Range> {
    prop_oneof![
        Just(Range::Reserve),
        Just(Range::ReserveKeep),
        Just(Range::Punch),
        Just(Range::Zero),
        Just(Range::ZeroKeep)
    ]
}

fn name_op() -> impl Strategy<Value = Op> {
    let (b, s, w) = (branch, sel, word);
    prop_oneof![
        4 => (b(), s(), w(), 0u16..0o10000)
            .prop_map(|(b, dir, name, mode)| Op::Create { b, dir, name, mode }),
        3 => (b(), s(), w(), 0u16..0o10000)
            .prop_map(|(b, dir, name, mode)| Op::Mkdir { b, dir, name, mode }),
        1 => (b(), s(), w(), w())
            .prop_map(|(b, dir, name, target)| Op::Symlink { b, dir, name, target }),
        1 => (b(), s(), w()).prop_map(|(b, dir, name)| Op::Fifo { b, dir, name }),
        4 => (b(), s()).prop_map(|(b, file)| Op::Unlink { b, file }),
        2 => (b(), s()).prop_map(|(b, dir)| Op::Rmdir { b, dir }),
        2 => (b(), s()).prop_map(|(b, dir)| Op::RemoveTree { b, dir }),
        6 => (b(), s(), s(), w(), onto())
            .prop_map(|(b, file, dir, name, onto)| Op::Rename { b, file, dir, name, onto }),
        6 => (b(), s(), s(), onto())
            .prop_map(|(b, file, other, onto)| Op::RenameOnto { b, file, other, onto }),
        3 => (b(), s(), s(), w())
            .prop_map(|(b, file, dir, name)| Op::Link { b, file, dir, name }),
    ]
}

fn data_op() -> impl Strategy<Value = Op> {
    let (b, s, w) = (branch, sel, word);
    prop_oneof![
        6 => (b(), s(), offset(), len(), any::<u8>())
            .prop_map(|(b, file, at, len, fill)| Op::Write { b, file, at, len, fill }),
        3 => (b(), s(), len(), any::<u8>())
            .prop_map(|(b, file, len, fill)| Op::Append { b, file, len, fill }),
        2 => (b(), s(), offset()).prop_map(|(b, file, size)| Op::Truncate { b, file, size }),
        1 => (b(), s(), 0u16..0o10000).prop_map(|(b, file, mode)| Op::Chmod { b, file, mode }),
        1 => (b(), s(), 0u8..3, 0u8..3)
            .prop_map(|(b, file, uid, gid)| Op::Chown { b, file, uid, gid }),
        1 => (b(), s(), any::<i32>()).prop_map(|(b, file, sec)| Op::Utimes { b, file, sec }),
        1 => (b(), s(), w(), 0u16..300, 0u8..3)
            .prop_map(|(b, file, name, len, flags)| Op::SetXattr { b, file, name, len, flags }),
        1 => (b(), s(), w()).prop_map(|(b, file, name)| Op::RemoveXattr { b, file, name }),
        2 => (b(), s(), offset(), len(), range())
            .prop_map(|(b, file, at, len, what)| Op::Allocate { b, file, at, len, what }),
        2 => (b(), s(), b(), s(), offset(), offset(), len()).prop_map(
            |(b, from, to_b, to, at, to_at, len)| Op::Copy { b, from, to_b, to, at, to_at, len }
        ),
    ]
}

fn open_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (branch(), sel()).prop_map(|(b, file)| Op::Open { b, file }),
        1 => sel().prop_map(|handle| Op::Close { handle }),
        3 => (sel(), offset(), len(), any::<u8>())
            .prop_map(|(handle, at, len, fill)| Op::WriteOpen { handle, at, len, fill }),
        1 => (sel(), offset()).prop_map(|(handle, size)| Op::TruncateOpen { handle, size }),
        1 => (sel(), word()).prop_map(|(handle, name)| Op::CreateOpen { handle, name }),
        2 => Just(Op::ReadOpen),
    ]
}

fn branch_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (branch(), word()).prop_map(|(b, name)| Op::Fork { b, name }),
        8 => sel().prop_map(|b| Op::Commit { b }),
        4 => (branch(), any::<bool>()).prop_map(|(b, redo)| Op::Undo { b, redo }),
        2 => (sel(), any::<bool>()).prop_map(|(b, by_rmdir)| Op::Abort { b, by_rmdir }),
        1 => (sel(), word()).prop_map(|(b, name)| Op::RenameBranch { b, name }),
        2 => (branch(), sel(), word())
            .prop_map(|(b, entry, name)| Op::Restore { b, entry, name }),
        1 => (branch(), sel()).prop_map(|(b, entry)| Op::Expire { b, entry }),
        2 => (branch(), any::<bool>()).prop_map(|(b, merges)| Op::Policy { b, merges }),
    ]
}

fn mount_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::Publish),
        4 => (any::<bool>(), any::<bool>()).prop_map(|(clean, sync)| Op::Remount { clean, sync }),
        2 => Just(Op::Checkpoint),
        2 => Just(Op::Reclaim),
        1 => Just(Op::Fsync),
        4 => any::<u8>().prop_map(|keep| Op::Forget { keep }),
        3 => (1u8..9, any::<bool>()).prop_map(|(chunk, plus)| Op::Compare { chunk, plus }),
    ]
}

/// Sequences of up to `most` steps.
pub fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        9 => name_op(),
        7 => data_op(),
        2 => open_op(),
        4 => branch_op(),
        4 => mount_op(),
    ];
    prop::collection::vec(op, 1..most)
}
