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
//! 1. stage, [`Base::check`], [`Base::seal`]
//! 2. make "publish `id` goes ahead" durable: from here on it will happen
//! 3. [`Base::apply`], which calls `flip` while no reader is in the base
//! 4. make what it returned durable
//! 5. [`Base::finish`], which makes the base itself durable and removes the plan, before the next
//!    plan is sealed
//!
//! At a start, a plan from [`Base::pending`] that has the record of 2 is redone and finished, one
//! without is discarded. The record of 4 must be durable before 5, or a restart would know neither
//! the plan nor its events.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::AsFd;

use crate::sys::failpoint;
use crate::tree::Kind;

use super::event::{Event, EventRecord, Loc, OldName, parked};
use super::plan::{Before, Sealed, Step};
use super::publish_steps::{Executor, aside};
use super::purge::set_mode;
use super::reach::stat_at;
use super::simulate::{Operand, operands};
use super::{Base, BaseError, IdEntry, Ident, Layout, Version};

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

impl Layout {
    /// Records what a step that failed may have done by half: without an exchange the old object
    /// is aside for a moment.
    fn events_of_failure(&mut self, executor: &mut Executor<'_>, index: usize) {
        let sealed = executor.sealed();
        if let Step::Exchange {
            path,
            ino_old,
            keep,
            ..
        } = &sealed.plan.steps[index]
            && executor.is_aside(*keep, *ino_old)
        {
            let (from, to) = (path.clone(), parked(sealed.plan.id, aside(*keep)));
            let event = Event::Renamed { from, to };
            let (version, seq) = (sealed.version, 2 * index as u32);
            self.events.push(EventRecord {
                version,
                seq,
                event,
            });
        }
    }
}

/// What the objects that a plan changes were like before.
fn attr_events(sealed: &Sealed) -> impl Iterator<Item = EventRecord> {
    sealed.before.iter().enumerate().map(|(seq, before)| {
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
        EventRecord {
            version: sealed.version,
            seq: seq as u32,
            event,
        }
    })
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

    /// Finishes a plan that a crash may have interrupted anywhere. What was done again moved ctimes
    /// once more, in this process or one before it that was killed, so its ids are the owner's to
    /// log even where it has restored the plan's version.
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
        self.reach.forget();
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
        attr_events(sealed).for_each(|record| layout.events.push(record));
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
        let events = self.settle_events(layout, sealed, &befores);
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
            let is_undone = index >= start;
            if is_undone && let Err(error) = executor.execute(step) {
                layout.events_of_failure(executor, index);
                return Err((index, error));
            }
            for record in events(sealed, befores, index) {
                layout.events.push(record);
            }
            if is_undone {
                executor.mark(index).map_err(|error| (index + 1, error))?;
                failpoint::reach("publish-stepped");
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
                    true => set_mode(&self.reach.disk, fd.as_fd(), before.attr.mode),
                    false => Ok(()),
                }
            };
            restore().map_err(|errno| BaseError::io(&before.path, "chmod", errno))?;
        }
        Ok(())
    }

    /// The events of the new version, after dropping them if nobody needs them.
    fn settle_events(
        &self,
        layout: &mut Layout,
        sealed: &Sealed,
        befores: &HashMap<u64, &Before>,
    ) -> Vec<EventRecord> {
        // A version before the last needs the newest events too.
        if sealed.plan.keep_old || layout.events.has_before(sealed.version) {
            let steps = 0..sealed.plan.steps.len();
            let steps = steps.flat_map(|index| events(sealed, befores, index));
            return attr_events(sealed).chain(steps).collect();
        }
        let kept = layout.events.retain(|version| version != sealed.version);
        self.doom(layout, kept);
        Vec::new()
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
}

/// Whether a step is one system call: it failed, so it did nothing.
fn is_one_call(step: &Step) -> bool {
    !matches!(step, Step::Exchange { .. } | Step::SetAttr { .. })
}
