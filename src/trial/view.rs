//! Where a trial's branch is to be seen, and from where else it is to be kept away.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::supervise::protocol::View;
use crate::client::{Branch, Workspace};
use crate::proto::{Text, reserved};

/// The paths of one command line's trials.
#[derive(Clone, Debug)]
pub struct Place {
    /// The workspace's root, which shows the branch to an isolated trial.
    root: PathBuf,
    over: Vec<Text>,
    hide: Vec<Text>,
    /// Where one stands, below a branch's root.
    below: PathBuf,
}

fn text(path: &Path) -> Text {
    Text::from(path.as_os_str().as_bytes())
}

impl Place {
    /// Finds out for `workspace`, for one who stands in `here`.
    pub fn of(workspace: &Workspace, here: &Branch) -> Place {
        let root = workspace.root().to_owned();
        let current = std::env::current_dir().unwrap_or_default();
        let below = current.strip_prefix(&here.dir).unwrap_or(Path::new(""));
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut over = other_mounts(&root, &mountinfo);
        let mut hide = Vec::new();
        // Only main says where base and store are; who is in a branch's own view sees neither.
        let config = root.join(reserved::SELF).join(reserved::CONFIG);
        let config = fs::read_to_string(config).unwrap_or_default();
        if let Some(base) = value(&config, "base").filter(|base| *base != root) {
            over.push(base);
        }
        if let Some(store) = value(&config, "store") {
            let covered = over.iter().chain([&root]).any(|dir| store.starts_with(dir));
            if !covered {
                hide.push(store);
            }
        }
        // The root is covered last: what else is covered may be inside of it.
        over.push(root.clone());
        Place {
            root,
            over: over.iter().map(|dir| text(dir)).collect(),
            hide: hide.iter().map(|dir| text(dir)).collect(),
            below: below.to_owned(),
        }
    }

    /// The view of a trial in `branch`.
    pub fn view(&self, branch: &Branch, read_only_root: bool, no_network: bool) -> View {
        View {
            branch: text(&branch.dir),
            over: self.over.clone(),
            hide: self.hide.clone(),
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
fn value(config: &str, key: &str) -> Option<PathBuf> {
    let line = config.lines().find_map(|line| line.strip_prefix(key));
    let path = PathBuf::from(line?.strip_prefix(' ')?);
    path.is_dir().then_some(path)
}

/// Where else the filesystem that has `root` is mounted.
fn other_mounts(root: &Path, mountinfo: &str) -> Vec<PathBuf> {
    let Ok(metadata) = fs::metadata(root) else {
        return Vec::new();
    };
    let (major, minor) = (
        rustix::fs::major(metadata.dev()),
        rustix::fs::minor(metadata.dev()),
    );
    let device = format!("{major}:{minor}");
    mountinfo
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(2);
            let (on, point) = (fields.next()?, fields.nth(1)?);
            let point = PathBuf::from(point.replace("\\040", " "));
            (on == device && point != root).then_some(point)
        })
        .collect()
}
