//! Runs the operations on content and attributes, on both sides, and compares the outcomes.

use super::branches::Bid;
use super::kernel::CRED;
use super::names::agree;
use super::op::{Op, Range};
use super::tree::{File, Named, ROOT, write_at};
use super::world::{Checked, World, seconds};
use crate::tree::Kind;
use crate::vfs::ops::{OpResult, Ops, Outcome, SetAttr, SetTime};

impl World {
    /// Does something to the node of a name and, if it succeeds, to the model's file.
    fn on_file<T>(
        &mut self,
        (b, named): (Bid, &Named),
        act: impl FnOnce(&crate::vfs::Vfs, crate::tree::NodeId) -> OpResult<T>,
        model: impl FnOnce(&mut File) -> Result<(), i32>,
    ) -> Checked {
        self.note("change", b, (named.dir, &named.name));
        let dentry = self.find(b, named.dir, &named.name)?;
        let got = act(&self.vfs(), self.kernel.node(dentry));
        let mut changed = self.model.get(b).tree.get(named.file).clone();
        let expected = model(&mut changed);
        if agree(&got, &expected)? {
            changed.touched = super::branches::tick();
            *self.tree(b).get_mut(named.file) = changed;
        }
        Ok(())
    }

    fn write(&mut self, b: Bid, named: &Named, at: usize, bytes: &[u8]) -> Checked {
        self.on_file(
            (b, named),
            |vfs, node| {
                let wrote = vfs
                    .write(&CRED, node, at as u64, bytes, false, false)?
                    .wait()?;
                assert_eq!(wrote as usize, bytes.len(), "a short write");
                Ok(())
            },
            |file| file.edit(|data| write_at(data, at, bytes)),
        )
    }

    fn copy(&mut self, from: (Bid, &Named, u64), to: (Bid, &Named, u64), len: u64) -> Checked {
        self.note("copy", from.0, (from.1.dir, &from.1.name));
        self.note("  to", to.0, (to.1.dir, &to.1.name));
        let source = self.find(from.0, from.1.dir, &from.1.name)?;
        let target = self.find(to.0, to.1.dir, &to.1.name)?;
        let kinds = [from, to].map(|(b, n, _)| self.model.get(b).tree.get(n.file).kind);
        let data = self.model.get(from.0).tree.get(from.1.file).data().to_vec();
        let len = len.min((data.len() as u64).saturating_sub(from.2));
        let overlap = from.2.abs_diff(to.2) < len;
        // The kernel answers these by itself.
        if kinds != [Kind::File; 2] || len == 0 || (source == target && overlap) {
            return Ok(());
        }
        let same_file = (from.0, from.1.file) == (to.0, to.1.file);
        if same_file && overlap {
            return Ok(());
        }
        let (vfs, kernel) = (self.vfs(), &self.kernel);
        let mut done = 0;
        while done < len {
            let (node, to_node) = (kernel.node(source), kernel.node(target));
            let left = len - done;
            let got = vfs.copy_file_range(&CRED, node, from.2 + done, to_node, to.2 + done, left);
            match got {
                Ok(0) | Err(_) => return Err(format!("copies {got:?} after {done} of {len}")),
                Ok(copied) => done += copied,
            }
        }
        let bytes = &data[from.2 as usize..(from.2 + len) as usize];
        let file = self.tree(to.0).get_mut(to.1.file);
        file.edit(|data| write_at(data, to.2 as usize, bytes))
            .expect("it is a regular file");
        Ok(())
    }

    fn allocate(&mut self, b: Bid, named: &Named, at: u32, len: u32, what: Range) -> Checked {
        let keep = libc::FALLOC_FL_KEEP_SIZE;
        let (mode, zeros, grows) = match what {
            Range::Reserve => (0, false, true),
            Range::ReserveKeep => (keep, false, false),
            Range::Punch => (keep | libc::FALLOC_FL_PUNCH_HOLE, true, false),
            Range::Zero => (libc::FALLOC_FL_ZERO_RANGE, true, true),
            Range::ZeroKeep => (libc::FALLOC_FL_ZERO_RANGE | keep, true, false),
        };
        if self.model.get(b).tree.get(named.file).kind != Kind::File {
            return Ok(());
        }
        let (at, end) = (at as usize, (at + len) as usize);
        self.on_file(
            (b, named),
            |vfs, node| vfs.fallocate(&CRED, node, at as u64, len.into(), mode),
            |file| {
                file.edit(|data| {
                    if grows && data.len() < end {
                        data.resize(end, 0);
                    }
                    let stop = data.len().min(end);
                    if zeros && at < stop {
                        data[at..stop].fill(0);
                    }
                })
            },
        )
    }

    /// Runs an operation on a file's content or attributes; `false` where it is not one.
    pub fn run_data_op(&mut self, op: Op) -> Checked<bool> {
        let (b, sel) = match op {
            Op::Write { b, file, .. }
            | Op::Append { b, file, .. }
            | Op::Truncate { b, file, .. }
            | Op::Chmod { b, file, .. }
            | Op::Chown { b, file, .. }
            | Op::Utimes { b, file, .. }
            | Op::SetXattr { b, file, .. }
            | Op::RemoveXattr { b, file, .. }
            | Op::Allocate { b, file, .. }
            | Op::Copy { b, from: file, .. } => (self.branch(b), file),
            _ => return Ok(false),
        };
        let is_data = matches!(
            op,
            Op::Write { .. } | Op::Append { .. } | Op::Truncate { .. }
        );
        let named = match self.any_name(b, sel) {
            Some(named) => named,
            None => return Ok(true),
        };
        let kind = self.model.get(b).tree.get(named.file).kind;
        // These never get as far as the filesystem.
        if is_data && kind != Kind::File {
            return Ok(true);
        }
        self.run_on(op, b, &named, kind).map(|()| true)
    }

    fn run_on(&mut self, op: Op, b: Bid, named: &Named, kind: Kind) -> Checked {
        let size = self.model.get(b).tree.get(named.file).size();
        match op {
            Op::Write { at, len, fill, .. } => {
                self.write(b, named, at as usize, &pattern(len, fill))
            }
            Op::Append { len, fill, .. } => {
                self.write(b, named, size, &pattern(len.min(70_000), fill))
            }
            Op::Truncate { size, .. } => {
                let set = SetAttr {
                    size: Some(size.into()),
                    ..SetAttr::default()
                };
                let cut = |file: &mut File| file.edit(|data| data.resize(size as usize, 0));
                self.on_file((b, named), |vfs, node| vfs.setattr(&CRED, node, &set), cut)
            }
            Op::Chmod { mode, .. } if kind != Kind::Symlink => {
                let set = SetAttr {
                    mode: Some(mode.into()),
                    ..SetAttr::default()
                };
                self.on_file(
                    (b, named),
                    |vfs, node| vfs.setattr(&CRED, node, &set),
                    |file| {
                        file.mode = mode.into();
                        Ok(())
                    },
                )
            }
            Op::Chown { uid, gid, .. } => {
                let (uid, gid) = (u32::from(uid), u32::from(gid));
                let set = SetAttr {
                    uid: Some(uid),
                    gid: Some(gid),
                    ..SetAttr::default()
                };
                self.on_file(
                    (b, named),
                    |vfs, node| vfs.setattr(&CRED, node, &set),
                    |file| {
                        (file.uid, file.gid) = (uid, gid);
                        file.drop_set_id();
                        Ok(())
                    },
                )
            }
            Op::Utimes { sec, .. } => {
                let time = seconds(sec.into());
                let at = Some(SetTime::At(time));
                let set = SetAttr {
                    atime: at,
                    mtime: at,
                    ..SetAttr::default()
                };
                self.on_file(
                    (b, named),
                    |vfs, node| vfs.setattr(&CRED, node, &set),
                    |file| {
                        file.mtime = Some(time);
                        Ok(())
                    },
                )
            }
            Op::SetXattr {
                name, len, flags, ..
            } => {
                let name = [b"user.", name.name()].concat();
                self.set_xattr(b, named, &name, &pattern(len.into(), flags), flags.into())
            }
            Op::RemoveXattr { name, .. } => {
                let name = [b"user.", name.name()].concat();
                self.on_file(
                    (b, named),
                    |vfs, node| vfs.removexattr(&CRED, node, &name),
                    |file| file.xattrs.remove(&name).map(|_| ()).ok_or(libc::ENODATA),
                )
            }
            Op::Allocate { at, len, what, .. } => self.allocate(b, named, at, len, what),
            Op::Copy {
                to_b,
                to,
                at,
                to_at,
                len,
                ..
            } => {
                let to_b = self.branch(to_b);
                let Some(target) = self.any_name(to_b, to) else {
                    return Ok(());
                };
                self.copy(
                    (b, named, at.into()),
                    (to_b, &target, to_at.into()),
                    len.into(),
                )
            }
            _ => Ok(()),
        }
    }

    fn set_xattr(&mut self, b: Bid, at: &Named, name: &[u8], value: &[u8], flags: i32) -> Checked {
        let kind = self.model.get(b).tree.get(at.file).kind;
        self.on_file(
            (b, at),
            |vfs, node| vfs.setxattr(&CRED, node, name, value, flags),
            |file| {
                if !matches!(kind, Kind::File | Kind::Dir) {
                    return Err(libc::EPERM);
                }
                match (flags, file.xattrs.contains_key(name)) {
                    (libc::XATTR_CREATE, true) => Err(libc::EEXIST),
                    (libc::XATTR_REPLACE, false) => Err(libc::ENODATA),
                    _ => {
                        file.xattrs.insert(name.to_vec(), value.to_vec());
                        Ok(())
                    }
                }
            },
        )
    }

    /// Notes times that are not known yet, of everything in a branch that was changed.
    pub fn settle_times(&mut self, b: Bid) -> Checked {
        let tree = self.model.get(b).tree.clone();
        let unknown = tree
            .names()
            .into_iter()
            .filter(|n| tree.get(n.file).mtime.is_none());
        for named in unknown {
            let dentry = self.find(b, named.dir, &named.name)?;
            let attr = self
                .vfs()
                .getattr(&CRED, self.kernel.node(dentry), true)
                .and_then(Outcome::wait);
            let attr = attr.map_err(|e| format!("getattr: {e:?}"))?.attr;
            let tree = &mut self.model.get_mut(b).tree;
            let file = tree.files.get_mut(&named.file).expect("the model has it");
            std::sync::Arc::make_mut(file).mtime = Some(attr.mtime);
        }
        debug_assert!(tree.files.contains_key(&ROOT));
        Ok(())
    }
}

/// Bytes that tell where they are from.
pub fn pattern(len: u32, fill: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u8).wrapping_mul(3).wrapping_add(fill))
        .collect()
}
