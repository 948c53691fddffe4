//! A daemon that is killed while one of its threads cannot be: nobody waits for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;

use super::process::{NOBODY, Site, assert_ok, nobodys_site, path};
use super::*;

/// The guard of a site's mount, once ps(1) shows it.
fn guard_of(site: &Site) -> u32 {
    let line = format!("branchfs-guard\0{}", path(&site.mountpoint));
    let is_it = |process: &PathBuf| {
        let shown = fs::read(process.join("cmdline")).unwrap_or_default();
        shown.starts_with(line.as_bytes())
    };
    let start = Instant::now();
    loop {
        let found = super::processes::all().find(is_it);
        if let Some(guard) = found.and_then(|dir| dir.file_name()?.to_str()?.parse().ok()) {
            return guard;
        }
        assert!(start.elapsed() < LIMIT / 2, "no guard");
        thread::yield_now();
    }
}

fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.expect("the kernel says it").trim().to_owned()
}

/// Waits until the daemon has a thread that waits where no signal reaches it.
fn await_stuck(daemon: u32) {
    let is_stuck = |thread: &Path| {
        let stat = fs::read_to_string(thread.join("stat")).unwrap_or_default();
        stat.contains("(stuck) D ")
    };
    let start = Instant::now();
    loop {
        let mut threads = fs::read_dir(format!("/proc/{daemon}/task")).unwrap();
        if threads.any(|thread| is_stuck(&thread.unwrap().path())) {
            return;
        }
        assert!(start.elapsed() < LIMIT / 2, "no thread is stuck");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nobody_waits_for_a_daemon_that_was_killed_and_cannot_end() {
    let site = Site::new();
    assert_ok(&site.command(&[], "stuck", "").output().unwrap());
    let guard = guard_of(&site);
    let slow = site.mountpoint.join("slow");
    let writer = thread::spawn(move || fs::write(slow, b"x"));
    await_stuck(site.pid());
    let watch = ProcessWatch::new(site.pid())
        .unwrap()
        .expect("the daemon runs");
    let ended = ProcessWatch::new(guard).unwrap().expect("the guard runs");
    site.signal(Signal::KILL);
    let start = Instant::now();
    assert_cut(writer.join().unwrap());
    assert_cut(fs::read_dir(&site.mountpoint));
    assert!(start.elapsed() < LIMIT / 6, "after {:?}", start.elapsed());
    assert!(watch.wait(LIMIT / 6).unwrap(), "the daemon is still there");
    assert!(ended.wait(LIMIT / 6).unwrap(), "the guard is still there");
    assert!(site.is_mounted(), "what is below shows to nobody");
}

/// Without root it is the control file that cuts. That is mounted here in a mount namespace, which
/// is also that of the daemon and of who writes.
#[test]
fn without_root_a_guard_cuts_where_the_control_files_are_mounted() {
    let site = nobodys_site();
    let script = "mount -t fusectl none /sys/fs/fuse/connections; exec \"$@\"";
    let wrapper = [&["unshare", "-m", "sh", "-c", script, "sh"], NOBODY].concat();
    assert_ok(&site.command(&wrapper, "stuck", "").output().unwrap());
    let namespace = format!("--mount=/proc/{}/ns/mnt", site.pid());
    let inside = |line: &[&str]| {
        let mut command = Command::new("nsenter");
        command.arg(&namespace).args(line);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let write = format!("echo x > {}/slow", path(&site.mountpoint));
    let line = [NOBODY, &["sh", "-c", &write]].concat();
    let mut writer = inside(&line).spawn().unwrap();
    await_stuck(site.pid());
    let daemon = ProcessWatch::new(site.pid()).unwrap().expect("a daemon");
    let waits = ProcessWatch::new(writer.id()).unwrap().expect("a writer");
    site.signal(Signal::KILL);
    let ended = daemon.wait(LIMIT / 6).unwrap() && waits.wait(LIMIT / 6).unwrap();
    if !ended {
        let namespace = format!("--mount=/proc/{}/ns/mnt", writer.id());
        let umount = ["umount", "-f", path(&site.mountpoint)];
        let _ = Command::new("nsenter").arg(namespace).args(umount).status();
    }
    let written = writer.wait().unwrap();
    assert!(ended && !written.success(), "{written}");
}

#[test]
fn a_guard_has_nothing_of_the_daemon_and_ends_with_it() {
    let site = Site::new();
    assert_ok(&site.mount(""));
    let guard = guard_of(&site);
    assert_eq!(status(guard, "Name:"), "branchfs-guard");
    for fd in fs::read_dir(format!("/proc/{guard}/fd")).unwrap() {
        let opened = fs::read_link(fd.unwrap().path()).unwrap_or_default();
        let opened = opened.to_string_lossy().into_owned();
        let known = ["/dev/null", "pipe:", "socket:", "anon_inode:[signalfd]"];
        let known = known.iter().any(|known| opened.starts_with(known));
        assert!(known || opened.ends_with("/abort"), "{opened}");
    }
    for signal in [Signal::HUP, Signal::INT, Signal::TERM, Signal::USR2] {
        let guard = rustix::process::Pid::from_raw(guard.cast_signed()).unwrap();
        rustix::process::kill_process(guard, signal).unwrap();
    }
    fs::write(site.mountpoint.join("f"), b"x").unwrap();
    let ended = ProcessWatch::new(guard).unwrap().expect("the guard runs");
    assert!(!ended.wait(Duration::from_millis(1200)).unwrap());
    let daemon = ProcessWatch::new(site.pid()).unwrap().expect("a daemon");
    unmount(&site.mountpoint, false).unwrap();
    assert!(daemon.wait(LIMIT / 2).unwrap(), "the daemon did not end");
    assert!(ended.wait(Duration::ZERO).unwrap(), "the guard is left");
}

#[test]
fn a_daemon_whose_guard_was_killed_goes_on() {
    let site = Site::new();
    let mut child = site.command(&[], "foreground", "").spawn().unwrap();
    while !site.is_mounted() {
        assert!(child.try_wait().unwrap().is_none(), "the command ended");
        thread::yield_now();
    }
    let guard = guard_of(&site);
    let guard = rustix::process::Pid::from_raw(guard.cast_signed()).unwrap();
    rustix::process::kill_process(guard, Signal::KILL).unwrap();
    fs::write(site.mountpoint.join("f"), b"x").unwrap();
    unmount(&site.mountpoint, false).unwrap();
    assert!(child.wait().unwrap().success());
}
