//! Runs a case: open files, branches and mounts, and when what is compared.

use super::branches::{Bid, Merge, Verdict};
use super::compare::Listing;
use super::files::{agree, pattern};
use super::kernel::CRED;
use super::op::{Op, Sel, Word};
use super::tree::{File, Tree, write_at};
use super::world::{Checked, Opened, World, show};
use crate::ctlfs::Reserved;
use crate::tree::Kind;
use crate::vfs::ops::{Errno, OpResult, Ops, Outcome, SetAttr};

const WHOLE: Listing = Listing {
    chunk: 7,
    plus: false,
};

/// Runs all of `ops` in a fresh world. The error says which operation showed something wrong.
pub fn run(ops: &[Op], sync: bool, every: bool) -> Checked {
    let mut world = World::new(sync);
    for (at, op) in ops.iter().enumerate() {
        let step = world.step(*op).and_then(|()| match every {
            true => world.compare_all(WHOLE),
            false => Ok(()),
        });
        if let Err(error) = step {
            let log = world.log.join("\n  ");
            return Err(format!("step {at}, {op:?}: {error}\n  {log}"));
        }
    }
    let last = world
        .compare_all(WHOLE)
        .map_err(|e| format!("at the end: {e}"));
    let last = last.and_then(|()| world.step(Op::Remount { clean: true, sync }));
    last.map_err(|error| format!("{error}\n  {}", world.log.join("\n  ")))
}

impl World {
    fn step(&mut self, op: Op) -> Checked {
        self.log.push(format!("{op:?}"));
        if self.run_name_op(op)? || self.run_data_op(op)? || self.run_open_op(op)? {
            return Ok(());
        }
        for branch in self.model.live() {
            self.settle_times(branch)?;
        }
        if !self.run_branch_op(op)? {
            return self.run_mount_op(op);
        }
        self.compare_all(WHOLE)
    }

    fn run_open_op(&mut self, op: Op) -> Checked<bool> {
        match op {
            Op::Open { b, file } => self.open_any(b, file)?,
            Op::Close { handle } => {
                let Some(dentry) = handle.of(&self.handles) else {
                    return Ok(true);
                };
                let at = self
                    .handles
                    .iter()
                    .position(|d| *d == dentry)
                    .expect("it is there");
                self.handles.remove(at);
                let (vfs, node) = (self.vfs(), self.kernel.node(dentry));
                self.kernel.close(&vfs, dentry);
                if !self.handles.iter().any(|d| self.kernel.node(*d) == node) {
                    self.open.remove(&node);
                }
            }
            Op::WriteOpen {
                handle,
                at,
                len,
                fill,
            } => {
                let bytes = pattern(len, fill);
                self.on_open(
                    handle,
                    |vfs, node| {
                        let wrote = vfs.write(&CRED, node, at.into(), &bytes, false, false)?;
                        wrote.wait().map(|_| ())
                    },
                    |file| file.edit(|data| write_at(data, at as usize, &bytes)),
                )?;
            }
            Op::TruncateOpen { handle, size } => {
                let set = SetAttr {
                    size: Some(size.into()),
                    ..SetAttr::default()
                };
                self.on_open(
                    handle,
                    |vfs, node| vfs.setattr(&CRED, node, &set).map(|_| ()),
                    |file| file.edit(|data| data.resize(size as usize, 0)),
                )?;
            }
            Op::CreateOpen { handle, name } => self.create_open(handle, name)?,
            Op::ReadOpen => self.read_open()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn open_any(&mut self, b: Sel, file: Sel) -> Checked {
        let b = self.branch(b);
        let tree = &self.model.get(b).tree;
        let mut names = tree.names();
        names.retain(|n| matches!(tree.get(n.file).kind, Kind::File | Kind::Dir));
        let Some(named) = file.of(&names) else {
            return Ok(());
        };
        let dentry = self.find(b, named.dir, &named.name)?;
        self.kernel.open(dentry);
        self.handles.push(dentry);
        let opened = Opened {
            branch: b,
            file: Some(named.file),
            orphan: None,
            dead: false,
        };
        let node = self.kernel.node(dentry);
        let known = self.open.entry(node).or_insert(opened);
        match known.file == Some(named.file) && known.branch == b {
            true => Ok(()),
            false => Err(format!("{node:?} stands for another file: {known:?}")),
        }
    }

    /// Changes a file by an open node.
    fn on_open(
        &mut self,
        handle: Sel,
        act: impl FnOnce(&crate::vfs::Vfs, crate::tree::NodeId) -> OpResult<()>,
        model: impl FnOnce(&mut File) -> Result<(), i32>,
    ) -> Checked {
        let Some(dentry) = handle.of(&self.handles) else {
            return Ok(());
        };
        let node = self.kernel.node(dentry);
        let opened = self.open[&node].clone();
        let mut file = match (&opened.orphan, opened.file) {
            (Some(orphan), _) => orphan.clone(),
            (None, Some(file)) if !opened.dead => {
                self.model.get(opened.branch).tree.get(file).clone()
            }
            _ => File::new(Kind::File, 0),
        };
        if file.kind != Kind::File {
            return Ok(());
        }
        let got = act(&self.vfs(), node);
        let expected = match opened.dead {
            true => Err(libc::ESTALE),
            false => model(&mut file),
        };
        if agree(&got, &expected)? {
            match opened.file {
                Some(fid) => {
                    file.touched = super::branches::tick();
                    *self.tree(opened.branch).get_mut(fid) = file;
                }
                None => self.open.get_mut(&node).expect("it is open").orphan = Some(file),
            }
        }
        Ok(())
    }

    /// A file made in a directory that is somebody's current one.
    fn create_open(&mut self, handle: Sel, name: Word) -> Checked {
        let Some(dentry) = handle.of(&self.handles) else {
            return Ok(());
        };
        let node = self.kernel.node(dentry);
        let opened = self.open[&node].clone();
        let is_dir = match (&opened.orphan, opened.file) {
            _ if opened.dead => true,
            (Some(orphan), _) => orphan.kind == Kind::Dir,
            (None, Some(file)) => self.model.get(opened.branch).tree.get(file).kind == Kind::Dir,
            (None, None) => false,
        };
        if !is_dir {
            return Ok(());
        }
        let mode = libc::S_IFREG | 0o644;
        let got = self.vfs().mknod(&CRED, node, name.name(), mode, 0, 0);
        let fid = self.new_file();
        let expected = match (opened.dead, opened.file) {
            (true, _) => Err(libc::ESTALE),
            (_, None) => Err(libc::ENOENT),
            (_, Some(dir)) => {
                let file = File::new(Kind::File, 0o644);
                self.tree(opened.branch).create(fid, dir, name.name(), file)
            }
        };
        if agree(&got, &expected)?
            && let Ok(entry) = got
        {
            self.kernel.instantiate(dentry, name.name(), &entry);
        }
        Ok(())
    }

    fn write_reserved(&mut self, b: Bid, file: Reserved, text: &[u8]) -> Checked<OpResult<u32>> {
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

    fn run_branch_op(&mut self, op: Op) -> Checked<bool> {
        match op {
            Op::Fork { b, name } => self.fork(b, name)?,
            Op::Commit { b } => self.commit(b)?,
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
        if self.model.all.len() > 6 {
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

    fn run_mount_op(&mut self, op: Op) -> Checked {
        let vfs = self.vfs();
        match op {
            Op::Publish => {
                let done = self.write_reserved(0, Reserved::Ctl, b"publish")?;
                agree(&done, &Ok(()))?;
                self.compare_base(false)?;
                self.compare_all(WHOLE)
            }
            Op::Remount { clean, sync } => {
                if clean {
                    vfs.unmounted();
                    self.compare_base(true)
                        .map_err(|e| format!("after unmounting: {e}"))?;
                }
                drop(vfs);
                self.kill();
                self.sync = sync;
                self.mount();
                self.compare_all(WHOLE)
            }
            Op::Checkpoint => vfs
                .workspace()
                .checkpoint()
                .map_err(|e| format!("checkpoint: {e}")),
            Op::Reclaim => {
                vfs.collect().map_err(|e| format!("gc: {e}"))?;
                self.compare_all(WHOLE)
            }
            Op::Fsync => vfs
                .workspace()
                .barrier()
                .map_err(|e| format!("barrier: {e}")),
            Op::Forget { keep } => {
                self.kernel
                    .shrink(&vfs, &mut |_, dentry| dentry % 8 >= usize::from(keep % 4));
                Ok(())
            }
            Op::Compare { chunk, plus } => self.compare_all(Listing {
                chunk: chunk.into(),
                plus,
            }),
            other => panic!("not an operation on the mount: {other:?}"),
        }
    }
}
