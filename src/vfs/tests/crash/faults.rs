//! Every call that changes the disk fails once: with an error, or because the disk is full.
//!
//! Whatever fails is answered with an error; everything can still be read; what was acknowledged is
//! there after a kill, and what was durable after a power cut; and where the store was not
//! poisoned, a publish that failed is finished by the next one.
//!
//! `SIM_SECONDS` sweeps worlds of fresh seeds for that long.

use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::super::kernel::CRED;
use super::random::Random;
use super::scan::{Scan, as_base, base_difference, read_base};
use super::tape::{Fault, Loss};
use super::world::{Nature, World};
use super::{check, tell};
use crate::tree::{FileId, NodeId};
use crate::vfs::ops::{Ops, Outcome};

/// Runs the world of a seed with a fault. The number of calls that failed.
fn run(seed: u64, fault: Fault) -> Result<usize, String> {
    let mut random = Random::new(seed);
    let mut world = World::new(Nature::new(&mut random));
    for _ in 0..4 {
        world.step(&mut random)?;
    }
    world.faulty = true;
    world.tape.fail(Some(fault));
    let steps = (0..12).try_for_each(|_| world.step(&mut random));
    let failed = world.tape.failed();
    world.tape.fail(None);
    let at = world.tape.len();
    steps
        .and_then(|()| publish_again(&mut world))
        .and_then(|()| world.check_cut(at, Loss::Kill, &mut random, true))
        .and_then(|()| world.check_cut(at, Loss::Some, &mut random, false))
        .map_err(|text| tell(&world, 0, &text))?;
    Ok(failed)
}

/// The disk is well again: what main has goes into the base.
fn publish_again(world: &mut World) -> Result<(), String> {
    if world.vfs().workspace().store.poisoned().is_some() {
        return Ok(());
    }
    let root = NodeId::new(0, FileId::ROOT);
    let before = Scan::of(world.vfs())?;
    let done = world.command(root, b"publish");
    done.map_err(|errno| format!("cannot be published afterwards: {errno:?}"))?;
    world.look("publish again")?;
    let after = world.moments.last().expect("it was just seen").clone();
    check::shown(&before, std::slice::from_ref(&after))?;
    match base_difference(&read_base(&world.base()), &as_base(&after.scan)) {
        None => Ok(()),
        Some(text) => Err(format!(
            "published afterwards, the base is not main: {text}"
        )),
    }
}

/// Fails every `stride`-th call of a world, by turns with each error. The number of runs.
fn sweep(seed: u64, stride: usize) -> usize {
    let mut runs = 0;
    for errno in [Errno::IO, Errno::NOSPC] {
        for lasting in [false, true] {
            let mut after = seed as usize % stride;
            loop {
                let fault = Fault {
                    after,
                    errno,
                    lasting,
                };
                match run(seed, fault) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(text) => panic!("seed {seed}, {fault:?}\n{text}"),
                }
                after += stride;
                runs += 1;
            }
        }
    }
    runs
}

#[test]
fn a_call_that_fails_loses_nothing() {
    let start = Instant::now();
    let seconds = super::super::number("SIM_SECONDS", 0);
    let mut runs = sweep(1, 23);
    let fresh = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut seed = fresh.expect("it is after 1970").as_micros() as u64;
    while start.elapsed() < Duration::from_secs(seconds) {
        runs += sweep(seed, 5);
        seed += 1;
    }
    println!("{runs} faults injected, nothing lost");
}

/// The range may be the branch's alone, and is written before the record that is refused.
#[test]
fn a_write_that_a_half_published_main_refuses_changes_nothing() {
    let fault = Fault {
        after: 43,
        errno: Errno::IO,
        lasting: false,
    };
    let failed = run(1_795_286_411_523_653, fault).unwrap_or_else(|text| panic!("{text}"));
    assert_eq!(failed, 1);
}

#[test]
fn a_publish_that_fails_anywhere_is_finished_by_the_next() {
    let mut stopped = 0;
    for after in (0..).step_by(4) {
        let mut random = Random::new(11);
        let mut world = World::new(Nature {
            publish: crate::branch::PublishMode::Manual,
            ..Nature::new(&mut random)
        });
        world.faulty = true;
        (0..12).for_each(|_| world.change_main(&mut random).unwrap());
        world.tape.fail(Some(Fault {
            after,
            errno: Errno::IO,
            lasting: false,
        }));
        let root = NodeId::new(0, FileId::ROOT);
        let done = world.command(root, b"publish");
        if world.tape.failed() == 0 {
            done.unwrap();
            break;
        }
        world.tape.fail(None);
        world.look("publish").unwrap();
        stopped += usize::from(world.vfs().workspace().base.is_half_done());
        world.change_main(&mut random).unwrap();
        publish_again(&mut world).unwrap();
        let at = world.tape.len();
        let checked = world.check_cut(at, Loss::Kill, &mut random, true);
        checked.unwrap_or_else(|text| panic!("call {after}: {}", tell(&world, 0, &text)));
    }
    assert!(stopped > 0, "no publish stopped part of the way");
}

#[test]
fn a_publish_that_stops_anywhere_hides_no_name_of_a_file() {
    for after in 0.. {
        let mut random = Random::new(1);
        let mut world = World::new(Nature {
            publish: crate::branch::PublishMode::Manual,
            ..Nature::new(&mut random)
        });
        world.faulty = true;
        let root = NodeId::new(0, FileId::ROOT);
        // Its other name in the base is b/link.
        let one = world.find(root, b"one").expect("it is in the base");
        let wrote = world.vfs().write(&CRED, one, 0, b"x", false, false);
        wrote.and_then(Outcome::wait).expect("the disk is well");
        world.look("write").unwrap();
        world.tape.fail(Some(Fault {
            after,
            errno: Errno::IO,
            lasting: false,
        }));
        let done = world.command(root, b"publish");
        if world.tape.failed() == 0 {
            done.expect("no call failed");
            assert!(after > 20, "{after} calls are no publish");
            break;
        }
        world.tape.fail(None);
        let seen = Scan::of(world.vfs()).unwrap();
        check::shown(&seen, &world.moments[1..])
            .and_then(|_| publish_again(&mut world))
            .unwrap_or_else(|text| panic!("call {after}: {text}"));
    }
}

#[test]
fn a_file_changed_while_its_publish_is_stopped_counts_no_name_in_the_store() {
    let fault = Fault {
        after: 52,
        errno: Errno::IO,
        lasting: true,
    };
    let failed = run(1_795_287_658_072_667, fault).unwrap_or_else(|text| panic!("{text}"));
    assert!(failed > 0);
}
