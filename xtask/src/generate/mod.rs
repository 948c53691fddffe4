//! `cargo xtask generate`: what is written from the definition of the commands.
//!
//! Completion scripts are generated whole; manual pages are written by hand, but for their regions
//! (see [`manual`]). With `--check` nothing is written, and a file that is not as it would be
//! written is an error.

mod manual;
mod mdoc;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::Done;
use crate::cargo::root;

/// What `cargo xtask generate` takes.
#[derive(Args)]
pub struct Arguments {
    /// Write nothing; fail if a file is not as it would be written
    #[arg(long)]
    check: bool,
}

/// Paths with what is to be there.
type Files = Vec<(PathBuf, Vec<u8>)>;

/// The shells that there are scripts for, and what each calls its script.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "branchfs"),
    ("zsh", "_branchfs"),
    ("fish", "branchfs.fish"),
];

/// Writes the generated files, or checks them.
pub fn run(arguments: &Arguments) -> Done {
    if arguments.check {
        return match stale(root())?.as_slice() {
            [] => Ok(()),
            complaints => Err(complaints.join("\n").into()),
        };
    }
    for (path, text) in files(root())? {
        if fs::read(&path).ok().as_deref() != Some(&text) {
            fs::create_dir_all(path.parent().expect("a file in a directory"))?;
            fs::write(&path, text)?;
            println!("{}", path.display());
        }
    }
    Ok(())
}

/// A complaint for each file that is not as it would be written.
pub fn stale(root: &Path) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut complaints = Vec::new();
    for (path, text) in files(root)? {
        if fs::read(&path).ok().as_deref() != Some(&text) {
            let path = path.strip_prefix(root)?.display();
            complaints.push(format!("{path}: out of date; run: cargo xtask generate"));
        }
    }
    Ok(complaints)
}

/// The generated files with what is to be in them.
fn files(root: &Path) -> Result<Files, Box<dyn std::error::Error>> {
    let mut files = Vec::new();
    for (shell, name) in COMPLETIONS {
        let text = branchfs::cli::completion_script(shell).ok_or("a shell without a script")?;
        let path = root.join("contrib/completions").join(shell).join(name);
        files.push((path, text));
    }
    files.extend(manual::pages(&root.join("man"))?);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manuals_are_clean_and_refer_to_manuals_that_exist() {
        let mut complaints = Vec::new();
        for entry in fs::read_dir(root().join("man")).expect("list man/") {
            let path = entry.expect("an entry").path();
            let lint = std::process::Command::new("mandoc")
                .args(["-T", "lint"])
                .arg(&path)
                .output()
                .expect("mandoc is missing; install it: apt-get install mandoc");
            let said = String::from_utf8_lossy(&lint.stdout).into_owned();
            let said = said + &String::from_utf8_lossy(&lint.stderr);
            // What is installed here is no matter of the page.
            let of_the_machine = |line: &str| {
                line.contains("referenced manual not found") || line.contains("mandoc.db")
            };
            let ours = said.lines().filter(|line| !of_the_machine(line));
            complaints.extend(ours.map(str::to_owned));
            let text = fs::read_to_string(&path).expect("a page");
            for reference in text.lines().filter_map(|line| line.strip_prefix(".Xr ")) {
                let mut words = reference.split(' ');
                let name = words.next().unwrap_or_default();
                let file = format!("{name}.{}", words.next().unwrap_or_default());
                let ours = name.contains("branchfs");
                if ours && !root().join("man").join(&file).exists() {
                    complaints.push(format!("{}: there is no {file}", path.display()));
                }
            }
        }
        assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    }

    #[test]
    fn the_generated_files_are_current() {
        let complaints = stale(root()).expect("look at the repository");
        assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    }
}
