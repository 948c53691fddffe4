//! Where a trial's branch is to be seen, and from where else it is to be kept away.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::mounts;
use super::supervise::protocol::View;
use crate::client::{Branch, Workspace};
use crate::proto::{Text, reserved};

/// The paths of one command line's trials.
#[derive(Debug)]
pub struct Place {
    /// The workspace's root, which shows the branch to an isolated trial.
    root: PathBuf,
    /// Where one stands, below a branch's root.
    below: PathBuf,
    covered: OnceLock<Covered>,
}

/// What an isolated trial is not to see.
#[derive(Debug)]
struct Covered {
    /// The directories that show the branch instead of what they are.
    over: Vec<Text>,
    /// The directories that show nothing.
    hide: Vec<Text>,
}

fn text(path: &Path) -> Text {
    Text::from(path.as_os_str().as_bytes())
}

impl Covered {
    fn of(root: &Path) -> Covered {
        let mountinfo = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let mut over = other_mounts(root, &mountinfo);
        let mut hide = Vec::new();
        // Only main says where base and store are; who is in a branch's own view sees neither.
        let config = root.join(reserved::SELF).join(reserved::CONFIG);
        let config = fs::read(config).unwrap_or_default();
        if let Some(base) = value(&config, b"base ").filter(|base| *base != root) {
            over.push(base);
        }
        if let Some(store) = value(&config, b"store ") {
            let mut dirs = over.iter().map(PathBuf::as_path).chain([root]);
            if !dirs.any(|dir| store.starts_with(dir)) {
                hide.push(store);
            }
        }
        // The root is covered last: what else is covered may be inside of it.
        over.push(root.to_owned());
        Covered {
            over: over.iter().map(|dir| text(dir)).collect(),
            hide: hide.iter().map(|dir| text(dir)).collect(),
        }
    }
}

impl Place {
    /// Finds out for `workspace`, for one who stands in `here`.
    pub fn of(workspace: &Workspace, here: &Branch) -> Place {
        let current = std::env::current_dir().unwrap_or_default();
        let below = current.strip_prefix(&here.dir).unwrap_or(Path::new(""));
        Place {
            root: workspace.root().to_owned(),
            below: below.to_owned(),
            covered: OnceLock::new(),
        }
    }

    /// The view of a trial in `branch`.
    pub fn view(&self, branch: &Branch, read_only_root: bool, no_network: bool) -> View {
        let covered = self.covered.get_or_init(|| Covered::of(&self.root));
        View {
            branch: text(&branch.dir),
            over: covered.over.clone(),
            hide: covered.hide.clone(),
            read_only_root,
            no_network,
        }
    }

    /// Where the trial sees its branch's root.
    pub fn seen_root<'a>(&'a self, branch: &'a Branch, isolated: bool) -> &'a Path {
        if isolated { &self.root } else { &branch.dir }
    }

    /// Where it starts: where one stands, if that is a directory in the branch too.
    pub fn start_dir(&self, branch: &Branch, isolated: bool) -> PathBuf {
        let root = self.seen_root(branch, isolated);
        let deeper = !self.below.as_os_str().is_empty();
        if deeper && branch.dir.join(&self.below).is_dir() {
            root.join(&self.below)
        } else {
            root.to_owned()
        }
    }
}

/// An existing directory that the configuration names.
fn value(config: &[u8], key: &[u8]) -> Option<PathBuf> {
    let mut lines = config.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(key))?;
    let path = PathBuf::from(OsStr::from_bytes(value));
    path.is_dir().then_some(path)
}

/// Where else the filesystem that has `root` is mounted.
fn other_mounts(root: &Path, mountinfo: &[u8]) -> Vec<PathBuf> {
    let Some(device) = mounts::device_at(root) else {
        return Vec::new();
    };
    let on_it = mounts::parse(mountinfo).into_iter();
    on_it
        .filter(|mount| mount.device == device && mount.point != root)
        .map(|mount| mount.point)
        .collect()
}
