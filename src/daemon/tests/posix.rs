//! Every operation, as a program makes it.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{
    FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink,
};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FallocateFlags, FileType, Mode, RenameFlags, XattrFlags};

use super::*;

#[test]
fn a_file_is_created_written_appended_truncated_and_read() {
    let world = World::new();
    let path = world.path("f");
    fs::write(&path, b"hello").unwrap();
    OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b" world")
        .unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"hello world");
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(4)
        .unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"hell");
    fs::write(&path, b"x").unwrap();
    assert_eq!(
        (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().len()),
        (b"x".to_vec(), 1)
    );
    let exclusive = OpenOptions::new().write(true).create_new(true).open(&path);
    assert_eq!(errno(exclusive), libc::EEXIST);
    assert_eq!(errno(File::open(world.path("absent"))), libc::ENOENT);
}

#[test]
fn a_large_file_passes_through_whole() {
    let world = World::new();
    let bytes: Vec<u8> = (0..5_000_000u32).map(|i| ((i * 31) >> 7) as u8).collect();
    fs::write(world.path("f"), &bytes).unwrap();
    assert_eq!(
        world.count(Op::Write),
        5,
        "five writes of up to 1 MiB take 5 MB"
    );
    // The pages that the write left are dropped, so that they are read again.
    let node = world.memory().change_behind(b"f", &bytes);
    world.mounted().kernel().cache.inval_inode(node, true);
    assert!(fs::read(world.path("f")).unwrap() == bytes);
    assert!(world.count(Op::Read) > 0);
}

#[test]
fn a_file_created_read_only_is_written_by_its_creator() {
    let world = World::new();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o444);
    let mut file = options.open(world.path("f")).unwrap();
    file.write_all(b"object").unwrap();
    assert_eq!(
        fs::metadata(world.path("f")).unwrap().mode() & 0o7777,
        0o444
    );
    assert_eq!(
        world.count(Op::Create),
        1,
        "one CREATE is refused, MKNOD comes from then on"
    );
    fs::write(world.path("g"), b"").unwrap();
    assert_eq!((world.count(Op::Create), world.count(Op::Mknod)), (1, 2));
}

#[test]
fn the_umask_is_left_to_the_file_system() {
    let world = World::new();
    let status = std::process::Command::new("sh")
        .arg("-c")
        .arg("umask 027; touch f; mkdir d; mkfifo p")
        .current_dir(&world.mountpoint)
        .status()
        .unwrap();
    assert!(status.success());
    for (name, expect) in [("f", 0o640), ("d", 0o750), ("p", 0o640)] {
        let mode = fs::metadata(world.path(name)).unwrap().mode() & 0o7777;
        assert_eq!(mode, expect, "{name}: {mode:o}");
    }
}

#[test]
fn directories_and_links_come_and_go() {
    let world = World::new();
    fs::create_dir_all(world.path("a/b/c")).unwrap();
    assert_eq!(errno(fs::remove_dir(world.path("a"))), libc::ENOTEMPTY);
    assert_eq!(errno(fs::create_dir(world.path("a"))), libc::EEXIST);
    fs::write(world.path("a/f"), b"1").unwrap();
    fs::hard_link(world.path("a/f"), world.path("a/b/g")).unwrap();
    fs::write(world.path("a/b/g"), b"two").unwrap();
    assert_eq!(fs::read(world.path("a/f")).unwrap(), b"two");
    let (f, g) = (
        fs::metadata(world.path("a/f")),
        fs::metadata(world.path("a/b/g")),
    );
    assert_eq!(
        (f.as_ref().unwrap().ino(), f.unwrap().nlink()),
        (g.unwrap().ino(), 2)
    );
    symlink("a/b/../f", world.path("s")).unwrap();
    assert_eq!(
        fs::read_link(world.path("s")).unwrap().to_str(),
        Some("a/b/../f")
    );
    assert_eq!(fs::read(world.path("s")).unwrap(), b"two");
    fs::remove_file(world.path("a/f")).unwrap();
    assert_eq!(fs::metadata(world.path("a/b/g")).unwrap().nlink(), 1);
    assert_eq!(errno(fs::read(world.path("s"))), libc::ENOENT);
    fs::remove_dir_all(world.path("a")).unwrap();
    assert_eq!(names(&world.mountpoint), ["s"]);
}

#[test]
fn rename_replaces_refuses_and_exchanges() {
    let world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| world.path(name));
    fs::write(&a, "a").unwrap();
    fs::write(&b, "b").unwrap();
    let with = |from, to, flags| rustix::fs::renameat_with(CWD, from, CWD, to, flags);
    assert_eq!(
        with(&a, &b, RenameFlags::NOREPLACE)
            .unwrap_err()
            .raw_os_error(),
        libc::EEXIST
    );
    with(&a, &b, RenameFlags::EXCHANGE).unwrap();
    assert_eq!(
        (fs::read(&a).unwrap(), fs::read(&b).unwrap()),
        (b"b".to_vec(), b"a".to_vec())
    );
    fs::rename(&a, &b).unwrap();
    assert_eq!((fs::read(&b).unwrap(), a.exists()), (b"b".to_vec(), false));
    with(&b, &c, RenameFlags::NOREPLACE).unwrap();
    assert_eq!(fs::read(&c).unwrap(), b"b");
}

#[test]
fn an_open_file_outlives_its_name_and_is_then_forgotten() {
    let world = World::new();
    let before = world.memory().nodes();
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(world.path("f"))
        .unwrap();
    file.write_all(b"kept").unwrap();
    fs::remove_file(world.path("f")).unwrap();
    file.write_all(b" on").unwrap();
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(
        (text.as_str(), file.metadata().unwrap().nlink()),
        ("kept on", 0)
    );
    drop(file);
    // FORGET has no answer to wait for; another request is served after it or beside it.
    let forgotten = (0..2000).any(|i| {
        let _ = fs::metadata(world.path(&format!("absent-{i}")));
        thread::yield_now();
        world.memory().nodes() == before
    });
    assert!(forgotten, "the node stays after the last close");
}

#[test]
fn special_files_show_as_what_they_are() {
    let world = World::new();
    let mode = Mode::from_raw_mode(0o600);
    for (name, kind, device) in [
        ("fifo", FileType::Fifo, 0),
        ("socket", FileType::Socket, 0),
        ("char", FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        (
            "block",
            FileType::BlockDevice,
            rustix::fs::makedev(259, 70000),
        ),
    ] {
        rustix::fs::mknodat(CWD, world.path(name), kind, mode, device).unwrap();
        let stat = fs::symlink_metadata(world.path(name)).unwrap();
        let shown = stat.file_type();
        let expect = match name {
            "fifo" => shown.is_fifo(),
            "socket" => shown.is_socket(),
            "char" => shown.is_char_device(),
            _ => shown.is_block_device(),
        };
        assert!(expect, "{name} shows as {shown:?}");
        assert_eq!(stat.rdev(), device, "{name}");
    }
    let null = File::options().write(true).open(world.path("char"));
    null.expect("a device opens for root")
        .write_all(b"into /dev/null")
        .unwrap();
}

#[test]
fn mode_owner_and_times_are_set_before_1970_too() {
    let world = World::new();
    let path = world.path("f");
    fs::write(&path, b"x").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o4751)).unwrap();
    chown(&path, Some(12), Some(34)).unwrap();
    let stat = fs::metadata(&path).unwrap();
    assert_eq!(
        (stat.mode() & 0o777, stat.uid(), stat.gid()),
        (0o751, 12, 34)
    );
    let file = File::options().write(true).open(&path).unwrap();
    let far = Duration::new(86_400 * 365 * 60, 250_000_001);
    for time in [
        UNIX_EPOCH + far,
        UNIX_EPOCH - far,
        UNIX_EPOCH - Duration::from_nanos(1),
        UNIX_EPOCH,
    ] {
        let times = fs::FileTimes::new().set_modified(time).set_accessed(time);
        file.set_times(times).unwrap();
        // What the kernel keeps, then what the file system does.
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), time);
        let node = crate::tree::NodeId(stat.ino());
        world.mounted().kernel().cache.inval_inode(node, false);
        let stat = fs::metadata(&path).unwrap();
        assert_eq!(
            (stat.modified().unwrap(), stat.accessed().unwrap()),
            (time, time)
        );
    }
}

#[test]
fn the_farthest_times_hang_nobody() {
    let world = World::new();
    fs::write(world.path("f"), b"x").unwrap();
    for sec in [i64::MIN, i64::MIN + 1, i64::MAX] {
        let time = rustix::fs::Timespec {
            tv_sec: sec,
            tv_nsec: 5,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, world.path("f"), &times, AtFlags::empty()).unwrap();
        assert_eq!(fs::metadata(world.path("f")).unwrap().mtime(), sec);
    }
}

#[test]
fn a_write_strips_set_id_bits_and_asks_for_no_capability() {
    let world = World::new();
    let path = world.path("f");
    fs::write(&path, b"x").unwrap();
    let script = "i=0; while [ $i -lt 20 ]; do printf x; i=$((i+1)); done >> f";
    fs::set_permissions(&world.mountpoint, PermissionsExt::from_mode(0o777)).unwrap();
    chown(&path, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o6755)).unwrap();
    let status = std::process::Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "sh",
            "-c",
            script,
        ])
        .current_dir(&world.mountpoint)
        .status()
        .expect("setpriv is needed: apt install util-linux");
    assert!(status.success());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755);
    // The ACLs of the file and of the directories on the way are asked for, no write adds to them.
    let asked = world.count(Op::Getxattr);
    assert!(asked < 10, "20 writes sent GETXATTR {asked} times");
}

#[test]
fn extended_attributes_are_set_listed_and_removed() {
    let world = World::new();
    let path = world.path("f");
    fs::write(&path, b"x").unwrap();
    let set = |name: &str, value: &[u8], flags| rustix::fs::setxattr(&path, name, value, flags);
    let big = vec![7; 60_000];
    set("user.a", b"one", XattrFlags::CREATE).unwrap();
    set("user.b", &big, XattrFlags::empty()).unwrap();
    set("trusted.t", b"", XattrFlags::empty()).unwrap();
    let again = set("user.a", b"", XattrFlags::CREATE).unwrap_err();
    assert_eq!(again.raw_os_error(), libc::EEXIST);
    let mut value = vec![0; 65536];
    let len = rustix::fs::getxattr(&path, "user.b", value.as_mut_slice()).unwrap();
    assert!(value[..len] == big);
    assert_eq!(rustix::fs::getxattr_query(&path, "user.b").unwrap(), 60_000);
    let small = rustix::fs::getxattr(&path, "user.b", &mut value[..10]).unwrap_err();
    assert_eq!(small.raw_os_error(), libc::ERANGE);
    rustix::fs::removexattr(&path, "user.b").unwrap();
    let len = rustix::fs::listxattr(&path, value.as_mut_slice()).unwrap();
    assert_eq!(&value[..len], b"trusted.t\0user.a\0");
    let gone = rustix::fs::getxattr(&path, "user.b", value.as_mut_slice()).unwrap_err();
    assert_eq!(gone.raw_os_error(), libc::ENODATA);
}

#[test]
fn ranges_are_allocated_punched_sought_and_copied() {
    let world = World::new();
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(world.path("f"))
        .unwrap();
    file.write_all_at(&[1; 10_000], 0).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 20_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 20_000);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 100, 50).unwrap();
    let mut bytes = [9; 200];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(
        (bytes[99], bytes[100], bytes[149], bytes[150]),
        (1, 0, 0, 1)
    );
    use rustix::fs::SeekFrom as To;
    assert_eq!(rustix::fs::seek(&file, To::Hole(5)).unwrap(), 20_000);
    assert_eq!(rustix::fs::seek(&file, To::Data(5)).unwrap(), 5);
    let beyond = rustix::fs::seek(&file, To::Data(20_000)).unwrap_err();
    assert_eq!(beyond.raw_os_error(), libc::ENXIO);
    let to = File::create(world.path("g")).unwrap();
    let (mut from, mut at) = (90, 3);
    let n = rustix::fs::copy_file_range(&file, Some(&mut from), &to, Some(&mut at), 20).unwrap();
    assert_eq!((n, from, at), (20, 110, 23));
    let copied = fs::read(world.path("g")).unwrap();
    assert_eq!(copied, [vec![0; 3], vec![1; 10], vec![0; 10]].concat());
    assert!(world.count(Op::CopyFileRange) > 0 && world.count(Op::Lseek) > 0);
}

#[test]
fn direct_io_and_mappings_see_the_same_bytes() {
    let world = World::new();
    let path = world.path("f");
    fs::write(&path, [b'a'; 8192]).unwrap();
    let direct = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path)
        .unwrap();
    direct.write_all_at(&[b'b'; 4096], 4096).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut map = crate::sys::shared_map::map(&file, 8192).unwrap();
    assert_eq!((map[0], map[4096]), (b'a', b'b'));
    map[1] = b'c';
    map.flush().unwrap();
    let mut bytes = [0; 4096];
    direct.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes[..3], b"aca");
    file.write_all_at(b"d", 2).unwrap();
    assert_eq!(&map[..3], b"acd");
}

#[test]
fn names_are_any_bytes_up_to_255() {
    let world = World::new();
    let mut longest = vec![0xff; 255];
    longest[7] = b'\n';
    for name in [&b"caf\xe9"[..], b"a\\b c,d", &longest] {
        let path = world.mountpoint.join(OsStr::from_bytes(name));
        fs::write(&path, name).unwrap();
        assert_eq!(fs::read(&path).unwrap(), name);
    }
    assert_eq!(fs::read_dir(&world.mountpoint).unwrap().count(), 3);
    let too_long = world.mountpoint.join(OsStr::from_bytes(&[b'x'; 256]));
    assert_eq!(errno(File::create(too_long)), libc::ENAMETOOLONG);
}

#[test]
fn a_long_listing_is_complete_and_survives_deletion() {
    let world = World::new();
    for i in 0..3000 {
        fs::write(world.path(&format!("file-with-a-longer-name-{i:04}")), b"").unwrap();
    }
    let mut seen = 0;
    for entry in fs::read_dir(&world.mountpoint).unwrap() {
        let entry = entry.unwrap();
        assert!(entry.file_type().unwrap().is_file());
        fs::remove_file(entry.path()).unwrap();
        seen += 1;
    }
    assert_eq!((seen, names(&world.mountpoint).len()), (3000, 0));
    assert!(world.count(Op::Readdirplus) > 0);
}

#[test]
fn space_locks_sync_and_what_is_not_served() {
    let world = World::new();
    let stat = rustix::fs::statvfs(&world.mountpoint).unwrap();
    assert_eq!(
        (stat.f_blocks, stat.f_bavail, stat.f_files, stat.f_ffree),
        (1000, 800, 700, 600)
    );
    assert_eq!((stat.f_frsize, stat.f_namemax), (4096, 255));
    let file = File::create(world.path("f")).unwrap();
    let other = File::open(world.path("f")).unwrap();
    file.lock().unwrap();
    assert!(matches!(
        other.try_lock(),
        Err(fs::TryLockError::WouldBlock)
    ));
    file.unlock().unwrap();
    other.try_lock().unwrap();
    file.sync_all().unwrap();
    file.sync_data().unwrap();
    File::open(&world.mountpoint).unwrap().sync_all().unwrap();
    assert_eq!((world.count(Op::Fsync), world.count(Op::Fsyncdir)), (2, 1));
    assert!(!file.is_terminal());
    assert_eq!(world.metrics().get(Op::Ioctl).errors, 1);
    let tmpfile = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open(&world.mountpoint);
    assert_eq!(errno(tmpfile), libc::EOPNOTSUPP);
    rustix::fs::accessat(
        CWD,
        world.path("f"),
        rustix::fs::Access::WRITE_OK,
        AtFlags::empty(),
    )
    .unwrap();
    assert_eq!(
        world.count(Op::Access),
        0,
        "the kernel checks permissions by itself"
    );
    let mut end = File::open(world.path("f")).unwrap();
    assert_eq!(end.seek(SeekFrom::End(0)).unwrap(), 0);
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
