//! `cargo xtask bench`: branchfs beside what people would take instead.
//!
//! Every system stands on the same backing file system, and they take turns run by run, so that
//! what else the machine does falls on all of them; a figure is the median of the rounds. The
//! process that times single operations is this one, built with optimisation.

mod backing;
mod builds;
mod commits;
mod crowd;
mod data;
mod earlier;
mod figures;
mod life;
mod memory;
mod ops;
mod overhead;
mod plot;
mod system;
mod targets;
mod trees;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::scratch::Scratch;
use crate::{Done, cargo, install};
use backing::Mount;
use figures::Figures;
use plot::Series;
use system::{Kind, System};

type Res<T> = Result<T, Box<dyn Error>>;

/// What `cargo xtask bench` takes.
#[derive(Args)]
pub struct Arguments {
    /// Only these: ops, repository, packages, data, builds, commits, life, crowd, memory,
    /// trial-overhead
    names: Vec<String>,
    /// Systems beside branchfs and the floor, separated by commas
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Print every sample as JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Few rounds and small sizes, to see that it runs
    #[arg(long)]
    quick: bool,
    /// Show the best round instead of the median of all: for a machine that others use too
    #[arg(long)]
    best: bool,
    /// Write the table and the plots to benches/results, and the table into the README where it
    /// has a place for that of these names
    #[arg(long)]
    write: bool,
    /// Rounds of each workload
    #[arg(long)]
    rounds: Option<usize>,
    /// The backing file system: xfs or ext4
    #[arg(long, default_value = "xfs")]
    backing: String,
}

/// What a workload works with.
pub struct Context {
    // In this order: the mounts go before the directory that holds them.
    backing: Mount,
    memory: Scratch,
    binary: PathBuf,
    floor: PathBuf,
    quick: bool,
    plain_files: u64,
}

impl Context {
    /// A directory on the backing file system.
    fn backing(&self) -> &Path {
        self.backing.path()
    }

    /// A directory in memory.
    fn memory(&self) -> &Path {
        self.memory.path()
    }

    fn binary(&self) -> &Path {
        &self.binary
    }

    fn floor(&self) -> &Path {
        &self.floor
    }

    /// One value for a full run, another for a quick one.
    fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// The size of a large file.
    fn large_mib(&self) -> u64 {
        self.pick(256, 64)
    }

    /// A tree of files outside of every system, for copying in.
    fn plain_tree(&self) -> PathBuf {
        self.backing().join("plain-tree")
    }

    fn plain_files(&self) -> u64 {
        self.plain_files
    }
}

/// Where one run of a workload on one system puts its figures.
pub struct Round<'a> {
    kind: Kind,
    figures: &'a mut Figures,
}

impl Round<'_> {
    /// Adds a figure.
    fn add(&mut self, name: &str, unit: &'static str, sample: f64) {
        self.figures.add(self.kind, name, unit, sample);
    }
}

/// Something to do in a fresh workspace of a tree.
struct Workload {
    name: &'static str,
    /// Makes the tree.
    tree: fn(&Context, &Path) -> Res<()>,
    run: fn(&Context, &Path, &mut Round) -> Res<()>,
    rounds: usize,
    /// The mount option that is worth a column.
    variant: Option<Kind>,
}

fn small_tree(_: &Context, at: &Path) -> Res<()> {
    fs::create_dir(at)?;
    Ok(fs::write(at.join("file"), "content\n")?)
}

fn repository_tree(context: &Context, at: &Path) -> Res<()> {
    trees::make_repository(at, context.pick(6000, 600))?;
    let plain = context.plain_tree();
    if !plain.exists() {
        crate::mounted::quiet(Command::new("cp").arg("-a").arg(at).arg(&plain))?;
        fs::remove_dir_all(plain.join(".git"))?;
    }
    Ok(())
}

const WORKLOADS: [Workload; 5] = [
    Workload {
        name: "ops",
        tree: small_tree,
        run: ops::run,
        rounds: 15,
        variant: Some(Kind::NoXattr),
    },
    Workload {
        name: "repository",
        tree: repository_tree,
        run: trees::repository,
        rounds: 5,
        variant: Some(Kind::NoXattr),
    },
    Workload {
        name: "packages",
        tree: small_tree,
        run: trees::packages,
        rounds: 5,
        variant: Some(Kind::NoXattr),
    },
    Workload {
        name: "data",
        tree: data::make_large,
        run: data::run,
        rounds: 5,
        variant: Some(Kind::Writeback),
    },
    Workload {
        name: "builds",
        tree: builds::make_tree,
        run: builds::run,
        rounds: 3,
        variant: None,
    },
];

/// What is measured beside the workloads.
const OTHERS: [&str; 5] = ["commits", "life", "crowd", "memory", "trial-overhead"];

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Done {
    if cfg!(debug_assertions) {
        return again_with_optimisation();
    }
    let kinds = systems(arguments)?;
    check_names(&arguments.names)?;
    if !install::is_root() {
        return Err("the bench mounts images and overlays, so it needs root".into());
    }
    install::ensure("mkfs.xfs xfsprogs\ngit git\ntar tar\nfuse-overlayfs fuse-overlayfs\n")?;
    let binary = cargo::release_binary()?;
    let floor = cargo::release("branchfs-benches", "null-fuse")?;
    let memory = Scratch::new_in(Path::new("/dev/shm"), "branchfs-bench-")?;
    let backing = backing::image(memory.path(), "backing", &arguments.backing, 12)?;
    let mut context = Context {
        backing,
        memory,
        binary,
        floor,
        quick: arguments.quick,
        plain_files: 0,
    };
    let wanted = |name| arguments.names.is_empty() || arguments.names.iter().any(|n| n == name);
    let mut figures = Figures::new(arguments.best);
    for workload in WORKLOADS.iter().filter(|workload| wanted(workload.name)) {
        let rounds = arguments.rounds;
        let rounds = rounds.unwrap_or(context.pick(workload.rounds, 2));
        measure(&mut context, workload, &kinds, rounds, &mut figures)?;
    }
    if wanted("commits") {
        commits::run(&context, &mut figures)?;
    }
    if wanted("memory") {
        memory::run(&context, &mut figures)?;
    }
    if wanted("trial-overhead") {
        overhead::run(&context, &mut figures)?;
    }
    let mut curves = Vec::new();
    if wanted("life") {
        for curve in LIFE {
            curves.push(curve(&context)?);
        }
    }
    if wanted("crowd") {
        curves.push(crowd::run(&context, &kinds)?);
    }
    show(arguments, &figures, &curves)
}

/// The growth of a branch's life, a plot each.
const LIFE: [fn(&Context) -> Res<Series>; 5] = [
    life::base_size,
    life::changed_files,
    life::bytes,
    life::live_branches,
    life::nesting,
];

fn show(arguments: &Arguments, figures: &Figures, curves: &[Series]) -> Done {
    let mut text = figures.table();
    for curve in curves {
        let gap = if text.is_empty() { "" } else { "\n" };
        text.push_str(&format!("{gap}{}", curve.table()));
    }
    if arguments.json {
        let curves: Vec<_> = curves.iter().map(Series::json).collect();
        println!(
            "{:#}",
            serde_json::json!({ "figures": figures.json(), "curves": curves })
        );
    } else {
        print!("{text}");
    }
    if arguments.write {
        let dir = cargo::root().join("benches/results");
        fs::create_dir_all(&dir)?;
        let name = match arguments.names.as_slice() {
            [] => "all".to_owned(),
            names => names.join("-"),
        };
        fs::write(dir.join(format!("{name}.md")), text)?;
        quote(&name, &figures.brief())?;
        for curve in curves {
            fs::write(dir.join(format!("{}.svg", curve.name)), curve.svg())?;
        }
    }
    Ok(())
}

/// Puts a table into the README, between the lines `<!-- bench NAME -->` and `<!-- bench end -->`.
fn quote(name: &str, table: &str) -> Done {
    let path = cargo::root().join("README.md");
    if let Some(text) = quoted(&fs::read_to_string(&path)?, name, table) {
        fs::write(path, text)?;
    }
    Ok(())
}

fn quoted(readme: &str, name: &str, table: &str) -> Option<String> {
    let (before, rest) = readme.split_once(&format!("<!-- bench {name} -->\n"))?;
    let (_, after) = rest.split_once("<!-- bench end -->")?;
    Some(format!(
        "{before}<!-- bench {name} -->\n{table}<!-- bench end -->{after}"
    ))
}

/// Times would be those of a debug build, so the verb runs itself as a release build.
fn again_with_optimisation() -> Done {
    let program = cargo::release("xtask", "xtask")?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1));
    cargo::succeed(command)
}

fn systems(arguments: &Arguments) -> Res<Vec<Kind>> {
    if arguments.peers.is_empty() {
        return Ok(vec![
            Kind::Plain,
            Kind::Overlayfs,
            Kind::FuseOverlayfs,
            Kind::Floor,
            Kind::Branchfs,
            Kind::NoXattr,
            Kind::Writeback,
        ]);
    }
    let mut kinds = vec![Kind::Floor, Kind::Branchfs];
    for name in &arguments.peers {
        let kind = Kind::of_name(name).ok_or_else(|| {
            let known: Vec<_> = Kind::ALL.into_iter().map(Kind::name).collect();
            format!("no system is named {name}; known: {}", known.join(", "))
        })?;
        kinds.push(kind);
    }
    kinds.sort();
    kinds.dedup();
    Ok(kinds)
}

fn check_names(names: &[String]) -> Done {
    let known = WORKLOADS.iter().map(|workload| workload.name);
    let known: Vec<_> = known.chain(OTHERS).collect();
    for name in names {
        if !known.contains(&name.as_str()) {
            return Err(format!("no workload is named {name}; known: {}", known.join(", ")).into());
        }
    }
    Ok(())
}

/// Runs a workload on every system in turn, as often as asked for.
fn measure(
    context: &mut Context,
    workload: &Workload,
    kinds: &[Kind],
    rounds: usize,
    figures: &mut Figures,
) -> Done {
    let tree = context.backing().join(format!("{}-tree", workload.name));
    (workload.tree)(context, &tree)?;
    if context.plain_tree().exists() {
        context.plain_files = trees::count_files(&context.plain_tree())?;
    }
    let mut systems = Vec::new();
    let worth = |kind: &&Kind| kind.option().is_none() || Some(**kind) == workload.variant;
    for &kind in kinds.iter().filter(worth) {
        match System::start(context, kind, &tree, workload.name) {
            Ok(system) => systems.push(system),
            Err(error) => figures.missing(kind, &error.to_string()),
        }
    }
    for number in 0..rounds {
        eprintln!("{}: round {} of {rounds}", workload.name, number + 1);
        let mut next = Vec::new();
        for mut system in systems {
            let (workspace, took) = system.fork()?;
            let mut round = Round {
                kind: system.kind,
                figures,
            };
            let fork = format!("fork ({})", workload.name);
            round.add(&fork, "us", took.as_secs_f64() * 1e6);
            if !system.kind.works_like_plain()
                && let Err(error) = (workload.run)(context, &workspace, &mut round)
            {
                let failed = format!("{} fails on it: {error}", workload.name);
                if system.kind == Kind::Branchfs {
                    return Err(failed.into());
                }
                // What exactly is for who looks: it names directories of this run.
                eprintln!("{:?}: {failed}", system.kind);
                figures.missing(system.kind, &format!("{} stops on it", workload.name));
                system.stop()?;
                continue;
            }
            system.end(&workspace)?;
            next.push(system);
        }
        systems = next;
    }
    for system in systems {
        system.stop()?;
    }
    Ok(fs::remove_dir_all(tree)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_of_its_name() {
        let readme = "a\n<!-- bench ops -->\nold\n<!-- bench end -->\nb\n";
        let now = quoted(readme, "ops", "new\n").expect("it has a place");
        assert_eq!(now, "a\n<!-- bench ops -->\nnew\n<!-- bench end -->\nb\n");
        assert_eq!(quoted(readme, "data", "new\n"), None);
    }
}
