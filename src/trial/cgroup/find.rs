//! Which control groups this process may make others in.
//!
//! Version 2: its own group and those above it, nearest first: a group that was delegated to the
//! user is among them, and for root the root group. Version 1: its own group per controller.

use std::fs;
use std::path::{Path, PathBuf};

use super::v1::Dirs;

/// Where groups can be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// Groups of version 2, the preferred first.
    pub v2: Vec<PathBuf>,
    /// Groups of version 1.
    pub v1: Dirs,
}

impl Hierarchies {
    /// Looks at this process.
    pub fn of_this_process() -> Hierarchies {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        Hierarchies::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
    }

    /// Reads mountinfo and the list of this process's groups (proc_pid_mountinfo(5), cgroups(7)).
    pub fn parse(mountinfo: &str, groups: &str) -> Hierarchies {
        let mut found = Hierarchies::default();
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            let own = |controller: &str| mount.place_of(group_of(groups, controller)?);
            if mount.kind == "cgroup2" && found.v2.is_empty() {
                found.v2 = own("").map_or_else(Vec::new, |own| {
                    own.ancestors()
                        .take_while(|dir| dir.starts_with(mount.point))
                        .map(Path::to_owned)
                        .collect()
                });
            }
            if mount.kind == "cgroup" && mount.has("memory") {
                found.v1.memory = own("memory");
            }
            if mount.kind == "cgroup" && mount.has("cpu") {
                found.v1.cpu = own("cpu");
            }
        }
        found
    }
}

struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Mount<'a>> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut filesystem = filesystem.split(' ');
        Some(Mount {
            root,
            point,
            kind: filesystem.next()?,
            options: filesystem.nth(1)?,
        })
    }

    fn has(&self, controller: &str) -> bool {
        self.options.split(',').any(|option| option == controller)
    }

    /// Where the group `path` is under this mount.
    fn place_of(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(self.root).ok()?;
        Some(Path::new(self.point).join(below))
    }
}

/// The path of the group that has `controller`; of version 2 if that is empty.
fn group_of<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        controllers
            .split(',')
            .any(|has| has == controller)
            .then_some(path)
    })
}
