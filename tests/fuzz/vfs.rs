//! File operations with arguments that no program and no kernel would give: nodes that do not
//! exist, names of any bytes and lengths, offsets and lengths at every edge, unknown flags.
//!
//! What holds: each is answered. Afterwards the store is sound, and so it is when it was mounted
//! once more.

use std::path::Path;

use branchfs::tree::{NodeId, Time};
use branchfs::vfs::ops::{
    Cred, Entry, Errno, Lookup, OpResult, Ops, Outcome, SetAttr, SetTime, Sink,
};

use crate::driver::{Cases, Target};
use crate::mounted::{Mounted, ROOT, open};
use crate::random::Random;

/// File operations with any arguments.
pub const TARGET: Target = Target {
    name: "vfs",
    cases: 250,
    prepare,
};

const NAMES: [&[u8]; 29] = [
    b"f",
    b"d",
    b"e",
    b"g",
    b"large",
    b"hard",
    b"link",
    b"fifo",
    b"empty",
    b"new",
    b"a",
    b"b",
    b".",
    b"..",
    b"",
    b"/",
    b"a/b",
    b"../f",
    b"nul\0byte",
    b"\xff\xfe",
    b".ctl",
    b".commit",
    b"@branches",
    b"@self",
    b"status",
    b".trash",
    b"patch",
    b"diff",
    b"conflicts",
];

/// Never more than this at once: what is written is kept in memory here.
const DATA_BYTES: usize = 200_000;

struct Case<'a> {
    mounted: &'a Mounted,
    random: Random,
    /// Nodes that some answer has named.
    nodes: Vec<NodeId>,
}

fn prepare(_: &Path) -> Cases {
    Box::new(|seed, dir| {
        let mut random = Random::new(seed);
        let mut mounted = Mounted::new(dir, &mut random);
        for _ in 0..1 + random.below(2) {
            let steps = 10 + random.below(150);
            let mut case = Case {
                mounted: &mounted,
                random,
                nodes: vec![NodeId(ROOT)],
            };
            case.find();
            for _ in 0..steps {
                case.step();
            }
            random = case.random;
            if random.once_in(3) {
                let workspace = mounted.vfs.workspace().clone();
                // A full disk or a read-only mount refuses it.
                let _ = workspace.checkpoint();
                let _ = workspace.reclaim(&Vec::new);
            }
            mounted.end();
            let workspace = open(dir, &mut random).expect("what was sound is opened");
            mounted = Mounted::of(dir, workspace, &mut random);
        }
        mounted.end();
    })
}

impl Case<'_> {
    fn node(&mut self) -> NodeId {
        let random = &mut self.random;
        let known = *random.pick(&self.nodes);
        match random.below(24) {
            0 => NodeId(random.edge()),
            1 => NodeId(known.0 ^ 1 << random.below(64)),
            2 | 3 => NodeId(ROOT),
            _ => known,
        }
    }

    fn name(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        match random.below(20) {
            0 => random.bytes(20),
            1 => random.pick(&NAMES).repeat(random.below(70_000)),
            2 => vec![b'n'; 254 + random.below(3)],
            _ => random.pick(&NAMES).to_vec(),
        }
    }

    fn number(&mut self) -> u64 {
        self.random.edge()
    }

    fn data(&mut self) -> Vec<u8> {
        let len = match self.random.below(4) {
            0 => DATA_BYTES,
            _ => 5000,
        };
        vec![self.random.next() as u8; self.random.below(len)]
    }

    fn entry(&mut self, entry: OpResult<Entry>) {
        self.nodes.extend(entry.map(|entry| entry.node.node));
    }

    /// Learns the nodes of every branch's files and reserved files.
    fn find(&mut self) {
        let cred = Cred {
            uid: 0,
            gid: 0,
            pid: 1,
        };
        let mut todo = vec![(NodeId(ROOT), 0)];
        while let Some((at, depth)) = todo.pop() {
            for name in NAMES {
                if let Ok(Lookup::Found(entry)) = self.mounted.vfs.lookup(&cred, at, name) {
                    let node = entry.node.node;
                    if depth < 4 && !self.nodes.contains(&node) {
                        self.nodes.push(node);
                        todo.push((node, depth + 1));
                    }
                }
            }
        }
    }

    fn step(&mut self) {
        let cred = self.mounted.cred(&mut self.random);
        match self.random.below(3) {
            0 => self.change_name(&cred),
            1 => self.change_file(&cred),
            _ => self.look(&cred),
        }
    }

    fn change_name(&mut self, cred: &Cred) {
        let vfs = &self.mounted.vfs;
        let (at, name) = (self.node(), self.name());
        let (to, new_name) = (self.node(), self.name());
        let (mode, flags) = (self.number() as u32, self.number() as u32);
        match self.random.below(8) {
            0 => {
                let kind = *self.random.pick(&[mode, 0o100_644, 0o010_644, 0o020_600]);
                let made = vfs.mknod(cred, at, &name, kind, flags, mode);
                self.entry(made);
            }
            1 | 2 => {
                let made = vfs
                    .mkdir(cred, at, &name, mode, flags)
                    .and_then(Outcome::wait);
                self.entry(made);
            }
            3 => {
                let target = self.name();
                let made = vfs.symlink(cred, at, &name, &target);
                self.entry(made);
            }
            4 => {
                let made = vfs.link(cred, at, to, &new_name);
                self.entry(made);
            }
            5 => {
                let _: Result<(), Errno> = vfs.unlink(cred, at, &name);
            }
            6 => {
                let _ = vfs.rmdir(cred, at, &name).and_then(Outcome::wait);
            }
            _ => {
                let flags = *self.random.pick(&[0, 0, 0, 1, 2, 4, flags]);
                let done = vfs.rename(cred, at, &name, to, &new_name, flags);
                let _ = done.and_then(Outcome::wait);
            }
        }
    }

    fn change_file(&mut self, cred: &Cred) {
        let vfs = &self.mounted.vfs;
        let (node, other) = (self.node(), self.node());
        let (offset, len, flags) = (self.number(), self.number(), self.number());
        // Each answers with an error or not; here it only has to answer.
        match self.random.below(9) {
            0..=2 => {
                let data = self.data();
                let [kill, cached] = [self.random.once_in(3), self.random.once_in(4)];
                let done = vfs.write(cred, node, offset, &data, kill, cached);
                let _ = done.and_then(Outcome::wait);
            }
            3 => {
                let set = self.attributes();
                let _ = vfs.setattr(cred, node, &set);
            }
            4 => {
                let mode = *self.random.pick(&[0, 1, 3, 0x10, 0x11, flags as i32]);
                let _ = vfs.fallocate(cred, node, offset, len, mode);
            }
            5 => {
                let _ = vfs.copy_file_range(cred, node, offset, other, flags, len);
            }
            6 => {
                let (name, value) = (self.xattr(), self.data());
                let flags = *self.random.pick(&[0, 1, 2, flags as i32]);
                let _ = vfs.setxattr(cred, node, &name, &value, flags);
            }
            7 => {
                let name = self.xattr();
                let _ = vfs.removexattr(cred, node, &name);
            }
            _ => {
                let data_only = self.random.once_in(2);
                let _ = vfs.fsync(node, data_only).and_then(Outcome::wait);
            }
        }
    }

    fn xattr(&mut self) -> Vec<u8> {
        let names: [&[u8]; 5] = [
            b"user.a",
            b"system.posix_acl_access",
            b"system.posix_acl_default",
            b"security.capability",
            b"trusted.x",
        ];
        match self.random.below(6) {
            0 => self.name(),
            i => names[i - 1].to_vec(),
        }
    }

    fn attributes(&mut self) -> SetAttr {
        let time = |random: &mut Random| match random.below(4) {
            0 => Some(SetTime::Now),
            1 => {
                let time = Time {
                    sec: random.edge() as i64,
                    nsec: random.edge() as u32,
                };
                Some(SetTime::At(time))
            }
            _ => None,
        };
        let random = &mut self.random;
        let number = |random: &mut Random| random.once_in(3).then(|| random.edge());
        SetAttr {
            mode: number(random).map(|n| n as u32),
            uid: number(random).map(|n| n as u32),
            gid: number(random).map(|n| n as u32),
            size: number(random),
            atime: time(random),
            mtime: time(random),
            ctime: time(random),
        }
    }

    fn look(&mut self, cred: &Cred) {
        let vfs = &self.mounted.vfs;
        let (node, offset, len) = (self.node(), self.number(), self.number());
        match self.random.below(11) {
            0 | 1 => {
                let name = self.name();
                if let Ok(Lookup::Found(entry)) = vfs.lookup(cred, node, &name) {
                    self.nodes.push(entry.node.node);
                }
            }
            2 => vfs.forget(node, self.random.edge()),
            3 => {
                let _ = vfs.getattr(cred, node, self.random.once_in(2));
            }
            4 => {
                let _ = vfs.readlink(node);
            }
            5 => {
                // The kernel asks for no more than a mebibyte at a time.
                let mut out = Vec::new();
                let len = (len as u32).min(1 << 20);
                if vfs.read(node, offset, len, &mut out).is_ok() {
                    assert!(out.len() <= len as usize, "more than was asked for");
                }
            }
            6 => {
                let _ = vfs.readdir(cred, node, offset, &mut |_| Sink::Taken);
            }
            7 => {
                let mut found = Vec::new();
                let _ = vfs.readdirplus(cred, node, offset, &mut |_, entry| {
                    found.push(entry.node.node);
                    Sink::Taken
                });
                self.nodes.extend(found.into_iter().take(20));
            }
            8 => {
                let _ = vfs.statfs(node);
            }
            9 => {
                let name = self.xattr();
                let _ = vfs.getxattr(cred, node, &name);
                let _ = vfs.listxattr(cred, node);
            }
            _ => {
                let whence = *self.random.pick(&[3, 4, len as i32]);
                let _ = vfs.lseek(node, offset, whence).and_then(Outcome::wait);
            }
        }
    }
}
