//! SIGKILL at any moment of real work: after the next mount everything is there that a program was
//! told of, and `branchfs fsck` finds nothing.
//!
//! `BRANCHFS_KILLS` is how often (`cargo xtask kill` sets it); each kind of work has its turn.

use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::harness::process::{Python, limited, sh};
use crate::harness::{Branch, Tree, Workspace, snapshot};

/// Files that the versions go to.
const FILES: usize = 12;
/// Sources of the program that is built.
const SOURCES: usize = 6;

fn base(base: &Tree) {
    base.write("file", b"base");
    base.mkdir("src");
    let mut main = String::from("#include <stdio.h>\n");
    let mut sum = String::new();
    for i in 0..SOURCES {
        base.write(
            format!("src/f{i}.c"),
            format!("int f{i}(void) {{ return 1; }}\n"),
        );
        main += &format!("int f{i}(void);\n");
        sum += &format!(" + f{i}()");
    }
    main += &format!("int main(void) {{ printf(\"%d\\n\", 0{sum}); return 0; }}\n");
    base.write("src/main.c", main);
    base.write(
        "Makefile",
        "OBJECTS := $(patsubst src/%.c,%.o,$(wildcard src/*.c))\n\
         program: $(OBJECTS)\n\tcc -o $@ $^\n%.o: src/%.c\n\tcc -c -o $@ $<\n",
    );
}

/// Work that goes on until the daemon is killed.
struct Round<'a> {
    ws: &'a Workspace,
    number: usize,
    /// Pieces of work that were finished and acknowledged.
    done: AtomicU64,
    stop: AtomicBool,
}

impl Round<'_> {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    fn finished_one(&self) {
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    fn fork(&self, name: &str) -> Branch {
        self.ws.fork(&format!("{name}{}", self.number))
    }

    /// Runs work, kills the daemon once `pieces` are done and a little later, and mounts again.
    fn kill_during(&self, pieces: usize, work: &[&(dyn Fn() + Sync)]) {
        std::thread::scope(|scope| {
            let threads: Vec<_> = work.iter().map(|work| scope.spawn(work)).collect();
            while self.done.load(Ordering::SeqCst) < pieces as u64 {
                assert!(
                    threads.iter().any(|t| !t.is_finished()),
                    "the work has ended"
                );
                std::thread::yield_now();
            }
            (0..self.number * 7919 % 16 * 200_000).for_each(|_| std::hint::spin_loop());
            self.ws.kill();
            self.stop.store(true, Ordering::SeqCst);
            self.ws.mount();
            for thread in threads {
                thread.join().expect("a thread of the work");
            }
        });
    }
}

#[test]
fn kills_under_load_lose_nothing_that_was_acknowledged() {
    let kills = std::env::var("BRANCHFS_KILLS");
    let kills: usize = kills.map_or(5, |text| text.parse().expect("a number"));
    let ws = Workspace::build()
        .base(base)
        .option("policy=merge")
        .seconds(kills as u64 * 20 + 120)
        .mount();
    let archive = ws.scratch();
    make_archive(&archive);
    let mut pieces = 0;
    for number in 0..kills {
        let round = Round {
            ws: &ws,
            number,
            done: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        };
        match number % 5 {
            0 => versions(&round),
            1 => untar(&round, &archive),
            2 => build(&round),
            3 => database(&round),
            _ => commits(&round),
        }
        pieces += round.done.load(Ordering::SeqCst);
        for child in ws.main().children() {
            ws.main().child(child).abort();
        }
    }
    println!("{kills} kills under load, {pieces} pieces of work acknowledged, none lost");
    ws.unmount();
    ws.fsck();
}

/// Threads in three branches replace files by newer versions.
fn versions(round: &Round<'_>) {
    let branches: Vec<_> = (0..3).map(|i| round.fork(&format!("v{i}-"))).collect();
    let acknowledged: Vec<_> = (0..3).map(|_| Mutex::new(vec![0_u32; FILES])).collect();
    let work = |i: usize| {
        for step in 0.. {
            let (file, version) = (step % FILES, (step / FILES + 1) as u32);
            if !round.goes_on() || !write_version(&branches[i], file, version) {
                break;
            }
            acknowledged[i].lock().expect("no panic")[file] = version;
            round.finished_one();
        }
    };
    round.kill_during(
        40 + round.number % 7 * 30,
        &[&|| work(0), &|| work(1), &|| work(2)],
    );
    for (branch, acknowledged) in branches.iter().zip(acknowledged) {
        let acknowledged = acknowledged.into_inner().expect("no panic");
        check_versions(branch, &acknowledged);
    }
}

/// Replaces a file by rename; its content is its version, repeated.
fn write_version(branch: &Branch, file: usize, version: u32) -> bool {
    let temporary = branch.path(format!("tmp{file}"));
    let name = branch.path(format!("v{file}"));
    let content = format!("{version:08}").repeat(1 + file * 400);
    std::fs::write(&temporary, content).is_ok() && std::fs::rename(&temporary, &name).is_ok()
}

fn check_versions(branch: &Branch, acknowledged: &[u32]) {
    for (file, version) in acknowledged.iter().enumerate().filter(|(_, v)| **v > 0) {
        let text = branch.text(format!("v{file}"));
        let shown: u32 = text[..8].parse().expect("a version");
        assert!(
            shown >= *version,
            "v{file} is at {shown}, {version} was acknowledged"
        );
        let whole = format!("{shown:08}").repeat(1 + file * 400);
        assert_eq!(text, whole, "v{file} is torn");
    }
}

/// An archive with files of all sizes, links and odd times.
fn make_archive(at: &Tree) {
    let tree = at.mkdir("tree");
    for i in 0..40 {
        tree.mkdir(format!("d{}", i % 5));
        let name = format!("d{}/f{i}", i % 5);
        tree.write(&name, format!("{i} ").repeat(i * i * 3));
        tree.utimes(&name, 1_111_111_111 + i as i64, 0);
    }
    tree.link("d0/f5", "d1/hard");
    tree.symlink("d0/f5", "soft");
    // Archives keep whole seconds: what is compared with is what comes out of one.
    let script = "tar -C tree -cf archive.tar . && mkdir out && tar -C out -xf archive.tar";
    sh(at.root(), script, &[""; 0]).ok();
}

fn untar(round: &Round<'_>, archive: &Tree) {
    let branch = round.fork("tar");
    let whole = Mutex::new(Vec::new());
    let work = || {
        for i in 0.. {
            let into = branch.path(format!("n{i}"));
            if !round.goes_on() || std::fs::create_dir(&into).is_err() {
                break;
            }
            let mut tar = limited("tar");
            tar.arg("-C")
                .arg(&into)
                .arg("-xf")
                .arg(archive.path("archive.tar"));
            tar.stderr(Stdio::null());
            if !tar.status().is_ok_and(|status| status.success()) {
                break;
            }
            whole.lock().expect("no panic").push(into);
            round.finished_one();
        }
    };
    round.kill_during(1 + round.number % 4, &[&work]);
    let wanted = snapshot::of(&archive.path("out"));
    for into in whole.into_inner().expect("no panic") {
        snapshot::assert_same(&wanted, &snapshot::of(&into), "what tar has unpacked");
    }
}

/// A program is built again and again, and each one that was finished is kept.
fn build(round: &Round<'_>) {
    let branch = round.fork("make");
    let built = AtomicU64::new(0);
    let work = || {
        for i in 1.. {
            let source = format!("int f0(void) {{ return {i}; }}\n");
            let build = "make -s -j2 && cp program \"kept-$1\"";
            let ready = round.goes_on() && std::fs::write(branch.path("src/f0.c"), source).is_ok();
            if !ready || !quietly(&branch, build, i) {
                break;
            }
            built.store(i, Ordering::SeqCst);
            round.finished_one();
        }
    };
    round.kill_during(1 + round.number % 3, &[&work]);
    for i in 1..=built.into_inner() {
        let printed = sh(branch.root(), "./kept-$1", &[i.to_string()]).ok().out;
        assert_eq!(printed.trim(), (SOURCES as u64 - 1 + i).to_string());
    }
}

/// Whether a script works; what it says of a mount that has just died is of no interest.
fn quietly(branch: &Branch, script: &str, argument: u64) -> bool {
    let mut bash = limited("bash");
    bash.args(["-euc", script, "bash", &argument.to_string()]);
    bash.current_dir(branch.root());
    bash.stdout(Stdio::null()).stderr(Stdio::null());
    bash.status().is_ok_and(|status| status.success())
}

/// SQLite says of each transaction when it is committed.
fn database(round: &Round<'_>) {
    let branch = round.fork("sqlite");
    let mode = ["wal", "delete"][round.number / 5 % 2];
    let script = "import sqlite3\n\
        db = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
        db.execute('pragma journal_mode=' + sys.argv[2])\n\
        db.execute('create table t(n integer primary key, x)')\n\
        n = 0\n\
        try:\n    while True:\n        n += 1\n        \
        db.execute('insert into t values(?, randomblob(2000))', (n,))\n        say(n)\n\
        except sqlite3.Error: pass\n";
    let path = branch.path("t.db");
    let acknowledged = AtomicU64::new(0);
    let work = || {
        let mut python = Python::start(script, &[path.as_os_str(), mode.as_ref()]);
        while let Ok(n) = python.hear().parse() {
            acknowledged.store(n, Ordering::SeqCst);
            round.finished_one();
        }
    };
    round.kill_during(20 + round.number % 50, &[&work]);
    let query = "pragma integrity_check; select count(*), max(n) from t";
    let said = sh(branch.root(), "sqlite3 t.db \"$1\"", &[query]).ok().out;
    let (whole, counts) = said.trim().split_once('\n').expect("two lines");
    let (count, last) = counts.split_once('|').expect("two numbers");
    let (count, last): (u64, u64) = (count.parse().expect("count"), last.parse().expect("max"));
    assert_eq!((whole, count), ("ok", last), "{mode}");
    let acknowledged = acknowledged.into_inner();
    assert!(
        last >= acknowledged,
        "{mode}: {last} of {acknowledged} transactions"
    );
}

/// Four threads fork, write and commit; each commit that was acknowledged is in main.
fn commits(round: &Round<'_>) {
    let landed = Mutex::new(Vec::new());
    let work = |thread: usize| {
        for i in 0.. {
            let name = format!("m{}-{thread}-{i}", round.number);
            let done = round.goes_on()
                && round.ws.main().try_fork(&name).is_ok_and(|branch| {
                    let written = std::fs::write(branch.path(&name), name.repeat(1000));
                    written.is_ok() && branch.try_commit().is_ok()
                });
            if !done {
                break;
            }
            landed.lock().expect("no panic").push(name);
            round.finished_one();
        }
    };
    let threads: [&(dyn Fn() + Sync); 4] = [&|| work(0), &|| work(1), &|| work(2), &|| work(3)];
    round.kill_during(8 + round.number % 30, &threads);
    let main = round.ws.main();
    for name in landed.into_inner().expect("no panic") {
        main.check(&name, name.repeat(1000));
        round.ws.below().check(&name, name.repeat(1000));
    }
    // What nobody was told of has landed wholly or not at all.
    for name in main.names("").iter().filter(|name| name.starts_with('m')) {
        main.check(name, name.repeat(1000));
    }
}
