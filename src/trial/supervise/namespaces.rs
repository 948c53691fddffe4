//! The namespaces of an isolated trial.
//!
//! A mount namespace in which the branch lies over the workspace's path, and a pid namespace; both
//! in a user namespace, so that nothing here takes root. Users and groups keep their numbers: root
//! keeps all of them, another user its own. Root needs no user namespace to make the others, and
//! does without: so it can still unmount in them ([`super::outside`]).
//!
//! A program that runs as user 0 would have the capability to unmount what lies over the workspace.
//! So it gets a user namespace of its own ([`lock_mounts`]): mounts that belong to a namespace
//! further up cannot be taken apart (mount_namespaces(7)), and processes there cannot be entered.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use rustix::process::{getegid, geteuid, getpid, getppid};

use super::protocol::{Step, View};
use super::{At, Failed};
use crate::sys;
use crate::sys::process::Forked;

/// Makes the namespaces and the mounts; the next process that this one starts is pid 1.
pub fn enter(view: &View) -> Result<(), Failed> {
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if view.no_network {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    // A container's root may be one in name only.
    if !geteuid().is_root() || unshare(flags).is_err() {
        enter_user_namespace(flags | CloneFlags::CLONE_NEWUSER)?;
    }
    if view.no_network {
        sys::confine::loopback_up().at(Step::Namespaces)?;
    }
    mounts(view).at(Step::Mounts)
}

/// Takes from a program with user 0 the power over the mounts around it.
pub fn lock_mounts() -> Result<(), Failed> {
    if geteuid().is_root() {
        enter_user_namespace(CloneFlags::CLONE_NEWUSER)?;
    }
    Ok(())
}

/// Mounts the /proc of this process's pid namespace.
pub fn mount_proc() -> Result<(), Failed> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).at(Step::Proc)
}

fn mounts(view: &View) -> io::Result<()> {
    let none = None::<&str>;
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(none, "/", none, slave, none)?;
    // The branch lies below the first directory that it is going to cover.
    let branch = File::open(view.branch.as_path())?;
    let source = format!("/proc/self/fd/{}", branch.as_raw_fd());
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    for hidden in &view.hide {
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(
            Some("none"),
            hidden.as_path(),
            Some("tmpfs"),
            flags,
            Some("size=4k,mode=555"),
        )?;
    }
    for over in &view.over {
        mount(Some(source.as_str()), over.as_path(), none, bind, none)?;
    }
    if view.read_only_root {
        sys::confine::set_read_only(c"/", true, true)?;
        for over in &view.over {
            let path = CString::new(over.0.clone())?;
            sys::confine::set_read_only(&path, false, false)?;
        }
        for scratch in ["/tmp", "/var/tmp", "/dev/shm"] {
            scratch_at(Path::new(scratch), view)?;
        }
    }
    Ok(())
}

/// A place for temporary files, where the branch is not below it.
fn scratch_at(path: &Path, view: &View) -> io::Result<()> {
    let covers = view
        .over
        .iter()
        .any(|over| over.as_path().starts_with(path));
    if covers || !path.is_dir() {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(
        Some("none"),
        path,
        Some("tmpfs"),
        flags,
        Some("mode=1777"),
    )?)
}

/// unshare(2) with a new user namespace in which every user and group that this process may map
/// has the number that it has here.
fn enter_user_namespace(flags: CloneFlags) -> Result<(), Failed> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    if uid == 0 && enter_with_all_ids(flags)? {
        return Ok(());
    }
    if uid != 0 {
        unshare(flags).at(Step::Namespaces)?;
    }
    // One may map oneself alone, and then give up setgroups(2) first (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny").at(Step::UserMap)?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1\n")).at(Step::UserMap)?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1\n")).at(Step::UserMap)
}

/// As [`enter_user_namespace`] with every id that exists here, which takes a process that stays
/// outside; whether that one was allowed to.
fn enter_with_all_ids(flags: CloneFlags) -> Result<bool, Failed> {
    let read = |map: &str| fs::read_to_string(map).at(Step::UserMap);
    let uids = identity(&read("/proc/self/uid_map")?);
    let gids = identity(&read("/proc/self/gid_map")?);
    let (mut go, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map(|(read, write)| (File::from(read), File::from(write)))
        .at(Step::Fork)?;
    let me = getpid();
    match sys::process::fork().at(Step::Fork)? {
        Forked::Child => {
            drop(tell);
            let mut byte = [0];
            // End of input means that the other side did not get there.
            let ready = go.read(&mut byte).unwrap_or(0) == 1 && getppid() == Some(me);
            let pid = me.as_raw_nonzero();
            let written = ready
                && fs::write(format!("/proc/{pid}/uid_map"), uids).is_ok()
                && fs::write(format!("/proc/{pid}/gid_map"), gids).is_ok();
            std::process::exit(if written { 0 } else { 1 });
        }
        Forked::Parent(helper) => {
            drop(go);
            let mut tell = tell;
            let entered = unshare(flags);
            if entered.is_ok() {
                tell.write_all(&[1]).at(Step::UserMap)?;
            }
            drop(tell);
            let helper = nix::unistd::Pid::from_raw(helper.as_raw_nonzero().get());
            let status = loop {
                match waitpid(helper, None) {
                    Err(nix::Error::EINTR) => {}
                    other => break other.at(Step::UserMap)?,
                }
            };
            entered.at(Step::Namespaces)?;
            Ok(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)))
        }
    }
}

/// The map that gives every id in `map` the number that it has.
fn identity(map: &str) -> String {
    map.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (first, _, count) = (fields.next()?, fields.next()?, fields.next()?);
            Some(format!("{first} {first} {count}\n"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_keeps_its_number() {
        assert_eq!(
            identity("         0          0 4294967295\n"),
            "0 0 4294967295\n"
        );
        assert_eq!(identity("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
    }
}
