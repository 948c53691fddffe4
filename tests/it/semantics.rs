//! The semantics, a sentence a test: those of fork, commit and first winner that need more than one
//! look, and what of them no other file here shows.
//!
//! Every test of this kind quotes its sentence in its doc comment and has its name. The others are
//! in [`branches`](super::branches) (fork, isolation), [`commit`](super::commit),
//! [`lost`](super::lost) (losing, the trash), [`recovery`](super::recovery),
//! [`main_and_base`](super::main_and_base) and [`errnos`](super::errnos).

use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use rustix::fs::inotify::WatchFlags;
use rustix::io::Errno;

use crate::harness::inotify::Inotify;
use crate::harness::{Branch, Tree, Workspace, assert_errno, snapshot};

fn small_base(base: &Tree) {
    base.write("file", b"base");
    base.mkdir("dir");
    base.write("dir/file", b"in dir");
}

/// Bytes of the journal since the last checkpoint, from `@self/metrics`.
fn journal_bytes(main: &Branch) -> u64 {
    let metrics = main.about("metrics");
    let name = "branchfs_journal_bytes_since_checkpoint ";
    let value = metrics.lines().find_map(|line| line.strip_prefix(name));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {name}in\n{metrics}"))
}

/// What one fork adds to the journal, the names being of one length.
fn cost_of_fork(main: &Branch, name: &str) -> u64 {
    assert_eq!(name.len(), 4);
    let before = journal_bytes(main);
    main.fork(name);
    journal_bytes(main) - before
}

/// "A fork is O(1): no walk, no copy, independent of the size of the base and of the number of
/// branches."
#[test]
fn a_fork_is_o1_no_walk_no_copy_independent_of_the_size_of_the_base_and_the_number_of_branches() {
    let small = Workspace::with_base(small_base);
    let large = Workspace::with_base(|base| {
        for dir in 0..40 {
            let dir = base.mkdir(format!("dir{dir}"));
            (0..50).for_each(|file| dir.write(format!("file{file}"), b"content"));
        }
    });
    let inotify = Inotify::new();
    let opened = WatchFlags::OPEN | WatchFlags::ACCESS;
    for dir in 0..40 {
        inotify.watch(&large.below().path(format!("dir{dir}")), opened);
    }
    let one = cost_of_fork(&small.main(), "aaaa");
    let of_many = cost_of_fork(&large.main(), "aaaa");
    assert_eq!(inotify.seen(), [], "the fork opened files of the base");
    for number in 0..300 {
        large.fork(&format!("b{number:03}"));
    }
    assert_eq!(inotify.seen(), [], "forks opened files of the base");
    let among_many = cost_of_fork(&large.main(), "zzzz");
    // Numbers take a byte more when they grow.
    for cost in [of_many, among_many] {
        assert!(cost.abs_diff(one) <= 16, "{one}, {of_many}, {among_many}");
    }
    // The watches would have told.
    large.main().names("dir7");
    large.main().check("dir7/file1", b"content");
    assert_ne!(inotify.seen(), []);
}

/// "It returns when the decision is durable."
#[test]
fn a_commit_returns_when_the_decision_is_durable() {
    let ws = Workspace::build()
        .base(small_base)
        .option("publish=manual")
        .mount();
    let (winner, loser) = (ws.fork("winner"), ws.fork("loser"));
    winner.write("file", vec![7; 200_000]);
    winner.write("small", b"small");
    winner.unlink("dir/file");
    let wanted = snapshot::of(winner.root());
    winner.commit();
    ws.lose_power();
    ws.mount();
    let main = ws.main();
    snapshot::assert_same(&wanted, &snapshot::of(main.root()), "main after power loss");
    assert!(main.children().is_empty(), "the sibling is lost for good");
    assert!(!loser.exists("file"));
}

/// "A branch remembers its parent's commit generation at the fork."
#[test]
fn a_branch_remembers_its_parents_commit_generation_at_the_fork() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let generation = |b: &Branch, key: &str| b.status()[key].as_u64().expect("a generation");
    for round in 0..3 {
        let branch = main.fork("b");
        let now = generation(&main, "generation");
        assert_eq!(now, round);
        assert_eq!(generation(&branch, "fork_generation"), now);
        // A commit into the branch is one of its own generation.
        branch.fork("child").commit();
        assert_eq!(generation(&branch, "generation"), 1);
        assert_eq!(generation(&branch, "fork_generation"), now);
        ws.remount();
        assert_eq!(generation(&branch, "fork_generation"), now);
        branch.commit();
    }
}

/// "Commit succeeds only while that generation is still the parent's."
#[test]
fn commit_succeeds_only_while_that_generation_is_still_the_parents() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let (winner, loser) = (main.fork("winner"), main.fork("loser"));
    loser.write("loser", b"untouched by anybody else");
    winner.write("file", b"won");
    winner.commit();
    // Back from the trash it is a live branch again, of a generation that has passed.
    main.rename("@branches/.trash/loser", "@branches/loser");
    loser.check("loser", b"untouched by anybody else");
    assert_errno(loser.try_commit(), Errno::STALE);
    assert!(!main.exists("loser"));
    let preview = loser.text(".commit");
    assert!(preview.contains("refused ESTALE"), "{preview}");
    let later = main.fork("later");
    later.write("loser", b"in time");
    later.commit();
    main.check("loser", b"in time");
}

/// "Commit replaces, it never mutates: a committed file takes the place of the parent's file as
/// rename(2) would."
#[test]
fn commit_replaces_it_never_mutates_a_file_takes_the_parents_place_as_rename_would() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let (held, below) = (main.open("file"), ws.below().open("file"));
    let old = held.metadata().expect("fstat").ino();
    let branch = main.fork("b");
    branch.append("file", b" and more");
    branch.commit();
    assert_ne!(main.stat("file").ino(), old, "another inode");
    assert_eq!(
        main.stat("file").ino() as u32,
        old as u32,
        "of the same file"
    );
    main.check("file", b"base and more");
    // In the base as in the mount, who has the old file open has the old content.
    for old_file in [held, below] {
        let mut bytes = [0; 100];
        let got = old_file.read_at(&mut bytes, 0).expect("pread");
        assert_eq!(&bytes[..got], b"base");
        assert_eq!(old_file.metadata().expect("fstat").len(), 4);
    }
}

/// "Aborted and lost branches stay recoverable until they expire (`-o trash=24h`)."
#[test]
fn aborted_and_lost_branches_stay_recoverable_until_they_expire() {
    let ws = Workspace::with_base(small_base);
    let trash = |ws: &Workspace| ws.main().names("@branches/.trash");
    ws.fork("aborted").abort();
    ws.fork("lost");
    ws.fork("winner").commit();
    let config = ws.main().about("config");
    assert!(config.contains("trash 86400s"), "{config}");
    ws.remount();
    assert_eq!(trash(&ws), ["aborted", "lost"]);
    ws.unmount();
    let base = ws.base().to_str().expect("ASCII").to_owned();
    ws.branchfs(&["mount", &base, "-o", "trash=0"]).ok();
    let start = Instant::now();
    while !trash(&ws).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "they stay");
        std::thread::sleep(Duration::from_millis(50));
    }
    let log = ws.main().about("log");
    assert!(log.contains("expire main/aborted"), "{log}");
    ws.unmount();
    ws.fsck();
}

/// "Branches survive unmount, daemon death and power loss; a remount finds them all."
#[test]
fn branches_survive_power_loss_and_a_remount_finds_them_all() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let outer = main.fork("outer");
    outer.write("file", vec![1; 100_000]);
    outer.write("small", b"small");
    outer.rename("dir", "moved");
    let inner = outer.fork("inner");
    inner.set_xattr("file", "user.mark", b"inner");
    inner.remove_all("moved");
    main.fork("aborted").abort();
    let clean = main.fork("clean");
    // One fsync makes everything that was acknowledged before it durable.
    inner.open_rw("small").sync_all().expect("fsync");
    let all = [&outer, &inner, &clean].map(|b| snapshot::of(b.root()));
    ws.lose_power();
    ws.mount();
    for (branch, seen) in [&outer, &inner, &clean].into_iter().zip(&all) {
        let what = format!("{} after power loss", branch.root().display());
        snapshot::assert_same(seen, &snapshot::of(branch.root()), &what);
    }
    assert_eq!(main.children(), ["clean", "outer"]);
    assert_eq!(main.names("@branches/.trash"), ["aborted"]);
    inner.commit();
    outer.commit();
    assert!(!main.exists("dir") && !main.exists("moved"));
    ws.unmount();
    ws.fsck();
}
