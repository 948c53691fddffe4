//! Publishing, from staging to the first step: the plan is written down with what it changes, or
//! all that was staged for it goes.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::beneath::open_beneath;
use crate::sys::disk::Change;
use crate::sys::inode;
use crate::sys::rename::At;

use super::event::{Area, OldName};
use super::plan::{Before, Plan, Sealed, Step};
use super::publish_check::Seen;
use super::publish_stage::{DONE, PLAN, Staging, old_name, plan_name, stage_error};
use super::purge::{remove_tree, unlink};
use super::simulate::{Operand, Origin, Simulation, operands};
use super::{Base, BaseError, Layout};

impl Base {
    /// Writes the plan down, with what it changes as that is now or was `seen` to be, and makes it
    /// and all that was staged durable. From here on the plan can be carried out; that it *will* be
    /// is the owner's record to make.
    pub fn seal(&self, plan: Plan, staging: &Staging, seen: &Seen) -> Result<Sealed, BaseError> {
        let layout = self.layout.read();
        let before = self.befores(&layout, &plan, seen)?;
        let sealed = Sealed {
            plan,
            version: layout.version + 1,
            before,
        };
        drop(layout);
        let write = || -> Result<(), Errno> {
            let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW;
            let mode = Mode::RUSR | Mode::WUSR;
            let disk = &self.reach.disk;
            let dir = staging.fd();
            let create = |name| {
                disk.change(Change::Make(At { dir, name }), || {
                    rustix::fs::openat(dir, name, flags | OFlags::CLOEXEC, mode)
                })
            };
            create(DONE)?;
            let fd = create(PLAN)?;
            let bytes = sealed.encode();
            let (file, offset, len) = (fd.as_fd(), 0, bytes.len() as u64);
            disk.change(Change::Bytes { file, offset, len }, || {
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    rest = &rest[rustix::io::write(&fd, rest)?..];
                }
                Ok(())
            })?;
            staging.remember(fd);
            staging.sync(self.reach.area(Area::Stage).as_fd())
        };
        write().map_err(stage_error("write the plan to"))?;
        Ok(sealed)
    }

    /// What `plan` changes of the base, as it is now or was seen to be.
    fn befores(&self, layout: &Layout, plan: &Plan, seen: &Seen) -> Result<Vec<Before>, BaseError> {
        let mut befores: Vec<Before> = Vec::new();
        let mut known = std::collections::HashMap::new();
        let mut simulation = Simulation::default();
        for step in &plan.steps {
            for operand in operands(step) {
                let (path, wants_xattrs, leaves) = match operand {
                    Operand::Object {
                        path,
                        xattrs,
                        leaves,
                        ..
                    } => (path, xattrs, leaves),
                    Operand::Entries { dir } => (dir, false, false),
                    Operand::Vacant { .. } => continue,
                };
                let origin = match simulation.origin(path) {
                    Origin::Base(origin) => origin,
                    // What the plan itself made has no past that a view could ask for.
                    Origin::Staged if !leaves => continue,
                    _ => {
                        return Err(BaseError::Changed {
                            path: path.to_vec(),
                        });
                    }
                };
                let index = match known.get(&origin) {
                    Some(&index) => index,
                    None => {
                        let found = match seen.0.get(&origin) {
                            Some(seen) => *seen,
                            None => self.lookup_in(layout, layout.version, &origin)?,
                        };
                        let found = found.ok_or_else(|| BaseError::Changed {
                            path: origin.clone(),
                        })?;
                        known.insert(origin.clone(), befores.len());
                        let (ident, attr) = (found.ident, found.attr);
                        befores.push(Before {
                            path: origin,
                            ident,
                            attr,
                            xattrs: None,
                        });
                        befores.len() - 1
                    }
                };
                let before = &mut befores[index];
                if wants_xattrs && before.xattrs.is_none() {
                    before.xattrs = Some(self.current_xattrs(&before.path)?);
                }
            }
            simulation.advance(step);
        }
        Ok(befores)
    }

    fn current_xattrs(&self, path: &[u8]) -> Result<inode::Xattrs, BaseError> {
        let fd = self
            .reach
            .hold(&super::event::Loc::of_path(path.to_vec()), path)?;
        inode::read_xattrs(fd.as_fd()).map_err(|errno| BaseError::io(path, "listxattr", errno))
    }

    /// The plans that have a staging directory, sealed or not.
    pub fn pending(&self) -> Result<Vec<u64>, BaseError> {
        let names = super::purge::names(self.reach.area(Area::Stage).as_fd());
        let names = names.map_err(stage_error("list"))?;
        let id = |name: &Vec<u8>| u64::from_str_radix(std::str::from_utf8(name).ok()?, 16).ok();
        let mut ids: Vec<u64> = names.iter().filter_map(id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The greatest id of a plan that has left anything here; the next one must be greater.
    pub fn last_plan(&self) -> Result<Option<u64>, BaseError> {
        let names = super::purge::names(self.reach.area(Area::Old).as_fd());
        let names = names.map_err(|errno| BaseError::io(b"<old>", "list", errno))?;
        let kept = names.iter().filter_map(|name| OldName::plan_of(name)).max();
        Ok(kept.max(self.pending()?.pop()))
    }

    /// The sealed plan `id`; `None`: it was never sealed, so nothing of it was done.
    pub fn read_plan(&self, id: u64) -> Result<Option<Sealed>, BaseError> {
        let stage = self.reach.area(Area::Stage).as_fd();
        let path = super::path::join(&plan_name(id), PLAN);
        let fd = match open_beneath(stage, &path, OFlags::RDONLY) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(stage_error("open the plan in"))?,
        };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut std::fs::File::from(fd), &mut bytes)
            .map_err(|error| BaseError::io(b"<stage>", "read the plan in", error))?;
        Sealed::decode(id, &bytes).map(Some)
    }

    /// Removes all that was staged, sealed or not, where the plan was not started.
    pub fn abandon(&self, staging: &Staging) -> Result<(), BaseError> {
        self.discard_unused(staging.id(), &staging.replacing())
    }

    /// Gives up a sealed plan that was not started.
    pub fn cancel(&self, sealed: &Sealed) -> Result<(), BaseError> {
        let keep = |step: &Step| match step {
            Step::Exchange { keep, .. } => Some(*keep),
            _ => None,
        };
        let replacing: Vec<u32> = sealed.plan.steps.iter().filter_map(keep).collect();
        self.discard_unused(sealed.plan.id, &replacing)
    }

    fn discard_unused(&self, id: u64, replacing: &[u32]) -> Result<(), BaseError> {
        // Without its plan nothing here can be taken for what the plan has kept.
        self.discard(id)?;
        let old = self.reach.area(Area::Old).as_fd();
        let remove = |keep: &u32| remove_tree(&self.reach.disk, old, &old_name(id, *keep));
        let removed = replacing.iter().try_for_each(remove);
        removed.map_err(|errno| BaseError::io(b"<old>", "remove", errno))
    }

    /// Removes what was staged for a plan that is finished. Of one that a crash left and that was
    /// not started, [`Base::sweep`] removes the rest.
    pub fn discard(&self, id: u64) -> Result<(), BaseError> {
        if self.layout.read().half_done == Some(id) {
            return Err(BaseError::PlanPending { id });
        }
        let stage = self.reach.area(Area::Stage);
        // The plan goes first: staged objects without one are garbage, a plan without them is not.
        let plan = super::path::join(&plan_name(id), PLAN);
        let disk = &self.reach.disk;
        match unlink(disk, stage.as_fd(), &plan, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(stage_error("remove the plan in")(errno)),
        }
        remove_tree(disk, stage.as_fd(), &plan_name(id)).map_err(stage_error("remove"))
    }
}
