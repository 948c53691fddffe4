//! Whether this machine can mount workspaces and confine what runs in them.
//!
//! Every check looks at one thing, changes nothing, and says what was found and what can be done.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::WaitOptions;

use super::mountinfo::MountTable;
use crate::sys::process::{Forked, fork};

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, with something missing.
    Limited,
    /// It does not work.
    Bad,
}

/// What was found about one thing.
#[derive(Clone, Debug)]
pub struct Check {
    /// The thing.
    pub subject: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub finding: String,
    /// What can be done, where something is missing.
    pub hint: Option<&'static str>,
}

/// The oldest kernel that is supported.
const OLDEST: (u32, u32) = (5, 15);

fn good(subject: &'static str, finding: impl Into<String>) -> Check {
    Check {
        subject,
        verdict: Verdict::Good,
        finding: finding.into(),
        hint: None,
    }
}

fn lacks(
    subject: &'static str,
    verdict: Verdict,
    finding: impl Into<String>,
    hint: &'static str,
) -> Check {
    Check {
        subject,
        verdict,
        finding: finding.into(),
        hint: Some(hint),
    }
}

/// Looks at everything. Call it before the process has threads.
pub fn examine_machine() -> Vec<Check> {
    vec![
        kernel(rustix::system::uname().release().to_str().unwrap_or("")),
        device(),
        fusermount(),
        allow_other(&fs::read_to_string("/etc/fuse.conf").unwrap_or_default()),
        connections(),
        mount_helpers(),
        user_namespaces(),
        cgroups(&MountTable::read().unwrap_or_default()),
    ]
}

fn kernel(release: &str) -> Check {
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < OLDEST {
        let finding = format!("Linux {release} is older than 5.15");
        return lacks("kernel", Verdict::Bad, finding, "install a newer kernel");
    }
    good("kernel", format!("Linux {release}"))
}

fn device() -> Check {
    match File::options().read(true).write(true).open("/dev/fuse") {
        Ok(_) => good("fuse", "/dev/fuse can be opened"),
        Err(error) => lacks(
            "fuse",
            Verdict::Bad,
            format!("/dev/fuse cannot be opened: {error}"),
            "modprobe fuse; in a container, give it the device /dev/fuse",
        ),
    }
}

fn fusermount() -> Check {
    const INSTALL: &str = "apt install fuse3 (needed to mount without root)";
    let is_root = rustix::process::geteuid().is_root();
    let verdict = match is_root {
        true => Verdict::Limited,
        false => Verdict::Bad,
    };
    let Some(path) = program("fusermount3") else {
        return lacks("fusermount3", verdict, "fusermount3 is not there", INSTALL);
    };
    let mode = fs::metadata(&path).map_or(0, |meta| meta.permissions().mode());
    let shown = path.display();
    if mode & 0o4000 == 0 {
        let finding = format!("{shown} is not setuid root");
        return lacks(
            "fusermount3",
            verdict,
            finding,
            "reinstall the package fuse3",
        );
    }
    good("fusermount3", shown.to_string())
}

fn allow_other(fuse_conf: &str) -> Check {
    match fuse_conf
        .lines()
        .any(|line| line.trim() == "user_allow_other")
    {
        true => good("allow_other", "users may give it"),
        false => lacks(
            "allow_other",
            Verdict::Limited,
            "only mounts that root makes can be used by other users",
            "put the line user_allow_other into /etc/fuse.conf",
        ),
    }
}

/// Where connections can be cut, so that an unmount by force ends what waits.
fn connections() -> Check {
    let path = Path::new("/sys/fs/fuse/connections");
    match fs::read_dir(path).is_ok_and(|_| is_mounted_at(path)) {
        true => good("connections", "/sys/fs/fuse/connections is there"),
        false => lacks(
            "connections",
            Verdict::Limited,
            "/sys/fs/fuse/connections is not mounted: without root no hanging mount is cut",
            "mount -t fusectl none /sys/fs/fuse/connections",
        ),
    }
}

fn is_mounted_at(path: &Path) -> bool {
    MountTable::read().is_ok_and(|table| table.top_at(path).is_some())
}

fn mount_helpers() -> Check {
    let names = [
        "mount.branchfs",
        "mount.fuse.branchfs",
        "umount.branchfs",
        "umount.fuse.branchfs",
    ];
    let missing: Vec<&str> = names
        .into_iter()
        .filter(|name| !Path::new("/sbin").join(name).exists())
        .collect();
    match missing.is_empty() {
        true => good("mount helpers", "mount -t branchfs and fstab work"),
        false => lacks(
            "mount helpers",
            Verdict::Limited,
            format!("not in /sbin: {}", missing.join(", ")),
            "install the package, or link these names to branchfs",
        ),
    }
}

/// A user namespace is tried in a process of its own: whatever forbids it, this finds out.
fn user_namespaces() -> Check {
    let tried = fork().map(|side| match side {
        Forked::Child => {
            let flags = nix::sched::CloneFlags::CLONE_NEWUSER | nix::sched::CloneFlags::CLONE_NEWNS;
            std::process::exit(i32::from(nix::sched::unshare(flags).is_err()));
        }
        Forked::Parent(pid) => {
            let waited = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            waited.is_ok_and(|done| done.is_some_and(|(_, status)| status.exit_status() == Some(0)))
        }
    });
    match tried {
        Ok(true) => good("user namespaces", "can be made"),
        Ok(false) | Err(_) => lacks(
            "user namespaces",
            Verdict::Limited,
            "cannot be made: commands cannot be confined to their branch without root",
            "sysctl user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1 \
             kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    }
}

fn cgroups(table: &MountTable) -> Check {
    let of_type = |kind: &str| table.0.iter().find(|mount| mount.file_system == kind);
    if let Some(mount) = of_type("cgroup2") {
        let file = mount.mountpoint.join("cgroup.controllers");
        let controllers = fs::read_to_string(file).unwrap_or_default();
        let controllers = controllers.trim();
        if ["cpu", "memory"]
            .iter()
            .all(|c| controllers.split(' ').any(|has| has == *c))
        {
            let finding = format!("version 2, controllers {controllers}");
            return good("cgroups", finding);
        }
    }
    let v1 = |controller: &str| {
        let mut mounts = table.0.iter().filter(|m| m.file_system == "cgroup");
        mounts.any(|m| m.super_options.split(',').any(|o| o == controller))
    };
    if v1("memory") && v1("cpu") {
        return good("cgroups", "version 1, controllers cpu memory");
    }
    lacks(
        "cgroups",
        Verdict::Limited,
        "no controllers for cpu and memory: what runs in a branch cannot be limited",
        "boot with systemd.unified_cgroup_hierarchy=1, or give the container its cgroup",
    )
}

fn program(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_judged_by_its_number() {
        for (release, verdict) in [
            ("6.18.44-fc-v657", Verdict::Good),
            ("5.15.0-91-generic", Verdict::Good),
            ("5.10.0", Verdict::Bad),
            ("4.19", Verdict::Bad),
            ("", Verdict::Bad),
        ] {
            assert_eq!(kernel(release).verdict, verdict, "{release}");
        }
    }

    #[test]
    fn a_comment_in_fuse_conf_allows_nothing() {
        assert_eq!(allow_other("#user_allow_other\n").verdict, Verdict::Limited);
        assert_eq!(allow_other("x\nuser_allow_other\n").verdict, Verdict::Good);
    }

    #[test]
    fn what_is_missing_comes_with_a_way_out() {
        // All but user_namespaces(), which forks, and here are threads.
        let table = MountTable::default();
        for check in [
            device(),
            fusermount(),
            connections(),
            mount_helpers(),
            cgroups(&table),
        ] {
            let complete = check.verdict == Verdict::Good || check.hint.is_some();
            assert!(complete, "{check:?}");
        }
    }
}
