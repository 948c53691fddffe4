//! `cargo xtask scale`: how time, space and memory grow, as a table with a verdict on each figure.
//!
//! Every row is measured on a base of its own and says what it was measured with. Times are medians
//! of many; limits are those that the project promises.

pub(crate) mod base;
mod fork;
mod git;
mod large;
mod table;

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::scratch::Scratch;
use crate::{Done, cargo, install};
use table::Table;

/// What `cargo xtask scale` takes.
#[derive(Args)]
pub struct Arguments {
    /// Only rows whose name has this in it
    filter: Option<String>,
    /// Files in the base with a million
    #[arg(long, default_value_t = 1_000_000)]
    files: u64,
}

/// What a measurement works with.
struct Bench {
    binary: PathBuf,
    scratch: Scratch,
    files: u64,
}

impl Bench {
    /// A new, empty base.
    fn base(&self, name: &str) -> std::io::Result<PathBuf> {
        let path = self.scratch.path().join(name);
        std::fs::create_dir(&path)?;
        Ok(path)
    }

    fn binary(&self) -> &Path {
        &self.binary
    }
}

/// A measurement: it adds its rows.
type Measure = fn(&Bench, &mut Table) -> Result<(), Box<dyn Error>>;

const MEASURES: [(&str, Measure); 8] = [
    ("fork, size of the base", fork::size_of_base),
    ("fork, live branches", fork::live_branches),
    ("fork, changes of the parent", fork::changes_of_parent),
    ("fork, growth of the store", fork::growth),
    ("abort, changed files", fork::abort),
    ("git, status", git::status),
    ("large, first write", large::first_write),
    ("large, million files", large::million_files),
];

/// Measures and prints the table; a figure over its limit is an error.
pub fn run(arguments: &Arguments) -> Done {
    install::ensure("findmnt mount\ngit git\n")?;
    let binary = cargo::release_binary()?;
    let scratch = Scratch::new("branchfs-scale-")?;
    let bench = Bench {
        binary,
        scratch,
        files: arguments.files,
    };
    let mut table = Table::default();
    for (name, measure) in MEASURES {
        if arguments
            .filter
            .as_ref()
            .is_some_and(|f| !name.contains(f.as_str()))
        {
            continue;
        }
        eprintln!("measuring: {name}");
        if let Err(error) = measure(&bench, &mut table) {
            table.failed(name, &error.to_string());
        }
    }
    print!("{table}");
    match table.failures() {
        0 => Ok(()),
        n => Err(format!("{n} figures are over their limit").into()),
    }
}
