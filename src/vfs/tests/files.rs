//! Runs the operations on files, on the filesystem and on the model, and compares the outcomes.

use super::branches::Bid;
use super::kernel::CRED;
use super::op::{Op, Range, Sel, Word};
use super::tree::{Body, Fid, File, Named, Onto, ROOT, Tree, write_at};
use super::world::{Checked, World, seconds};
use crate::tree::Kind;
use crate::vfs::ops::{Entry, Errno, OpResult, Ops, Outcome, SetAttr, SetTime};

/// Compares errnos; true where both succeeded.
pub fn agree<T, U>(got: &OpResult<T>, expected: &Result<U, i32>) -> Checked<bool> {
    let got = got.as_ref().map(|_| ()).map_err(|Errno(errno)| *errno);
    let expected = expected.as_ref().map(|_| ()).map_err(|errno| *errno);
    match got == expected {
        true => Ok(got.is_ok()),
        false => Err(format!("answers {got:?}, the model {expected:?}")),
    }
}

impl World {
    pub fn tree(&mut self, branch: Bid) -> &mut Tree {
        &mut self.model.get_mut(branch).tree
    }

    pub fn branch(&self, b: Sel) -> Bid {
        b.of(&self.model.live()).expect("main is live")
    }

    fn any_dir(&self, b: Bid, dir: Sel) -> Fid {
        dir.of(&self.model.get(b).tree.dirs())
            .expect("the root is there")
    }

    /// Any name; for even places one of a regular file, where there is one.
    fn any_name(&self, b: Bid, sel: Sel) -> Option<Named> {
        let tree = &self.model.get(b).tree;
        let names = tree.names();
        if sel.0 % 8 != 7 {
            let is_file = |n: &&Named| tree.get(n.file).kind == Kind::File;
            let files: Vec<_> = names.iter().filter(is_file).cloned().collect();
            if let Some(named) = sel.of(&files) {
                return Some(named);
            }
        }
        sel.of(&names)
    }

    fn all_names(&self, b: Bid, sel: Sel) -> Option<Named> {
        sel.of(&self.model.get(b).tree.names())
    }

    fn create(&mut self, b: Bid, dir: Fid, name: &[u8], file: File) -> Checked {
        self.note("create", b, (dir, name));
        let at = self.dir(b, dir)?;
        let (vfs, node) = (self.vfs(), self.kernel.node(at));
        let mode = file.mode | file.kind.to_mode();
        let got: OpResult<Entry> = match (&file.kind, &file.body) {
            (Kind::Dir, _) => vfs
                .mkdir(&CRED, node, name, file.mode, 0)
                .and_then(Outcome::wait),
            (_, Body::Link(target)) => vfs.symlink(&CRED, node, name, target),
            _ => vfs.mknod(&CRED, node, name, mode, 0, 0),
        };
        let fid = self.new_file();
        let expected = self.tree(b).create(fid, dir, name, file);
        if agree(&got, &expected)?
            && let Ok(entry) = got
        {
            self.kernel.instantiate(at, name, &entry);
        }
        Ok(())
    }

    fn remove(&mut self, b: Bid, dir: Fid, name: &[u8], want_dir: bool) -> Checked {
        self.note("remove", b, (dir, name));
        let at = self.dir(b, dir)?;
        self.find(b, dir, name)?;
        let (vfs, node) = (self.vfs(), self.kernel.node(at));
        let got = match want_dir {
            true => vfs.rmdir(&CRED, node, name).and_then(Outcome::wait),
            false => vfs.unlink(&CRED, node, name),
        };
        let expected = self.tree(b).remove(dir, name, want_dir);
        if agree(&got, &expected)? {
            self.orphaned(b, expected.unwrap_or(None));
            self.kernel.removed(&vfs, at, name);
        }
        Ok(())
    }

    /// What lost its last name lives on for those who have it open.
    fn orphaned(&mut self, b: Bid, gone: Option<(Fid, File)>) {
        let Some((file, left)) = gone else { return };
        for opened in self.open.values_mut() {
            if opened.branch == b && opened.file == Some(file) {
                (opened.file, opened.orphan) = (None, Some(left.clone()));
            }
        }
    }

    fn remove_tree(&mut self, b: Bid, dir: &Named) -> Checked {
        for (name, file) in self.model.get(b).tree.entries(dir.file).clone() {
            let inner = Named {
                dir: dir.file,
                name,
                file,
            };
            match self.model.get(b).tree.get(file).kind {
                Kind::Dir => self.remove_tree(b, &inner)?,
                _ => self.remove(b, inner.dir, &inner.name, false)?,
            }
        }
        self.remove(b, dir.dir, &dir.name, true)
    }

    fn rename(&mut self, b: Bid, from: (Fid, &[u8]), to: (Fid, &[u8]), onto: Onto) -> Checked {
        self.note("rename", b, from);
        self.note("    to", b, to);
        self.find(b, from.0, from.1)?;
        let (at, to_at) = (self.dir(b, from.0)?, self.dir(b, to.0)?);
        let vfs = self.vfs();
        // The kernel looks the new name up too.
        self.kernel
            .lookup(&vfs, to_at, to.1)
            .map_err(|e| format!("lookup: {e}"))?;
        let (node, to_node) = (self.kernel.node(at), self.kernel.node(to_at));
        let flags = match onto {
            Onto::Replace => 0,
            Onto::NoReplace => libc::RENAME_NOREPLACE,
            Onto::Exchange => libc::RENAME_EXCHANGE,
        };
        let got = vfs
            .rename(&CRED, node, from.1, to_node, to.1, flags)
            .and_then(Outcome::wait);
        let entry = |tree: &Tree, (dir, name): (Fid, &[u8])| tree.entries(dir).get(name).copied();
        let tree = self.tree(b);
        let same = entry(tree, from) == entry(tree, to);
        let expected = tree.rename(from, to, onto);
        if agree(&got, &expected)? && !same {
            self.orphaned(b, expected.unwrap_or(None));
            let exchange = onto == Onto::Exchange;
            self.kernel
                .renamed(&vfs, (at, from.1), (to_at, to.1), exchange);
        }
        Ok(())
    }

    fn link(&mut self, b: Bid, named: &Named, dir: Fid, name: &[u8]) -> Checked {
        self.note("link", b, (named.dir, &named.name));
        self.note("  to", b, (dir, name));
        let from = self.find(b, named.dir, &named.name)?;
        let at = self.dir(b, dir)?;
        let vfs = self.vfs();
        let got = vfs.link(&CRED, self.kernel.node(from), self.kernel.node(at), name);
        let expected = self.tree(b).link(named.file, dir, name);
        if agree(&got, &expected)?
            && let Ok(entry) = got
        {
            if entry.node.node != self.kernel.node(from) {
                return Err("a link is another node".into());
            }
            self.kernel.instantiate(at, name, &entry);
        }
        Ok(())
    }

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

    /// Runs an operation on names; `false` where it is not one.
    pub fn run_name_op(&mut self, op: Op) -> Checked<bool> {
        match op {
            Op::Create { b, dir, name, mode } => {
                self.create_any(b, dir, name, File::new(Kind::File, mode.into()))?;
            }
            Op::Mkdir { b, dir, name, mode } => {
                self.create_any(b, dir, name, File::new(Kind::Dir, mode.into()))?;
            }
            Op::Symlink {
                b,
                dir,
                name,
                target,
            } => {
                let mut link = File::new(Kind::Symlink, 0o777);
                link.body = Body::Link(target.name().to_vec());
                self.create_any(b, dir, name, link)?;
            }
            Op::Fifo { b, dir, name } => {
                self.create_any(b, dir, name, File::new(Kind::Fifo, 0o644))?;
            }
            Op::Unlink { b, file } => {
                let b = self.branch(b);
                let Some(named) = self.any_name(b, file) else {
                    return Ok(true);
                };
                self.remove(b, named.dir, &named.name, false)?;
            }
            Op::Rmdir { b, dir } | Op::RemoveTree { b, dir } => {
                let b = self.branch(b);
                let tree = &self.model.get(b).tree;
                let all = matches!(op, Op::RemoveTree { .. });
                let mut dirs = tree.names();
                dirs.retain(|n| tree.get(n.file).kind == Kind::Dir || (!all && dir.0 % 8 == 0));
                let Some(named) = dir.of(&dirs) else {
                    return Ok(true);
                };
                match all {
                    true => self.remove_tree(b, &named)?,
                    false => self.remove(b, named.dir, &named.name, true)?,
                }
            }
            Op::Rename {
                b,
                file,
                dir,
                name,
                onto,
            } => {
                let b = self.branch(b);
                let Some(named) = self.all_names(b, file) else {
                    return Ok(true);
                };
                let to = self.any_dir(b, dir);
                self.rename(b, (named.dir, &named.name), (to, name.name()), onto)?;
            }
            Op::RenameOnto {
                b,
                file,
                other,
                onto,
            } => {
                let b = self.branch(b);
                let pair = (self.all_names(b, file), self.all_names(b, other));
                let (Some(from), Some(to)) = pair else {
                    return Ok(true);
                };
                self.rename(b, (from.dir, &from.name), (to.dir, &to.name), onto)?;
            }
            Op::Link { b, file, dir, name } => {
                let b = self.branch(b);
                let Some(named) = self.any_name(b, file) else {
                    return Ok(true);
                };
                let dir = self.any_dir(b, dir);
                self.link(b, &named, dir, name.name())?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn create_any(&mut self, b: Sel, dir: Sel, name: Word, file: File) -> Checked {
        let b = self.branch(b);
        let dir = self.any_dir(b, dir);
        self.create(b, dir, name.name(), file)
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
            let attr = self.vfs().getattr(&CRED, self.kernel.node(dentry), true);
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
