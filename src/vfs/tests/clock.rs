//! A wall clock that goes back, as after a wrong battery or a first contact with a time server.

use super::calls::{find, make, read, write};
use super::kernel::CRED;
use super::world::World;
use crate::branch::shift_clock;
use crate::vfs::Vfs;
use crate::vfs::ops::{Lookup, Ops, Outcome};

const YEAR: i64 = 365 * 86400;

#[test]
fn a_clock_that_goes_back_a_year_loses_and_expires_nothing() {
    let mut world = World::new(true);
    let vfs = world.vfs();
    let fork = |vfs: &Vfs, name: &str| {
        let dir = find(vfs, "@branches");
        let forked = vfs.mkdir(&CRED, dir, name.as_bytes(), 0o755, 0);
        forked.and_then(Outcome::wait).expect("a fork");
    };
    make(&vfs, "mine").expect("a file is made");
    fork(&vfs, "early");
    write(&vfs, "@branches/early/mine", "early").expect("a write");
    fork(&vfs, "aborted");
    write(&vfs, "@branches/aborted/mine", "aborted").expect("a write");
    write(&vfs, "@branches/aborted/.abort", "x").expect("an abort");

    shift_clock(-YEAR);
    assert_eq!(vfs.workspace().expire_old().expect("expiry"), 0);
    assert_eq!(read(&vfs, "@branches/.trash/aborted/mine"), "aborted");
    write(&vfs, "@branches/early/.commit", "x").expect("a commit");
    assert_eq!(read(&vfs, "mine"), "early");
    assert_eq!(
        std::fs::read(world.base().join("mine")).expect("it is published"),
        b"early"
    );
    fork(&vfs, "late");
    write(&vfs, "@branches/late/mine", "later").expect("a write");
    let seqs = |vfs: &Vfs| -> Vec<u64> {
        let events = read(vfs, "@self/events");
        let seq = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            event["seq"].as_u64().expect("a number")
        };
        events.lines().map(seq).collect()
    };
    let before = seqs(&vfs);
    assert!(before.is_sorted_by(|a, b| a + 1 == *b), "{before:?}");

    drop(vfs);
    world.kill();
    shift_clock(-2 * YEAR);
    world.mount();
    let vfs = world.vfs();
    assert_eq!(read(&vfs, "@branches/late/mine"), "later");
    assert_eq!(read(&vfs, "@branches/.trash/aborted/mine"), "aborted");
    assert_eq!(seqs(&vfs), before);
    write(&vfs, ".ctl", "restore aborted as back").expect("a restore");
    assert_eq!(read(&vfs, "@branches/back/mine"), "aborted");
    let gone = vfs.lookup(&CRED, find(&vfs, "@branches"), b"early");
    assert!(matches!(gone, Err(_) | Ok(Lookup::Absent(_))), "{gone:?}");
    shift_clock(0);
}
