//! Crash simulation: one seed is one world, and every moment of it a place to cut the power.
//!
//! `tape` records every change that store and base make to the disk, `world` makes a seed into
//! operations on several branches, and `check` opens what a crash would have left. A world also
//! goes on after some of its crashes.
//!
//! `SIM_SEED` runs one seed with every cut (or `SIM_CUTS`), `SIM_SECONDS` goes on with fresh seeds
//! for that long:
//! `cargo xtask sim` sets them.

mod check;
mod faults;
mod random;
mod scan;
mod state;
mod tape;
mod world;

use std::time::{Duration, Instant};

use super::kernel::CRED;
use crate::tree::{FileId, NodeId};
use crate::vfs::ops::{Ops, Outcome, SetAttr};
use random::Random;
use tape::Loss;
use world::{Nature, World};

/// What a run has done.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    operations: usize,
    changes: usize,
    cuts: usize,
}

/// The seeds that every run begins with.
const FIXED: [u64; 3] = [1, 8, 37];

const LOSSES: [Loss; 6] = [
    Loss::Kill,
    Loss::Unsynced,
    Loss::Nothing,
    Loss::Some,
    Loss::Some,
    Loss::Some,
];

/// Runs the world of a seed. `cuts`: how many cuts for each generation; `None`: all.
fn run(seed: u64, cuts: Option<usize>, counts: &mut Counts) -> Result<(), String> {
    let mut random = Random::new(seed);
    // Apart, so that a seed is the same world however often it is cut.
    let mut cutting = Random::new(seed ^ 1 << 63);
    let mut world = World::new(Nature::new(&mut random));
    for generation in 0..=random.below(3) {
        let steps = random.between(5, 40);
        for _ in 0..steps {
            world
                .step(&mut random)
                .map_err(|text| tell(&world, generation, &text))?;
        }
        counts.operations += steps;
        counts.changes += world.tape.len();
        let points: Vec<usize> = match cuts {
            None => (0..=world.tape.len()).collect(),
            Some(cuts) => (0..cuts)
                .map(|_| cutting.below(world.tape.len() + 1))
                .collect(),
        };
        for at in points {
            let loss = *cutting.pick(&LOSSES);
            let whole = cutting.below(4) == 0;
            counts.cuts += 1;
            let checked = world.check_cut(at, loss, &mut cutting, whole);
            checked.map_err(|text| tell(&world, generation, &text))?;
        }
        let loss = *random.pick(&LOSSES);
        let last = world.moments.len() - 1;
        let first = match loss {
            Loss::Kill => last,
            _ => world.moments[last].floor,
        };
        let state = world.tape.cut(world.tape.len(), loss, &mut random);
        let mut next = world.after(state, loss != Loss::Kill);
        next.recover(&world.moments[first..])
            .map_err(|text| tell(&world, generation, &text))?;
        if loss == Loss::Kill {
            // What a kill leaves is no more durable than it was.
            next.remember(&world.moments[world.moments[last].floor..]);
        }
        next.look("recovered")
            .map_err(|text| tell(&world, generation, &text))?;
        world = next;
    }
    world.check_unmount().and_then(|()| world.check_leaks())
}

fn tell(world: &World, generation: usize, text: &str) -> String {
    let steps = world.moments.iter().enumerate();
    let steps: String = steps
        .map(|(index, m)| format!("\n  {index} [{}, floor {}] {}", m.changes, m.floor, m.what))
        .collect();
    format!(
        "{:?}, generation {generation}: {text}\nsteps:{steps}",
        world.nature
    )
}

fn check(seed: u64, cuts: Option<usize>, counts: &mut Counts) {
    if let Err(text) = run(seed, cuts, counts) {
        panic!("cargo xtask sim --seed {seed}\n{text}");
    }
}

#[test]
fn a_power_cut_anywhere_loses_nothing_durable() {
    let mut counts = Counts::default();
    let start = Instant::now();
    let number = super::number;
    let fresh = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut seed = fresh.expect("it is after 1970").as_micros() as u64;
    let mut seeds = 0;
    match (number("SIM_SEED", 0), number("SIM_SECONDS", 0)) {
        (0, 0) => {
            for seed in FIXED.into_iter().chain([seed]) {
                check(seed, Some(8), &mut counts);
                seeds += 1;
            }
        }
        (0, seconds) => {
            while start.elapsed() < Duration::from_secs(seconds) {
                check(seed, Some(60), &mut counts);
                (seed, seeds) = (seed + 1, seeds + 1);
            }
        }
        (seed, _) => {
            let cuts = match number("SIM_CUTS", 0) {
                0 => None,
                cuts => Some(cuts as usize),
            };
            check(seed, cuts, &mut counts);
            seeds = 1;
        }
    }
    println!(
        "{seeds} seeds, {} operations, {} changes recorded, {} crash points cut, nothing lost",
        counts.operations, counts.changes, counts.cuts
    );
}

/// Checks that main can be published after every kill and power cut behind the change `begin`.
fn published_wherever_it_ends(world: &World, begin: usize) {
    let random = &mut Random::new(1);
    for at in begin..=world.tape.len() {
        for loss in LOSSES {
            let state = world.tape.cut(at, loss, random);
            let mut next = world.after(state, loss != Loss::Kill);
            next.mount().expect("it opens");
            let published = next.check_unmount();
            published.unwrap_or_else(|text| panic!("{loss:?} after {at}: {text}"));
        }
    }
}

/// A workspace whose main has made `large`, which is a blob of the store until it is published.
fn with_a_blob() -> World {
    let world = World::new(Nature {
        publish: crate::branch::PublishMode::Manual,
        ..Nature::new(&mut Random::new(1))
    });
    let root = NodeId::new(0, FileId::ROOT);
    let mode = libc::S_IFREG | 0o644;
    let made = world.vfs().mknod(&CRED, root, b"large", mode, 0, 0);
    let node = made.expect("a new file").node.node;
    let wrote = world
        .vfs()
        .write(&CRED, node, 0, &vec![7; 2 << 20], false, false);
    wrote.and_then(Outcome::wait).expect("a write");
    world.vfs().forget(node, 1);
    world
}

/// The same once that is published, and moved since.
fn published_and_moved() -> World {
    let mut world = with_a_blob();
    let root = NodeId::new(0, FileId::ROOT);
    world.command(root, b"publish").expect("a publish");
    let moved = world.vfs().rename(&CRED, root, b"large", root, b"moved", 0);
    moved.and_then(Outcome::wait).expect("a rename");
    world.look("moved").expect("it can be read");
    world
}

#[test]
fn a_large_file_can_be_moved_as_soon_as_it_is_published() {
    let mut world = published_and_moved();
    let store = &world.vfs().workspace().store;
    store.barrier().expect("a barrier");
    store.reclaim();
    world.check_unmount().unwrap();
}

#[test]
fn a_large_file_can_be_moved_as_soon_as_it_is_published_and_the_daemon_killed() {
    let world = published_and_moved();
    let at = world.tape.len();
    let checked = world.check_cut(at, Loss::Kill, &mut Random::new(1), true);
    checked.unwrap();
}

#[test]
fn a_publish_that_a_mount_went_on_with_leaves_nothing_that_looks_changed_behind_it() {
    let root = NodeId::new(0, FileId::ROOT);
    let write = |world: &mut World, bytes: &[u8]| {
        let node = world.find(root, b"one").expect("a file of the base");
        let wrote = world.vfs().write(&CRED, node, 3, bytes, false, false);
        wrote.and_then(Outcome::wait).expect("a write");
    };
    let killed_and_unmounted = |mut world: World| {
        write(&mut world, b"then");
        let end = world.tape.len();
        let state = world.tape.cut(end, Loss::Kill, &mut Random::new(1));
        let mut next = world.after(state, false);
        next.mount()?;
        next.check_unmount()
    };
    let mut world = World::new(Nature {
        publish: crate::branch::PublishMode::Manual,
        ..Nature::new(&mut Random::new(1))
    });
    write(&mut world, b"first");
    world.command(root, b"publish").expect("a publish");
    let begin = world.tape.len();
    let node = world.find(root, b"one").expect("the file");
    let mode = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    let set = world.vfs().setattr(&CRED, node, &mode);
    set.expect("another mode, which moves a ctime whenever it is set");
    let workspace = world.vfs().workspace();
    workspace.publish_unsettled().expect("a publish");
    // An fsync of somebody else comes before the publish is settled.
    workspace.barrier().expect("a barrier");
    let random = &mut Random::new(1);
    for at in begin..=world.tape.len() {
        let state = world.tape.cut(at, Loss::Unsynced, random);
        let mut left = world.after(state, true);
        left.mount().expect("it opens");
        // The mount that goes on with the publish may be killed as well.
        let killed = random.below(left.tape.len() + 1);
        let state = left.tape.cut(killed, Loss::Kill, random);
        let mut again = left.after(state, false);
        again.mount().expect("it opens");
        for world in [left, again] {
            killed_and_unmounted(world).unwrap();
        }
    }
}

#[test]
fn a_blob_that_loses_its_name_in_the_store_never_looks_changed_behind_the_mount() {
    let root = NodeId::new(0, FileId::ROOT);
    let mut world = with_a_blob();
    let workspace = world.vfs().workspace();
    workspace.publish_unsettled().expect("a publish");
    let node = world.find(root, b"large").expect("the file");
    let wrote = world
        .vfs()
        .write(&CRED, node, 9, b"then", false, false)
        .and_then(Outcome::wait);
    wrote.expect("a write into what is the base's file now");
    let begin = world.tape.len();
    let workspace = world.vfs().workspace();
    workspace.settle_publish().expect("the end of the publish");
    published_wherever_it_ends(&world, begin);
}

#[test]
fn a_file_whose_old_name_is_purged_never_looks_changed_behind_the_mount() {
    let root = NodeId::new(0, FileId::ROOT);
    let mut world = World::new(Nature {
        publish: crate::branch::PublishMode::Manual,
        ..Nature::new(&mut Random::new(1))
    });
    let node = world.find(root, b"one").expect("a file of the base");
    let linked = world.vfs().link(&CRED, node, root, b"second");
    linked.expect("a second name");
    world.command(root, b"publish").expect("a publish");
    world.command(root, b"fork pin").expect("a fork");
    let removed = world.vfs().unlink(&CRED, root, b"one");
    removed.expect("the first name goes");
    world.command(root, b"publish").expect("a publish");
    let wrote = world
        .vfs()
        .write(&CRED, node, 3, b"then", false, false)
        .and_then(Outcome::wait);
    wrote.expect("a write into what is the base's file");
    let workspace = world.vfs().workspace().clone();
    let pin = workspace.branches().pop().expect("the branch");
    workspace.abort(&pin).expect("an abort");
    workspace.expire(&pin).expect("its end");
    workspace.barrier().expect("a barrier");
    let begin = world.tape.len();
    workspace.drop_old_versions().expect("a purge");
    assert!(world.tape.len() > begin, "there was nothing to purge");
    published_wherever_it_ends(&world, begin);
}

#[test]
fn a_store_that_no_record_was_made_in_is_a_new_workspace() {
    let nature = Nature::new(&mut Random::new(1));
    let world = World::new(nature);
    let made = (0..world.tape.len()).map(|at| world.tape.cut(at, Loss::Kill, &mut Random::new(1)));
    for state in made {
        let mut left = world.after(state, false);
        left.recover(&world.moments).unwrap();
    }
}
