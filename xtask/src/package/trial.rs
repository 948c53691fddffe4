//! The .deb in a Debian that has never seen it: installed, mounted from fstab, used, removed.

use std::path::Path;
use std::process::Command;

use crate::Done;
use crate::cargo::succeed;
use crate::install::{ensure, is_root};
use crate::scratch::Scratch;

/// What it takes, with its packages.
const PROGRAMS: &str = "debootstrap debootstrap\nchroot coreutils\nunshare util-linux\n";

/// Installs, uses and removes `package` in a fresh system.
pub fn run(package: &Path) -> Done {
    if !is_root() {
        return Err("trying the package needs root".into());
    }
    ensure(PROGRAMS)?;
    let scratch = Scratch::new("branchfs-deb-")?;
    let mut trial = Command::new("unshare");
    trial
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--propagation",
            "private",
        ])
        .args(["bash", "-euc", include_str!("trial.sh"), "trial"])
        .arg(scratch.path())
        .arg(package);
    succeed(trial)?;
    println!("the package installs, mounts from fstab and leaves nothing behind");
    Ok(())
}
