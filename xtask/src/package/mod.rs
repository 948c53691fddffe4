//! `cargo xtask install` and `cargo xtask dist`: the program where a system expects it.
//!
//! One layout (see [`layout`]) is what `install` copies, what the tarball holds and what the .deb
//! is made of, so the three cannot differ.

mod layout;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::Done;
use crate::cargo::{cargo, release_binary, root, succeed};
use crate::scratch::Scratch;

type Failure = Box<dyn std::error::Error>;

/// What `cargo xtask install` takes.
#[derive(Args)]
pub struct InstallArguments {
    /// Where programs, manuals and units go
    #[arg(long, default_value = "/usr/local")]
    prefix: PathBuf,
    /// Put everything below this directory instead of /
    #[arg(long, default_value = "/")]
    destdir: PathBuf,
}

/// What `cargo xtask dist` takes.
#[derive(Args)]
pub struct DistArguments {
    /// Package what `cargo build` makes, to try the package itself
    #[arg(long)]
    dev: bool,
    /// Then install, use and remove the .deb in a fresh Debian made by debootstrap (as root)
    #[arg(long)]
    check: bool,
}

/// Installs everything.
pub fn install(arguments: &InstallArguments) -> Done {
    let binary = release_binary()?;
    layout::install(&binary, &arguments.destdir, &arguments.prefix)
}

/// Makes the tarball, the .deb and their checksums in `target/dist`.
pub fn dist(arguments: &DistArguments) -> Done {
    let (binary, libc) = match arguments.dev {
        true => (dev_binary()?, "gnu"),
        false => optimised_binary()?,
    };
    let out = root().join("target/dist");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    fs::create_dir_all(&out)?;
    let scratch = Scratch::new("branchfs-dist-")?;
    let version = env!("CARGO_PKG_VERSION");
    let machine = std::env::consts::ARCH;
    let name = format!("branchfs-{version}-{machine}-linux-{libc}");
    let tree = scratch.path().join(&name);
    layout::install(&binary, &tree, Path::new("/usr"))?;
    let archive = out.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .arg("-czf")
        .arg(&archive)
        .arg("-C")
        .arg(scratch.path())
        .arg(&name);
    succeed(tar)?;
    let package = deb(&tree, &out, libc)?;
    let mut sums = Command::new("sh");
    sums.args(["-c", "sha256sum -- *.tar.gz *.deb > SHA256SUMS"]);
    sums.current_dir(&out);
    succeed(sums)?;
    println!("{}", out.display());
    match arguments.check {
        true => trial::run(&package),
        false => Ok(()),
    }
}

/// Static where the standard library for musl is installed.
fn optimised_binary() -> Result<(PathBuf, &'static str), Failure> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()?;
    let sysroot = String::from_utf8(sysroot.stdout)?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(&target);
    if !library.join("lib").is_dir() {
        println!("the target {target} is not installed: the program needs glibc");
        return Ok((release_binary()?, "gnu"));
    }
    let mut build = cargo();
    build.args(["build", "--release", "--package", "branchfs", "--target"]);
    build.arg(&target);
    succeed(build)?;
    let binary = root().join("target").join(target).join("release/branchfs");
    Ok((binary, "musl"))
}

fn dev_binary() -> Result<PathBuf, Failure> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--package", "branchfs"]);
    succeed(build)?;
    Ok(root().join("target/debug/branchfs"))
}

/// Makes the .deb of a tree; its path.
fn deb(tree: &Path, out: &Path, libc: &str) -> Result<PathBuf, Failure> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let version = env!("CARGO_PKG_VERSION");
    let depends = match libc {
        "gnu" => "Depends: libc6 (>= 2.34)\n",
        _ => "",
    };
    let control = format!(
        "Package: branchfs\nVersion: {version}\nArchitecture: {architecture}\n\
         Maintainer: The branchfs authors <branchfs@localhost>\n{depends}\
         Recommends: fuse3\nSection: admin\nPriority: optional\n\
         Description: Copy-on-write branches for any directory\n \
         A FUSE filesystem that forks a directory with mkdir, and commits or\n \
         drops a branch with one word written to a file.\n"
    );
    fs::create_dir(tree.join("DEBIAN"))?;
    fs::write(tree.join("DEBIAN/control"), control)?;
    let package = out.join(format!("branchfs_{version}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build
        .args(["--root-owner-group", "--build"])
        .arg(tree)
        .arg(&package);
    succeed(build)?;
    Ok(package)
}
