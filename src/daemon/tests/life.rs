//! A mount from its beginning to its end, in this process.

use std::fs::{self, File};
use std::sync::atomic::Ordering::SeqCst;

use super::*;

#[test]
fn findmnt_shows_source_type_and_options() {
    let dir = tempfile::tempdir().unwrap();
    let _watchdog = Watchdog::new(dir.path());
    let base = dir.path().join("a b,c\\d\nbase");
    fs::create_dir(&base).unwrap();
    // In place: the mount covers its own source, which was opened before.
    let mut config = MountConfig::new(&base, &base);
    config.mountpoint_fd = Some(File::open(&base).unwrap().into());
    config
        .options
        .apply("ro,nosuid,nodev,noexec".as_ref())
        .unwrap();
    let mounted = start(&config);
    let output = std::process::Command::new("findmnt")
        .args([
            "--json",
            "--output",
            "SOURCE,FSTYPE,OPTIONS",
            "--mountpoint",
        ])
        .arg(&base)
        .output()
        .expect("findmnt is needed: apt install util-linux");
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let shown = &shown["filesystems"][0];
    assert_eq!(shown["source"].as_str(), base.to_str());
    assert_eq!(shown["fstype"].as_str(), Some("fuse.branchfs"));
    let options: Vec<_> = shown["options"].as_str().unwrap().split(',').collect();
    for option in [
        "ro",
        "nosuid",
        "nodev",
        "noexec",
        "default_permissions",
        "allow_other",
    ] {
        assert!(options.contains(&option), "{option} is not in {options:?}");
    }
    assert_eq!(errno(File::create(base.join("f"))), libc::EROFS);
    let mut options = MountOptions::default();
    options.apply("remount,rw".as_ref()).unwrap();
    remount(&base, &MountOptions::default(), &options).unwrap();
    fs::write(base.join("f"), b"x").unwrap();
    mounted.unmount().unwrap();
    assert_eq!(
        fs::read_dir(&base).unwrap().count(),
        0,
        "the base shows again"
    );
}

#[test]
fn the_restrictions_of_the_file_system_below_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let _watchdog = Watchdog::new(dir.path());
    let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV;
    rustix::mount::mount("none", dir.path(), "tmpfs", flags, None).unwrap();
    let mut config = MountConfig::new(dir.path(), dir.path());
    config.options.apply("dev".as_ref()).unwrap();
    let mounted = start(&config);
    let table = MountTable::read().unwrap();
    let options = &table.top_at(mounted.mountpoint()).unwrap().options;
    assert!(
        options.contains("nosuid") && !options.contains("nodev"),
        "{options}"
    );
    mounted.unmount().unwrap();
}

#[test]
fn unmounting_ends_it_and_tells_the_file_system() {
    let mut world = World::new();
    let memory = Arc::clone(world.mounted().ops());
    fs::write(world.path("f"), b"x").unwrap();
    unmount(&world.mountpoint, false).unwrap();
    world.mounted.take().unwrap().wait().unwrap();
    assert_eq!(memory.unmounts.load(SeqCst), 1);
    assert!(!world.path("f").exists());
    let error = unmount(&world.mountpoint, false).unwrap_err();
    assert!(
        matches!(error, DaemonError::NotMounted { .. }),
        "{}",
        error.chain()
    );
}

#[test]
fn a_busy_mount_names_its_holders() {
    let mut world = World::new();
    fs::write(world.path("f"), [0; 4096]).unwrap();
    let file = File::options()
        .read(true)
        .write(true)
        .open(world.path("f"))
        .unwrap();
    assert_held(&world, "fd");
    let map = crate::sys::shared_map::map(&file, 4096).unwrap();
    drop(file);
    assert_held(&world, "mapping");
    drop(map);
    fs::create_dir(world.path("in")).unwrap();
    let none = rustix::mount::MountFlags::empty();
    rustix::mount::mount("none", world.path("in"), "tmpfs", none, None).unwrap();
    let error = unmount(&world.mountpoint, false).unwrap_err().to_string();
    assert!(
        error.ends_with(&format!("held by the mount {}", world.path("in").display())),
        "{error}"
    );
    rustix::mount::unmount(world.path("in"), UnmountFlags::empty()).unwrap();
    let mut sleeper = std::process::Command::new("sleep")
        .arg("1000")
        .current_dir(&world.mountpoint)
        .spawn()
        .unwrap();
    let error = unmount(&world.mountpoint, false).unwrap_err().to_string();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    let pid = sleeper.id();
    assert!(
        error.ends_with(&format!("held by sleep (pid {pid}, cwd)")),
        "{error}"
    );
    unmount(&world.mountpoint, false).unwrap();
    world.mounted.take().unwrap().wait().unwrap();
}

/// That this process holds the mount in way `how`.
#[track_caller]
fn assert_held(world: &World, how: &str) {
    let Err(DaemonError::Busy { holders, .. }) = unmount(&world.mountpoint, false) else {
        panic!("a mount that is held was unmounted")
    };
    let this = std::process::id();
    let held = holders.iter().any(|holder| {
        matches!(holder, Holder::Process { pid, how: h, .. } if *pid == this && h.starts_with(how))
    });
    assert!(held, "{how} is not in {holders:?}");
}

#[test]
fn a_lazy_unmount_lets_holders_finish() {
    let mut world = World::new();
    fs::write(world.path("f"), b"before").unwrap();
    let file = File::options().append(true).open(world.path("f")).unwrap();
    unmount(&world.mountpoint, true).unwrap();
    assert!(!world.path("f").exists());
    std::io::Write::write_all(&mut &file, b" after").unwrap();
    drop(file);
    world.mounted.take().unwrap().wait().unwrap();
}

#[test]
fn dropping_a_mount_cuts_off_whoever_uses_it() {
    let mut world = World::new();
    let memory = Arc::clone(world.mounted().ops());
    fs::write(world.path("f"), b"x").unwrap();
    let file = File::options().append(true).open(world.path("f")).unwrap();
    drop(world.mounted.take());
    assert_eq!(memory.unmounts.load(SeqCst), 1);
    assert_cut(std::io::Write::write_all(&mut &file, b"y"));
    assert!(!world.path("f").exists());
}

#[test]
fn an_aborted_connection_ends_the_mount() {
    let mut world = World::new();
    let memory = Arc::clone(world.mounted().ops());
    // What `umount -f` does to a busy mount: it cuts the connection and leaves the mount.
    let _held = File::open(&world.mountpoint).unwrap();
    let forced = rustix::mount::unmount(&world.mountpoint, UnmountFlags::FORCE);
    assert_eq!(forced, Err(rustix::io::Errno::BUSY));
    world.mounted.take().unwrap().wait().unwrap();
    assert_eq!(memory.unmounts.load(SeqCst), 1);
    let table = MountTable::read().unwrap();
    assert_eq!(
        table.top_at(&world.mountpoint),
        None,
        "the dead mount is gone"
    );
}

#[test]
fn a_request_that_stands_still_hangs_nobody() {
    let mut world = World::with(FOREVER, IMPATIENT);
    let memory = Arc::clone(world.mounted().ops());
    fs::write(world.path("f"), b"x").unwrap();
    let file = File::options().append(true).open(world.path("f")).unwrap();
    // Nobody opens the gate before the watchdog has let the writer go.
    assert_cut(fs::write(world.path("slow"), b"x"));
    assert_eq!(memory.at_gate(), 1, "the request is still not answered");
    assert_cut(std::io::Write::write_all(&mut &file, b"y"));
    assert_eq!(memory.doubts.load(SeqCst), 1, "nothing more is stored");
    memory.open_gate();
    world.mounted.take().unwrap().wait().unwrap();
    assert_eq!(memory.unmounts.load(SeqCst), 1);
}

#[test]
fn two_mounts_at_one_place_are_told_apart() {
    let mut world = World::new();
    fs::write(world.path("f"), b"below").unwrap();
    let config = MountConfig::new(&world.mountpoint, &world.mountpoint);
    let above = start(&config);
    assert!(!world.path("f").exists());
    // The covered one ends: the one above must stay.
    let below = world.mounted.take().unwrap();
    let site = below.site().clone();
    assert!(!site.is_on_top());
    fs::write(world.path("g"), b"above").unwrap();
    above.unmount().unwrap();
    assert_eq!(fs::read(world.path("f")).unwrap(), b"below");
    below.unmount().unwrap();
}

fn start(config: &MountConfig) -> Mounted<Memory> {
    let memory = Arc::new(Memory::new(FOREVER));
    Mounted::start(config, |_| Ok::<_, DaemonError>(memory))
        .unwrap_or_else(|error| panic!("{}", error.chain()))
}
