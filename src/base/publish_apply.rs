//! Publishing, third part: the plan is carried out and the base becomes the next version.
//!
//! [`Base::apply`] holds the layout exclusively: no reader sees a plan half done. Its events are
//! recorded step by step, so when a step fails the layout is released in a state in which every
//! reader of the old version still reads exactly that; the plan stays pending and applying it again
//! goes on where it stopped. After a crash [`Base::redo`] does the same with nothing in memory: it
//! ends with the same version, the same events and the same ids.
//!
//! # Order for the owner
//!
//! 1. stage, [`super::Staging::sync`], [`Base::check`], [`Base::seal`]
//! 2. make "publish `id` goes ahead" durable: from here on it will happen
//! 3. [`Base::apply`], which calls `flip` while no reader is in the base
//! 4. make what it returned durable
//! 5. [`Base::finish`], which makes the base itself durable and removes the plan
//!
//! At a start, a plan from [`Base::pending`] that has the record of 2 is redone and finished, one
//! without is discarded. The record of 4 must be durable before 5, or a restart would know neither
//! the plan nor its events.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, OFlags};

use crate::sys::beneath::open_beneath;
use crate::sys::inode;
use crate::tree::{Kind, Time};

use super::event::{Area, Event, EventRecord, Loc, OldName, parked};
use super::plan::{Before, Sealed, Shown, Step};
use super::publish_steps::Executor;
use super::reach::stat_at;
use super::simulate::{Operand, operands};
use super::{Base, BaseError, IdEntry, Ident, Layout, Version};

/// Beyond this many directories one syncfs(2) is cheaper than an fsync of each.
const FSYNC_DIRS: usize = 32;

/// What a publish did, for the owner's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The version that the base is at now.
    pub version: Version,
    /// Its events; none where no old version was to be kept.
    pub events: Vec<EventRecord>,
    /// The ids that published objects keep.
    pub ids: Vec<IdEntry>,
}

/// An object whose ctime a step moved although the file is the same as before.
struct Untouched {
    ident: Ident,
    ctime: Time,
    fd: Arc<OwnedFd>,
}

/// The events of step `index`. A path that becomes occupied is recorded before the move that
/// occupies it, see `event`.
fn events(sealed: &Sealed, befores: &HashMap<u64, &Before>, index: usize) -> Vec<EventRecord> {
    let (id, seq) = (sealed.plan.id, 2 * index as u32);
    let created = |path: &Vec<u8>| (seq, Event::Created { path: path.clone() });
    let renamed = |from, to| (seq + 1, Event::Renamed { from, to });
    let kept = |path: &Vec<u8>, ino: &u64, keep: u32| {
        let (ident, kind) = match befores.get(ino) {
            Some(before) => (before.ident, before.attr.kind),
            None => (
                Ident {
                    ino: *ino,
                    btime: None,
                },
                Kind::File,
            ),
        };
        let name = OldName { plan: id, keep };
        (
            seq,
            Event::Kept {
                path: path.clone(),
                name,
                ident,
                kind,
            },
        )
    };
    let events = match &sealed.plan.steps[index] {
        Step::Evict { path, ino, keep }
        | Step::Exchange {
            path,
            ino_old: ino,
            keep,
            ..
        } => vec![kept(path, ino, *keep)],
        Step::Park { path, slot, .. } => vec![renamed(path.clone(), parked(id, *slot))],
        Step::Unpark { slot, path, .. } => {
            vec![created(path), renamed(parked(id, *slot), path.clone())]
        }
        Step::Move { from, to, .. } => vec![created(to), renamed(from.clone(), to.clone())],
        Step::Place { path, .. } | Step::Link { to: path, .. } => vec![created(path)],
        Step::SetAttr { .. } | Step::Times { .. } => Vec::new(),
    };
    let record = |(seq, event)| EventRecord {
        version: sealed.version,
        seq,
        event,
    };
    events.into_iter().map(record).collect()
}

impl Base {
    /// Carries `sealed` out and makes the base its next version.
    ///
    /// `flip` runs when everything is in place, before any reader can look: what else must change
    /// together with the base is changed there. It must not call into the base.
    ///
    /// On an error before the first step nothing has changed and the plan can be discarded. On a
    /// later one it stays pending; readers go on seeing the old version, and `apply` can be called
    /// again.
    pub fn apply(
        &self,
        sealed: &Sealed,
        flip: impl FnOnce(&Applied),
    ) -> Result<Applied, BaseError> {
        let mut layout = self.layout.write();
        let resume = layout.half_done == Some(sealed.plan.id);
        if !resume {
            self.verify(&layout, sealed)?;
        }
        self.run(&mut layout, sealed, resume, usize::MAX, flip)
    }

    /// Finishes a plan that a crash may have interrupted anywhere, or that was done entirely.
    pub fn redo(&self, sealed: &Sealed, flip: impl FnOnce(&Applied)) -> Result<Applied, BaseError> {
        self.run(&mut self.layout.write(), sealed, true, usize::MAX, flip)
    }

    /// Carries out the first `steps` steps and stops there as a crash would.
    #[cfg(test)]
    pub(super) fn apply_partly(&self, sealed: &Sealed, steps: usize) {
        let mut layout = self.layout.write();
        let stopped = self.run(&mut layout, sealed, false, steps, |_| ());
        assert!(
            matches!(stopped, Err(BaseError::PlanPending { .. })),
            "{stopped:?}"
        );
    }

    /// Whether everything that the plan changes still is what it was when the plan was sealed.
    fn verify(&self, layout: &Layout, sealed: &Sealed) -> Result<(), BaseError> {
        if layout.version + 1 != sealed.version {
            let (id, version) = (sealed.plan.id, layout.version);
            return Err(BaseError::PlanOutOfOrder {
                id,
                wants: sealed.version,
                version,
            });
        }
        if !self.reach.exclusive {
            self.reach.forget();
        }
        for before in &sealed.before {
            let raw = self.stat(&Loc::of_path(before.path.clone()), &before.path)?;
            let attr = self.shown_attr(layout, &raw);
            let content = |attr: &crate::tree::Attr| (attr.size, attr.mtime, attr.ctime);
            let same = raw.ident == before.ident
                && (attr.kind == Kind::Dir || content(&attr) == content(&before.attr));
            if !same {
                return Err(BaseError::Changed {
                    path: before.path.clone(),
                });
            }
        }
        Ok(())
    }

    fn run(
        &self,
        layout: &mut Layout,
        sealed: &Sealed,
        resume: bool,
        limit: usize,
        flip: impl FnOnce(&Applied),
    ) -> Result<Applied, BaseError> {
        let id = sealed.plan.id;
        match layout.half_done {
            Some(other) if other != id => return Err(BaseError::PlanPending { id: other }),
            _ if layout.version + 1 < sealed.version => {
                let version = layout.version;
                return Err(BaseError::PlanOutOfOrder {
                    id,
                    wants: sealed.version,
                    version,
                });
            }
            _ => {}
        }
        let mut executor = Executor::open(self, sealed, resume)?;
        let start = if resume { executor.first_undone()? } else { 0 };
        layout.half_done = Some(id);
        let befores: HashMap<u64, &Before> = sealed
            .before
            .iter()
            .map(|before| (before.ident.ino, before))
            .collect();
        self.record_attrs(layout, sealed);
        let result = self.run_steps(layout, &mut executor, &befores, start, limit);
        self.reach.forget();
        self.drop_touched_listings(sealed);
        if let Err((index, error)) = result {
            let untouched = sealed.plan.steps.first().is_some_and(is_one_call);
            if untouched && index == 0 && !resume && limit > 0 {
                layout.events.retain(|version| version != sealed.version);
                layout.half_done = None;
            }
            return Err(error);
        }
        if resume {
            self.restore_modes(layout, sealed)?;
        }
        let ids = self.keep_identities(layout, sealed, &befores)?;
        let events = self.settle_events(layout, sealed);
        layout.version = layout.version.max(sealed.version);
        layout.half_done = None;
        let applied = Applied {
            version: sealed.version,
            events,
            ids,
        };
        flip(&applied);
        Ok(applied)
    }

    fn record_attrs(&self, layout: &mut Layout, sealed: &Sealed) {
        for (seq, before) in sealed.before.iter().enumerate() {
            let Before {
                ident,
                attr,
                xattrs,
                ..
            } = before.clone();
            let event = Event::Attr {
                ident,
                attr,
                xattrs,
            };
            let record = EventRecord {
                version: sealed.version,
                seq: seq as u32,
                event,
            };
            layout.events.push(record);
        }
    }

    /// Runs the steps from `start` on; an error comes with the step that it stopped at.
    fn run_steps(
        &self,
        layout: &mut Layout,
        executor: &mut Executor<'_>,
        befores: &HashMap<u64, &Before>,
        start: usize,
        limit: usize,
    ) -> Result<(), (usize, BaseError)> {
        let sealed = executor.sealed();
        for (index, step) in sealed.plan.steps.iter().enumerate() {
            if index == limit {
                return Err((index, BaseError::PlanPending { id: sealed.plan.id }));
            }
            if index >= start {
                if let Err(error) = executor.execute(step) {
                    if let Step::Exchange {
                        slot,
                        path,
                        ino_old,
                        ..
                    } = step
                        && executor.is_exchanged(*slot, *ino_old)
                    {
                        let to = parked(sealed.plan.id, *slot);
                        let event = Event::Renamed {
                            from: path.clone(),
                            to,
                        };
                        let (version, seq) = (sealed.version, 2 * index as u32);
                        layout.events.push(EventRecord {
                            version,
                            seq,
                            event,
                        });
                    }
                    return Err((index, error));
                }
            }
            for record in events(sealed, befores, index) {
                layout.events.push(record);
            }
            if index >= start {
                executor
                    .mark(index + 1)
                    .map_err(|error| (index + 1, error))?;
            }
        }
        match limit > sealed.plan.steps.len() {
            true => Ok(()),
            false => Err((limit, BaseError::PlanPending { id: sealed.plan.id })),
        }
    }

    /// Puts back the modes of directories that a crash left writable.
    fn restore_modes(&self, layout: &Layout, sealed: &Sealed) -> Result<(), BaseError> {
        let set = |ino| {
            let sets =
                |step: &Step| matches!(step, Step::SetAttr { ino: other, .. } if *other == ino);
            sealed.plan.steps.iter().any(sets)
        };
        for before in &sealed.before {
            if before.attr.kind != Kind::Dir || set(before.ident.ino) {
                continue;
            }
            let Some(loc) = layout.events.resolve(sealed.version - 1, &before.path) else {
                continue;
            };
            let fd = self.reach.hold(&loc, &before.path)?;
            let restore = || {
                let raw = stat_at(&fd, b"")?;
                match raw.ident == before.ident && raw.attr.mode != before.attr.mode {
                    true => inode::set_mode(fd.as_fd(), before.attr.mode),
                    false => Ok(()),
                }
            };
            restore().map_err(|errno| BaseError::io(&before.path, "chmod", errno))?;
        }
        Ok(())
    }

    /// The events of the new version, after dropping them if nobody needs them.
    fn settle_events(&self, layout: &mut Layout, sealed: &Sealed) -> Vec<EventRecord> {
        if sealed.plan.keep_old {
            return layout.events.records_of(sealed.version);
        }
        let kept = layout.events.retain(|version| version != sealed.version);
        self.doom(kept);
        Vec::new()
    }

    /// Records the ids and ctimes that objects keep, as the last thing, since every step before may
    /// move a ctime.
    fn keep_identities(
        &self,
        layout: &mut Layout,
        sealed: &Sealed,
        befores: &HashMap<u64, &Before>,
    ) -> Result<Vec<IdEntry>, BaseError> {
        let mut ids = Vec::new();
        let since = sealed.version;
        let untouched = self.untouched(layout, sealed, befores)?;
        for (index, step) in sealed.plan.steps.iter().enumerate() {
            let Some((path, Shown { fid, ctime })) = identity(step) else {
                continue;
            };
            let after = (sealed.version, 2 * index as u32 + 1);
            let Some(loc) = layout.events.trace(after, path, |_| ()) else {
                continue;
            };
            let raw = self.reach.stat(&loc, path)?;
            let Ident { ino, btime } = raw.ident;
            ids.retain(|entry: &IdEntry| entry.ino != ino);
            ids.push(IdEntry {
                ino,
                btime,
                fid,
                ctime: Some((ctime, raw.attr.ctime)),
                since,
            });
        }
        ids.iter().for_each(|entry| self.ids.restore(*entry));
        // After the others, which may have taken over the ids of these.
        for Untouched { ident, ctime, fd } in untouched {
            let Ident { ino, btime } = ident;
            if ids.iter().any(|entry| entry.ino == ino) {
                continue;
            }
            let raw = stat_at(&fd, b"").map_err(|errno| BaseError::io(b"<old>", "statx", errno))?;
            let fid = self.ids.fid(sealed.version, ident)?;
            let entry = IdEntry {
                ino,
                btime,
                fid,
                ctime: Some((ctime, raw.attr.ctime)),
                since,
            };
            self.ids.restore(entry);
            ids.push(entry);
        }
        Ok(ids)
    }

    /// Files that lost or gained a name and are otherwise what they were. Names that nobody needs go
    /// for good at once, since that moves the ctime once more.
    fn untouched(
        &self,
        layout: &mut Layout,
        sealed: &Sealed,
        befores: &HashMap<u64, &Before>,
    ) -> Result<Vec<Untouched>, BaseError> {
        let mut untouched = Vec::new();
        for (index, step) in sealed.plan.steps.iter().enumerate() {
            let (ino, loc) = match step {
                Step::Link {
                    to,
                    ino,
                    shown: None,
                    ..
                } => {
                    let after = (sealed.version, 2 * index as u32 + 1);
                    (*ino, layout.events.trace(after, to, |_| ()))
                }
                Step::Evict { ino, keep, .. }
                | Step::Exchange {
                    ino_old: ino, keep, ..
                } => {
                    let name = OldName {
                        plan: sealed.plan.id,
                        keep: *keep,
                    };
                    (
                        *ino,
                        Some(Loc {
                            area: Area::Old,
                            path: name.bytes(),
                        }),
                    )
                }
                _ => continue,
            };
            let (Some(before), Some(loc)) = (befores.get(&ino), loc) else {
                continue;
            };
            let linked = matches!(step, Step::Link { .. });
            if before.attr.kind == Kind::Dir || (before.attr.nlink < 2 && !linked) {
                continue;
            }
            let fd = match self.reach.hold(&loc, &before.path) {
                // A redo of a plan that came this far already.
                Err(BaseError::NotFound { .. }) => continue,
                other => other?,
            };
            if !sealed.plan.keep_old && loc.area == Area::Old {
                rustix::fs::unlinkat(self.reach.area(Area::Old), &loc.path, AtFlags::empty())
                    .map_err(|errno| BaseError::io(&before.path, "unlink the old", errno))?;
            }
            untouched.push(Untouched {
                ident: before.ident,
                ctime: before.attr.ctime,
                fd,
            });
        }
        Ok(untouched)
    }

    fn drop_touched_listings(&self, sealed: &Sealed) {
        let (mut touched, mut moved) = (BTreeSet::new(), BTreeSet::new());
        for step in &sealed.plan.steps {
            for operand in operands(step) {
                match operand {
                    Operand::Object {
                        path, leaves: true, ..
                    }
                    | Operand::Vacant { path } => {
                        moved.insert(path.to_vec());
                    }
                    Operand::Entries { dir } => {
                        touched.insert(dir.to_vec());
                    }
                    Operand::Object { .. } => {}
                }
            }
        }
        self.drop_listings(&touched, &moved);
    }

    /// Makes a plan that was applied durable in the base, and removes it.
    pub fn finish(&self, sealed: &Sealed) -> Result<(), BaseError> {
        let dirs: BTreeSet<Vec<u8>> = {
            let layout = self.layout.read();
            let steps = sealed.plan.steps.iter().enumerate();
            let dirs = steps.flat_map(|(index, step)| {
                operands(step)
                    .into_iter()
                    .map(move |operand| (index, operand))
            });
            let dir_now = |(index, operand)| {
                let path = match operand {
                    Operand::Entries { dir } => dir,
                    Operand::Object { path, .. } => path,
                    Operand::Vacant { .. } => return None,
                };
                let after = (sealed.version, 2 * index as u32 + 1);
                let loc = layout.events.trace(after, path, |_| ())?;
                (loc.area == Area::Root).then_some(loc.path)
            };
            dirs.filter_map(dir_now).collect()
        };
        let root = self.reach.area(Area::Root);
        let each = dirs.len() <= FSYNC_DIRS && dirs.iter().all(|path| self.fsync(path).is_ok());
        if !each {
            rustix::fs::syncfs(root).map_err(|errno| BaseError::io(b"", "syncfs", errno))?;
        }
        super::publish_stage::fsync_dir(self.reach.area(Area::Old).as_fd())
            .map_err(|errno| BaseError::io(b"<old>", "fsync", errno))?;
        self.discard(sealed.plan.id)
    }

    /// Makes a directory or regular file durable; nothing else is opened.
    fn fsync(&self, path: &[u8]) -> Result<(), BaseError> {
        let loc = Loc::of_path(path.to_vec());
        match self.reach.stat(&loc, path) {
            Ok(raw) if matches!(raw.attr.kind, Kind::Dir | Kind::File) => {}
            // Gone since, or carried by its directory.
            Ok(_) | Err(BaseError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        let root = self.reach.area(Area::Root).as_fd();
        let fsync = || {
            let fd = open_beneath(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?;
            rustix::fs::fsync(fd)
        };
        fsync().map_err(|errno| BaseError::io(path, "fsync", errno))
    }
}

/// Whether a step is one system call: it failed, so it did nothing.
fn is_one_call(step: &Step) -> bool {
    !matches!(step, Step::Exchange { .. } | Step::SetAttr { .. })
}

/// The path at which a step leaves an object, and the identity that the object keeps.
fn identity(step: &Step) -> Option<(&[u8], Shown)> {
    match step {
        Step::Unpark { path, shown, .. }
        | Step::Exchange { path, shown, .. }
        | Step::Place { path, shown, .. }
        | Step::Link {
            to: path, shown, ..
        }
        | Step::Move {
            to: path, shown, ..
        }
        | Step::SetAttr { path, shown, .. }
        | Step::Times { path, shown, .. } => shown.map(|shown| (path.as_slice(), shown)),
        Step::Evict { .. } | Step::Park { .. } => None,
    }
}
