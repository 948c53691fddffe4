//! What no kernel asks for, what the base will not take, and what happens at the same moment.

use std::sync::Arc;
use std::sync::Barrier;

use super::kernel::CRED;
use super::world::World;
use crate::tree::{FileId, NodeId, Time};
use crate::vfs::Vfs;
use crate::vfs::ops::{Errno, Lookup, Ops, Outcome, SetAttr, SetTime, Sink};

const ROOT: NodeId = NodeId::new(0, FileId::ROOT);

fn walk(vfs: &Vfs, from: NodeId, path: &[&[u8]]) -> NodeId {
    path.iter()
        .fold(from, |at, name| match vfs.lookup(&CRED, at, name) {
            Ok(Lookup::Found(entry)) => entry.node.node,
            other => panic!("{}: {other:?}", name.escape_ascii()),
        })
}

fn command(vfs: &Vfs, branch: NodeId, command: &[u8]) -> Result<u32, Errno> {
    let control = walk(vfs, branch, &[b".ctl"]);
    vfs.write(&CRED, control, 0, command, false, false)
        .and_then(Outcome::wait)
}

#[test]
fn an_owner_or_a_time_that_no_file_can_have_is_refused() {
    let world = World::new(false);
    let vfs = world.vfs();
    let file = walk(&vfs, ROOT, &[b"a"]);
    let nobody = Some(u32::MAX);
    let bad = SetTime::At(Time {
        sec: 1,
        nsec: 1_000_000_000,
    });
    let sets = [
        SetAttr {
            uid: nobody,
            ..SetAttr::default()
        },
        SetAttr {
            gid: nobody,
            ..SetAttr::default()
        },
        SetAttr {
            mtime: Some(bad),
            ..SetAttr::default()
        },
    ];
    for set in sets {
        let done = vfs.setattr(&CRED, file, &set);
        assert_eq!(done.map(|_| ()), Err(Errno(libc::EINVAL)), "{set:?}");
    }
    let mut cred = CRED;
    cred.uid = u32::MAX;
    let made = vfs.mknod(&cred, ROOT, b"new", 0o100_644, 0, 0);
    assert_eq!(made.map(|_| ()), Err(Errno(libc::EINVAL)));
    vfs.workspace().publish().expect("nothing is in the way");
}

/// A directory that was looked up as an entry of itself made a later commit search for ever.
#[test]
fn bytes_that_name_no_file_are_no_names() {
    let world = World::new(false);
    let vfs = world.vfs();
    let dir = walk(&vfs, ROOT, &[b"a"]);
    for name in [&b"."[..], b"..", b"b/c", b"", b"nul\0"] {
        let found = vfs.lookup(&CRED, dir, name);
        assert!(matches!(found, Ok(Lookup::Absent(_))), "{found:?}");
        let made = vfs.mknod(&CRED, dir, name, 0o100_644, 0, 0);
        assert_eq!(made.map(|_| ()), Err(Errno(libc::EINVAL)), "{name:?}");
    }
}

#[test]
fn a_listing_from_behind_the_last_position_is_empty() {
    let world = World::new(false);
    let vfs = world.vfs();
    let mut count = 0;
    let listed = vfs.readdir(&CRED, ROOT, u64::MAX, &mut |_| {
        count += 1;
        Sink::Taken
    });
    assert_eq!((listed, count), (Ok(()), 0));
}

/// It stopped part of the way, and then neither the next publish nor the next mount got further.
#[test]
fn what_the_base_refuses_is_found_out_before_a_publish_begins() {
    let mut world = World::new(false);
    let vfs = world.vfs();
    // The kernel takes only well-formed values of this one: to the base it is EINVAL.
    let (dir, name) = (walk(&vfs, ROOT, &[b"a"]), b"security.capability");
    vfs.setxattr(&CRED, dir, name, b"?", 0).expect("setxattr");
    let error = vfs.workspace().publish().expect_err("the base refuses it");
    assert!(error.to_string().contains("set attributes of a"), "{error}");
    assert!(!vfs.workspace().base.is_half_done());
    vfs.mknod(&CRED, dir, b"new", 0o100_644, 0, 0)
        .expect("main still takes changes");
    drop(vfs);
    world.kill();
    world.mount();
    let vfs = world.vfs();
    let dir = walk(&vfs, ROOT, &[b"a"]);
    vfs.removexattr(&CRED, dir, name).expect("removexattr");
    vfs.workspace().publish().expect("nothing is in the way");
    assert!(world.base().join("a/new").exists());
}

#[test]
fn the_path_of_a_directory_at_any_depth_is_found() {
    let world = World::new(false);
    let vfs = world.vfs();
    let mut at = ROOT;
    const DEPTH: usize = 30_000;
    for _ in 0..DEPTH {
        let made = vfs.mkdir(&CRED, at, b"n", 0o755, 0).and_then(Outcome::wait);
        at = made.expect("mkdir").node.node;
    }
    let workspace = vfs.workspace();
    let view = workspace.main().state.read().view.clone();
    let path = workspace.path_of_file(&view, at.file()).expect("a path");
    assert_eq!(path.map(|path| path.len()), Some(2 * DEPTH - 1));
}

#[test]
fn a_patch_that_would_fill_the_memory_is_refused() {
    let world = World::new(false);
    let vfs = world.vfs();
    let branches = walk(&vfs, ROOT, &[b"@branches"]);
    let forked = vfs.mkdir(&CRED, branches, b"x", 0o755, 0);
    let branch = forked.and_then(Outcome::wait).expect("fork").node.node;
    let set = SetAttr {
        size: Some(1 << 40),
        ..SetAttr::default()
    };
    let file = walk(&vfs, branch, &[b"c"]);
    vfs.setattr(&CRED, file, &set).expect("truncate");
    let directory = walk(&vfs, branch, &[b"@self"]);
    let read = match vfs.lookup(&CRED, directory, b"patch") {
        Ok(Lookup::Found(entry)) => vfs.read(entry.node.node, 0, 4096, &mut Vec::new()),
        Ok(Lookup::Absent(_)) => panic!("it is reserved"),
        Err(errno) => Err(errno),
    };
    assert_eq!(read, Err(Errno(libc::EFBIG)));
}

/// The one that ends a branch has counted what is below it: a fork in between was in nobody's list.
#[test]
fn a_fork_and_the_end_of_its_parent_come_one_after_the_other() {
    for ends in [&b"abort"[..], b"commit"] {
        let mut world = World::new(false);
        let vfs = world.vfs();
        let branches = walk(&vfs, ROOT, &[b"@branches"]);
        let fork = |name: String| {
            let forked = vfs.mkdir(&CRED, branches, name.as_bytes(), 0o755, 0);
            forked.and_then(Outcome::wait).expect("fork").node.node
        };
        for round in 0..60 {
            let ending = fork(format!("ends{round}"));
            let loser = fork(format!("loser{round}"));
            // Aborted itself, or lost by its sibling's commit.
            let forked_in = if ends == b"abort" { ending } else { loser };
            let below = walk(&vfs, forked_in, &[b"@branches"]);
            let start = Arc::new(Barrier::new(2));
            let (other, started) = (vfs.clone(), start.clone());
            let forks = std::thread::spawn(move || {
                started.wait();
                (0..50).all(|n| {
                    let name = format!("n{n}");
                    let made = other.mkdir(&CRED, below, name.as_bytes(), 0o755, 0);
                    made.and_then(Outcome::wait).is_ok()
                })
            });
            start.wait();
            // Refused where a fork came first.
            let _ = command(&vfs, ending, ends);
            forks.join().expect("no panic");
            assert!(vfs.workspace().store.poisoned().is_none());
        }
        drop(vfs);
        world.kill();
        world.mount();
    }
}

#[test]
fn a_branch_that_came_back_meanwhile_does_not_expire() {
    let world = World::new(false);
    let vfs = world.vfs();
    let branches = walk(&vfs, ROOT, &[b"@branches"]);
    let forked = vfs.mkdir(&CRED, branches, b"x", 0o755, 0);
    let branch = forked.and_then(Outcome::wait).expect("fork").node.node;
    let workspace = vfs.workspace();
    let id = workspace.branches().last().expect("a branch").clone();
    workspace.expire(&id).expect("nothing to do");
    assert!(walk(&vfs, branch, &[b"a"]).0 > 0);
    command(&vfs, branch, b"abort").expect("abort");
    workspace.expire(&id).expect("expire");
    workspace.expire(&id).expect("nothing to do");
    assert_eq!(workspace.branches().len(), 1);
}

/// It would go on for as long as the file grows before it.
#[test]
fn a_copy_within_a_file_over_itself_is_refused() {
    let world = World::new(false);
    let vfs = world.vfs();
    let file = walk(&vfs, ROOT, &[b"d"]);
    let copy = |from, to, len| vfs.copy_file_range(&CRED, file, from, file, to, len);
    for (from, to, len) in [(0, 1, u64::MAX), (1, 0, 2), (0, 0, 1), (5, 5, u64::MAX)] {
        assert_eq!(copy(from, to, len), Err(Errno(libc::EINVAL)), "{len} bytes");
    }
    assert!(copy(0, 1, 1).is_ok());
}

#[test]
fn a_copy_between_branches_gives_its_thread_back_after_64_mib() {
    let world = World::new(false);
    let vfs = world.vfs();
    let made = vfs.mkdir(&CRED, walk(&vfs, ROOT, &[b"@branches"]), b"b", 0o755, 0);
    made.and_then(Outcome::wait).expect("a fork");
    let (from, to) = ([&b"d"[..]], [&b"@branches"[..], b"b", b"d"]);
    let (from, to) = (walk(&vfs, ROOT, &from), walk(&vfs, ROOT, &to));
    let set = SetAttr {
        size: Some(1 << 40),
        ..SetAttr::default()
    };
    vfs.setattr(&CRED, from, &set).expect("a sparse file");
    let copied = vfs.copy_file_range(&CRED, from, 0, to, 0, 1 << 40);
    assert_eq!(copied, Ok(64 << 20));
}
