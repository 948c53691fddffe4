//! Special files, and directories that change while they are listed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, makedev, mknodat};

use crate::harness::posix::posix;
use crate::harness::process::sh;
use crate::harness::{Tree, requirements};

fn make(dir: &Tree, name: &str, kind: FileType, device: u64) {
    let mode = Mode::from_raw_mode(0o640);
    mknodat(CWD, dir.path(name), kind, mode, device)
        .unwrap_or_else(|e| panic!("mknod {name}: {e}"));
}

posix! {
    a_fifo_carries_bytes_from_one_process_to_another(dir) given {
        make(dir, "base", FileType::Fifo, 0);
    } then {
        make(dir, "new", FileType::Fifo, 0);
        for name in ["base", "new"] {
            assert!(dir.stat(name).file_type().is_fifo());
            let script = "echo through >\"$1\" & cat \"$1\"; wait";
            assert_eq!(sh(dir.root(), script, &[name]).ok().out, "through\n");
        }
        dir.rename("base", "moved");
        dir.chmod("moved", 0o600);
        assert!(dir.stat("moved").file_type().is_fifo());
        dir.unlink("moved");
    }

    a_socket_accepts_connections(dir) then {
        // A socket's address is limited to 108 bytes, so it is reached through its directory.
        let handle = dir.open("");
        let short = format!("/proc/self/fd/{}/socket", std::os::fd::AsRawFd::as_raw_fd(&handle));
        let listener = UnixListener::bind(&short).expect("bind");
        let client = UnixStream::connect(&short).expect("connect");
        drop((listener.accept().expect("accept"), client));
        assert!(dir.stat("socket").file_type().is_socket());
    }

    devices_are_shown_as_what_they_are(dir) given {
        requirements::root();
        make(dir, "base", FileType::CharacterDevice, makedev(1, 3));
    } then {
        make(dir, "char", FileType::CharacterDevice, makedev(1, 5));
        make(dir, "block", FileType::BlockDevice, makedev(7, 300));
        for (name, major, minor) in [("base", 1, 3), ("char", 1, 5), ("block", 7, 300)] {
            assert_eq!(dir.stat(name).rdev(), makedev(major, minor), "{name}");
            assert_eq!(dir.mode(name), 0o640, "{name}");
        }
        assert!(dir.stat("char").file_type().is_char_device());
        assert!(dir.stat("block").file_type().is_block_device());
    }

    special_files_are_renamed_linked_and_removed(dir) given {
        make(dir, "a", FileType::Fifo, 0);
        make(dir, "s", FileType::Socket, 0);
    } then {
        dir.link("a", "b");
        assert_eq!(dir.stat("a").nlink(), 2);
        dir.rename("a", "c");
        dir.chown("c", 0, 0);
        dir.utimes("c", 1_000_000_000, 0);
        assert_eq!(dir.stat("b").mtime(), 1_000_000_000);
        dir.rename("s", "t");
        assert!(dir.stat("t").file_type().is_socket());
        dir.unlink("b");
        assert_eq!(dir.names(""), ["c", "t"]);
    }

    deleting_while_listing_reaches_every_name(dir) given {
        dir.mkdir("d");
        for i in 0..1500 { dir.write(format!("d/base-file-{i}"), b""); }
    } then {
        for i in 0..1500 { dir.write(format!("d/new-file-{i}"), b""); }
        let mut seen = 0;
        for entry in fs::read_dir(dir.path("d")).expect("list") {
            fs::remove_file(entry.expect("an entry").path()).expect("unlink");
            seen += 1;
        }
        assert_eq!(seen, 3000);
        dir.rmdir("d");
    }

    a_listing_shows_each_lasting_name_once_whatever_else_changes(dir) given {
        dir.mkdir("d");
        for i in 0..2000 { dir.write(format!("d/keep{i}"), b""); }
    } then {
        let mut kept = Vec::new();
        for (step, entry) in fs::read_dir(dir.path("d")).expect("list").enumerate() {
            let name = entry.expect("an entry").file_name().into_vec();
            if name.starts_with(b"keep") { kept.push(name); }
            dir.write(format!("d/new{step}"), b"");
            if step % 2 == 1 { dir.unlink(format!("d/new{}", step - 1)); }
            assert!(step < 100_000, "the listing never ends");
        }
        let distinct: BTreeSet<_> = kept.iter().collect();
        assert_eq!((kept.len(), distinct.len()), (2000, 2000));
    }

    a_listing_goes_on_where_it_was_told_to(dir) given {
        dir.mkdir("d");
        for i in 0..700 { dir.write(format!("d/f{i}"), b""); }
    } then {
        let all = cookies(&dir.path("d"), 0);
        assert_eq!(all.len(), 702, "with . and ..");
        for at in [1, 2, 100, 350, 701] {
            let (_, cookie) = all[at - 1];
            let rest = cookies(&dir.path("d"), cookie);
            let rest: Vec<_> = rest.into_iter().map(|(n, _)| n).collect();
            let wanted: Vec<_> = all[at..].iter().map(|(n, _)| n.clone()).collect();
            assert_eq!(rest, wanted, "after entry {at}");
        }
    }

    a_listing_starts_anew_when_rewound(dir) given { dir.write("one", b""); } then {
        let mut listing = rustix::fs::Dir::read_from(dir.open("")).expect("opendir");
        let names = |listing: &mut rustix::fs::Dir| -> BTreeSet<Vec<u8>> {
            listing.by_ref().map(|e| e.expect("an entry").file_name().to_bytes().to_vec()).collect()
        };
        let first = names(&mut listing);
        dir.write("two", b"");
        dir.unlink("one");
        listing.rewind();
        let second = names(&mut listing);
        assert!(first.contains(&b"one"[..]) && !first.contains(&b"two"[..]));
        assert!(second.contains(&b"two"[..]) && !second.contains(&b"one"[..]));
    }

    inode_numbers_in_listings_are_those_of_stat(dir) given {
        dir.write("file", b"");
        dir.mkdir("dir");
        dir.symlink("x", "link");
    } then {
        use std::os::unix::fs::DirEntryExt;
        dir.write("new", b"");
        for entry in fs::read_dir(dir.root()).expect("list") {
            let entry = entry.expect("an entry");
            let stat = fs::symlink_metadata(entry.path()).expect("stat");
            assert_eq!(entry.ino(), stat.ino(), "{}", entry.path().display());
            assert_eq!(entry.file_type().expect("d_type"), stat.file_type());
        }
    }
}

/// The names of a directory from cookie `from` on, each with the cookie that follows it.
fn cookies(path: &Path, from: u64) -> Vec<(Vec<u8>, u64)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let dir = rustix::fs::open(path, flags, Mode::empty()).expect("open a directory");
    rustix::fs::seek(&dir, rustix::fs::SeekFrom::Start(from)).expect("seekdir");
    // A small buffer makes the kernel ask the filesystem several times.
    let mut buffer = Vec::with_capacity(1024);
    let mut listing = RawDir::new(&dir, buffer.spare_capacity_mut());
    let mut found = Vec::new();
    while let Some(entry) = listing.next() {
        let entry = entry.expect("an entry");
        found.push((
            entry.file_name().to_bytes().to_vec(),
            entry.next_entry_cookie(),
        ));
    }
    found
}
