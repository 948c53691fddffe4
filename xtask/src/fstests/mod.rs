//! `cargo xtask fstests`: test suites that others wrote, run in main, in a branch and in a branch
//! of a branch, as one table.
//!
//! What a suite needs (configuration, exclude lists, thin drivers) is in `fstests/`. A suite turns
//! what its program prints into cases with a verdict each; [`report`] counts them. Where a suite is
//! compared with ext4, it runs there first: what fails or is skipped there too is no finding.
//!
//! Everything runs in a mount namespace of its own, so no mount outlives the verb.

mod case;
mod churn;
mod fio;
mod fsx;
mod namespace;
mod pjdfstest;
mod report;
mod run;
mod script;
mod stress;
mod world;
mod xfstests;

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cargo::root;
use crate::scratch::Scratch;
use crate::{Done, cargo, install};
use case::{Cases, Excludes};
use report::{Row, Table};
use run::{Log, Run};
use world::World;

/// What `cargo xtask fstests` takes.
#[derive(Args)]
pub struct Arguments {
    /// Which suite
    suite: Choice,
    /// Run in main
    #[arg(long)]
    main: bool,
    /// Run in a branch
    #[arg(long)]
    branch: bool,
    /// Run in a branch of a branch
    #[arg(long)]
    nested: bool,
    /// Run in a branch of a mount with `-o writeback`
    #[arg(long)]
    writeback: bool,
    /// A short run of each
    #[arg(long)]
    quick: bool,
    /// A built checkout of xfstests, for `./check -fuse -g quick`
    #[arg(long, value_name = "CHECKOUT")]
    dir: Option<PathBuf>,
}

/// The suites by name.
#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Choice {
    Pjdfstest,
    Fsx,
    Stress,
    Fio,
    Xfstests,
    Git,
    Sqlite,
    All,
}

/// Where a suite runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On ext4 in a loop device, for comparison.
    Ext4,
    /// At the mount root.
    Main,
    /// In a branch of main.
    Branch,
    /// In a branch of a branch of main.
    Nested,
    /// In a branch of main, mounted with `-o writeback`.
    Writeback,
}

impl Place {
    /// What the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Place::Ext4 => "ext4",
            Place::Main => "main",
            Place::Branch => "branch",
            Place::Nested => "nested",
            Place::Writeback => "writeback",
        }
    }
}

/// What a suite returns.
type Ran = Result<Cases, Box<dyn Error>>;

/// A suite of tests.
struct Suite {
    choice: Choice,
    name: &'static str,
    /// Whether it runs on ext4 first.
    compared: bool,
    /// Makes what the base holds before it is mounted.
    seed: fn(&std::path::Path) -> std::io::Result<()>,
    run: fn(&Run<'_>) -> Ran,
}

fn empty(_: &std::path::Path) -> std::io::Result<()> {
    Ok(())
}

const SUITES: [Suite; 6] = [
    Suite {
        choice: Choice::Pjdfstest,
        name: "pjdfstest",
        compared: true,
        seed: empty,
        run: pjdfstest::run,
    },
    Suite {
        choice: Choice::Fsx,
        name: "fsx",
        compared: false,
        seed: fsx::seed,
        run: fsx::run,
    },
    Suite {
        choice: Choice::Stress,
        name: "stress-ng",
        compared: true,
        seed: empty,
        run: stress::run,
    },
    Suite {
        choice: Choice::Fio,
        name: "fio",
        compared: false,
        seed: empty,
        run: fio::run,
    },
    Suite {
        choice: Choice::Git,
        name: "git",
        compared: false,
        seed: empty,
        run: script::git,
    },
    Suite {
        choice: Choice::Sqlite,
        name: "sqlite",
        compared: false,
        seed: empty,
        run: script::sqlite,
    },
];

const PROGRAMS: &str = "findmnt mount\nfio fio\ngit git\nmkfs.ext4 e2fsprogs\nsqlite3 sqlite3\n\
                        stress-ng stress-ng\ntimeout coreutils\nunshare util-linux\n";

/// Runs the suites and prints the table; a failed case is an error.
pub fn run(arguments: &Arguments) -> Done {
    if !install::is_root() {
        return Err("the suites switch users and mount: run `cargo xtask fstests` as root".into());
    }
    install::ensure(PROGRAMS)?;
    if !namespace::is_ours() {
        return namespace::enter();
    }
    let binary = cargo::release_binary()?;
    let scratch = Scratch::new("bfs-")?;
    namespace::install_mount_helper(&binary, scratch.path())?;
    let session = Session {
        binary,
        scratch,
        quick: arguments.quick,
    };
    let mut table = Table::default();
    for suite in &SUITES {
        if arguments.suite == suite.choice || arguments.suite == Choice::All {
            session.suite(suite, &places(arguments), &mut table)?;
        }
    }
    if matches!(arguments.suite, Choice::Xfstests | Choice::All) {
        session.xfstests(arguments.dir.as_deref(), &mut table)?;
    }
    print!("\n{table}");
    match table.failures() {
        0 => Ok(()),
        n => Err(format!("{n} failed; what they printed is in target/fstests/log").into()),
    }
}

fn places(arguments: &Arguments) -> Vec<Place> {
    let asked = [
        (Place::Main, arguments.main),
        (Place::Branch, arguments.branch),
        (Place::Nested, arguments.nested),
        (Place::Writeback, arguments.writeback),
    ];
    let none = asked.iter().all(|(_, asked)| !asked);
    let usual = |place| none && place != Place::Writeback;
    let wanted = asked
        .into_iter()
        .filter(|(place, asked)| *asked || usual(*place));
    wanted.map(|(place, _)| place).collect()
}

/// What all suites of one call share.
struct Session {
    binary: PathBuf,
    scratch: Scratch,
    quick: bool,
}

impl Session {
    fn suite(&self, suite: &Suite, places: &[Place], table: &mut Table) -> Done {
        let excludes = Excludes::load(suite.name)?;
        let mut reference = None;
        if suite.compared {
            let cases = self.on_ext4(suite, &excludes)?;
            table.add(Row::new(suite.name, Place::Ext4.name(), &cases));
            reference = Some(cases);
        }
        for &place in places {
            let cases = self.in_branchfs(suite, place, &excludes);
            let cases = cases.unwrap_or_else(|error| Cases::of_error(&error.to_string()));
            let row = Row::judged(
                suite.name,
                place.name(),
                &cases,
                reference.as_ref(),
                &excludes,
            );
            table.add(row);
        }
        Ok(())
    }

    fn on_ext4(&self, suite: &Suite, excludes: &Excludes) -> Ran {
        let ext4 = world::Ext4::make(self.scratch.path())?;
        (suite.seed)(ext4.root())?;
        self.run(suite, Place::Ext4, ext4.root(), excludes)
    }

    fn in_branchfs(&self, suite: &Suite, place: Place, excludes: &Excludes) -> Ran {
        let world = World::start(&self.binary, self.scratch.path(), suite.seed, place)?;
        let dir = world.enter(place)?;
        let cases = self.run(suite, place, &dir, excludes);
        // The workspace ends in any case; what the suite said comes first.
        let end = world.end(&self.binary);
        let mut cases = cases?;
        cases.add_all(end?);
        Ok(cases)
    }

    fn run(&self, suite: &Suite, place: Place, dir: &std::path::Path, excludes: &Excludes) -> Ran {
        eprintln!("running: {}, {}", suite.name, place.name());
        let log = Log::create(&format!("{}-{}", suite.name, place.name()))?;
        (suite.run)(&Run {
            dir,
            quick: self.quick,
            scratch: self.scratch.path(),
            log: &log,
            excludes,
        })
    }

    fn xfstests(&self, checkout: Option<&std::path::Path>, table: &mut Table) -> Done {
        eprintln!("running: xfstests, the contract of its mount helper");
        let log = Log::create("xfstests-contract")?;
        let cases = xfstests::contract(self.scratch.path(), &self.binary, &log)
            .unwrap_or_else(|error| Cases::of_error(&error.to_string()));
        table.add(Row::new("xfstests", "contract", &cases));
        if let Some(checkout) = checkout {
            eprintln!("running: xfstests, ./check -fuse -g quick");
            let excludes = Excludes::load("xfstests/generic")?;
            let log = Log::create("xfstests-check")?;
            let cases = xfstests::check(self.scratch.path(), checkout, &excludes, &log)
                .unwrap_or_else(|error| Cases::of_error(&error.to_string()));
            table.add(Row::judged(
                "xfstests",
                Place::Main.name(),
                &cases,
                None,
                &excludes,
            ));
        }
        Ok(())
    }
}

/// A file of `fstests/`.
fn file(name: &str) -> PathBuf {
    root().join("fstests").join(name)
}
