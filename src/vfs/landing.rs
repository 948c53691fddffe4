//! How changes land: a commit, an undo, a publish, and what the kernel is told about each.
//!
//! While something lands in a branch nobody caches names of that branch, and what the kernel has
//! cached of what changes goes before the change and after it. So once anyone has seen the new
//! state, nobody sees the old one again.

use std::sync::Arc;

use super::Vfs;
use super::control::Done;
use super::invalidate::Asked;
use super::ops::Errno;
use crate::branch::{Back, Branch, BranchError, Changed, Effects, PublishMode, State};
use crate::sys::failpoint;
use crate::tree::{BranchId, View};

/// Called with what a change replaces or removes in a branch, see [`crate::branch`].
type Orphan<'a> = &'a mut dyn FnMut(&State, &Changed, &View);

impl Vfs {
    /// Main's changes go down into the base, and are durable there.
    pub(super) fn publish(&self) -> Done {
        (self.0.config.write_back)()();
        self.publish_written()?;
        Ok(self.workspace().settle_publish()?)
    }

    /// Main's changes go down into the base, where what mappings held has been written already.
    /// What then only is to be settled is left to a thread.
    fn publish_written(&self) -> Done {
        let report = match self.workspace().publish_unsettled() {
            // What was removed a moment ago may still take the space that is wanted.
            Err(error) if Errno::from(&error).0 == libc::ENOSPC => {
                self.collect()?;
                self.workspace().publish_unsettled()?
            }
            done => done?,
        };
        if report.linked > 0 {
            self.workspace().settle_publish()?;
            // Until its second name in the store was gone, a published blob had two links.
            self.workspace().barrier()?;
            self.workspace().store.reclaim();
            let main = self.workspace().main();
            let incarnation = main.incarnation();
            for node in self.0.overlay.known(&main, incarnation) {
                self.0.config.cache.inval_inode(node, false);
            }
        }
        Ok(())
    }

    pub(super) fn commit(&self, branch: &Arc<Branch>) -> Done {
        let workspace = self.workspace();
        let parent = workspace.parent_of(branch, "committed")?;
        self.land(
            (branch, &parent),
            &|| workspace.check_base(branch),
            &mut |orphan| workspace.commit(branch, orphan),
        )?;
        failpoint::reach("commit-durable");
        self.settle_later();
        Ok(())
    }

    /// Takes the last commit into a branch back, or the last undo.
    pub(super) fn undo(&self, parent: &Arc<Branch>, back: Back) -> Done {
        let workspace = self.workspace();
        let (name, entry) = workspace.last(parent, back)?;
        let done = self.land(
            (&entry, parent),
            &|| workspace.check_base_for_undo(&entry),
            &mut |orphan| workspace.undo(parent, &entry, orphan),
        );
        // The entry has another name in the trash from now on, and another incarnation.
        self.0.drop_trashed(parent, &name);
        done?;
        failpoint::reach("undo-durable");
        self.settle_later();
        Ok(())
    }

    /// Has a thread settle what a landing has published, if it has. Where no work is done in the
    /// background, the next publish does it.
    fn settle_later(&self) {
        if !self.workspace().is_unfinished() || self.0.background.lock().is_none() {
            return;
        }
        let inner = Arc::downgrade(&self.0);
        self.0.settler.push(vec![()], move |_| {
            let Some(inner) = inner.upgrade() else { return };
            if let Err(error) = inner.workspace().settle_publish() {
                log::warn!("a publish is not settled yet: {error}");
            }
        });
    }

    /// Lets the difference between the two views of `branch` into `parent` by `change`. Where
    /// that is main, `check` has to find nothing against it in the base.
    fn land(
        &self,
        (branch, parent): (&Arc<Branch>, &Arc<Branch>),
        check: &dyn Fn() -> Result<(), BranchError>,
        change: &mut dyn FnMut(Orphan<'_>) -> Result<Effects, BranchError>,
    ) -> Done {
        let inner = &self.0;
        let workspace = inner.workspace();
        let is_main = parent.id == BranchId::MAIN;
        (inner.config.write_back)()();
        *inner.settling.entry(parent.id).or_default() += 1;
        let done = workspace.affected(branch).and_then(|affected| {
            // From here on nobody caches names of the parent, and what is cached goes before the
            // change, so the old state is not seen after the new one.
            let stale = inner.overlay.stale(&affected);
            inner.drop_stale(&stale);
            let changes = affected.names.len() + affected.replaced.len();
            let before = inner.before(branch, parent, changes);
            if is_main {
                check()?;
            }
            let stale = inner.overlay.stale(&affected);
            let effects = change(&mut |state, changed, next| {
                inner.overlay.keep_open(state, changed, next);
            })?;
            Ok((effects, stale, before))
        });
        inner.settling.remove_if_mut(&parent.id, |_, count| {
            *count -= 1;
            *count == 0
        });
        let (effects, stale, before) = done?;
        let landed = workspace.store.last_lsn();
        inner.drop_stale(&stale);
        self.tell_watchers(before);
        let bury = |dead| self.bury(dead, Asked::ByWrite);
        let unburied: Vec<_> = effects.dead.iter().filter_map(bury).collect();
        // It has landed. An error now would say that it has not, so what goes wrong with the rest
        // is told elsewhere.
        let expired = self
            .expire_at_once()
            .and_then(|()| Ok(workspace.expire_commits(parent)?));
        if let Err(refused) = expired {
            let (_, sentence) = refused.errno_and_sentence();
            log::warn!("the trash is not emptied: {sentence}");
        }
        let publishes = workspace.options.publish == PublishMode::Sync;
        if is_main
            && publishes
            && let Err(refused) = self.publish_written()
        {
            let (errno, sentence) = refused.errno_and_sentence();
            log::warn!("a branch has landed in main, which is not published: {sentence}");
            parent.state.write().last_error = Some((errno.0, sentence));
        }
        // It would take the processor from those who wait for the answer.
        self.bury_later(unburied);
        Ok(workspace.make_durable(landed)?)
    }

    /// With a trash of no time, what ended is gone.
    pub(super) fn expire_at_once(&self) -> Done {
        if self.workspace().options.trash.is_zero() {
            self.workspace().expire_old()?;
        }
        Ok(())
    }
}
