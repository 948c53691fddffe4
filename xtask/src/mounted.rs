//! A base with branchfs mounted on it in place, for the verbs that measure or show something.

use std::error::Error;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Done;

/// A mounted base. Dropping it without [`Mounted::unmount`] leaves it to the scratch directory's
/// end.
pub struct Mounted {
    binary: PathBuf,
    base: PathBuf,
    /// The base below the mount, where the store is.
    lower: File,
    took: Duration,
    /// The daemon, where this process is its parent.
    daemon: Option<Child>,
}

impl Mounted {
    /// Mounts `base` in place.
    pub fn mount(binary: &Path, base: &Path) -> Result<Mounted, Box<dyn Error>> {
        Mounted::mount_with(binary, base, "rw")
    }

    /// Mounts `base` in place with `-o options`.
    pub fn mount_with(
        binary: &Path,
        base: &Path,
        options: &str,
    ) -> Result<Mounted, Box<dyn Error>> {
        let lower = File::open(base)?;
        let start = Instant::now();
        let mut mount = Command::new(binary);
        quiet(mount.arg("mount").arg(base).args(["-o", options]))?;
        let took = start.elapsed();
        Ok(Mounted {
            binary: binary.to_owned(),
            base: base.to_owned(),
            lower,
            took,
            daemon: None,
        })
    }

    /// The same with mount options and a daemon that stays in the foreground and writes to `log`.
    pub fn mount_logging(
        binary: &Path,
        base: &Path,
        options: &str,
        log: &Path,
    ) -> Result<Mounted, Box<dyn Error>> {
        let lower = File::open(base)?;
        let start = Instant::now();
        let mut daemon = Command::new(binary)
            .args(["mount", "--foreground", "-o", options])
            .arg(base)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .spawn()?;
        while !base.join(".ctl").exists() {
            if daemon.try_wait()?.is_some() || start.elapsed() > Duration::from_secs(60) {
                // One that never answers must not be left behind.
                daemon.kill()?;
                daemon.wait()?;
                return Err(format!("no mount: {}", fs::read_to_string(log)?).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Mounted {
            binary: binary.to_owned(),
            base: base.to_owned(),
            lower,
            took: start.elapsed(),
            daemon: Some(daemon),
        })
    }

    /// How long `branchfs mount` took.
    pub fn mount_time(&self) -> Duration {
        self.took
    }

    /// The root of main.
    pub fn root(&self) -> &Path {
        &self.base
    }

    /// The root of a branch of main.
    pub fn branch(&self, name: &str) -> PathBuf {
        self.base.join("@branches").join(name)
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/self/fd/{}/.branchfs",
            self.lower.as_raw_fd()
        ))
    }

    /// The daemon's process id, which the store's lock names.
    pub fn daemon(&self) -> Result<u32, Box<dyn Error>> {
        let text = fs::read_to_string(self.store().join("lock"))?;
        let digits = text
            .split(|c: char| !c.is_ascii_digit())
            .find(|n| !n.is_empty());
        Ok(digits.ok_or("no pid in the store's lock")?.parse()?)
    }

    /// The daemon's own resident memory in bytes: without the pages of files that it maps (its
    /// program, the journal), which the kernel takes back when it likes.
    pub fn resident_bytes(&self) -> Result<u64, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon()?))?;
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("RssAnon:"))
            .ok_or("no RssAnon")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
    }

    /// The sum of a metric's values in `@self/metrics`; `name` may have labels.
    pub fn metric(&self, name: &str) -> Result<f64, Box<dyn Error>> {
        let text = fs::read_to_string(self.base.join("@self/metrics"))?;
        let values = text
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        let values: Vec<f64> = values.collect();
        match values.is_empty() {
            true => Err(format!("no {name} in @self/metrics").into()),
            false => Ok(values.iter().sum()),
        }
    }

    /// Waits until the daemon has heard that the kernel forgot its files.
    pub fn forgotten(&self) -> Done {
        let start = Instant::now();
        while self.metric("branchfs_known_nodes")? > 100.0 {
            if start.elapsed() > Duration::from_secs(60) {
                return Err("the kernel does not forget".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The bytes that the store takes on its disk.
    pub fn store_bytes(&self) -> Result<u64, Box<dyn Error>> {
        fn walk(dir: &Path, sum: &mut u64) -> std::io::Result<()> {
            use std::os::unix::fs::MetadataExt;
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                let meta = entry.metadata()?;
                *sum += meta.blocks() * 512;
                if meta.is_dir() {
                    walk(&entry.path(), sum)?;
                }
            }
            Ok(())
        }
        let mut sum = 0;
        walk(&self.store(), &mut sum)?;
        Ok(sum)
    }

    /// Unmounts with `branchfs umount` and waits for the daemon's end.
    pub fn unmount(self) -> Done {
        let daemon = self.daemon()?;
        quiet(Command::new(&self.binary).arg("umount").arg(&self.base))?;
        if let Some(mut child) = self.daemon {
            child.wait()?;
            return Ok(());
        }
        let start = Instant::now();
        while Path::new(&format!("/proc/{daemon}")).exists() && !is_zombie(daemon) {
            if start.elapsed() > Duration::from_secs(60) {
                return Err(format!("the daemon (pid {daemon}) goes on after umount").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Where init does not wait for its orphans, an ended process stays in the table.
fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// Runs a command; what it printed is in the error when it fails.
///
/// Its output goes to a file, so that a daemon which keeps it open holds nobody up.
pub fn quiet(command: &mut Command) -> Done {
    use std::io::{Read, Seek};
    let mut output = tempfile::tempfile()?;
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?);
    let status = command
        .status()
        .map_err(|e| format!("cannot start {command:?}: {e}"))?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    output.rewind()?;
    output.read_to_string(&mut said)?;
    Err(format!("{command:?}: {status}\n{said}").into())
}
