//! The repository that the commands are shown on: strsim, which cargo has here anyway since clap
//! needs it, with its own tests and bugs put into it.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mounted::quiet;
use crate::transcript::say;
use crate::{Done, cargo};

/// The file that the bugs are in.
pub const SOURCE: &str = "src/lib.rs";

/// One bug: the tests whose names begin with `name` fail while `wrong` stands where `right` should.
pub struct Bug {
    /// What it is called.
    pub name: &'static str,
    right: &'static str,
    wrong: &'static str,
}

/// All bugs.
pub const BUGS: [Bug; 3] = [
    Bug {
        name: "hamming",
        right: "if x != y {",
        wrong: "if x == y {",
    },
    Bug {
        name: "jaro_winkler",
        right: "sim + 0.1 *",
        wrong: "sim + 0.2 *",
    },
    Bug {
        name: "sorensen_dice",
        right: "(2 * intersection_size)",
        wrong: "(3 * intersection_size)",
    },
];

impl Bug {
    /// A shell command that repairs it.
    pub fn repair(&self) -> String {
        let pattern = self.wrong.replace('.', "\\.").replace('*', "\\*");
        format!("sed -i 's/{pattern}/{}/' {SOURCE}", self.right)
    }

    /// Whether a tree has it.
    pub fn is_in(&self, tree: &Path) -> std::io::Result<bool> {
        Ok(fs::read_to_string(tree.join(SOURCE))?.contains(self.wrong))
    }

    /// Puts it into a tree.
    pub fn put_into(&self, tree: &Path) -> Done {
        let text = fs::read_to_string(tree.join(SOURCE))?;
        if text.matches(self.right).count() != 1 {
            return Err(format!("{SOURCE} does not say {:?} once", self.right).into());
        }
        Ok(fs::write(
            tree.join(SOURCE),
            text.replace(self.right, self.wrong),
        )?)
    }
}

/// Copies the sources to `base` and commits them, with the first bug, as a git repository.
pub fn make(base: &Path) -> Done {
    let from = sources()?;
    quiet(Command::new("cp").arg("-r").arg(&from).arg(base))?;
    for file in [".cargo-ok", ".cargo_vcs_info.json", "Cargo.toml.orig"] {
        // Which of them there are depends on the version of cargo.
        let _ = fs::remove_file(base.join(file));
    }
    fs::write(base.join(".gitignore"), "/target/\nCargo.lock\n")?;
    BUGS[0].put_into(base)?;
    git(base, &["init", "--quiet"])?;
    git(base, &["add", "."])?;
    git(
        base,
        &["commit", "--quiet", "--message", "strsim, with a bug"],
    )?;
    let files = git(base, &["ls-files"])?.lines().count();
    let name = from.file_name().unwrap_or_default().to_string_lossy();
    say(&format!("{name}: {files} files"));
    Ok(())
}

/// Where cargo has unpacked the sources.
fn sources() -> Result<PathBuf, Box<dyn Error>> {
    let mut metadata = cargo::cargo();
    metadata.args(["metadata", "--format-version", "1", "--locked", "--offline"]);
    // What other platforms need is not here.
    metadata.args(["--filter-platform", &host()?]);
    let output = metadata.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == "strsim")
        .find_map(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.ok_or("strsim is no dependency any more")?);
    Ok(manifest
        .parent()
        .ok_or("a manifest at the root")?
        .to_owned())
}

/// The platform that this is, as rustc names it.
fn host() -> Result<String, Box<dyn Error>> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .ok_or("rustc does not say what its host is")?
        .to_owned())
}

/// Runs git without the user's configuration and returns what it prints.
pub fn git(dir: &Path, args: &[&str]) -> Result<String, Box<dyn Error>> {
    let mut git = Command::new("git");
    git.args([
        "-c",
        "user.name=Trials",
        "-c",
        "user.email=trials@example.org",
    ]);
    git.args(["-c", "init.defaultBranch=main", "-c", "gc.auto=0"]);
    git.args(args).current_dir(dir);
    let output = git.env("GIT_CONFIG_GLOBAL", "/dev/null").output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => {
            let error = String::from_utf8_lossy(&output.stderr);
            Err(format!("git {}: {error}", args.join(" ")).into())
        }
    }
}
