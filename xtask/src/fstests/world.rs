//! A fresh workspace for one run of a suite, and an ext4 to compare with.

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Place;
use super::case::{Cases, Verdict};
use crate::mounted::{Mounted, quiet};

/// A base, mounted in place, whose daemon writes a log.
pub struct World {
    mounted: Mounted,
    base: PathBuf,
    log: PathBuf,
}

impl World {
    /// Makes an empty base in `scratch`, lets `seed` fill it, and mounts it for `place`.
    pub fn start(
        binary: &Path,
        scratch: &Path,
        seed: fn(&Path) -> std::io::Result<()>,
        place: Place,
    ) -> Result<World, Box<dyn Error>> {
        let home = home(scratch)?;
        let (base, log) = (home.join("b"), home.join("daemon.log"));
        fs::create_dir(&base)?;
        seed(&base)?;
        // As on any disk: devices are devices, and set-user-ID works.
        let options = match place {
            Place::Writeback => "dev,suid,allow_other,writeback",
            _ => "dev,suid,allow_other",
        };
        let mounted = Mounted::mount_logging(binary, &base, options, &log)?;
        Ok(World { mounted, base, log })
    }

    /// The directory of a place, its branches made.
    pub fn enter(&self, place: Place) -> std::io::Result<PathBuf> {
        let levels = match place {
            Place::Ext4 | Place::Main => 0,
            Place::Branch | Place::Writeback => 1,
            Place::Nested => 2,
        };
        let mut dir = self.base.clone();
        for name in ["a", "b"].into_iter().take(levels) {
            dir = dir.join("@branches").join(name);
            fs::create_dir(&dir)?;
        }
        Ok(dir)
    }

    /// Unmounts it. A daemon that logged an error and a store in which fsck finds something are
    /// failed cases.
    pub fn end(self, binary: &Path) -> Result<Cases, Box<dyn Error>> {
        let mut cases = Cases::default();
        self.mounted.unmount()?;
        let said = fs::read_to_string(&self.log)?;
        for line in said.lines() {
            eprintln!("  daemon: {line}");
        }
        let bad = said
            .lines()
            .find(|l| l.contains(" ERROR ") || l.contains("panicked"));
        if let Some(line) = bad {
            let name = "the daemon's log has nothing above a warning";
            cases.add(name, Verdict::Failed(line.to_owned()));
        }
        let store = self.base.join(".branchfs");
        if let Err(error) = quiet(Command::new(binary).arg("fsck").arg(&store)) {
            let name = "fsck finds nothing in the store";
            cases.add(name, Verdict::Failed(error.to_string()));
        }
        Ok(cases)
    }
}

/// A new directory with a short path: a socket's has at most 107 bytes.
fn home(scratch: &Path) -> std::io::Result<PathBuf> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let home = scratch.join(NUMBER.fetch_add(1, Ordering::Relaxed).to_string());
    fs::create_dir(&home)?;
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755))?;
    Ok(home)
}

/// An ext4 in a loop device. Dropping it unmounts it.
pub struct Ext4 {
    root: PathBuf,
}

impl Ext4 {
    /// Makes one in `scratch`.
    pub fn make(scratch: &Path) -> Result<Ext4, Box<dyn Error>> {
        let home = home(scratch)?;
        let (image, root) = (home.join("image"), home.join("e"));
        File::create(&image)?.set_len(4 << 30)?;
        fs::create_dir(&root)?;
        quiet(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        quiet(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&root),
        )?;
        Ok(Ext4 { root })
    }

    /// Its root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        // The namespace's end unmounts what does not unmount here.
        let _ = quiet(Command::new("umount").arg("-l").arg(&self.root));
    }
}
