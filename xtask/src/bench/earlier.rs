//! The crate branchfs 0.1.1 from crates.io: another file system with branches, as a peer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Res;
use crate::mounted::quiet;
use crate::{cargo, install};

const VERSION: &str = "0.1.1";

/// A mount of it.
pub struct Earlier {
    binary: PathBuf,
    mount: PathBuf,
    storage: PathBuf,
}

/// Builds it where this repository's builds are, once.
fn install() -> Res<PathBuf> {
    let root = cargo::root().join("target/peers");
    let binary = root.join("bin/branchfs");
    if !binary.exists() {
        if !Path::new("/usr/include/fuse3/fuse.h").exists() {
            install::install(&["libfuse3-dev", "pkg-config"])?;
        }
        let mut install = cargo::cargo();
        install.args(["install", "--quiet", "--root"]).arg(&root);
        quiet(install.arg("--version").arg(VERSION).arg("branchfs"))?;
    }
    Ok(binary)
}

impl Earlier {
    /// Mounts `base` below `home`.
    pub fn start(home: &Path, base: &Path) -> Res<Earlier> {
        let earlier = Earlier {
            binary: install()?,
            mount: home.join("mnt"),
            storage: home.join("storage"),
        };
        fs::create_dir(&earlier.mount)?;
        fs::create_dir(&earlier.storage)?;
        let mut mount = earlier.command("mount");
        quiet(mount.arg("--base").arg(base).arg(&earlier.mount))?;
        Ok(earlier)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(verb).arg("--storage").arg(&self.storage);
        command
    }

    /// Where a branch's files are.
    pub fn workspace(&self, name: &str) -> PathBuf {
        self.mount.join(format!("@{name}"))
    }

    /// Makes the branch of a workspace.
    pub fn create(&self, workspace: &Path) -> Res<()> {
        let name = workspace.file_name().and_then(|name| name.to_str());
        let name = name.and_then(|name| name.strip_prefix('@'));
        let name = name.ok_or("a workspace has the name of its branch")?;
        quiet(self.command("create").arg(name).arg(&self.mount))
    }

    /// Unmounts it; the daemon ends by itself.
    pub fn stop(self) -> Res<()> {
        quiet(self.command("unmount").arg(&self.mount))
    }
}
