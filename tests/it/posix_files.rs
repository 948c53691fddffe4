//! Files: opening, reading, writing, truncating, and descriptors that outlive names.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::harness::posix::posix;
use crate::harness::{Tree, assert_errno, read_rest};

/// `len` bytes that differ from one block to the next.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 4096 * 7 + i % 251) as u8).collect()
}

posix! {
    what_was_written_is_read_back(dir) then {
        for (name, len) in [("empty", 0), ("one", 1), ("page", 4096), ("big", 3_000_001)] {
            dir.write(name, pattern(len));
            dir.check(name, pattern(len));
            assert_eq!(dir.stat(name).len(), len as u64);
        }
        assert_eq!(dir.names(""), ["big", "empty", "one", "page"]);
    }

    one_byte_changes_in_the_middle_of_a_file(dir) given {
        dir.write("big", pattern(1_000_000));
        dir.write("small", pattern(100));
    } then {
        for (name, len, at) in [("big", 1_000_000, 500_001), ("small", 100, 50)] {
            dir.open_rw(name).write_all_at(b"!", at).expect("pwrite");
            let mut wanted = pattern(len);
            wanted[at as usize] = b'!';
            dir.check(name, wanted);
        }
    }

    a_write_beyond_the_end_leaves_zeros_between(dir) given {
        dir.write("file", b"abc");
    } then {
        dir.open_rw("file").write_all_at(b"xyz", 10_000).expect("pwrite");
        let bytes = dir.read("file");
        assert_eq!(bytes.len(), 10_003);
        assert_eq!((&bytes[..3], &bytes[10_000..]), (&b"abc"[..], &b"xyz"[..]));
        assert!(bytes[3..10_000].iter().all(|&b| b == 0), "a hole must read as zeros");
    }

    a_read_at_the_end_gives_nothing(dir) given { dir.write("file", b"abc"); } then {
        let file = dir.open("file");
        let mut buffer = [7; 8];
        assert_eq!(file.read_at(&mut buffer, 3).expect("pread"), 0);
        assert_eq!(file.read_at(&mut buffer, 1 << 40).expect("pread"), 0);
        assert_eq!(file.read_at(&mut buffer, 1).expect("pread"), 2);
        assert_eq!(&buffer[..2], b"bc");
    }

    truncation_cuts_and_extends_with_zeros(dir) given {
        dir.write("file", pattern(10_000));
    } then {
        let file = dir.open_rw("file");
        file.set_len(5000).expect("ftruncate");
        dir.check("file", &pattern(10_000)[..5000]);
        file.set_len(9000).expect("ftruncate");
        let mut wanted = pattern(10_000)[..5000].to_vec();
        wanted.resize(9000, 0);
        dir.check("file", wanted);
        file.set_len(0).expect("ftruncate");
        dir.check("file", b"");
    }

    an_open_that_truncates_keeps_the_file_and_its_mode(dir) given {
        dir.write("file", pattern(5000));
        dir.chmod("file", 0o640);
    } then {
        let inode = dir.stat("file").ino();
        let file = OpenOptions::new().write(true).truncate(true).open(dir.path("file"));
        drop(file.expect("open with O_TRUNC"));
        dir.check("file", b"");
        assert_eq!((dir.stat("file").ino(), dir.mode("file")), (inode, 0o640));
    }

    an_exclusive_create_fails_where_the_name_exists(dir) given {
        dir.write("file", b"");
        dir.symlink("nowhere", "dangling");
    } then {
        let create = |name| OpenOptions::new().write(true).create_new(true).open(dir.path(name));
        assert_errno(create("file"), Errno::EXIST);
        assert_errno(create("dangling"), Errno::EXIST);
        create("new").expect("O_EXCL of a new name");
        assert!(!dir.exists("nowhere"));
    }

    a_create_through_a_dangling_link_makes_its_target(dir) given {
        dir.symlink("target", "link");
    } then {
        dir.write("link", b"content");
        dir.check("target", b"content");
        assert!(dir.stat("link").is_symlink());
    }

    opening_what_does_not_exist_or_is_a_directory_fails(dir) given {
        dir.mkdir("d");
        dir.write("f", b"");
    } then {
        assert_errno(File::open(dir.path("none")), Errno::NOENT);
        assert_errno(File::open(dir.path("f/x")), Errno::NOTDIR);
        assert_errno(OpenOptions::new().write(true).open(dir.path("d")), Errno::ISDIR);
        let directory = OFlags::DIRECTORY.bits() as i32;
        let open = OpenOptions::new().read(true).custom_flags(directory).open(dir.path("f"));
        assert_errno(open, Errno::NOTDIR);
    }

    a_descriptor_open_for_one_direction_refuses_the_other(dir) given {
        dir.write("file", b"abc");
    } then {
        assert_errno(dir.open("file").write(b"x"), Errno::BADF);
        let write_only = OpenOptions::new().write(true).open(dir.path("file")).expect("open");
        assert_errno((&write_only).read(&mut [0]), Errno::BADF);
    }

    a_file_created_without_permissions_is_still_writable_by_its_creator(dir) then {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create_new(true).mode(0o0).open(dir.path("f"))
            .expect("create with mode 0");
        file.write_all(b"mine").expect("write");
        assert_eq!(dir.mode("f"), 0);
        dir.check("f", b"mine");
    }

    the_umask_applies_to_new_files_and_directories(dir) then {
        let script = "umask 027; : >f; mkdir d; mkfifo p";
        crate::harness::process::sh::<&str>(dir.root(), script, &[]).ok();
        assert_eq!((dir.mode("f"), dir.mode("d"), dir.mode("p")), (0o640, 0o750, 0o640));
    }

    an_append_goes_to_the_end_whoever_wrote_before(dir) given {
        dir.write("log", b"base\n");
    } then {
        let open = || OpenOptions::new().append(true).open(dir.path("log")).expect("open");
        let (mut one, mut two) = (open(), open());
        for round in 0..50 {
            one.write_all(format!("one {round}\n").as_bytes()).expect("append");
            two.write_all(format!("two {round}\n").as_bytes()).expect("append");
        }
        // pwrite on a descriptor with O_APPEND appends on Linux, whatever the offset.
        one.write_at(b"end\n", 0).expect("pwrite");
        let text = dir.text("log");
        assert!(text.starts_with("base\none 0\ntwo 0\none 1\n") && text.ends_with("two 49\nend\n"));
        assert_eq!(text.lines().count(), 102);
    }

    appends_of_several_threads_do_not_overwrite_each_other(dir) given {
        dir.write("log", b"");
    } then {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || for line in 0..100 {
                    dir.append("log", format!("{thread} {line:03}\n"));
                });
            }
        });
        let text = dir.text("log");
        let lines: std::collections::BTreeSet<&str> = text.lines().collect();
        assert_eq!((lines.len(), text.len()), (400, 400 * 6));
    }

    an_unlinked_file_lives_while_it_is_open(dir) given {
        dir.write("file", pattern(100_000));
    } then {
        let mut held = dir.open_rw("file");
        dir.unlink("file");
        assert_errno(File::open(dir.path("file")), Errno::NOENT);
        assert_eq!(held.metadata().expect("fstat").nlink(), 0);
        assert_eq!(read_rest(&mut held), pattern(100_000));
        held.write_all_at(b"changed", 0).expect("write to an unlinked file");
        held.set_len(7).expect("truncate an unlinked file");
        held.rewind().expect("seek");
        assert_eq!(read_rest(&mut held), b"changed");
        dir.write("file", b"another");
        held.rewind().expect("seek");
        assert_eq!(read_rest(&mut held), b"changed");
    }

    a_file_that_another_replaced_by_rename_lives_while_it_is_open(dir) given {
        dir.write("file", b"old");
        dir.write("new", b"new");
    } then {
        let mut held = dir.open_rw("file");
        dir.rename("new", "file");
        dir.check("file", b"new");
        held.write_all_at(b"still old", 0).expect("write");
        assert_eq!(read_rest(&mut held), b"still old");
        dir.check("file", b"new");
    }

    a_file_renamed_while_open_is_the_same_file(dir) given {
        dir.mkdir("d");
        dir.write("file", b"one");
    } then {
        let held = dir.open_rw("file");
        dir.rename("file", "d/moved");
        held.write_all_at(b"two", 0).expect("write");
        dir.check("d/moved", b"two");
        assert_eq!(dir.stat("d/moved").ino(), held.metadata().expect("fstat").ino());
    }

    a_file_made_unlinked_and_made_again_is_the_new_one(dir) given {
        dir.write("file", b"base");
    } then {
        for round in 0..20 {
            dir.unlink("file");
            assert!(!dir.exists("file"));
            dir.write("file", format!("round {round}"));
        }
        dir.check("file", b"round 19");
    }

    a_file_beyond_four_gibibytes_is_read_and_written(dir) given {
        dir.open_rw("base").write_all_at(b"from the base", 5 << 30).expect("pwrite");
    } then {
        dir.open_rw("new").write_all_at(b"new", 6 << 30).expect("pwrite");
        assert_eq!(dir.stat("new").len(), (6 << 30) + 3);
        dir.open_rw("base").write_all_at(b"FROM", 5 << 30).expect("pwrite");
        let mut file = dir.open("base");
        file.seek(SeekFrom::Start(5 << 30)).expect("seek");
        assert_eq!(read_rest(&mut file), b"FROM the base");
        let blocks = dir.stat("new").blocks();
        assert!(blocks < 1 << 20, "a sparse file takes {blocks} blocks");
    }

    many_small_files_are_all_there(dir) given {
        for i in 0..300 { dir.write(format!("base{i}"), format!("base {i}")); }
    } then {
        for i in 0..600 { dir.write(format!("new{i}"), format!("new {i}")); }
        for i in (0..300).step_by(3) { dir.unlink(format!("base{i}")); }
        for i in 0..600 { dir.check(format!("new{i}"), format!("new {i}")); }
        for i in 0..300 {
            assert_eq!(dir.exists(format!("base{i}")), i % 3 != 0);
        }
        assert_eq!(dir.list("").len(), 800);
    }

    fsync_of_files_and_directories_works(dir) given { dir.write("base", b"x"); } then {
        dir.write("file", b"durable");
        for name in ["file", "base"] {
            let file = dir.open_rw(name);
            file.write_all_at(b"D", 0).expect("pwrite");
            file.sync_data().expect("fdatasync");
            file.sync_all().expect("fsync");
        }
        dir.mkdir("d");
        dir.open("d").sync_all().expect("fsync of a directory");
        dir.open("").sync_all().expect("fsync of the root");
        dir.check("file", b"Durable");
    }

    direct_io_and_buffered_io_see_one_content(dir) given {
        dir.write("file", pattern(16_384));
    } then {
        let direct = OFlags::DIRECT.bits() as i32;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).custom_flags(direct).open(dir.path("file"))
            .expect("open with O_DIRECT");
        // An anonymous mapping is aligned to a page, as O_DIRECT wants its buffer.
        let mut page = memmap2::MmapMut::map_anon(4096).expect("map a page");
        page.fill(b'D');
        assert_eq!(file.write_at(&page, 4096).expect("direct write"), 4096);
        let mut wanted = pattern(16_384);
        wanted[4096..8192].fill(b'D');
        dir.check("file", &wanted);
        dir.open_rw("file").write_all_at(b"buffered", 8192).expect("pwrite");
        assert_eq!(file.read_at(&mut page, 8192).expect("direct read"), 4096);
        assert_eq!(&page[..8], b"buffered");
    }
}
