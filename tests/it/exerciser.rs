//! Random operations on a file of the base and on its forks, checked byte for byte against plain
//! memory.
//!
//! What fsx cannot do: it begins with the base's content instead of overwriting it, so ranges of
//! the base, of the branch and holes meet in one file; it zeroes ranges (FALLOC_FL_ZERO_RANGE); and
//! the forks made on the way go on changing the file themselves, are committed and aborted.
//!
//! `BRANCHFS_EXERCISER_OPERATIONS` makes it longer, `BRANCHFS_EXERCISER_SEED` chooses the run.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, SeekFrom, copy_file_range, fallocate, ftruncate, seek};
use rustix::io::Errno;

use crate::harness::mapping::map_shared;
use crate::harness::{Branch, Workspace, assert_errno};

/// The largest the file grows.
const MOST_BYTES: u64 = 256 << 10;
/// The largest operation.
const MOST_AT_ONCE: u64 = 48 << 10;
/// Forks that live at the same time.
const FORKS: usize = 3;
const PAGE: u64 = 4096;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// A range that is not empty, within `limit`.
    fn range(&mut self, limit: u64) -> (u64, u64) {
        let at = self.below(limit);
        let len = 1 + self.below(MOST_AT_ONCE.min(limit - at));
        (at, len)
    }
}

/// A branch, its file, and what the file must hold.
struct Copy {
    branch: Branch,
    file: File,
    model: Vec<u8>,
    /// What it held when it was forked.
    forked: Vec<u8>,
    /// How often it was changed.
    changes: usize,
    /// How often its parent was when it was forked.
    parent_changes: usize,
}

impl Copy {
    fn of(branch: Branch, model: Vec<u8>, parent_changes: usize) -> Copy {
        Copy {
            file: branch.open_rw("f"),
            branch,
            forked: model.clone(),
            model,
            changes: 0,
            parent_changes,
        }
    }

    fn size(&self) -> u64 {
        self.model.len() as u64
    }

    /// What an operation that reaches to `end` makes of the size.
    fn grow(&mut self, end: u64) {
        if end > self.size() {
            self.model.resize(end as usize, 0);
        }
    }

    fn fill(&mut self, at: u64, bytes: &[u8]) {
        self.grow(at + bytes.len() as u64);
        self.model[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    /// One random change.
    fn change(&mut self, random: &mut Random) {
        self.changes += 1;
        match random.below(10) {
            0..=3 => self.write(random),
            4 => self.map_write(random),
            5 => self.truncate(random),
            6 => self.punch(random),
            7 => self.zero(random),
            8 => self.allocate(random),
            _ => self.copy(random),
        }
    }

    fn write(&mut self, random: &mut Random) {
        let (at, len) = random.range(MOST_BYTES);
        let bytes = vec![random.next() as u8; len as usize];
        self.file.write_all_at(&bytes, at).expect("write");
        self.fill(at, &bytes);
    }

    fn map_write(&mut self, random: &mut Random) {
        if self.size() == 0 {
            return;
        }
        let (at, len) = random.range(self.size());
        let start = at / PAGE * PAGE;
        let mut map = map_shared(&self.file, start, (at + len - start) as usize).expect("map");
        let bytes = vec![random.next() as u8; len as usize];
        map[(at - start) as usize..].copy_from_slice(&bytes);
        if random.below(2) == 0 {
            map.flush().expect("msync");
        }
        drop(map);
        self.fill(at, &bytes);
    }

    fn truncate(&mut self, random: &mut Random) {
        let size = random.below(MOST_BYTES);
        ftruncate(&self.file, size).expect("truncate");
        self.model.resize(size as usize, 0);
    }

    fn punch(&mut self, random: &mut Random) {
        let (at, len) = random.range(MOST_BYTES);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, flags, at, len).expect("punch");
        let size = self.model.len();
        let end = ((at + len) as usize).min(size);
        self.model[(at as usize).min(size)..end].fill(0);
    }

    fn zero(&mut self, random: &mut Random) {
        let (at, len) = random.range(MOST_BYTES);
        fallocate(&self.file, FallocateFlags::ZERO_RANGE, at, len).expect("zero range");
        self.fill(at, &vec![0; len as usize]);
    }

    fn allocate(&mut self, random: &mut Random) {
        let (at, len) = random.range(MOST_BYTES);
        fallocate(&self.file, FallocateFlags::empty(), at, len).expect("fallocate");
        self.grow(at + len);
    }

    fn copy(&mut self, random: &mut Random) {
        let half = self.size() / 2;
        if half == 0 {
            return;
        }
        let (mut from, len) = random.range(half);
        let len = len.min(half - from);
        let at = half + random.below(MOST_BYTES - half - len);
        let bytes = self.model[from as usize..(from + len) as usize].to_vec();
        let (mut to, mut left) = (at, len as usize);
        while left > 0 {
            let (input, output) = (Some(&mut from), Some(&mut to));
            let copied = copy_file_range(&self.file, input, &self.file, output, left);
            left -= copied.expect("copy_file_range");
        }
        self.fill(at, &bytes);
    }

    /// Reads a range by read(2) and by a mapping, and all of it now and then.
    #[track_caller]
    fn check(&self, random: &mut Random, what: &str) {
        let size = self.file.metadata().expect("fstat").len();
        assert_eq!(size, self.size(), "size, {what}");
        if size == 0 {
            return;
        }
        let (at, len) = match random.below(10) {
            0 => (0, size),
            _ => random.range(size),
        };
        let wanted = &self.model[at as usize..(at + len) as usize];
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, at).expect("read");
        same(&bytes, wanted, at, &format!("read, {what}"));
        let start = at / PAGE * PAGE;
        let map = map_shared(&self.file, start, (at + len - start) as usize).expect("map");
        same(
            &map[(at - start) as usize..],
            wanted,
            at,
            &format!("mapping, {what}"),
        );
        self.check_holes(at, what);
    }

    /// What SEEK_DATA skips is zeros.
    #[track_caller]
    fn check_holes(&self, at: u64, what: &str) {
        let data = match seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => self.size(),
            Err(errno) => panic!("SEEK_DATA, {what}: {errno}"),
        };
        let skipped = &self.model[at as usize..data as usize];
        assert!(
            skipped.iter().all(|&b| b == 0),
            "SEEK_DATA skipped data from {at}, {what}"
        );
    }

    #[track_caller]
    fn check_all(&self, what: &str) {
        same(&self.branch.read("f"), &self.model, 0, what);
    }
}

#[track_caller]
fn same(found: &[u8], wanted: &[u8], at: u64, what: &str) {
    assert_eq!(found.len(), wanted.len(), "length, {what}");
    if let Some(first) = (0..found.len()).find(|&n| found[n] != wanted[n]) {
        let count = (first..found.len())
            .filter(|&n| found[n] != wanted[n])
            .count();
        let (found, wanted, at) = (found[first], wanted[first], at + first as u64);
        panic!("{what}: at {at:#x} {found:#04x} instead of {wanted:#04x}, {count} bytes differ");
    }
}

/// The branch under test and its forks.
struct World {
    top: Copy,
    forks: Vec<Copy>,
    made: usize,
    /// Commits that changed the file.
    landed: usize,
}

impl World {
    fn step(&mut self, random: &mut Random, is_main: bool, what: &str) {
        match random.below(60) {
            0..=1 if self.forks.len() < FORKS => {
                self.made += 1;
                let branch = self.top.branch.fork(format!("fork-{}", self.made));
                self.forks
                    .push(Copy::of(branch, self.top.model.clone(), self.top.changes));
            }
            2 if !self.forks.is_empty() => {
                let at = random.below(self.forks.len() as u64) as usize;
                let fork = self.forks.swap_remove(at);
                fork.check_all(&format!("before its abort, {what}"));
                fork.branch.abort();
            }
            3 if !self.forks.is_empty() => {
                let at = random.below(self.forks.len() as u64) as usize;
                self.commit(at, what);
            }
            4 => self.commit_at_once(random, what),
            5 if is_main => self.top.branch.ctl("publish").expect("publish"),
            _ => {
                let at = random.below(self.forks.len() as u64 + 2) as usize;
                let copy = match self.forks.get_mut(at) {
                    Some(fork) => fork,
                    None => &mut self.top,
                };
                match random.below(3) {
                    0 => copy.check(random, what),
                    _ => copy.change(random),
                }
            }
        }
    }

    /// A fork that commits before its parent changes again, so the commit lands.
    fn commit_at_once(&mut self, random: &mut Random, what: &str) {
        self.made += 1;
        let branch = self.top.branch.fork(format!("fork-{}", self.made));
        let mut fork = Copy::of(branch, self.top.model.clone(), self.top.changes);
        for _ in 0..=random.below(4) {
            fork.change(random);
        }
        self.forks.push(fork);
        self.commit(self.forks.len() - 1, what);
    }

    /// A commit lands, or is refused and changes nothing.
    fn commit(&mut self, at: usize, what: &str) {
        let fork = &self.forks[at];
        fork.check_all(&format!("before its commit, {what}"));
        let changed = fork.model != fork.forked;
        let parent_changed = self.top.model != fork.forked;
        if let Err(error) = fork.branch.try_commit() {
            assert_errno(Err::<(), _>(error), Errno::BUSY);
            let both = fork.changes > 0 && self.top.changes > fork.parent_changes;
            assert!(both, "a commit was refused for nothing, {what}");
            fork.check_all(&format!("after its refused commit, {what}"));
            self.top
                .check_all(&format!("after a refused commit, {what}"));
            return;
        }
        assert!(
            !(changed && parent_changed),
            "a commit overwrote the parent's change, {what}"
        );
        let fork = self.forks.swap_remove(at);
        // The old file stays what it was for who has it open.
        self.top
            .check(&mut Random(0), &format!("held over a commit, {what}"));
        self.top.file = self.top.branch.open_rw("f");
        self.landed += usize::from(changed);
        if changed {
            self.top.changes += 1;
            self.top.model = fork.model;
        }
        self.top.check_all(&format!("after a commit, {what}"));
    }
}

/// Runs in the branch `levels` below main of a mount with `option`.
fn exercise(levels: usize, option: &str) {
    let base: Vec<u8> = (0..150_000_u32).map(|n| (n / 7 + n % 251) as u8).collect();
    let operations = setting("BRANCHFS_EXERCISER_OPERATIONS", 2_500);
    let seed = setting("BRANCHFS_EXERCISER_SEED", 1) + 1_000 * levels as u64;
    let ws = Workspace::build()
        .option("policy=merge")
        .option(option)
        .base(|tree| tree.write("f", &base))
        .seconds(120 + operations / 50)
        .mount();
    let mut branch = ws.main();
    for _ in 0..levels {
        branch = branch.fork("below");
    }
    let mut random = Random(seed);
    let mut world = World {
        top: Copy::of(branch, base, 0),
        forks: Vec::new(),
        made: 0,
        landed: 0,
    };
    for step in 0..operations {
        world.step(
            &mut random,
            levels == 0,
            &format!("seed {seed}, step {step}"),
        );
    }
    world.top.check_all("at the end");
    assert!(
        world.landed > 0,
        "no commit changed the file: more operations are needed"
    );
    for fork in &world.forks {
        fork.check_all("a fork at the end");
    }
    let (wanted, forks) = (world.top.model, world.forks);
    drop(world.top.file);
    let forks: Vec<(Branch, Vec<u8>)> = forks.into_iter().map(|f| (f.branch, f.model)).collect();
    ws.remount();
    same(&world.top.branch.read("f"), &wanted, 0, "after a remount");
    for (branch, wanted) in forks {
        same(&branch.read("f"), &wanted, 0, "a fork after a remount");
    }
    ws.unmount();
    ws.fsck();
}

#[test]
fn a_base_file_and_its_forks_hold_what_was_written_in_main() {
    exercise(0, "");
}

#[test]
fn a_base_file_and_its_forks_hold_what_was_written_in_a_branch() {
    exercise(1, "");
}

#[test]
fn a_base_file_and_its_forks_hold_what_was_written_in_a_nested_branch() {
    exercise(2, "");
}

#[test]
fn a_base_file_and_its_forks_hold_what_was_written_while_writes_wait() {
    exercise(1, "writeback");
}
