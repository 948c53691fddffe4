//! What threads are busy with: the request that each answers, for a watchdog to look at.
//!
//! Each thread has a slot of its own, so that entering and leaving one costs two stores. A slot
//! lives as long as its thread.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::metrics::Op;

/// What a thread is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A request, on a thread that reads requests: it waits for nothing.
    Request(Op),
    /// The rest of a request, which may wait for the disk, the kernel and other jobs.
    Job(Op),
    /// What is done without being asked; it may wait as a job does.
    Background,
}

impl Task {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Task::Request(op) | Task::Job(op) => op.name(),
            Task::Background => "background",
        }
    }

    /// Whether it may wait for others.
    pub fn may_wait(self) -> bool {
        !matches!(self, Task::Request(_))
    }

    fn code(self) -> u64 {
        match self {
            Task::Background => 1,
            Task::Request(op) => 2 + 2 * op as u64,
            Task::Job(op) => 3 + 2 * op as u64,
        }
    }

    /// `None` for an idle thread.
    fn of_code(code: u64) -> Option<Task> {
        let op = || Op::ALL[(code as usize - 2) / 2];
        match code {
            0 => None,
            1 => Some(Task::Background),
            even if even % 2 == 0 => Some(Task::Request(op())),
            _ => Some(Task::Job(op())),
        }
    }
}

/// The low bits of a slot's word, which hold the task.
const CODE_BITS: u32 = 8;
const _: () = assert!(3 + 2 * Op::ALL.len() < 1 << CODE_BITS);

/// What one thread is busy with: a count of its tasks, and the code of the one at hand.
struct Slot {
    thread: u32,
    word: AtomicU64,
}

thread_local! {
    /// This thread's slot in each registry that it worked for: one, outside of tests.
    static SLOTS: RefCell<Vec<(Weak<Registry>, Arc<Slot>)>> = const { RefCell::new(Vec::new()) };
}

/// The threads that have worked.
type Registry = Mutex<Vec<Weak<Slot>>>;

/// What the threads of a mount are busy with; clones share it.
#[derive(Clone, Default)]
pub struct InFlight(Arc<Registry>);

/// A thread that is busy, as it was when looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// The thread's number, as gettid(2) has it.
    pub thread: u32,
    /// With what.
    pub task: Task,
    /// Different for each task of a thread.
    pub serial: u64,
}

/// Ends a task when dropped.
pub struct Entered(Arc<Slot>);

impl Drop for Entered {
    fn drop(&mut self) {
        let idle = self.0.word.load(Relaxed) >> CODE_BITS << CODE_BITS;
        self.0.word.store(idle, Relaxed);
    }
}

impl InFlight {
    /// This thread is busy with `task` until the result is dropped, on this thread.
    pub fn enter(&self, task: Task) -> Entered {
        let slot = self.slot();
        let serial = (slot.word.load(Relaxed) >> CODE_BITS) + 1;
        slot.word.store(serial << CODE_BITS | task.code(), Relaxed);
        Entered(slot)
    }

    fn slot(&self) -> Arc<Slot> {
        SLOTS.with_borrow_mut(|slots| {
            let ours = |of: &Weak<Registry>| Weak::as_ptr(of) == Arc::as_ptr(&self.0);
            if let Some((_, slot)) = slots.iter().find(|(of, _)| ours(of)) {
                return Arc::clone(slot);
            }
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            let slot = Arc::new(Slot {
                thread: thread.unsigned_abs(),
                word: AtomicU64::new(0),
            });
            slots.push((Arc::downgrade(&self.0), Arc::clone(&slot)));
            self.0.lock().push(Arc::downgrade(&slot));
            slot
        })
    }

    /// The threads that are busy.
    pub fn look(&self) -> Vec<Busy> {
        let mut slots = self.0.lock();
        slots.retain(|slot| slot.strong_count() > 0);
        let busy = slots.iter().filter_map(Weak::upgrade).filter_map(|slot| {
            let word = slot.word.load(Relaxed);
            let task = Task::of_code(word & ((1 << CODE_BITS) - 1))?;
            Some(Busy {
                thread: slot.thread,
                task,
                serial: word >> CODE_BITS,
            })
        });
        busy.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_a_code_of_its_own() {
        let requests = Op::ALL.iter().map(|&op| Task::Request(op));
        let jobs = Op::ALL.iter().map(|&op| Task::Job(op));
        let mut seen = std::collections::HashSet::new();
        for task in requests.chain(jobs).chain([Task::Background]) {
            assert!(seen.insert(task.code()), "{task:?} shares its code");
            assert_eq!(Task::of_code(task.code()), Some(task));
        }
        assert_eq!(Task::of_code(0), None);
    }

    #[test]
    fn a_thread_is_seen_while_it_is_busy() {
        let (one, other) = (InFlight::default(), InFlight::default());
        let first = one.enter(Task::Job(Op::Mkdir));
        let [busy] = one.look()[..] else {
            panic!("one thread is busy")
        };
        assert_eq!(busy.task, Task::Job(Op::Mkdir));
        assert!(other.look().is_empty(), "it works for another mount");
        drop(first);
        assert!(one.look().is_empty());
        let _second = one.enter(Task::Request(Op::Read));
        assert_ne!(one.look()[0].serial, busy.serial);
    }

    #[test]
    fn a_thread_that_has_ended_is_forgotten() {
        let registry = InFlight::default();
        let worker = registry.clone();
        std::thread::spawn(move || drop(worker.enter(Task::Background)))
            .join()
            .unwrap();
        assert!(registry.look().is_empty());
        assert!(registry.0.lock().is_empty());
    }
}
