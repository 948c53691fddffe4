//! Runs the operations on branches, on both sides, and compares the outcomes.

use super::branches::{Bid, Merge, Verdict};
use super::kernel::CRED;
use super::names::agree;
use super::op::{Op, Sel, Word};
use super::run::WHOLE;
use super::tree::{Body, Tree};
use super::world::{Checked, World, show};
use crate::ctlfs::Reserved;
use crate::tree::Kind;
use crate::vfs::ops::{Errno, OpResult, Ops, Outcome};

impl World {
    pub fn write_reserved(
        &mut self,
        b: Bid,
        file: Reserved,
        text: &[u8],
    ) -> Checked<OpResult<u32>> {
        let root = self.dir(b, super::tree::ROOT)?;
        let vfs = self.vfs();
        let found = self.kernel.lookup(&vfs, root, file.name().as_bytes());
        let Ok(Some(dentry)) = found else {
            return Err(format!("{}: {found:?}", file.name()));
        };
        let node = self.kernel.node(dentry);
        let done = vfs
            .write(&CRED, node, 0, text, false, false)
            .and_then(Outcome::wait);
        self.kernel.listen(&vfs);
        Ok(done)
    }

    pub fn run_branch_op(&mut self, op: Op) -> Checked<bool> {
        match op {
            Op::Fork { b, name } => self.fork(b, name)?,
            Op::Commit { b } => self.commit(b)?,
            Op::Undo { b, redo } => self.undo(b, redo)?,
            Op::Abort { b, by_rmdir } => self.abort(b, by_rmdir)?,
            Op::RenameBranch { b, name } => self.rename_branch(b, name)?,
            Op::Restore { b, entry, name } => self.restore(b, entry, name)?,
            Op::Expire { b, entry } => self.expire(b, entry)?,
            Op::Policy { b, merges } => {
                let b = self.branch(b);
                let text = if merges {
                    "policy merge"
                } else {
                    "policy first-winner"
                };
                let done = self.write_reserved(b, Reserved::Ctl, text.as_bytes())?;
                agree(&done, &Ok(()))?;
                self.model.get_mut(b).merges = merges;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn branches_dir(&mut self, b: Bid, trash: bool) -> Checked<usize> {
        let mut path = self.root_path(b);
        path.push(b"@branches".to_vec());
        if trash {
            path.push(b".trash".to_vec());
        }
        let vfs = self.vfs();
        self.kernel
            .walk(&vfs, &path)
            .map_err(|e| format!("{}: {e}", show(&path)))
    }

    fn fork(&mut self, b: Sel, name: Word) -> Checked {
        let b = self.branch(b);
        let branches = self.model.all.values().filter(|b| b.taken.is_none());
        if branches.count() > 6 {
            return Ok(());
        }
        let dir = self.branches_dir(b, false)?;
        let vfs = self.vfs();
        let node = self.kernel.node(dir);
        let got = vfs
            .mkdir(&CRED, node, name.branch(), 0o755, 0)
            .and_then(Outcome::wait);
        let expected = self.model.fork(b, name.branch());
        if agree(&got, &expected)?
            && let Ok(entry) = got
        {
            self.kernel.instantiate(dir, name.branch(), &entry);
        }
        Ok(())
    }

    /// Nodes of branches that ended answer ESTALE.
    fn ended(&mut self, ended: &[Bid]) {
        for opened in self.open.values_mut().filter(|o| ended.contains(&o.branch)) {
            opened.dead = true;
        }
    }

    fn commit(&mut self, b: Sel) -> Checked {
        let b = self.branch(b);
        let Some(parent) = self.model.get(b).parent else {
            return Ok(());
        };
        self.note("commit", b, (super::tree::ROOT, b""));
        let (fork, child) = (
            self.model.get(b).fork.clone(),
            self.model.get(b).tree.clone(),
        );
        let before = self.model.get(parent).tree.clone();
        let merge = Merge {
            fork: &fork,
            child: &child,
            parent: &before,
        };
        let (merged, verdict) = merge.run();
        let refusal = self.model.refusal(b);
        let got = self.write_reserved(b, Reserved::Commit, b"1")?;
        let main = self.vfs().workspace().main();
        let error = main.state.read().last_error.clone();
        self.log.push(format!("main {error:?}"));
        for branch in self.vfs().workspace().branches() {
            let error = branch.state.read().last_error.clone();
            self.log
                .push(format!("branch {:?} last refused {error:?}", branch.id));
        }
        self.log.push(format!(
            "answers {got:?}, the model {refusal:?} {verdict:?}"
        ));
        match (refusal, verdict, &got) {
            (Some(errno), _, _) => {
                agree(&got, &Err::<(), _>(errno))?;
            }
            (None, Verdict::Either | Verdict::Refuse, Err(Errno(libc::EBUSY))) => {}
            (None, Verdict::Accept | Verdict::Either, Ok(_)) => {
                let ended = self.model.commit(b, merged);
                self.ended(&ended);
                self.replaced(parent, &before)?;
                self.compare_all(WHOLE)?;
                if parent == 0 && self.sync {
                    self.compare_base(false)?;
                }
            }
            _ => {
                return Err(format!(
                    "commit answers {got:?}, the model says {verdict:?}"
                ));
            }
        }
        Ok(())
    }

    fn undo(&mut self, b: Sel, redo: bool) -> Checked {
        let parent = self.branch(b);
        let text: &[u8] = if redo { b"redo" } else { b"undo" };
        let Some(entry) = self.model.last_taken(parent, redo) else {
            let got = self.write_reserved(parent, Reserved::Ctl, text)?;
            agree(&got, &Err::<(), _>(libc::ENOENT))?;
            return Ok(());
        };
        self.note("undo", parent, (super::tree::ROOT, b""));
        let taken = self
            .model
            .get(entry)
            .taken
            .clone()
            .expect("it was asked for");
        let fork = self.model.get(entry).fork.clone();
        let child = self.come_back(&fork, &self.model.get(entry).tree.clone());
        let before = self.model.get(parent).tree.clone();
        let merge = Merge {
            fork: &fork,
            child: &child,
            parent: &before,
        };
        let (merged, verdict) = merge.run();
        let got = self.write_reserved(parent, Reserved::Ctl, text)?;
        self.log
            .push(format!("answers {got:?}, the model {verdict:?}"));
        match (verdict, &got) {
            (Verdict::Either | Verdict::Refuse, Err(Errno(libc::EBUSY))) => {}
            (Verdict::Accept | Verdict::Either, Ok(_)) => {
                self.model.take(entry, parent, taken.of, !redo, merged);
                self.replaced(parent, &before)?;
                self.compare_all(WHOLE)?;
                if parent == 0 && self.sync {
                    self.compare_base(false)?;
                }
            }
            _ => return Err(format!("undo answers {got:?}, the model says {verdict:?}")),
        }
        Ok(())
    }

    /// `tree`, where what `after` does not have comes as new files.
    fn come_back(&mut self, after: &Tree, tree: &Tree) -> Tree {
        let mut again = std::collections::BTreeMap::new();
        for file in tree.files.keys() {
            let is = match after.files.contains_key(file) {
                true => *file,
                false => self.new_file(),
            };
            again.insert(*file, is);
        }
        let mut back = Tree::default();
        for (file, content) in &tree.files {
            let mut content = (**content).clone();
            if let Body::Dir(entries) = &mut content.body {
                entries.values_mut().for_each(|file| *file = again[file]);
            }
            back.files.insert(again[file], content.into());
        }
        back
    }

    /// After a commit into `parent`: open files of it that were replaced keep what they were.
    fn replaced(&mut self, parent: Bid, before: &Tree) -> Checked {
        let after = self.model.get(parent).tree.clone();
        let names = after.names();
        let open: Vec<_> = self
            .open
            .iter()
            .map(|(node, open)| (*node, open.clone()))
            .collect();
        for (node, opened) in open {
            let Some(file) = opened
                .file
                .filter(|_| opened.branch == parent && !opened.dead)
            else {
                continue;
            };
            let named = names.iter().find(|named| named.file == file);
            let now = match named {
                Some(named) => {
                    let dentry = self.find(parent, named.dir, &named.name)?;
                    Some(self.kernel.node(dentry))
                }
                None => None,
            };
            let was = before.get(file);
            if now == Some(node) {
                let same = after.get(file).same_but_for_times(was);
                if !same && was.kind != Kind::Dir {
                    return Err(format!("a commit changed open {node:?} in place"));
                }
                continue;
            }
            let opened = self.open.get_mut(&node).expect("it was just listed");
            (opened.file, opened.orphan) = (None, Some(was.clone()));
        }
        Ok(())
    }

    fn abort(&mut self, b: Sel, by_rmdir: bool) -> Checked {
        let b = self.branch(b);
        let Some(parent) = self.model.get(b).parent else {
            return Ok(());
        };
        let expected = match self.model.children(b, false).is_empty() {
            true => Ok(()),
            false => Err(libc::ENOTEMPTY),
        };
        let name = self.model.get(b).name.clone();
        let aborted = match by_rmdir {
            false => {
                let got = self.write_reserved(b, Reserved::Abort, b"1")?;
                agree(&got, &expected)?
            }
            true => {
                let dir = self.branches_dir(parent, false)?;
                let vfs = self.vfs();
                self.kernel
                    .lookup(&vfs, dir, &name)
                    .map_err(|e| format!("lookup: {e}"))?;
                let node = self.kernel.node(dir);
                let got = vfs.rmdir(&CRED, node, &name).and_then(Outcome::wait);
                let done = agree(&got, &expected)?;
                if done {
                    self.kernel.removed(&vfs, dir, &name);
                }
                done
            }
        };
        if aborted {
            let ended = self.model.end(b);
            self.ended(&ended);
        }
        Ok(())
    }

    fn rename_branch(&mut self, b: Sel, name: Word) -> Checked {
        let b = self.branch(b);
        let Some(parent) = self.model.get(b).parent else {
            return Ok(());
        };
        let (old, new) = (self.model.get(b).name.clone(), name.branch());
        if old == new {
            return Ok(());
        }
        let dir = self.branches_dir(parent, false)?;
        let vfs = self.vfs();
        for name in [&old[..], new] {
            self.kernel
                .lookup(&vfs, dir, name)
                .map_err(|e| format!("lookup: {e}"))?;
        }
        let node = self.kernel.node(dir);
        let got = vfs
            .rename(&CRED, node, &old, node, new, 0)
            .and_then(Outcome::wait);
        let expected = match self.model.child(parent, new, false) {
            Some(_) => Err(libc::EEXIST),
            None => Ok(()),
        };
        if agree(&got, &expected)? {
            self.kernel.renamed(&vfs, (dir, &old), (dir, new), false);
            self.model.get_mut(b).name = new.to_vec();
        }
        Ok(())
    }

    fn restore(&mut self, b: Sel, entry: Sel, name: Word) -> Checked {
        let parent = self.branch(b);
        let Some(b) = entry.of(&self.model.children(parent, true)) else {
            return Ok(());
        };
        let (old, new) = (self.model.get(b).name.clone(), name.branch());
        let (trash, dir) = (
            self.branches_dir(parent, true)?,
            self.branches_dir(parent, false)?,
        );
        let vfs = self.vfs();
        let (from, to) = (self.kernel.node(trash), self.kernel.node(dir));
        self.kernel
            .lookup(&vfs, trash, &old)
            .map_err(|e| format!("lookup: {e}"))?;
        let got = vfs
            .rename(&CRED, from, &old, to, new, 0)
            .and_then(Outcome::wait);
        let expected = match self.model.child(parent, new, false) {
            Some(_) => Err(libc::EEXIST),
            None if self.model.get(b).taken.is_some() => Err(libc::EINVAL),
            None => Ok(()),
        };
        if agree(&got, &expected)? {
            // The name that the kernel moved stands for the ended root, and is looked up again.
            self.kernel.removed(&vfs, trash, &old);
            self.kernel.removed(&vfs, dir, new);
            let branch = self.model.get_mut(b);
            (branch.name, branch.ended) = (new.to_vec(), false);
        }
        Ok(())
    }

    fn expire(&mut self, b: Sel, entry: Sel) -> Checked {
        let parent = self.branch(b);
        let Some(b) = entry.of(&self.model.children(parent, true)) else {
            return Ok(());
        };
        let name = self.model.get(b).name.clone();
        let dir = self.branches_dir(parent, true)?;
        let vfs = self.vfs();
        self.kernel
            .lookup(&vfs, dir, &name)
            .map_err(|e| format!("lookup: {e}"))?;
        let got = vfs
            .rmdir(&CRED, self.kernel.node(dir), &name)
            .and_then(Outcome::wait);
        agree(&got, &Ok(()))?;
        self.kernel.removed(&vfs, dir, &name);
        self.model.expire(b);
        Ok(())
    }
}
