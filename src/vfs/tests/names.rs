//! Runs the operations on names, on the filesystem and on the model, and compares the outcomes.

use super::branches::Bid;
use super::kernel::CRED;
use super::op::{Op, Sel, Word};
use super::tree::{Body, Fid, File, Named, Onto, Tree};
use super::world::{Checked, World};
use crate::tree::Kind;
use crate::vfs::ops::{Entry, Errno, OpResult, Ops, Outcome};

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

    pub fn any_dir(&self, b: Bid, dir: Sel) -> Fid {
        dir.of(&self.model.get(b).tree.dirs())
            .expect("the root is there")
    }

    /// Any name; for even places one of a regular file, where there is one.
    pub fn any_name(&self, b: Bid, sel: Sel) -> Option<Named> {
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

    pub fn all_names(&self, b: Bid, sel: Sel) -> Option<Named> {
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
}
