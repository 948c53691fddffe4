//! A publish that is not done with: it has failed part of the way and goes on where it stopped, or
//! has only to be made durable in the base.
//!
//! From its first step on a publish cannot be undone, only finished: the base is between two
//! versions, and a restart finishes the plan only if main is still what was planned. So until it is
//! finished *main takes no change*: no write, no commit, no fork ([`BranchError::HalfPublished`]),
//! and no checkpoint is written, which would forget the plan. Reads go on: before the flip at the
//! old version, after it at the new one. The background work tries again at every turn, and so does
//! every publish. The same goes for a publish that the last process began and that this one cannot
//! finish at its start: the workspace opens all the same.
//!
//! **Invariant**: whether main is frozen changes under the lock of main's state.

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use super::plan::Linked;
use super::publish::flip;
use super::{BranchError, Record, State, Workspace};
use crate::base::{Applied, IdEntry, Sealed};
use crate::sys::failpoint;
use crate::tree::{BranchId, View};

/// How far a publish has come.
pub(super) enum Stage {
    /// Steps in the base are to be done.
    Steps,
    /// They are, and the journal is to say so.
    Flip(Applied),
    /// The base is to be made durable, and the plan is to go.
    Settle,
}

/// A publish under way.
pub(super) struct Unfinished {
    pub sealed: Sealed,
    /// What main showed.
    pub view: View,
    /// Blobs that are files of the base now.
    pub linked: Vec<Linked>,
    pub stage: Stage,
    /// Ids that a flip in the journal does not have: steps that it comes after were done again.
    pub ids: Vec<IdEntry>,
    /// Whether another process began it. What that had in memory is found by looking, once it is
    /// finished: `view` and `linked` are empty.
    pub inherited: bool,
}

impl Workspace {
    /// Carries a plan out and flips main's state, which stays locked.
    pub(super) fn carry_out(
        &self,
        publish: &mut Unfinished,
        main: &mut State,
    ) -> Result<(), BranchError> {
        if let Stage::Steps = publish.stage {
            let applied = self.base.apply(&publish.sealed, |_| ())?;
            failpoint::reach("publish-applied");
            publish.stage = Stage::Flip(applied);
        }
        if let Stage::Flip(applied) = &publish.stage {
            let linked = publish.linked.iter();
            self.base.named_in_store(linked.map(|linked| linked.ino));
            // Reads follow the base at once, whether or not the journal has room for the record.
            flip(main, applied.version);
            failpoint::reach("publish-flipped");
            self.log_applied(&publish.sealed, applied)?;
            failpoint::reach("publish-recorded");
            self.drop_published(main, &publish.view, &publish.linked);
            publish.stage = Stage::Settle;
        }
        Ok(())
    }

    /// Says whether main takes changes after [`Workspace::carry_out`]; with main's state locked.
    pub(super) fn freeze(&self, publish: &Unfinished, failed: bool) {
        let begun = !matches!(publish.stage, Stage::Steps) || self.base.is_half_done();
        self.frozen.store(failed && begun, Ordering::Release);
    }

    /// Keeps a publish that failed, or gives it up where it has changed nothing.
    pub(super) fn set_aside(&self, publish: Unfinished, error: BranchError) -> BranchError {
        if matches!(publish.stage, Stage::Steps) && !self.base.is_half_done() {
            if let Err(error) = self.cancel(&publish.sealed) {
                log::warn!("a plan that changed nothing stays: {error}");
            }
            return error;
        }
        log::error!("a publish stopped part of the way and will be tried again: {error}");
        *self.unfinished.lock() = Some(publish);
        error
    }

    /// Gives a plan up of which nothing was done.
    pub(super) fn cancel(&self, sealed: &Sealed) -> Result<(), BranchError> {
        let plan = sealed.plan.id;
        let logged = self.log(&Record::PublishCancel { plan });
        self.base.cancel(sealed)?;
        logged
    }

    /// Finishes the publish that was set aside, if there is one. With the publish lock held.
    pub(super) fn go_on(&self) -> Result<(), BranchError> {
        let Some(mut publish) = self.unfinished.lock().take() else {
            return Ok(());
        };
        let carried = match publish.stage {
            Stage::Settle => Ok(()),
            Stage::Steps | Stage::Flip(_) => {
                let main = self.main();
                let _running = self.begin();
                let mut state = main.state.write();
                let carried = self.carry_out(&mut publish, &mut state);
                self.freeze(&publish, carried.is_err());
                carried
            }
        };
        match carried.and_then(|()| self.settle(&publish)) {
            Ok(()) if publish.inherited => self.tidy(),
            Ok(()) => Ok(()),
            Err(error) => Err(self.set_aside(publish, error)),
        }
    }

    /// Finishes a publish that was left unsettled, or tries that again.
    pub fn settle_publish(&self) -> Result<(), BranchError> {
        if !self.is_unfinished() {
            return Ok(());
        }
        let _publishing = self.publishing.lock();
        self.noting(self.go_on())
    }

    /// Whether a publish waits to be finished.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished.lock().is_some()
    }

    /// Keeps a publish that the last process began, and that `error` has stopped in the middle of
    /// its steps.
    pub(super) fn inherit(&self, publish: Unfinished, error: BranchError) {
        self.frozen.store(true, Ordering::Release);
        let error = self.set_aside(publish, error);
        // It is logged.
        let _ = self.noting::<()>(Err(error));
    }

    /// Removes what a process that ended early left behind, once no publish is unfinished.
    pub(super) fn tidy(&self) -> Result<(), BranchError> {
        self.base.sweep()?;
        // Names of blobs that are the base's now: there, they would count as links.
        let linked = self.store.linked_blobs()?;
        if !linked.is_empty() {
            let _moving = self.base.will_unlink(linked);
            self.barrier()?;
            let unlink = |dir: BorrowedFd<'_>, name: &[u8]| self.base.unlink(dir, name);
            self.store.remove_linked_blobs(unlink)?;
        }
        self.table.garbage.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Remembers how a publish went.
    pub(super) fn noting<T>(&self, done: Result<T, BranchError>) -> Result<T, BranchError> {
        *self.publish_error.lock() = done.as_ref().err().map(ToString::to_string);
        done
    }

    /// Why main could not be published the last time; `None` where it could.
    pub fn publish_error(&self) -> Option<String> {
        self.publish_error.lock().clone()
    }

    /// Refuses a change of main while a publish is half done.
    pub fn check_frozen(&self, branch: BranchId) -> Result<(), BranchError> {
        match branch == BranchId::MAIN && self.frozen.load(Ordering::Acquire) {
            true => Err(BranchError::HalfPublished),
            false => Ok(()),
        }
    }
}
