//! Publishing: main's view goes down into the base.
//!
//! The new objects are staged and the plan is written down without a lock. Then, with main locked
//! and still showing what was planned, the base is changed and main's view becomes empty, as one
//! step for every reader. If main has changed meanwhile the plan is given up and made anew; the
//! last try keeps main locked throughout.
//!
//! *Durability*: staged objects and the plan, then `PublishIntent`, then the base's steps, then
//! `PublishFlip` with the ids and events that it needs, then the base itself, then `PublishDone`.
//! With `PublishIntent` all that was journalled before is durable, a commit too, and a restart does
//! the rest; so whoever has asked for a commit need not wait for more than the base's steps.

use std::os::fd::BorrowedFd;

use super::plan::Linked;
use super::unfinished::{Stage, Unfinished};
use super::{BranchError, Record, State, What, Workspace, unchanged};
use crate::base::{Applied, Conflict, IdEntry, Sealed};
use crate::store::BlobId;
use crate::sys::failpoint;
use crate::tree::{BranchId, Content, Source, View};

/// How often a plan is made while main goes on changing, before main is locked for it.
const TRIES: usize = 3;

/// What a publish did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishReport {
    /// Files and names that the base did not have like this.
    pub changes: usize,
    /// Files whose number of links was not what it should be for a moment.
    pub linked: usize,
}

/// What a publish does to main's state.
pub(super) fn flip(main: &mut State, version: u64) {
    main.view = View::on(version);
    main.fork_view = View::on(version);
    main.usage = super::Usage::default();
    main.blobs.clear();
}

fn refused(conflicts: Vec<Conflict>) -> BranchError {
    for Conflict { path, what } in &conflicts {
        log::warn!("not published: {} {what:?}", path.escape_ascii());
    }
    let paths = conflicts.into_iter().map(|conflict| conflict.path);
    BranchError::BaseChanged {
        paths: paths.collect(),
    }
}

impl Workspace {
    /// Publishes everything that main has. Fails with `BaseChanged`, and has changed nothing then.
    pub fn publish(&self) -> Result<PublishReport, BranchError> {
        let report = self.publish_unsettled()?;
        self.settle_publish()?;
        Ok(report)
    }

    /// The same, and returns when the base shows it and no crash can undo that. What there is left
    /// to do is done by [`Workspace::settle_publish`], or else before the next publish.
    pub fn publish_unsettled(&self) -> Result<PublishReport, BranchError> {
        if self.options.read_only {
            return Ok(PublishReport::default());
        }
        let _publishing = self.publishing.lock();
        self.noting(self.publish_now())
    }

    fn publish_now(&self) -> Result<PublishReport, BranchError> {
        self.go_on()?;
        let main = self.main();
        for attempt in 1..=TRIES {
            // The last try keeps everybody out of main from the start.
            let locked = (attempt == TRIES).then(|| (self.begin(), main.state.write()));
            let (view, epochs) = match &locked {
                Some((_, state)) => (state.view.clone(), state.own_epochs()),
                None => {
                    let state = main.state.read();
                    (state.view.clone(), state.own_epochs())
                }
            };
            if view.is_empty() {
                return Ok(PublishReport::default());
            }
            let (linked, sealed) = match self.prepare(&view, epochs) {
                Ok(prepared) => prepared,
                Err(error) => {
                    if let BranchError::BaseChanged { paths } = &error {
                        let what = What::Conflict {
                            paths: paths.clone(),
                        };
                        self.happened(what, Vec::new(), BranchId::MAIN);
                    }
                    return Err(error);
                }
            };
            let (running, mut state) = match locked {
                Some(locked) => locked,
                None => (self.begin(), main.state.write()),
            };
            if !unchanged(&state.view, &view) || state.own_epochs() != epochs {
                drop((state, running));
                self.cancel(&sealed)?;
                continue;
            }
            let mut publish = Unfinished {
                sealed,
                view,
                linked,
                stage: Stage::Steps,
                ids: Vec::new(),
                inherited: false,
            };
            let carried = self.carry_out(&mut publish, &mut state);
            self.freeze(&publish, carried.is_err());
            drop((state, running));
            return match carried {
                Ok(()) => {
                    let report = self.published(&publish);
                    *self.unfinished.lock() = Some(publish);
                    Ok(report)
                }
                Err(error) => Err(self.set_aside(publish, error)),
            };
        }
        unreachable!("the last try has main locked, so main cannot have changed")
    }

    fn published(&self, publish: &Unfinished) -> PublishReport {
        let (names, files) = publish.view.len();
        let changes = names.max(files);
        let what = What::Publish {
            version: publish.sealed.version,
            paths: changes as u64,
        };
        self.happened(what, Vec::new(), BranchId::MAIN);
        PublishReport {
            changes,
            linked: publish.linked.len(),
        }
    }

    /// Stages, checks and writes down a plan, and makes it durable that it will be carried out.
    /// Returns the blobs that it makes files of the base, too.
    fn prepare(&self, view: &View, epochs: [u64; 2]) -> Result<(Vec<Linked>, Sealed), BranchError> {
        let id = self
            .table
            .next_plan
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let keep_old = self.oldest_pinned().is_some();
        let staging = self.base.stage_begin(id)?;
        let prepared = (|| {
            let planned = self.plan(view, epochs, keep_old, &staging)?;
            let seen = self.base.check(&planned.plan, &planned.expect);
            let seen = seen.map_err(refused)?;
            self.base.rehearse(&planned.plan, &staging)?;
            failpoint::reach("publish-staged");
            let sealed = self.base.seal(planned.plan, &staging, &seen)?;
            failpoint::reach("publish-sealed");
            self.log(&Record::PublishIntent { plan: id })?;
            self.barrier()?;
            failpoint::reach("publish-intended");
            Ok((planned.linked, sealed))
        })();
        if prepared.is_err() {
            self.base.abandon(&staging)?;
        }
        prepared
    }

    pub(super) fn log_applied(
        &self,
        sealed: &Sealed,
        applied: &Applied,
    ) -> Result<(), BranchError> {
        self.log_ids(&applied.ids)?;
        for event in &applied.events {
            self.log(&Record::of_base_event(event))?;
        }
        self.log(&Record::PublishFlip {
            plan: sealed.plan.id,
            version: applied.version,
        })
    }

    fn log_ids(&self, ids: &[IdEntry]) -> Result<(), BranchError> {
        ids.iter()
            .try_for_each(|entry| self.log(&Record::of_id(entry)))
    }

    /// After the flip is in the journal: durable first, then the plan is done with. What the store
    /// calls files that are the base's now goes last.
    pub(super) fn settle(&self, publish: &Unfinished) -> Result<(), BranchError> {
        let Unfinished { sealed, linked, .. } = publish;
        self.log_ids(&publish.ids)?;
        let _moving = self
            .base
            .will_unlink(linked.iter().map(|linked| linked.ino));
        self.barrier()?;
        failpoint::reach("publish-settled");
        self.base.finish(sealed)?;
        failpoint::reach("publish-finished");
        for Linked { blob, .. } in linked {
            let unlink = |dir: BorrowedFd<'_>, name: &[u8]| self.base.unlink(dir, name);
            if let Err(error) = self.store.blob_unname(BlobId(*blob), unlink) {
                log::warn!("a published file has a name too many: {error}");
            }
        }
        failpoint::reach("publish-unnamed");
        self.log(&Record::PublishDone {
            plan: sealed.plan.id,
        })?;
        self.base.trim(self.oldest_pinned());
        Ok(())
    }

    /// Gives back what main alone referred to and the base has now.
    pub(super) fn drop_published(&self, main: &State, view: &View, linked: &[Linked]) {
        for (_, inode) in view.inodes() {
            let Content::File(extents) = &inode.content else {
                continue;
            };
            for extent in extents.iter() {
                // A linked blob is the base's file now: only its name in the store goes, later.
                let is_linked = matches!(extent.source, Source::Blob { id, .. }
                    if linked.iter().any(|linked| linked.blob == id));
                if !is_linked {
                    self.free(main, extent);
                }
            }
        }
    }

    /// At a start: finishes the publish that was under way, discards what was only staged.
    ///
    /// One that cannot be finished now is kept for later, unless main shows what it was to do
    /// already, or nothing can be said of the base.
    pub(super) fn finish_publish(
        &self,
        intent: Option<(u64, View, bool)>,
    ) -> Result<(), BranchError> {
        let main = self.main();
        for id in self.base.pending()? {
            let wanted = intent.as_ref().filter(|(plan, ..)| *plan == id);
            let sealed = match wanted {
                Some((_, view, flipped)) => {
                    let untouched = unchanged(&main.state.read().view, view);
                    match *flipped || untouched {
                        true => self.base.read_plan(id)?.map(|sealed| (sealed, *flipped)),
                        false => None,
                    }
                }
                None => None,
            };
            let Some((sealed, flipped)) = sealed else {
                self.base.discard(id)?;
                continue;
            };
            log::info!("finishing publish {id} that was cut short");
            self.base.named_in_store(self.store.linked_blobs()?);
            let done = self.base.redo(&sealed, |_| ());
            let mut publish = Unfinished {
                sealed,
                view: View::default(),
                linked: Vec::new(),
                stage: Stage::Steps,
                ids: Vec::new(),
                inherited: true,
            };
            match done {
                Ok(applied) if flipped => {
                    publish.ids = applied.ids;
                    publish.stage = Stage::Settle;
                }
                Ok(applied) => publish.stage = Stage::Flip(applied),
                Err(error) if !flipped && self.base.is_half_done() => {
                    self.inherit(publish, error.into());
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            *self.unfinished.lock() = Some(publish);
            // It is logged, and tried again.
            let _ = self.noting(self.go_on());
        }
        debug_assert!(self.branch(BranchId::MAIN).is_some());
        Ok(())
    }
}
