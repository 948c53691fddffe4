//! What is done without being asked: publishing when idle, barriers, expiry, checkpoints, sweeps.
//!
//! One thread. Whatever fails is logged and tried again at the next turn.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::in_flight::Task;
use super::{Inner, Vfs};
use crate::branch::{BranchError, PublishMode};
use crate::sys::heap;
use crate::tree::View;

/// How often it looks; main is idle if nothing changed between two looks.
const TURN: Duration = Duration::from_secs(1);
/// After so many turns without one, what was acknowledged becomes durable (as ext4's commit=5).
const TURNS_TO_BARRIER: u64 = 5;
const TURNS_TO_EXPIRY: u64 = 30;
const TURNS_TO_SWEEP: u64 = 10;
/// After the kernel forgot so many nodes and then none for a turn, memory goes back to the system.
const MANY_FORGOTTEN: u64 = 20_000;

/// What the last turn has seen.
#[derive(Default)]
struct Last {
    /// What main showed.
    view: View,
    /// How many nodes the kernel had forgotten.
    forgotten: u64,
    /// How many of those when memory was last given back.
    trimmed: u64,
}

/// The background thread of a [`Vfs`]; it ends when this is dropped.
pub struct Background {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts it.
    pub fn start(vfs: &Vfs) -> std::io::Result<Background> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (weak, stopped) = (Arc::downgrade(&vfs.0), stop.clone());
        let thread = std::thread::Builder::new()
            .name("background".into())
            .spawn(move || turns(&weak, &stopped))?;
        Ok(Background {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the background thread panicked");
        }
    }
}

fn turns(inner: &Weak<Inner>, stop: &(Mutex<bool>, Condvar)) {
    let mut last = Last::default();
    for turn in 1_u64.. {
        {
            let mut stopped = stop.0.lock();
            if !*stopped {
                stop.1.wait_for(&mut stopped, TURN);
            }
            if *stopped {
                return;
            }
        }
        let Some(inner) = inner.upgrade() else { return };
        if inner.ended.load(Ordering::Acquire) {
            return;
        }
        let vfs = Vfs(inner);
        let _busy = (vfs.0.config.metrics.in_flight()).enter(Task::Background);
        match catch_unwind(AssertUnwindSafe(|| vfs.turn(turn, &mut last))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::warn!("background work: {error}"),
            // The panic itself has been logged.
            Err(_) => vfs.workspace().store.distrust("background work panicked"),
        }
    }
}

impl Vfs {
    fn turn(&self, turn: u64, last: &mut Last) -> Result<(), BranchError> {
        self.trim(last);
        let workspace = self.workspace();
        if workspace.options.read_only || workspace.store.poisoned().is_some() {
            return Ok(());
        }
        workspace.settle_publish()?;
        let view = workspace.main().state.read().view.clone();
        let idle = view.same_as(&last.view);
        last.view = view;
        if idle && !last.view.is_empty() && workspace.options.publish != PublishMode::Manual {
            workspace.publish()?;
        }
        if turn.is_multiple_of(TURNS_TO_BARRIER) {
            workspace.make_durable(workspace.store.last_lsn())?;
        }
        if turn.is_multiple_of(TURNS_TO_BARRIER) && workspace.options.maxima.bytes.is_some() {
            workspace.measure_room()?;
        }
        if turn % TURNS_TO_EXPIRY == 1 {
            workspace.expire_old()?;
        }
        if self.0.starved.swap(false, Ordering::AcqRel) {
            if workspace.expire_oldest()? {
                self.collect()?;
            }
            // What was removed is free after it.
            workspace.barrier()?;
        }
        workspace.checkpoint_if_due()?;
        if turn.is_multiple_of(TURNS_TO_SWEEP) && workspace.has_garbage() {
            self.collect()?;
        }
        Ok(())
    }

    /// After the kernel has forgotten very many files, what was kept for them goes too.
    fn trim(&self, last: &mut Last) {
        let forgotten = self.0.overlay.forgotten();
        let quiet = forgotten == last.forgotten;
        last.forgotten = forgotten;
        if quiet && forgotten - last.trimmed >= MANY_FORGOTTEN {
            last.trimmed = forgotten;
            self.workspace().base.forget_listings();
            heap::trim();
        }
    }

    /// The end of a mount: what main has goes into the base, the store is closed.
    pub(super) fn finish(&self) {
        if self.0.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        drop(self.0.background.lock().take());
        let workspace = self.workspace();
        if workspace.options.read_only {
            return;
        }
        workspace.unpin_all();
        if let Err(error) = workspace.publish() {
            log::error!("main is not published, its changes stay in the store: {error}");
        }
        let closed = workspace.drop_old_versions().and_then(|()| {
            workspace.checkpoint()?;
            Ok(workspace.store.close()?)
        });
        if let Err(error) = closed {
            log::error!("the store is not closed cleanly: {error}");
        }
    }
}
