//! Files in more pieces, and with more attributes, than one record of the journal could hold.

use super::calls::{ROOT, find, make, write};
use super::kernel::CRED;
use super::world::{World, seconds};
use crate::tree::NodeId;
use crate::vfs::Vfs;
use crate::vfs::ops::{Errno, Ops, Outcome, SetAttr, SetTime};

/// With a piece of the base, whose path is long, on both sides of each: more than 8 MiB.
const PIECES: usize = 4_500;

/// Where the file is in the base: it is in each of its pieces.
fn path() -> String {
    format!("{}file", format!("{}/", "d".repeat(220)).repeat(10))
}

/// Where a path of the base is in the branch.
fn in_branch(path: &str) -> String {
    format!("@branches/b/{path}")
}

fn content(vfs: &Vfs, path: &str) -> Vec<u8> {
    let node = find(vfs, path);
    let size = vfs.getattr(&CRED, node, true).and_then(Outcome::wait);
    let size = size.expect("it has attributes").attr.size;
    let mut out = Vec::new();
    vfs.read(node, 0, size as u32, &mut out)
        .expect("it is read");
    out
}

/// A mount with a file in very many pieces in a branch, and what that holds.
fn world_of_pieces() -> (World, Vec<u8>) {
    let mut world = World::new(true);
    world.kill();
    let mut bytes: Vec<u8> = (0..2 * PIECES).map(|i| b'a' + (i % 26) as u8).collect();
    let file = world.base().join(path());
    let dir = file.parent().expect("it is in a directory");
    std::fs::create_dir_all(dir).expect("the base takes directories");
    std::fs::write(&file, &bytes).expect("and a file");
    world.mount();
    let vfs = world.vfs();
    write(&vfs, ".ctl", "fork b\n").expect("a branch is forked");
    let node = find(&vfs, &in_branch(&path()));
    for piece in 0..PIECES {
        let at = 2 * piece;
        vfs.write(&CRED, node, at as u64, b"Z", false, false)
            .and_then(Outcome::wait)
            .expect("a byte is written");
        bytes[at] = b'Z';
    }
    (world, bytes)
}

fn remounted(world: &mut World, vfs: Vfs) -> Vfs {
    drop(vfs);
    world.kill();
    world.mount();
    world.vfs()
}

fn set(vfs: &Vfs, node: NodeId, set: SetAttr) {
    vfs.setattr(&CRED, node, &set).expect("attributes are set");
}

#[test]
fn a_file_in_any_number_of_pieces_is_changed_like_any_other() {
    let (mut world, mut bytes) = world_of_pieces();
    let vfs = world.vfs();
    let dir = find(&vfs, "@branches/b");
    let from = find(&vfs, in_branch(&path()).trim_end_matches("/file"));
    let node = find(&vfs, &in_branch(&path()));
    let journal = || vfs.workspace().store.journal_bytes_since_checkpoint();
    let before = journal();
    set(
        &vfs,
        node,
        SetAttr {
            mode: Some(0o600),
            ..SetAttr::default()
        },
    );
    let mtime = Some(SetTime::At(seconds(77)));
    set(
        &vfs,
        node,
        SetAttr {
            mtime,
            ..SetAttr::default()
        },
    );
    vfs.setxattr(&CRED, node, b"user.k", b"v", 0)
        .expect("an attribute is set");
    vfs.rename(&CRED, from, b"file", dir, b"moved", 0)
        .and_then(Outcome::wait)
        .expect("it is renamed");
    vfs.link(&CRED, node, dir, b"second")
        .expect("it gets a name");
    vfs.unlink(&CRED, dir, b"second").expect("and loses it");
    let written = journal() - before;
    assert!(written < 32 << 10, "{written} bytes for six small changes");
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    vfs.fallocate(&CRED, node, 100, 50, punch)
        .expect("a hole is made");
    bytes[100..150].fill(0);
    let size = 2 * PIECES as u64 - 333;
    set(
        &vfs,
        node,
        SetAttr {
            size: Some(size),
            ..SetAttr::default()
        },
    );
    bytes.truncate(size as usize);

    let vfs = remounted(&mut world, vfs);
    assert_eq!(content(&vfs, &in_branch("moved")), bytes);
    let looked = vfs.getattr(&CRED, find(&vfs, &in_branch("moved")), false);
    let attr = looked
        .and_then(Outcome::wait)
        .expect("it has attributes")
        .attr;
    assert_eq!((attr.mode & 0o7777, attr.nlink), (0o600, 1));
}

#[test]
fn a_copy_of_a_file_in_any_number_of_pieces_is_shared_step_by_step() {
    let (mut world, bytes) = world_of_pieces();
    let vfs = world.vfs();
    let node = find(&vfs, &in_branch(&path()));
    let dir = find(&vfs, "@branches/b");
    let made = vfs.mknod(&CRED, dir, b"copy", 0o100_644, 0, 0);
    let copy = made.expect("a file is made").node.node;
    let (mut done, mut calls) = (0, 0);
    while done < bytes.len() as u64 {
        let copied = vfs.copy_file_range(&CRED, node, done, copy, done, 1 << 30);
        done += copied.expect("some is copied");
        calls += 1;
    }
    assert!(calls > 1, "one record cannot hold it");
    let vfs = remounted(&mut world, vfs);
    assert_eq!(content(&vfs, &in_branch("copy")), bytes);
    assert_eq!(content(&vfs, &in_branch(&path())), bytes);
}

#[test]
fn a_checkpoint_holds_files_in_any_number_of_pieces() {
    let (mut world, bytes) = world_of_pieces();
    let vfs = world.vfs();
    vfs.workspace()
        .checkpoint()
        .expect("a checkpoint is written");
    let vfs = remounted(&mut world, vfs);
    assert_eq!(content(&vfs, &in_branch(&path())), bytes);
    vfs.workspace().checkpoint().expect("and another");
}

#[test]
fn a_merge_and_its_publish_take_a_file_in_any_number_of_pieces() {
    let (mut world, bytes) = world_of_pieces();
    let vfs = world.vfs();
    make(&vfs, "meanwhile").expect("main changes too, so the commit is a merge");
    write(&vfs, &in_branch(".commit"), "x").expect("the branch is committed");
    let base = std::fs::read(world.base().join(path())).expect("the base has it");
    assert_eq!(base, bytes);
    let vfs = remounted(&mut world, vfs);
    assert_eq!(content(&vfs, &path()), bytes);
}

#[test]
fn the_attributes_of_many_files_fit_a_checkpoint_and_those_of_one_have_a_limit() {
    let mut world = World::new(true);
    let vfs = world.vfs();
    let value = vec![b'v'; 60_000];
    for number in 0..80 {
        let name = format!("f{number}");
        make(&vfs, &name).expect("a file is made");
        for key in [b"user.a", b"user.b"] {
            let set = vfs.setxattr(&CRED, find(&vfs, &name), key, &value, 0);
            set.expect("an attribute is set");
        }
    }
    let node = find(&vfs, "f0");
    let set =
        |number: usize| vfs.setxattr(&CRED, node, format!("user.{number}").as_bytes(), &value, 0);
    let refused = (0..20).find_map(|number| set(number).err());
    assert_eq!(refused, Some(Errno(libc::ENOSPC)));
    vfs.workspace()
        .checkpoint()
        .expect("a checkpoint is written");
    let vfs = remounted(&mut world, vfs);
    let held = vfs.getxattr(&CRED, find(&vfs, "f79"), b"user.b");
    assert_eq!(held, Ok(value));
}

#[test]
fn a_removed_directory_takes_its_whiteouts_along() {
    let mut world = World::new(true);
    world.kill();
    let dir = world.base().join("full");
    std::fs::create_dir(&dir).expect("the base takes a directory");
    for number in 0..50 {
        std::fs::write(dir.join(number.to_string()), "x").expect("and files");
    }
    world.mount();
    let vfs = world.vfs();
    let node = find(&vfs, "full");
    for number in 0..50 {
        let removed = vfs.unlink(&CRED, node, number.to_string().as_bytes());
        removed.expect("a file is removed");
    }
    let removed = vfs.rmdir(&CRED, ROOT, b"full").and_then(Outcome::wait);
    removed.expect("the directory is removed");
    let vfs = remounted(&mut world, vfs);
    vfs.mkdir(&CRED, ROOT, b"full", 0o755, 0)
        .and_then(Outcome::wait)
        .expect("another of its name is made");
    let main = vfs.workspace().main();
    let (dentries, _) = main.state.read().view.len();
    assert_eq!(dentries, 1, "the new directory and nothing of the old one");
}
