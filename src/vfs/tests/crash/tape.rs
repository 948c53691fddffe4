//! Records every change to a directory, and says what a power cut at any moment leaves of it.
//!
//! *What survives.* A file's bytes up to its last sync; of what came later, any mixture: each
//! sector of 512 bytes as it was at some moment since, and any of the lengths since. So records
//! are torn, and pages come in any order. Names as a journalling file system keeps them: in the
//! order in which they changed, up to at least the last sync of a directory; but every directory of
//! the store is on its own, so that none may rely on another, and syncing a file makes no name
//! durable. Attributes go with the names, or with a sync of the file.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::random::Random;
use super::state::{Ino, Meta, Numbers, State, meta_of};
use crate::sys::disk::{Backend, Change, reveal};
use crate::sys::rename::At;

type Place = (Ino, Vec<u8>);

/// What happened.
#[derive(Clone, Debug)]
enum Event {
    Make {
        at: Place,
        ino: Ino,
    },
    Link {
        ino: Ino,
        at: Place,
    },
    Rename {
        from: Place,
        to: Place,
    },
    Exchange(Place, Place),
    Unlink(Place),
    Bytes {
        ino: Ino,
        offset: u64,
        bytes: Vec<u8>,
        len: u64,
    },
    Length {
        ino: Ino,
        len: u64,
    },
    Attributes {
        ino: Ino,
        meta: Meta,
    },
    Sync(Ino),
    SyncNames(Ino),
    SyncAll,
}

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: only the process died.
    Kill,
    /// Everything that was not synced.
    Unsynced,
    /// Nothing, but nobody can know.
    Nothing,
    /// Any of what was not synced.
    Some,
}

/// A call that is to fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// How many calls succeed before.
    pub after: usize,
    pub errno: Errno,
    /// Whether all calls after it fail as well.
    pub lasting: bool,
}

struct Recorded {
    dev: u64,
    start: State,
    now: State,
    numbers: Numbers,
    events: Vec<(i64, Event)>,
    calls: usize,
    fault: Option<Fault>,
    failed: usize,
    /// Held open, so that its number is nobody else's before it is forgotten here.
    victim: Option<std::os::fd::OwnedFd>,
}

/// The recorder.
pub struct Tape(Mutex<Recorded>);

fn stat(fd: BorrowedFd<'_>) -> rustix::fs::Stat {
    rustix::fs::fstat(fd).expect("a descriptor has attributes")
}

fn stat_at(at: &At<'_>) -> Option<rustix::fs::Stat> {
    rustix::fs::statat(at.dir, at.name, AtFlags::SYMLINK_NOFOLLOW).ok()
}

fn read_back(file: BorrowedFd<'_>, offset: u64, len: u64) -> (Vec<u8>, u64) {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let file = std::fs::File::open(path).expect("a file of the store can be read");
    let size = file.metadata().expect("fstat").len();
    let end = offset.saturating_add(len).min(size);
    let mut bytes = vec![0; end.saturating_sub(offset) as usize];
    file.read_exact_at(&mut bytes, offset)
        .expect("what was written is there");
    (bytes, size)
}

impl Tape {
    /// Records from here on what happens to a directory on device `dev` that holds `start`.
    pub fn new(dev: u64, start: State, numbers: Numbers) -> Arc<Tape> {
        Arc::new(Tape(Mutex::new(Recorded {
            dev,
            now: start.clone(),
            start,
            numbers,
            events: Vec::new(),
            calls: 0,
            fault: None,
            failed: 0,
            victim: None,
        })))
    }

    /// How many changes were recorded.
    pub fn len(&self) -> usize {
        self.0.lock().events.len()
    }

    /// From now on this fails.
    pub fn fail(&self, fault: Option<Fault>) {
        let mut tape = self.0.lock();
        (tape.calls, tape.failed, tape.fault) = (0, 0, fault);
    }

    /// How many calls have failed since [`Tape::fail`].
    pub fn failed(&self) -> usize {
        self.0.lock().failed
    }

    /// The directory is about to go.
    pub fn reveal(&self) {
        let tape = self.0.lock();
        tape.numbers.keys().for_each(|real| reveal(tape.dev, *real));
    }

    /// What a crash after the first `at` changes leaves.
    pub fn cut(&self, at: usize, loss: Loss, random: &mut Random) -> State {
        Cut::new(&self.0.lock(), at, loss, random).state()
    }

    /// The last changes before `at`, for messages.
    pub fn tail(&self, at: usize) -> String {
        let tape = self.0.lock();
        let first = at.saturating_sub(12);
        let show = |(index, (_, event)): (usize, &(i64, Event))| {
            let text = match event {
                Event::Bytes {
                    ino,
                    offset,
                    bytes,
                    len,
                } => {
                    format!("Bytes {ino} at {offset}, {} of {len}", bytes.len())
                }
                other => format!("{other:?}"),
            };
            format!("\n  {}: {text:.200}", first + index)
        };
        tape.events[first..at]
            .iter()
            .enumerate()
            .map(show)
            .collect()
    }
}

impl Backend for Tape {
    fn begin(&self, change: &Change<'_>) -> Result<(), Errno> {
        let mut tape = self.0.lock();
        if let Change::Unlink(at) | Change::Rename { to: at, .. } = change {
            let flags = rustix::fs::OFlags::PATH;
            tape.victim = crate::sys::beneath::open_beneath(at.dir, at.name, flags).ok();
        }
        let Some(fault) = tape.fault else {
            return Ok(());
        };
        let fillable = !matches!(
            change,
            Change::Sync(_) | Change::SyncNames(_) | Change::SyncAll(_) | Change::Unlink(_)
        );
        if matches!(change, Change::Store { .. }) || fault.errno == Errno::NOSPC && !fillable {
            return Ok(());
        }
        tape.calls += 1;
        let hit = match fault.lasting {
            true => tape.calls > fault.after,
            false => tape.calls == fault.after + 1,
        };
        tape.failed += usize::from(hit);
        if hit { Err(fault.errno) } else { Ok(()) }
    }

    fn done(&self, change: &Change<'_>) {
        self.0.lock().done(change);
    }
}

impl Recorded {
    fn known(&self, fd: BorrowedFd<'_>) -> Option<Ino> {
        self.numbers.get(&stat(fd).st_ino).copied()
    }

    fn place(&self, at: &At<'_>) -> Place {
        let st = stat(at.dir);
        let mut dir = *self
            .numbers
            .get(&st.st_ino)
            .expect("the directory is recorded");
        let mut names = at.name.split(|&byte| byte == b'/');
        let last = names.next_back().expect("a name");
        for name in names {
            dir = self.now.nodes[&dir].entries[name];
        }
        (dir, last.to_vec())
    }

    fn done(&mut self, change: &Change<'_>) {
        let event = match *change {
            Change::Make(at) => {
                let st = stat_at(&at).expect("it was just made");
                if self.numbers.contains_key(&st.st_ino) {
                    return;
                }
                let kind = FileType::from_raw_mode(st.st_mode);
                let ino = self.now.make(kind, st.st_rdev);
                self.numbers.insert(st.st_ino, ino);
                self.describe(&at, ino);
                let at = self.place(&at);
                Event::Make { at, ino }
            }
            Change::Link { from, to } => {
                let (dir, name) = self.place(&from);
                let ino = self.now.nodes[&dir].entries[&name];
                Event::Link {
                    ino,
                    at: self.place(&to),
                }
            }
            Change::Rename { from, to } => {
                let (from, to) = (self.place(&from), self.place(&to));
                Event::Rename { from, to }
            }
            Change::Exchange(a, b) => Event::Exchange(self.place(&a), self.place(&b)),
            Change::Unlink(at) => Event::Unlink(self.place(&at)),
            Change::Bytes { file, offset, len } | Change::Store { file, offset, len } => {
                let Some(ino) = self.known(file) else { return };
                let (bytes, len) = read_back(file, offset, len);
                Event::Bytes {
                    ino,
                    offset,
                    bytes,
                    len,
                }
            }
            Change::Length(file) => {
                let Some(ino) = self.known(file) else { return };
                let len = stat(file).st_size as u64;
                Event::Length { ino, len }
            }
            Change::Attributes(fd) => {
                let Some(ino) = self.known(fd) else { return };
                let meta = meta_of(fd);
                Event::Attributes { ino, meta }
            }
            Change::Sync(file) => match self.known(file) {
                Some(ino) => Event::Sync(ino),
                None => return,
            },
            Change::SyncNames(dir) => match self.known(dir) {
                Some(ino) => Event::SyncNames(ino),
                None => return,
            },
            Change::SyncAll(_) => Event::SyncAll,
        };
        let now = self.now.tick();
        let touched = apply(&mut self.now, &event, now);
        self.events.push((now, event));
        let real: Vec<(u64, Ino)> = self
            .numbers
            .iter()
            .filter(|(_, ino)| touched.contains(ino))
            .map(|(real, ino)| (*real, *ino))
            .collect();
        for (real, ino) in real {
            self.now.show(ino, self.dev, real);
        }
        // The number of a file without a name may soon be another's.
        if let Change::Unlink(_) | Change::Rename { .. } = change {
            let now = &self.now;
            let named: std::collections::HashSet<Ino> = now
                .nodes
                .values()
                .flat_map(|node| node.entries.values().copied())
                .chain([now.root])
                .collect();
            let dev = self.dev;
            self.numbers.retain(|real, ino| {
                let keeps = named.contains(ino);
                if !keeps {
                    reveal(dev, *real);
                }
                keeps
            });
            self.victim = None;
        }
    }

    fn describe(&mut self, at: &At<'_>, ino: Ino) {
        let (dir, name) = self.place(at);
        let parent = (self.now.nodes[&dir].domain, dir == self.now.store);
        let own = [&b"journal"[..], b"checkpoint", b"seg", b"blob"];
        let fd = crate::sys::beneath::open_beneath(at.dir, at.name, rustix::fs::OFlags::PATH);
        let fd = fd.expect("it was just made");
        let node = self.now.node(ino);
        node.meta = meta_of(&fd);
        let is_own = parent.0 != 0 || parent.1 && own.contains(&name.as_slice());
        node.domain = match node.kind {
            FileType::Directory if is_own => ino,
            FileType::Directory => 0,
            _ => parent.0,
        };
        if node.kind == FileType::Symlink {
            let target = rustix::fs::readlinkat(at.dir, at.name, Vec::new()).expect("a target");
            node.target = target.into_bytes();
        }
        // A replayed tree has the inode from the start, as it was made.
        let made = node.clone();
        self.start.nodes.insert(ino, made);
        self.start.later_than(&self.now);
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8], len: u64) {
    bytes.resize(len as usize, 0);
    bytes[offset as usize..offset as usize + data.len()].copy_from_slice(data);
}

/// Carries an event out; the inodes whose ctime it moves.
fn apply(state: &mut State, event: &Event, now: i64) -> Vec<Ino> {
    let take = |state: &mut State, (dir, name): &Place| state.node(*dir).entries.remove(name);
    let give = |state: &mut State, (dir, name): &Place, ino: Ino| {
        state.node(*dir).entries.insert(name.clone(), ino)
    };
    let touched = match event {
        Event::Make { at, ino } | Event::Link { ino, at } => {
            give(state, at, *ino);
            vec![*ino, at.0]
        }
        Event::Rename { from, to } => {
            let ino = take(state, from).expect("what is renamed is there");
            let gone = give(state, to, ino);
            [Some(ino), gone, Some(from.0), Some(to.0)]
                .into_iter()
                .flatten()
                .collect()
        }
        Event::Exchange(a, b) => {
            let (x, y) = (take(state, a), take(state, b));
            let (x, y) = (x.expect("it is there"), y.expect("it is there"));
            give(state, a, y);
            give(state, b, x);
            vec![x, y, a.0, b.0]
        }
        Event::Unlink(at) => {
            let gone = take(state, at).expect("what is removed is there");
            vec![gone, at.0]
        }
        Event::Bytes {
            ino,
            offset,
            bytes,
            len,
        } => {
            put(
                Arc::make_mut(&mut state.node(*ino).bytes),
                *offset,
                bytes,
                *len,
            );
            vec![*ino]
        }
        Event::Length { ino, len } => {
            Arc::make_mut(&mut state.node(*ino).bytes).resize(*len as usize, 0);
            vec![*ino]
        }
        Event::Attributes { ino, meta } => {
            state.node(*ino).meta = meta.clone();
            vec![*ino]
        }
        Event::Sync(_) | Event::SyncNames(_) | Event::SyncAll => Vec::new(),
    };
    for ino in &touched {
        state.node(*ino).changed = now;
    }
    touched
}

/// A power cut.
struct Cut<'a> {
    tape: &'a Recorded,
    at: usize,
    loss: Loss,
    random: &'a mut Random,
    /// Up to which event names are kept, by domain.
    names: BTreeMap<Ino, usize>,
    /// Up to which event a file is synced.
    synced: HashMap<Ino, usize>,
    synced_all: usize,
}

impl<'a> Cut<'a> {
    fn new(tape: &'a Recorded, at: usize, loss: Loss, random: &'a mut Random) -> Cut<'a> {
        let mut names = BTreeMap::new();
        let mut synced = HashMap::new();
        let mut synced_all = 0;
        for (index, (_, event)) in tape.events[..at].iter().enumerate() {
            match event {
                Event::Sync(ino) => drop(synced.insert(*ino, index)),
                Event::SyncNames(dir) => drop(names.insert(tape.now.nodes[dir].domain, index)),
                Event::SyncAll => synced_all = index,
                _ => {}
            }
        }
        let mut cut = Cut {
            tape,
            at,
            loss,
            random,
            names,
            synced,
            synced_all,
        };
        let domains: Vec<Ino> = tape.now.nodes.values().map(|node| node.domain).collect();
        let domains: std::collections::BTreeSet<Ino> = domains.into_iter().collect();
        for domain in domains {
            let least = cut.names.get(&domain).copied().unwrap_or(0).max(synced_all);
            let upto = cut.moment(least);
            cut.names.insert(domain, upto);
        }
        cut
    }

    /// A moment from `least` to the cut.
    fn moment(&mut self, least: usize) -> usize {
        match self.loss {
            Loss::Kill | Loss::Nothing => self.at,
            Loss::Unsynced => least,
            // Often one of the ends, where the mistakes are.
            Loss::Some => match self.random.below(4) {
                0 => least,
                1 => self.at,
                _ => self.random.between(least, self.at),
            },
        }
    }

    fn synced(&self, ino: Ino) -> usize {
        self.synced
            .get(&ino)
            .copied()
            .unwrap_or(0)
            .max(self.synced_all)
    }

    fn upto(&self, (dir, _): &Place) -> usize {
        self.names[&self.tape.now.nodes[dir].domain]
    }

    fn state(mut self) -> State {
        let mut state = self.tape.start.clone();
        state.later_than(&self.tape.now);
        let mut late: BTreeMap<Ino, Vec<usize>> = BTreeMap::new();
        for (index, (now, event)) in self.tape.events[..self.at].iter().enumerate() {
            let upto = match event {
                Event::Make { at, .. } | Event::Link { at, .. } | Event::Unlink(at) => {
                    self.upto(at)
                }
                Event::Rename { to, .. } | Event::Exchange(to, _) => self.upto(to),
                Event::Attributes { ino, .. } => self.names[&0].max(self.synced(*ino)),
                // A file system writes down a length that was set as it does names.
                Event::Length { ino, .. } if self.tape.now.nodes[ino].domain == 0 => {
                    self.names[&0].max(self.synced(*ino))
                }
                Event::Bytes { ino, .. } | Event::Length { ino, .. } => {
                    if index >= self.synced(*ino) {
                        late.entry(*ino).or_default().push(index);
                    }
                    self.synced(*ino)
                }
                _ => 0,
            };
            if index < upto {
                apply(&mut state, event, *now);
            }
        }
        for (ino, events) in late {
            self.mix(&mut state, ino, &events);
        }
        state
    }

    /// Gives a file some of what was written after its last sync.
    fn mix(&mut self, state: &mut State, ino: Ino, events: &[usize]) {
        let least = self.synced(ino);
        let moments: Vec<usize> = (0..4).map(|_| self.moment(least)).collect();
        let mut versions = Vec::new();
        for upto in moments {
            let mut version = state.nodes[&ino].clone();
            for index in events.iter().filter(|index| **index < upto) {
                let bytes = Arc::make_mut(&mut version.bytes);
                match &self.tape.events[*index] {
                    (
                        now,
                        Event::Bytes {
                            offset,
                            bytes: data,
                            len,
                            ..
                        },
                    ) => {
                        put(bytes, *offset, data, *len);
                        version.changed = *now;
                    }
                    (now, Event::Length { len, .. }) => {
                        bytes.resize(*len as usize, 0);
                        version.changed = *now;
                    }
                    other => unreachable!("not of a file's bytes: {other:?}"),
                }
            }
            versions.push(version);
        }
        let last = versions[0].clone();
        let mut bytes = vec![0; last.bytes.len()];
        for (index, sector) in bytes.chunks_mut(512).enumerate() {
            let version = &versions[self.random.below(versions.len())].bytes;
            let from = version.get(index * 512..).unwrap_or_default();
            let len = sector.len().min(from.len());
            sector[..len].copy_from_slice(&from[..len]);
        }
        let node = state.node(ino);
        node.bytes = Arc::new(bytes);
        node.changed = last.changed;
    }
}
