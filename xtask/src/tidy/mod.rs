//! `cargo xtask tidy`: the rules for the source tree that no compiler checks.
//!
//! Every rule is a function from a file to complaints, so that tests feed it text. The layers and
//! their order come from the code map in `src/lib.rs`; see [`layers`].

mod layers;
mod text;

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cargo::root;
use crate::{Done, generate};

/// What may lie at the top of the repository.
const AT_TOP: [&str; 17] = [
    ".cargo",
    ".ci",
    ".gitattributes",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "clippy.toml",
    "contrib",
    "fstests",
    "man",
    "rustfmt.toml",
    "src",
    "tests",
    "xtask",
];

/// Checks the repository and prints what is wrong.
pub fn run() -> Done {
    let mut complaints = check(root())?;
    complaints.extend(generate::stale(root())?);
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    match complaints.len() {
        0 => {
            println!("tidy: nothing to complain about");
            Ok(())
        }
        n => Err(format!("{n} complaints").into()),
    }
}

/// All complaints about the repository at `root`.
fn check(root: &Path) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let files = tracked(root)?;
    let map = fs::read_to_string(root.join("src/lib.rs"))?;
    let mut complaints = Vec::new();
    let order = match layers::Order::parse(&map) {
        Ok(order) => order,
        Err(error) => return Ok(vec![format!("src/lib.rs: {error}")]),
    };
    complaints.extend(top_level(&files));
    for file in files.iter().filter(|f| f.ends_with(".rs")) {
        // A file that was deleted and not committed yet is still listed.
        let Ok(source) = fs::read_to_string(root.join(file)) else {
            continue;
        };
        complaints.extend(text::check(file, &source));
        complaints.extend(order.check(file, &source));
    }
    Ok(complaints)
}

/// The files that git knows or would add, relative to the root.
fn tracked(root: &Path) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let args = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
    ];
    let output = Command::new("git").args(args).current_dir(root).output()?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let names = String::from_utf8(output.stdout)?;
    Ok(names
        .split('\0')
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect())
}

fn top_level(files: &[String]) -> Vec<String> {
    let mut tops: Vec<&str> = files.iter().filter_map(|f| f.split('/').next()).collect();
    tops.dedup();
    let strange = tops.into_iter().filter(|top| !AT_TOP.contains(top));
    strange
        .map(|top| format!("{top}: nothing else belongs at the top of the repository"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let complaints = check(root()).expect("look at the repository");
        assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    }

    #[test]
    fn a_stray_file_at_the_top_is_found() {
        let files = ["Cargo.toml", "src/lib.rs", "notes.txt"].map(str::to_owned);
        assert_eq!(top_level(&files).len(), 1);
        assert!(top_level(&files)[0].starts_with("notes.txt"));
    }
}
