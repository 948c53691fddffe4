//! Work that is put together into batches, by a thread that rests between them.
//!
//! For work that costs the same for one thing as for many, and that nobody waits for. After a batch
//! whose cost was told ([`Paced::took`]) the thread rests [`REST`] times as long, and takes all
//! that has come by then at once. What comes after a longer silence is done immediately.
//!
//! **Invariant**: all that is pushed is in a batch, unless the [`Paced`] ends before.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How many times as long as the work took the rest after it is: so it takes at most a twentieth
/// of the time.
const REST: u32 = 19;

struct State<T> {
    waiting: Vec<T>,
    rests_until: Option<Instant>,
    has_thread: bool,
    ended: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Signalled when something comes after nothing, when there is too much, and at the end.
    changed: Condvar,
    name: &'static str,
    most: usize,
}

/// What waits for the next batch; the thread ends when this is dropped.
pub(super) struct Paced<T>(Arc<Shared<T>>);

impl<T: Send + 'static> Paced<T> {
    /// Nothing yet, for a thread called `name`. With more than `most` things waiting there is no
    /// rest.
    pub(super) fn new(name: &'static str, most: usize) -> Paced<T> {
        Paced(Arc::new(Shared {
            state: Mutex::new(State {
                waiting: Vec::new(),
                rests_until: None,
                has_thread: false,
                ended: false,
            }),
            changed: Condvar::new(),
            name,
            most,
        }))
    }

    /// Whether the next batch is not due yet.
    pub(super) fn rests(&self) -> bool {
        self.0.state.lock().rests()
    }

    /// The work has just been done once, and has cost this much time.
    pub(super) fn took(&self, cost: Duration) {
        self.0.state.lock().rests_until = Some(Instant::now() + cost * REST);
    }

    /// Puts things into the next batch. The first call decides on the `work` that all batches get.
    pub(super) fn push(&self, things: Vec<T>, work: impl FnMut(Vec<T>) + Send + 'static) {
        let mut state = self.0.state.lock();
        let came_after_nothing = state.waiting.is_empty();
        state.waiting.extend(things);
        if !state.has_thread {
            let shared = self.0.clone();
            let thread = std::thread::Builder::new().name(self.0.name.into());
            match thread.spawn(move || shared.run(work)) {
                Ok(_) => state.has_thread = true,
                Err(error) => log::warn!("no thread for {} yet: {error}", self.0.name),
            }
        } else if came_after_nothing || state.waiting.len() > self.0.most {
            self.0.changed.notify_one();
        }
    }
}

impl<T> Drop for Paced<T> {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.changed.notify_one();
    }
}

impl<T> State<T> {
    fn rests(&self) -> bool {
        self.rests_until.is_some_and(|until| until > Instant::now())
    }
}

impl<T> Shared<T> {
    fn run(&self, mut work: impl FnMut(Vec<T>)) {
        while let Some(batch) = self.next() {
            if catch_unwind(AssertUnwindSafe(|| work(batch))).is_err() {
                log::error!("a batch of {} panicked", self.name);
            }
        }
    }

    /// Waits for the next batch; `None` at the end.
    fn next(&self) -> Option<Vec<T>> {
        let mut state = self.state.lock();
        while !state.ended {
            match state.rests_until {
                _ if state.waiting.is_empty() => self.changed.wait(&mut state),
                Some(until) if state.rests() && state.waiting.len() <= self.most => {
                    self.changed.wait_until(&mut state, until);
                }
                _ => return Some(std::mem::take(&mut state.waiting)),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn what_comes_during_a_batch_and_the_rest_after_it_is_one_batch() {
        let paced = Arc::new(Paced::new("test", 100));
        let (tell, told) = mpsc::channel();
        let push = |things: std::ops::Range<i32>| {
            let (weak, tell) = (Arc::downgrade(&paced), tell.clone());
            let work = move |batch| {
                tell.send(batch).unwrap();
                // Nobody waits as long as the rest after this.
                let cost = Duration::from_secs(3600);
                weak.upgrade().iter().for_each(|paced| paced.took(cost));
            };
            paced.push(things.collect(), work);
        };
        push(0..1);
        assert_eq!(told.recv().unwrap(), [0]);
        for thing in 1..=100 {
            push(thing..thing + 1);
        }
        // That is one too many for a rest.
        push(101..102);
        assert_eq!(told.recv().unwrap(), Vec::from_iter(1..102));
    }

    #[test]
    fn a_batch_that_panics_is_not_the_last_one() {
        let paced = Paced::new("test", 100);
        let (tell, told) = mpsc::channel();
        for thing in [0, 1] {
            let tell = tell.clone();
            paced.push(vec![thing], move |batch| {
                let failed = batch == [0];
                tell.send(batch).unwrap();
                assert!(!failed, "this batch is meant to panic");
            });
            assert_eq!(told.recv().unwrap(), [thing]);
        }
    }
}
