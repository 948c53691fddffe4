//! What the kernel keeps, what makes it ask again, and what a request that waits holds up.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering::SeqCst;

use super::*;
use crate::tree::NodeId;

#[test]
fn a_second_open_read_close_sends_nothing() {
    let world = World::new();
    fs::create_dir(world.path("d")).unwrap();
    fs::write(world.path("d/f"), b"text").unwrap();
    let look = || {
        let text = fs::read(world.path("d/f")).unwrap();
        let listed = fs::read_dir(world.path("d")).unwrap().count();
        let absent = fs::metadata(world.path("d/absent")).is_err();
        (text, listed, absent)
    };
    let first = look();
    let before = world.metrics().requests();
    assert_eq!(look(), first);
    // A listing is not kept for a directory that was listed with attributes; all else is.
    let listings = world.count(Op::Readdir) + world.count(Op::Readdirplus);
    let quiet = world.metrics().requests() - before;
    assert!(
        quiet <= 2,
        "the second look sent {quiet} requests, {listings} listings in all"
    );
    assert_eq!((world.count(Op::Open), world.count(Op::Opendir)), (1, 1));
    assert!(world.count(Op::Flush) <= 1 && world.count(Op::Release) == 0);
    let before = world.metrics().requests();
    for _ in 0..10 {
        assert_eq!(fs::read(world.path("d/f")).unwrap(), b"text");
    }
    assert_eq!(
        world.metrics().requests(),
        before,
        "warm reads enter the daemon"
    );
}

#[test]
fn invalidation_shows_what_changed_behind_the_kernel() {
    let world = World::new();
    let cache = &world.mounted().kernel().cache;
    fs::write(world.path("f"), b"old").unwrap();
    let look = |name: &str| fs::read_to_string(world.path(name)).ok();
    // The first look reads, which makes the kernel doubt the time of access; the second asks for
    // that.
    assert_eq!(
        (look("f").as_deref(), look("f").as_deref()),
        (Some("old"), Some("old"))
    );

    let node = world.memory().change_behind(b"f", b"newer");
    assert_eq!(
        look("f").as_deref(),
        Some("old"),
        "nobody told the kernel yet"
    );
    cache.inval_inode(node, true);
    assert_eq!(look("f").as_deref(), Some("newer"));

    assert_eq!(look("g"), None);
    world.memory().rename_behind(b"f", b"g");
    assert_eq!(
        (look("f").is_some(), look("g")),
        (true, None),
        "nobody told the kernel yet"
    );
    cache.inval_entry(NodeId(1), b"f");
    cache.inval_entry(NodeId(1), b"g");
    assert_eq!((look("f"), look("g").as_deref()), (None, Some("newer")));

    let long = [b'x'; 255];
    cache.inval_entry(NodeId(1), &long);
    cache.inval_inode(NodeId(123_456), true);
    let sent = world.metrics().get(Op::InvalEntry);
    assert_eq!(
        (sent.count, sent.errors),
        (3, 0),
        "a name that the kernel does not know is fine"
    );
}

#[test]
fn invalidating_data_writes_back_what_a_mapping_changed() {
    let world = World::new();
    fs::write(world.path("f"), [b'a'; 4096]).unwrap();
    let file = File::options()
        .read(true)
        .write(true)
        .open(world.path("f"))
        .unwrap();
    let mut map = crate::sys::shared_map::map(&file, 4096).unwrap();
    map[0] = b'b';
    assert_eq!(
        world.memory().content(b"f")[0],
        b'a',
        "nothing wrote the page back yet"
    );
    let node = NodeId(file.metadata().unwrap().ino());
    world.mounted().kernel().cache.inval_inode(node, true);
    assert_eq!(world.memory().content(b"f")[..2], *b"ba");
    world.memory().change_behind(b"f", &[b'c'; 4096]);
    world.mounted().kernel().cache.inval_inode(node, true);
    assert_eq!(map[..2], *b"cc", "the mapping reads the new content");
}

#[test]
fn a_new_epoch_makes_every_name_be_asked_for_again() {
    let world = World::new();
    fs::write(world.path("f"), b"x").unwrap();
    fs::metadata(world.path("f")).unwrap();
    let before = world.count(Op::Lookup);
    fs::metadata(world.path("f")).unwrap();
    assert_eq!(world.count(Op::Lookup), before);
    let known = world.mounted().kernel().cache.new_epoch();
    fs::metadata(world.path("f")).unwrap();
    let asked = world.count(Op::Lookup) - before;
    assert_eq!(asked, u64::from(known), "epochs known: {known}");
}

#[test]
fn attributes_that_do_not_last_are_asked_for_each_time() {
    let world = World::with_ttl(Duration::ZERO);
    fs::write(world.path("ctl"), b"one").unwrap();
    assert_eq!(fs::read(world.path("ctl")).unwrap(), b"one");
    world.memory().change_behind(b"ctl", b"longer than before");
    assert_eq!(fs::read(world.path("ctl")).unwrap(), b"longer than before");
    world.memory().change_behind(b"ctl", b"");
    assert_eq!(fs::read(world.path("ctl")).unwrap(), b"");
}

#[test]
fn the_errno_of_a_write_reaches_write() {
    let world = World::new();
    let mut file = File::create(world.path("full")).unwrap();
    assert_eq!(errno(file.write_all(b"x")), libc::ENOSPC);
    let shell = std::process::Command::new("sh")
        .args(["-c", "cat /etc/passwd > full"])
        .current_dir(&world.mountpoint)
        .output()
        .unwrap();
    assert!(!shell.status.success());
    let said = String::from_utf8_lossy(&shell.stderr);
    assert!(said.contains("No space left on device"), "{said}");
}

#[test]
fn fifty_writes_that_wait_hold_up_nobody() {
    const WRITERS: usize = 50;
    let world = World::new();
    // One directory each, since writes to one file come one after the other.
    for i in 0..WRITERS {
        fs::create_dir(world.path(&format!("{i}"))).unwrap();
    }
    let memory = Arc::clone(world.mounted().ops());
    thread::scope(|scope| {
        // Whatever happens here, the writers are let go, or the scope would wait for them.
        struct Open<'a>(&'a Memory);
        impl Drop for Open<'_> {
            fn drop(&mut self) {
                self.0.open_gate();
            }
        }
        let gate = Open(&memory);
        let writers: Vec<_> = (0..WRITERS)
            .map(|i| {
                let path = world.path(&format!("{i}/slow"));
                scope.spawn(move || fs::write(path, b"x"))
            })
            .collect();
        while memory.at_gate() < WRITERS {
            assert!(
                !writers.iter().any(|w| w.is_finished()),
                "a slow write did not wait"
            );
            thread::yield_now();
        }
        for i in 0..100 {
            let path = world.path(&format!("quick-{i}"));
            fs::write(&path, b"y").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"y");
        }
        assert_eq!(memory.at_gate(), WRITERS);
        drop(gate);
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
    });
}

#[test]
fn a_panic_is_eio_and_the_mount_goes_on() {
    let world = World::new();
    for (i, name) in ["panic", "panic-later", "panic", "panic-later"]
        .into_iter()
        .enumerate()
    {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(world.path(name))
            .unwrap();
        assert_eq!(errno(file.write_all(b"x")), libc::EIO, "{name}");
        assert_eq!(
            world.memory().doubts.load(SeqCst),
            i + 1,
            "the file system is told"
        );
    }
    fs::write(world.path("fine"), b"x").unwrap();
    assert_eq!(fs::read(world.path("fine")).unwrap(), b"x");
}
