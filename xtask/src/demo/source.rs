//! The program's sources, from crates.io by cargo alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::git;
use crate::Done;
use crate::mounted::quiet;
use crate::transcript::{say, shell};

/// The program and the version that its tests were counted with.
const NAME: &str = "ripgrep";
const VERSION: &str = "14.1.1";

/// Puts the sources into `base` as a git repository with one commit.
///
/// `cargo vendor` writes out the sources of what a package depends on, and checks them against the
/// registry's checksums; the package is made for it.
pub fn fetch(scratch: &Path, base: &Path) -> Done {
    let asking = scratch.join("fetch");
    fs::create_dir_all(asking.join("src"))?;
    fs::write(asking.join("src/lib.rs"), "")?;
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n\
         [dependencies]\n{NAME} = \"={VERSION}\"\n\n[workspace]\n"
    );
    fs::write(asking.join("Cargo.toml"), manifest)?;
    shell(&format!(
        "cargo vendor    # {NAME} {VERSION} from crates.io"
    ));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut vendor = Command::new(&cargo);
    quiet(
        vendor
            .args(["vendor", "--quiet", "--versioned-dirs", "vendor"])
            .current_dir(&asking),
    )?;
    fs::rename(
        asking.join("vendor").join(format!("{NAME}-{VERSION}")),
        base,
    )?;
    fs::remove_dir_all(&asking)?;
    for file in [
        ".cargo-checksum.json",
        "Cargo.toml.orig",
        ".cargo_vcs_info.json",
    ] {
        // Which of them a package has depends on how it was published.
        let _ = fs::remove_file(base.join(file));
    }
    fs::write(base.join(".gitignore"), "/target/\n")?;
    // What the builds need is fetched now, so that they do not wait for the network.
    let mut fetch = Command::new(&cargo);
    quiet(
        fetch
            .args(["fetch", "--quiet", "--locked"])
            .current_dir(base),
    )?;
    shell("git init && git add . && git commit");
    git(base, &["init", "--quiet"])?;
    git(base, &["add", "."])?;
    git(
        base,
        &[
            "commit",
            "--quiet",
            "--message",
            &format!("{NAME} {VERSION}"),
        ],
    )?;
    let files = git(base, &["ls-files"])?.lines().count();
    say(&format!("{files} files in {}", base.display()));
    Ok(())
}
