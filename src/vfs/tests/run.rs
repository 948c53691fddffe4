//! Runs a case: open files, branches and mounts, and when what is compared.

use super::compare::Listing;
use super::data::pattern;
use super::kernel::CRED;
use super::names::agree;
use super::op::{Op, Sel, Word};
use super::tree::{File, write_at};
use super::world::{Checked, Opened, World};
use crate::ctlfs::Reserved;
use crate::tree::Kind;
use crate::vfs::ops::{OpResult, Ops, SetAttr};

pub const WHOLE: Listing = Listing {
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
