//! Runs the same operations in a plain directory and in a subject, finds the first difference, and
//! shrinks what led to it.
//!
//! Each thread applies an operation to the plain directory and then to the subject, and compares.
//! Threads have a subtree each, where nobody else works; operations that touch the shared subtree
//! are applied under a lock, so that both trees see them in one order. What was done goes to one
//! history, which can be replayed by a single thread, and any part of it too.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::generator::Generator;
use super::op::Op;
use super::random::Random;
use super::subject::{Break, Make, Plain, SHARED, Subject, THREADS, look, same};
use super::world::{Outcome, Value, World};

/// One thing that happened in a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// An operation was done.
    Did(Worker, Op),
    /// All files were closed, and this happened.
    Interrupted(Break),
}

/// A difference, and what led to it.
#[derive(Debug)]
pub struct Difference {
    /// What differs.
    pub what: String,
    /// What happened before, up to the operation that showed it.
    pub history: Vec<Event>,
}

impl Difference {
    /// The report for a failed test.
    pub fn report(&self, seed: u64) -> String {
        let mut text = format!(
            "seed {seed}: {}\nafter these {} steps:\n",
            self.what,
            self.history.len()
        );
        let skip = self.history.len().saturating_sub(60);
        if skip > 0 {
            text += &format!("  ({skip} steps left out)\n");
        }
        for event in &self.history[skip..] {
            text += &match event {
                Event::Did(who, op) if who.shared => {
                    format!("  {} shared: {}\n", who.thread, show(op))
                }
                Event::Did(who, op) => format!("  {}: {}\n", who.thread, show(op)),
                Event::Interrupted(what) => format!("  -- {what:?}\n"),
            };
        }
        text + &format!("again: cargo xtask differential --seed {seed}\n")
    }
}

/// An operation with its names readable.
fn show(op: &Op) -> String {
    let text = format!("{op:?}");
    let mut out = String::new();
    let mut rest = text.as_str();
    // Byte strings print as lists of numbers; a list that is one is turned back into text.
    while let Some(start) = rest.find('[') {
        let Some(len) = rest[start..].find(']') else {
            break;
        };
        let numbers: Result<Vec<u8>, _> = rest[start + 1..start + len]
            .split(", ")
            .map(str::parse)
            .collect();
        out += &rest[..start];
        match numbers {
            Ok(bytes) => out += &format!("\"{}\"", bytes.escape_ascii()),
            Err(_) => out += &rest[start..=start + len],
        }
        rest = &rest[start + len + 1..];
    }
    out + rest
}

/// How much one run does.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Batches, with an interruption between two.
    pub batches: usize,
    /// Operations of each thread in a batch.
    pub ops: usize,
}

/// One run from `seed`. The answer is the number of operations that were compared.
pub fn run(make: &Make<'_>, seed: u64, size: Size) -> Result<usize, Difference> {
    let plain = Plain::new(seed);
    let mut subject = make(seed);
    let history = Mutex::new(Vec::new());
    let fail = |what: String| Difference {
        what,
        history: taken(&history),
    };
    let mut random = Random::new(seed);
    for batch in 0..size.batches {
        batch_of_threads(&plain, subject.as_ref(), &history, random.next(), size.ops)
            .map_err(fail)?;
        compare(&plain, subject.as_ref()).map_err(fail)?;
        if batch + 1 < size.batches {
            let what = random.pick(&[
                Break::Remount,
                Break::Kill,
                Break::Fork,
                Break::Fork,
                Break::Commit,
            ]);
            push(&history, Event::Interrupted(what));
            subject.interrupt(what).map_err(fail)?;
            compare(&plain, subject.as_ref()).map_err(fail)?;
        }
    }
    let wanted = look(&plain.root()).map_err(fail)?;
    subject.finish(&wanted).map_err(fail)?;
    Ok(taken(&history).len())
}

fn push(history: &Mutex<Vec<Event>>, event: Event) {
    history
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(event);
}

fn taken(history: &Mutex<Vec<Event>>) -> Vec<Event> {
    history
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

fn compare(plain: &Plain, subject: &dyn Subject) -> Result<(), String> {
    same(
        &look(&plain.root())?,
        &look(&subject.root())?,
        "the plain directory and the subject",
    )
}

/// Every thread does `ops` operations; the first difference stops them all.
fn batch_of_threads(
    plain: &Plain,
    subject: &dyn Subject,
    history: &Mutex<Vec<Event>>,
    seed: u64,
    ops: usize,
) -> Result<(), String> {
    let shared = Mutex::new(());
    let stop = AtomicBool::new(false);
    let worker = |thread: usize| {
        let mut private = Generator::new(seed ^ thread as u64, &format!("t{thread}"));
        let mut common = Generator::new(!seed ^ thread as u64, SHARED);
        let mut choice = Random::new(seed.rotate_left(7) ^ thread as u64);
        let mut own = Pair::new(plain, subject);
        let mut others = Pair::new(plain, subject);
        for _ in 0..ops {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let done = if choice.once_in(4) {
                let _one_order = shared.lock().unwrap_or_else(PoisonError::into_inner);
                others.step(
                    history,
                    Worker {
                        thread,
                        shared: true,
                    },
                    common.op(),
                )
            } else {
                own.step(
                    history,
                    Worker {
                        thread,
                        shared: false,
                    },
                    private.op(),
                )
            };
            if done.is_err() {
                stop.store(true, Ordering::Relaxed);
                return done;
            }
        }
        let _one_order = shared.lock().unwrap_or_else(PoisonError::into_inner);
        drop(others);
        Ok(())
    };
    let worker = &worker;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|t| scope.spawn(move || worker(t)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|t| t.join().unwrap_or_else(|_| Err("a panic".to_owned())))
    })
}

/// Who does an operation: a thread, in its own subtree or in the shared one. Each has descriptors
/// of its own, and no name or hard link leads from one subtree into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    thread: usize,
    shared: bool,
}

/// Two worlds that go on in step.
struct Pair<'a> {
    plain: World,
    other: World,
    subject: &'a dyn Subject,
}

impl<'a> Pair<'a> {
    fn new(plain: &Plain, subject: &'a dyn Subject) -> Pair<'a> {
        let (plain, other) = (World::new(&plain.root()), World::new(&subject.root()));
        Pair {
            plain,
            other,
            subject,
        }
    }

    fn step(&mut self, history: &Mutex<Vec<Event>>, who: Worker, op: Op) -> Result<(), String> {
        push(history, Event::Did(who, op.clone()));
        self.again(&op)
    }

    /// One operation in both worlds. Threads take turns, so that the two see all operations in one
    /// order and times can be compared between files of different threads.
    fn again(&mut self, op: &Op) -> Result<(), String> {
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = self.plain.apply(op);
        let got = self.other.apply(op);
        self.subject.after(op);
        judge(op, &wanted, &got)
    }
}

fn judge(op: &Op, wanted: &Outcome, got: &Outcome) -> Result<(), String> {
    if let Ok(Value::Wrong(what)) = got {
        return Err(format!("{}: {what}", show(op)));
    }
    if wanted == got {
        return Ok(());
    }
    let name = |outcome: &Outcome| match outcome {
        Err(errno) => std::io::Error::from_raw_os_error(*errno).to_string(),
        Ok(Value::Bytes(bytes)) => format!(
            "{} bytes, hash {:x}",
            bytes.len(),
            crate::harness::snapshot::hash_of(bytes)
        ),
        Ok(value) => format!("{value:?}"),
    };
    Err(format!(
        "{}:\n    plain   {}\n    subject {}",
        show(op),
        name(wanted),
        name(got)
    ))
}

/// Replays a history with a single thread. `None` when nothing differs.
pub fn replay(make: &Make<'_>, seed: u64, history: &[Event]) -> Option<String> {
    let plain = Plain::new(seed);
    let mut subject = make(seed);
    let result = replay_batches(&plain, subject.as_mut(), history)
        .and_then(|()| compare(&plain, subject.as_ref()))
        .and_then(|()| look(&plain.root()))
        .and_then(|wanted| subject.finish(&wanted));
    result.err()
}

fn replay_batches(
    plain: &Plain,
    subject: &mut dyn Subject,
    history: &[Event],
) -> Result<(), String> {
    let mut rest = history;
    loop {
        let end = rest
            .iter()
            .position(|e| matches!(e, Event::Interrupted(_)))
            .unwrap_or(rest.len());
        let mut pairs: HashMap<Worker, Pair<'_>> = HashMap::new();
        for event in &rest[..end] {
            let Event::Did(who, op) = event else {
                unreachable!("the batch ends before it")
            };
            pairs
                .entry(*who)
                .or_insert_with(|| Pair::new(plain, subject))
                .again(op)?;
        }
        drop(pairs);
        let Some(Event::Interrupted(what)) = rest.get(end) else {
            return Ok(());
        };
        compare(plain, subject)?;
        subject.interrupt(*what)?;
        compare(plain, subject)?;
        rest = &rest[end + 1..];
    }
}

/// Makes a history that shows a difference as short as it can in `limit`.
///
/// First the shortest prefix is found by bisection, then ever smaller pieces are left out. A
/// difference that a single thread does not show is returned as it was.
pub fn shrink(make: &Make<'_>, seed: u64, found: Difference, limit: Duration) -> Difference {
    let start = Instant::now();
    let Some(mut what) = replay(make, seed, &found.history) else {
        let what = format!("{}\n(only with several threads at once)", found.what);
        return Difference { what, ..found };
    };
    let (mut short, mut long) = (0, found.history.len());
    while short + 1 < long && start.elapsed() < limit {
        let middle = (short + long) / 2;
        match replay(make, seed, &found.history[..middle]) {
            Some(text) => (what, long) = (text, middle),
            None => short = middle,
        }
    }
    let mut history = found.history[..long].to_vec();
    let mut piece = history.len() / 2;
    while piece > 0 && start.elapsed() < limit {
        let mut at = 0;
        while at < history.len() && start.elapsed() < limit {
            let end = (at + piece).min(history.len());
            let mut shorter = history.clone();
            shorter.drain(at..end);
            match replay(make, seed, &shorter) {
                Some(text) => (what, history) = (text, shorter),
                None => at = end,
            }
        }
        piece /= 2;
    }
    Difference { what, history }
}
