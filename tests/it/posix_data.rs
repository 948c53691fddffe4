//! Space in files: holes, allocation, copies of ranges, mappings, locks.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{
    FallocateFlags, FlockOperation, SeekFrom, copy_file_range, fallocate, flock, seek,
};
use rustix::io::Errno;

use crate::harness::mapping::map_shared;
use crate::harness::posix::posix;
use crate::harness::process::Python;
use crate::harness::{Tree, assert_errno};

const MIB: usize = 1 << 20;

/// Asserts that what SEEK_DATA and SEEK_HOLE skip is all zeros, and that they come to an end.
#[track_caller]
fn check_holes(file: &File, content: &[u8]) {
    let size = content.len() as u64;
    let mut at = 0;
    while at < size {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => size,
            Err(e) => panic!("SEEK_DATA from {at}: {e}"),
        };
        let skipped = &content[at as usize..data as usize];
        assert!(
            skipped.iter().all(|&b| b == 0),
            "SEEK_DATA skipped data from {at} to {data}"
        );
        if data == size {
            break;
        }
        let hole = seek(file, SeekFrom::Hole(data)).expect("SEEK_HOLE");
        assert!(
            hole > data && hole <= size,
            "SEEK_HOLE from {data} gave {hole}"
        );
        at = hole;
    }
    assert_errno(seek(file, SeekFrom::Data(size)), Errno::NXIO);
    assert_errno(seek(file, SeekFrom::Hole(size + 1)), Errno::NXIO);
}

posix! {
    allocation_extends_a_file_unless_told_not_to(dir) given { dir.write("f", b"abc"); } then {
        let file = dir.open_rw("f");
        fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 100_000).expect("KEEP_SIZE");
        dir.check("f", b"abc");
        fallocate(&file, FallocateFlags::empty(), 1000, 1000).expect("fallocate");
        let mut wanted = b"abc".to_vec();
        wanted.resize(2000, 0);
        dir.check("f", wanted);
    }

    a_punched_hole_reads_as_zeros(dir) given { dir.write("base", vec![7; MIB]); } then {
        dir.write("new", vec![7; MIB]);
        for name in ["base", "new"] {
            let file = dir.open_rw(name);
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&file, punch, 1000, 500_000).expect("PUNCH_HOLE");
            fallocate(&file, punch, 1_000_000, 10 * MIB as u64).expect("PUNCH_HOLE over the end");
            let mut wanted = vec![7; MIB];
            wanted[1000..501_000].fill(0);
            wanted[1_000_000..].fill(0);
            dir.check(name, &wanted);
            check_holes(&file, &wanted);
        }
    }

    a_zeroed_range_reads_as_zeros_and_may_extend(dir) given {
        dir.write("f", vec![7; 10_000]);
    } then {
        let file = dir.open_rw("f");
        fallocate(&file, FallocateFlags::ZERO_RANGE, 5, 10).expect("ZERO_RANGE");
        let keep = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        fallocate(&file, keep, 9000, 5000).expect("ZERO_RANGE and KEEP_SIZE");
        let mut wanted = vec![7; 10_000];
        wanted[5..15].fill(0);
        wanted[9000..].fill(0);
        dir.check("f", &wanted);
        fallocate(&file, FallocateFlags::ZERO_RANGE, 9500, 1500).expect("ZERO_RANGE");
        wanted.resize(11_000, 0);
        dir.check("f", &wanted);
    }

    allocation_needs_a_writable_descriptor_and_a_length(dir) given { dir.write("f", b"x"); } then {
        let none = FallocateFlags::empty();
        assert_errno(fallocate(dir.open("f"), none, 0, 10), Errno::BADF);
        assert_errno(fallocate(dir.open_rw("f"), none, 0, 0), Errno::INVAL);
    }

    holes_are_found_and_data_is_never_skipped(dir) given {
        let file = dir.open_rw("base");
        file.set_len(4 * MIB as u64).expect("truncate");
        file.write_all_at(&vec![1; 5000], MIB as u64).expect("pwrite");
    } then {
        let file = dir.open_rw("base");
        let mut wanted = vec![0; 4 * MIB];
        wanted[MIB..MIB + 5000].fill(1);
        check_holes(&file, &wanted);
        file.write_all_at(&[2; 10], 3 * MIB as u64 + 17).expect("pwrite");
        wanted[3 * MIB + 17..3 * MIB + 27].fill(2);
        check_holes(&file, &wanted);
        dir.check("base", &wanted);
        file.set_len(2 * MIB as u64).expect("truncate");
        check_holes(&file, &wanted[..2 * MIB]);
        let empty = dir.open_rw("empty");
        assert_errno(seek(&empty, SeekFrom::Data(0)), Errno::NXIO);
    }

    a_range_is_copied_between_files_and_within_one(dir) given {
        let bytes: Vec<u8> = (0..300_000).map(|i| (i % 251) as u8).collect();
        dir.write("from", bytes);
        dir.write("to", vec![9; 100_000]);
    } then {
        let from = dir.open("from");
        let bytes = dir.read("from");
        let to = dir.open_rw("to");
        let (mut at, mut end) = (10_000, 90_000);
        let mut left = 200_000;
        while left > 0 {
            let n = copy_file_range(&from, Some(&mut at), &to, Some(&mut end), left)
                .expect("copy_file_range");
            assert!(n > 0, "nothing more was copied with {left} bytes left");
            left -= n;
        }
        let mut wanted = vec![9; 90_000];
        wanted.extend_from_slice(&bytes[10_000..210_000]);
        dir.check("to", &wanted);
        // What was copied is not shared with what it was copied from.
        dir.open_rw("from").write_all_at(b"changed", 20_000).expect("pwrite");
        dir.check("to", &wanted);
        to.write_all_at(b"CHANGED", 150_000).expect("pwrite");
        wanted[150_000..150_007].copy_from_slice(b"CHANGED");
        dir.check("to", &wanted);
        assert_eq!(&dir.read("from")[69_990..70_010], &bytes[69_990..70_010]);
        let same = copy_file_range(&to, Some(&mut 0), &to, Some(&mut 200_000), 1000);
        assert_eq!(same.expect("a copy within a file"), 1000);
        wanted.copy_within(0..1000, 200_000);
        dir.check("to", &wanted);
        assert_eq!(copy_file_range(&from, Some(&mut 400_000), &to, Some(&mut 0), 10), Ok(0));
    }

    a_shared_mapping_and_write_see_each_other(dir) given { dir.write("f", vec![1; 20_000]); } then {
        let file = dir.open_rw("f");
        let mut map = map_shared(&file, 0, 20_000).expect("mmap");
        assert_eq!(map[5000], 1);
        file.write_all_at(b"by write", 5000).expect("pwrite");
        assert_eq!(&map[5000..5008], b"by write");
        map[10_000..10_006].copy_from_slice(b"by map");
        let mut buffer = [0; 6];
        file.read_exact_at(&mut buffer, 10_000).expect("pread");
        assert_eq!(&buffer, b"by map");
        map.flush().expect("msync");
        drop(map);
        let mut wanted = vec![1; 20_000];
        wanted[5000..5008].copy_from_slice(b"by write");
        wanted[10_000..10_006].copy_from_slice(b"by map");
        dir.check("f", wanted);
    }

    a_shared_mapping_outlives_the_descriptor_and_the_name(dir) given {
        dir.write("f", vec![1; 8192]);
    } then {
        let mut map = map_shared(&dir.open_rw("f"), 0, 8192).expect("mmap");
        dir.link("f", "g");
        dir.unlink("f");
        map[4096..4100].copy_from_slice(b"late");
        map.flush().expect("msync");
        drop(map);
        assert_eq!(&dir.read("g")[4096..4100], b"late");
    }

    a_private_mapping_changes_no_file(dir) given { dir.write("f", vec![1; 8192]); } then {
        let script = "f = open(sys.argv[1], 'rb')\n\
            both = mmap.PROT_READ | mmap.PROT_WRITE\n\
            m = mmap.mmap(f.fileno(), 8192, flags=mmap.MAP_PRIVATE, prot=both)\n\
            m[0:5] = b'mine!'\n\
            say(m[0:6].hex())";
        let mut python = Python::start(script, &[dir.path("f")]);
        assert_eq!(python.hear(), "6d696e652101");
        assert_eq!(python.end(), 0);
        dir.check("f", vec![1; 8192]);
    }

    a_mapping_beyond_the_end_faults(dir) given { dir.write("f", vec![1; 10_000]); } then {
        let script = "f = open(sys.argv[1], 'r+b')\n\
            m = mmap.mmap(f.fileno(), 10000)\n\
            f.truncate(10)\n\
            m[5000]";
        let python = Python::start(script, &[dir.path("f")]);
        assert_eq!(python.end(), -7, "an access beyond the end raises SIGBUS");
        assert_eq!(dir.stat("f").len(), 10);
    }

    locks_of_whole_files_exclude_each_other(dir) given { dir.write("f", b"x"); } then {
        let (one, two) = (dir.open_rw("f"), dir.open_rw("f"));
        flock(&one, FlockOperation::LockExclusive).expect("flock");
        assert_errno(flock(&two, FlockOperation::NonBlockingLockShared), Errno::WOULDBLOCK);
        flock(&one, FlockOperation::Unlock).expect("unlock");
        flock(&two, FlockOperation::NonBlockingLockShared).expect("a free lock");
        flock(&one, FlockOperation::NonBlockingLockShared).expect("a shared lock");
    }

    locks_of_ranges_exclude_other_processes(dir) given { dir.write("f", vec![0; 100]); } then {
        let script = r#"
f = open(sys.argv[1], 'r+b')
def attempt(start):
    try:
        fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, start)
        return 'got'
    except OSError as e:
        return errno.errorcode[e.errno]
while wait():
    say(attempt(int(sys.argv[2])) + ' ' + attempt(50))
"#;
        let path = dir.path("f");
        let at = |start| [path.as_os_str(), std::ffi::OsStr::new(start)];
        let mut one = Python::start(script, &at("0"));
        one.go();
        assert_eq!(one.hear(), "got got");
        let mut two = Python::start(script, &at("20"));
        two.go();
        assert_eq!(two.hear(), "got EAGAIN");
        assert_eq!(one.end(), 0);
        two.go();
        assert_eq!(two.hear(), "got got");
    }

    blocks_say_what_a_file_takes(dir) given { dir.write("base", vec![1; 100_000]); } then {
        dir.write("new", vec![1; 100_000]);
        dir.open_rw("sparse").set_len(1 << 30).expect("truncate");
        for name in ["base", "new"] {
            let blocks = dir.stat(name).blocks();
            assert!((150..2000).contains(&blocks), "{name} takes {blocks} blocks");
        }
        assert!(dir.stat("sparse").blocks() < 2000);
    }
}
