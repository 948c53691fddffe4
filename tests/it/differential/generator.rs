//! How a seed becomes a sequence of operations.

use rustix::fs::{FallocateFlags, Mode, OFlags, RenameFlags, XattrFlags};

use super::op::{Name, Op, SLOTS};
use super::random::Random;

/// Names that mostly belong to directories; the base tree has both on two levels.
const DIRECTORIES: [&[u8]; 2] = [b"a", b"b"];

/// Names that mostly belong to other files.
const FILES: [&[u8]; 5] = [b"c", b"d", b"e", b"\xff\xfe not utf-8", b"new\nline"];

/// One name in this many is of the other kind, so that kinds collide too.
const MIXED: u64 = 12;

/// Makes operations on paths below a top directory.
pub struct Generator {
    random: Random,
    top: String,
}

impl Generator {
    /// Operations on paths below `top`, from `seed`.
    pub fn new(seed: u64, top: &str) -> Generator {
        Generator {
            random: Random::new(seed),
            top: top.to_owned(),
        }
    }

    /// A path that is likely to be a file's.
    fn path(&mut self) -> Name {
        self.path_of(&FILES)
    }

    /// A path that is likely to be a directory's.
    fn directory(&mut self) -> Name {
        self.path_of(&DIRECTORIES)
    }

    /// A path of either.
    fn any_path(&mut self) -> Name {
        if self.random.once_in(3) {
            self.directory()
        } else {
            self.path()
        }
    }

    fn path_of(&mut self, likely: &[&[u8]]) -> Name {
        let depth = self.random.pick(&[1, 1, 2, 2, 2, 3]);
        let mut path = self.top.clone().into_bytes();
        for level in 1..=depth {
            path.push(b'/');
            let last = level == depth;
            let mixed = self.random.once_in(MIXED);
            let pool = match last {
                true if mixed => self.random.pick(&[&DIRECTORIES[..], &FILES[..]]),
                true => likely,
                false if mixed => &FILES[..2],
                false => &DIRECTORIES[..],
            };
            path.extend_from_slice(self.random.pick(pool));
        }
        path
    }

    fn slot(&mut self) -> usize {
        self.random.below(SLOTS as u64) as usize
    }

    fn offset(&mut self) -> u64 {
        match self.random.below(40) {
            0 => (5 << 30) + self.random.below(10_000),
            1..=10 => self.random.below(80) * 4096,
            _ => self.random.below(200_000),
        }
    }

    fn len(&mut self) -> usize {
        let most = self.random.pick(&[1, 100, 4096, 20_000, 140_000]);
        self.random.below(most) as usize + 1
    }

    fn mode(&mut self) -> Mode {
        let bits = self.random.pick(&[
            0o644, 0o600, 0o755, 0o777, 0o400, 0o4755, 0o2755, 0o6711, 0o1777, 0,
        ]);
        Mode::from_raw_mode(bits)
    }

    fn fill(&mut self) -> u8 {
        self.random.next() as u8
    }

    fn open(&mut self) -> Op {
        let mut flags =
            self.random
                .pick(&[OFlags::RDWR, OFlags::RDWR, OFlags::RDONLY, OFlags::WRONLY]);
        for (flag, n) in [
            (OFlags::CREATE, 2),
            (OFlags::EXCL, 8),
            (OFlags::APPEND, 5),
            (OFlags::NOFOLLOW, 8),
            (OFlags::DIRECTORY, 20),
        ] {
            if self.random.once_in(n) {
                flags |= flag;
            }
        }
        // O_TRUNC without write access is unspecified, and so is O_EXCL without O_CREAT.
        if self.random.once_in(5) && !flags.contains(OFlags::DIRECTORY) {
            flags |= OFlags::TRUNC | OFlags::RDWR;
            flags -= OFlags::WRONLY;
        }
        if !flags.contains(OFlags::CREATE) {
            flags -= OFlags::EXCL;
        }
        Op::Open {
            path: self.path(),
            flags,
            mode: self.mode(),
            slot: self.slot(),
        }
    }

    fn xattr_name(&mut self) -> String {
        let names = ["user.a", "user.b", "user.long.name", "trusted.t"];
        let usable = if crate::harness::requirements::is_root() {
            4
        } else {
            3
        };
        self.random.pick(&names[..usable]).to_owned()
    }

    fn on_slot(&mut self) -> Op {
        let slot = self.slot();
        let (offset, len, fill) = (self.offset(), self.len(), self.fill());
        match self.random.below(21) {
            0..=4 => Op::WriteAt {
                slot,
                offset,
                len,
                fill,
            },
            5..=7 => Op::ReadAt { slot, offset, len },
            8 => Op::FstatSlot { slot },
            9 | 10 => Op::TruncateSlot { slot, size: offset },
            11 => Op::ChmodSlot {
                slot,
                mode: self.mode(),
            },
            12 | 13 => {
                let keep = FallocateFlags::KEEP_SIZE;
                let flags = self.random.pick(&[
                    FallocateFlags::empty(),
                    keep,
                    FallocateFlags::PUNCH_HOLE | keep,
                    FallocateFlags::ZERO_RANGE,
                    FallocateFlags::ZERO_RANGE | keep,
                ]);
                Op::Fallocate {
                    slot,
                    flags,
                    offset: offset % (1 << 20),
                    len: len as u64,
                }
            }
            14 => Op::Seek {
                slot,
                offset,
                hole: self.random.once_in(2),
            },
            15 | 16 => {
                let (to, from_offset) = (self.slot(), self.offset());
                Op::CopyRange {
                    from: slot,
                    from_offset,
                    to,
                    to_offset: offset,
                    len,
                }
            }
            17 | 18 => {
                let page = self.random.below(30);
                Op::MapWrite {
                    slot,
                    page,
                    len: len.min(8192),
                    fill,
                }
            }
            19 => Op::Fsync {
                slot,
                data_only: self.random.once_in(2),
            },
            _ => Op::Close { slot },
        }
    }

    fn on_attributes(&mut self) -> Op {
        let path = self.any_path();
        match self.random.below(12) {
            0 | 1 => Op::Chmod {
                path,
                mode: self.mode(),
            },
            2 if crate::harness::requirements::is_root() => {
                let uid = self.random.below(3) as u32 * 1000;
                Op::Chown {
                    path,
                    uid,
                    gid: self.random.below(3) as u32 * 100,
                }
            }
            2..=4 => {
                let sec = 1_000_000_000 + self.random.below(400_000_000) as i64;
                Op::Utimens {
                    path,
                    sec,
                    nsec: self.random.below(1_000_000_000) as i64,
                }
            }
            5..=7 => {
                let choices = [XattrFlags::empty(), XattrFlags::CREATE, XattrFlags::REPLACE];
                let flags = self.random.pick(&choices);
                let (name, len) = (self.xattr_name(), self.random.below(300) as usize);
                Op::SetXattr {
                    path,
                    name,
                    len,
                    fill: self.fill(),
                    flags,
                }
            }
            8 => Op::GetXattr {
                path,
                name: self.xattr_name(),
            },
            9 => Op::RemoveXattr {
                path,
                name: self.xattr_name(),
            },
            10 => Op::ListXattr { path },
            _ => Op::Access {
                path,
                write: self.random.once_in(2),
            },
        }
    }

    fn on_names(&mut self) -> Op {
        match self.random.below(26) {
            0..=2 => Op::Mkdir {
                path: self.directory(),
                mode: self.mode(),
            },
            3 | 4 => Op::Rmdir {
                path: self.directory(),
            },
            5..=7 => Op::Unlink { path: self.path() },
            8..=12 => self.rename(),
            13..=15 => Op::Link {
                old: self.path(),
                new: self.path(),
            },
            16 | 17 => {
                let targets = [&b"a"[..], b"../b", b"c", b"/nonexistent/file", b"b/a", b"e"];
                let target = self.random.pick(&targets).to_vec();
                Op::Symlink {
                    target,
                    path: self.path(),
                }
            }
            18 | 19 => Op::Readlink { path: self.path() },
            20 => Op::Mkfifo {
                path: self.path(),
                mode: self.mode(),
            },
            21 | 22 => Op::List {
                path: self.directory(),
            },
            _ => Op::Stat {
                path: self.any_path(),
            },
        }
    }

    fn rename(&mut self) -> Op {
        let usual = RenameFlags::empty();
        let choices = [usual, usual, RenameFlags::NOREPLACE, RenameFlags::EXCHANGE];
        let flags = self.random.pick(&choices);
        let (from, to) = match self.random.below(8) {
            0..=3 => (self.path(), self.path()),
            4..=6 => (self.directory(), self.directory()),
            _ => (self.any_path(), self.any_path()),
        };
        Op::Rename { from, to, flags }
    }

    /// The next operation.
    pub fn op(&mut self) -> Op {
        match self.random.below(20) {
            0..=2 => self.open(),
            3..=8 => self.on_slot(),
            9..=11 => self.on_attributes(),
            12 => Op::Append {
                path: self.path(),
                len: self.len(),
                fill: self.fill(),
            },
            13 => Op::ReadFile { path: self.path() },
            14 => Op::Truncate {
                path: self.path(),
                size: self.offset(),
            },
            _ => self.on_names(),
        }
    }
}
