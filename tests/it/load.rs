//! Load: very many branches, very many writers, and commits that race for one parent.
//!
//! `BRANCHFS_LOAD=quick` or `long` is how much (`cargo xtask load` sets it); without it there is as
//! much as an ordinary test run has time for.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};

use rustix::io::Errno;

use crate::harness::{Branch, Workspace};

/// How much there is to be.
struct Amounts {
    branches: usize,
    writers: usize,
    written_branches: usize,
    seconds: u64,
    generations: usize,
    contenders: usize,
}

fn amounts() -> Amounts {
    let load = std::env::var("BRANCHFS_LOAD");
    let all = Amounts {
        branches: 10_000,
        writers: 64,
        written_branches: 32,
        seconds: 20,
        generations: 20,
        contenders: 50,
    };
    match load.as_deref() {
        Err(_) => Amounts {
            branches: 500,
            writers: 16,
            written_branches: 8,
            seconds: 2,
            generations: 8,
            contenders: 10,
        },
        Ok("quick") => all,
        Ok("long") => Amounts {
            seconds: 600,
            generations: 60,
            ..all
        },
        Ok(other) => panic!("BRANCHFS_LOAD={other} is neither quick nor long"),
    }
}

fn content(branch: usize) -> String {
    format!("branch {branch}\n").repeat(1 + branch % 300)
}

/// Each has a file of its own, sees nobody else's, and is there after a kill.
#[test]
fn thousands_of_live_branches_keep_apart_and_come_back() {
    let count = amounts().branches;
    let ws = Workspace::build()
        .base(|base| base.write("file", b"base"))
        .seconds(600)
        .mount();
    let main = ws.main();
    for i in 0..count {
        main.fork(format!("b{i}")).write("own", content(i));
    }
    main.write("own", b"of main");
    let check = || {
        assert_eq!(main.children().len(), count);
        for i in (0..count).step_by(1 + count / 500) {
            let branch = main.child(format!("b{i}"));
            branch.check("own", content(i));
            branch.check("file", b"base");
        }
        main.check("own", b"of main");
    };
    check();
    ws.kill_and_remount();
    check();
    for i in 0..count {
        main.child(format!("b{i}")).abort();
    }
    assert!(main.children().is_empty());
    println!("{count} live branches, all of them there after a kill");
    ws.unmount();
    ws.fsck();
}

/// Writes, replaces, appends and reads back for some seconds; says how many files it has made.
const WRITER: &str = "
import os, random, sys, time
root, me, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
def content(i): return (b'%d %d ' % (me, i)) * (1 + (i * 37 + me) % 3000)
os.mkdir(f'{root}/w{me}')
end, made = time.monotonic() + seconds, 0
while time.monotonic() < end:
    path = f'{root}/w{me}/{made}'
    half = len(content(made)) // 2
    with open(path + '.new', 'wb') as f:
        f.write(content(made)[:half])
    with open(path + '.new', 'ab') as f:
        f.write(content(made)[half:])
        if made % 50 == 0: os.fsync(f.fileno())
    os.rename(path + '.new', path)
    made += 1
    back = random.randrange(made)
    with open(f'{root}/w{me}/{back}', 'rb') as f:
        assert f.read() == content(back), back
print(made)
";

/// What the writer has put into one of its files.
fn written(writer: usize, i: usize) -> String {
    format!("{writer} {i} ").repeat(1 + (i * 37 + writer) % 3000)
}

#[test]
fn processes_that_write_in_many_branches_at_once_lose_nothing() {
    let Amounts {
        writers,
        written_branches,
        seconds,
        ..
    } = amounts();
    let ws = Workspace::build().seconds(seconds * 3 + 300).mount();
    let branches: Vec<Branch> = (0..written_branches)
        .map(|i| ws.fork(&format!("b{i}")))
        .collect();
    let start = |writer: usize| {
        let mut python = Command::new("python3");
        python
            .args(["-c", WRITER])
            .arg(branches[writer % written_branches].root());
        python.args([writer.to_string(), seconds.to_string()]);
        python.stdin(Stdio::null()).stdout(Stdio::piped());
        python.spawn().expect("start python3")
    };
    let processes: Vec<_> = (0..writers).map(start).collect();
    let outputs = processes
        .into_iter()
        .map(|p| p.wait_with_output().expect("wait for python3"));
    let made: Vec<usize> = outputs
        .map(|output| {
            assert!(output.status.success(), "a writer failed");
            String::from_utf8_lossy(&output.stdout)
                .trim()
                .parse()
                .expect("a number")
        })
        .collect();
    ws.kill_and_remount();
    for (writer, made) in made.iter().enumerate() {
        let branch = &branches[writer % written_branches];
        assert!(*made > 0, "writer {writer} has done nothing");
        assert_eq!(branch.list(format!("w{writer}")).len(), *made);
        for i in 0..*made {
            branch.check(format!("w{writer}/{i}"), written(writer, i));
        }
    }
    println!(
        "{writers} processes in {written_branches} branches for {seconds} s, {} files, none lost",
        made.iter().sum::<usize>()
    );
    ws.unmount();
    ws.fsck();
}

/// Files that one commit replaces, each with its generation and its winner.
const PARTS: usize = 20;

fn part(i: usize) -> String {
    format!("part{i}")
}

fn parse(text: &str) -> (usize, usize) {
    let (generation, winner) = text.trim().split_once(' ').expect("two numbers");
    (
        generation.parse().expect("a generation"),
        winner.parse().expect("a winner"),
    )
}

/// Reads the parts over and over. Whoever has seen a commit sees nothing from before it any more,
/// in no other file; and all parts of a generation are of one winner.
fn look_on(main: &Branch, stop: &AtomicBool, winners: &Mutex<HashMap<usize, usize>>) -> u64 {
    let (mut looks, mut seen) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        // Forwards and backwards by turns: a commit may come to either end first.
        for i in (0..PARTS).map(|i| if looks % 2 == 0 { i } else { PARTS - 1 - i }) {
            let (generation, winner) = parse(&main.text(part(i)));
            assert!(
                generation >= seen,
                "part{i} is of {generation} after {seen} was seen"
            );
            seen = generation;
            let first = *winners
                .lock()
                .expect("no panic")
                .entry(generation)
                .or_insert(winner);
            assert_eq!(first, winner, "part{i} of generation {generation}");
        }
        looks += 1;
    }
    looks
}

/// Lets those who look on end, however the race does.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// All contenders of a generation commit at once. The winner; every other one got ESTALE.
fn race(main: &Branch, generation: usize, contenders: usize) -> usize {
    let branches: Vec<Branch> = (0..contenders)
        .map(|contender| {
            let branch = main.fork(format!("g{generation}-{contender}"));
            for i in 0..PARTS {
                branch.write(part(i), format!("{generation} {contender}\n"));
            }
            branch
        })
        .collect();
    let start = Barrier::new(contenders);
    let race = |contender: usize| {
        // The file is open before: afterwards the name of a loser is gone.
        let control = branches[contender].open_rw(".ctl");
        start.wait();
        rustix::io::write(&control, b"commit\n")
    };
    let won: Vec<usize> = std::thread::scope(|scope| {
        let race = &race;
        let threads: Vec<_> = (0..contenders)
            .map(|contender| scope.spawn(move || race(contender)))
            .collect();
        let ends = threads.into_iter().map(|t| t.join().expect("a contender"));
        let mut won = Vec::new();
        for (contender, end) in ends.enumerate() {
            match end {
                Ok(_) => won.push(contender),
                Err(errno) => assert_eq!(errno, Errno::STALE, "g{generation}-{contender}"),
            }
        }
        won
    });
    assert_eq!(won.len(), 1, "generation {generation} was won by {won:?}");
    won[0]
}

/// "Exactly one wins per generation, every loser gets ESTALE."
#[test]
fn of_commits_that_race_one_wins_and_nobody_sees_half_of_it() {
    let Amounts {
        generations,
        contenders,
        ..
    } = amounts();
    let ws = Workspace::build()
        .base(|base| (0..PARTS).for_each(|i| base.write(part(i), b"0 0\n")))
        .seconds(1200)
        .mount();
    let main = ws.main();
    let (stop, looks, winners) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::default());
    std::thread::scope(|scope| {
        let watch = || looks.fetch_add(look_on(&main, &stop, &winners), Ordering::SeqCst);
        let watchers: Vec<_> = (0..3).map(|_| scope.spawn(watch)).collect();
        let _stop = Stop(&stop);
        for generation in 1..=generations {
            let winner = race(&main, generation, contenders);
            let shown: Vec<_> = (0..PARTS).map(|i| parse(&main.text(part(i)))).collect();
            assert_eq!(shown, vec![(generation, winner); PARTS]);
            if watchers.iter().any(|watcher| watcher.is_finished()) {
                break;
            }
        }
    });
    println!(
        "{} racing commits, {generations} winners, {} looks at all the files, no half of a commit",
        generations * contenders,
        looks.load(Ordering::SeqCst)
    );
    ws.unmount();
    ws.fsck();
}
