//! Which [`FileId`] each base object has.
//!
//! A base object has its inode number as its id where that is below [`FileId::FIRST_NEW`] and no
//! exception says otherwise: nothing is stored for it. The exceptions are
//! - the root, which is [`FileId::ROOT`] whatever its inode number is;
//! - inode numbers that are 1 or too large, and collisions: an id from the upper half;
//! - what publish created: it keeps the id and shows the ctime that it had in its view.
//!
//! **Who owns an id at a version**: publishing a changed file replaces inode I by a new inode N,
//! and both have id I: views of the old version see the old inode, later ones the new. So an
//! exception says `since` which version it holds its id, and at version `at` an id belongs to the
//! exception with the greatest `since <= at`; without one, to the inode of that number. An object
//! that does not own the id that it would have gets a new one. That also catches an inode number
//! that was freed and given to another file.
//!
//! **Durability**: an exception made outside publish is handed to the owner's callback before any
//! caller sees its id. **Lock order**: the map's lock is innermost but for that callback, which
//! must not call into the base.

use foldhash::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;
use smallvec::SmallVec;

use crate::tree::FileId;

use super::error::BaseError;
use super::id_alloc::Allocator;
use super::id_entry::IdEntry;
use super::{Ident, Version};

/// What the map needs at open.
pub struct IdConfig {
    /// Ids from [`FileId::FIRST_NEW`] on that some view uses, sorted.
    pub used: Vec<u32>,
    /// Where the search for free ids starts: behind the last one given out, if that is known.
    pub cursor: u32,
    /// Called with each exception that is made outside publish, before its id is used. It must make
    /// the entry part of the owner's log and must not call into the base.
    pub on_new_id: Box<dyn Fn(&IdEntry) + Send + Sync>,
    /// Makes durable what the owner's log has of these. It must not call into the base either.
    pub make_durable: Box<dyn Fn() -> Result<(), Errno> + Send + Sync>,
}

#[derive(Default)]
pub(super) struct Exceptions {
    /// The entries of an inode, ordered by `since`, all of one birth time.
    pub(super) by_ino: HashMap<u64, SmallVec<[IdEntry; 1]>>,
    /// Inodes that have an id by exception, ordered by `since`.
    by_fid: HashMap<u32, SmallVec<[(Version, u64); 1]>>,
    /// Ids that more than one inode had: those that [`IdMap::trim`] looks at.
    shared: HashSet<u32>,
    /// Objects whose ctime somebody is about to move: see [`super::ctimes`].
    pub(super) moving: HashSet<Ident>,
}

/// Whether an object has its id, or who has it since when.
pub(super) enum Claim {
    Owned(FileId),
    Displaced { since: Version },
    Unnumbered,
}

impl Exceptions {
    fn detach(&mut self, entry: &IdEntry) {
        if let Some(entries) = self.by_ino.get_mut(&entry.ino) {
            entries.retain(|other| other.since != entry.since);
            if entries.is_empty() {
                self.by_ino.remove(&entry.ino);
            }
        }
        if let Some(owners) = self.by_fid.get_mut(&entry.fid.0) {
            owners.retain(|owner| *owner != (entry.since, entry.ino));
            if owners.len() < 2 {
                self.shared.remove(&entry.fid.0);
            }
            if owners.is_empty() {
                self.by_fid.remove(&entry.fid.0);
            }
        }
    }

    pub(super) fn insert(&mut self, mut entry: IdEntry) {
        for old in self.by_ino.get(&entry.ino).cloned().unwrap_or_default() {
            if old.btime != entry.btime {
                self.detach(&old);
            } else if old.fid == entry.fid {
                entry.since = old.since.min(entry.since);
                self.detach(&old);
            } else if old.since == entry.since {
                self.detach(&old);
            }
        }
        let entries = self.by_ino.entry(entry.ino).or_default();
        let at = entries.partition_point(|other| other.since < entry.since);
        entries.insert(at, entry);
        let owners = self.by_fid.entry(entry.fid.0).or_default();
        let at = owners.partition_point(|&(since, _)| since <= entry.since);
        owners.insert(at, (entry.since, entry.ino));
        if owners.len() > 1 {
            self.shared.insert(entry.fid.0);
        }
    }

    /// The entry of exactly this object at `at`.
    pub(super) fn get(&self, at: Version, ident: Ident) -> Option<&IdEntry> {
        let entries = self.by_ino.get(&ident.ino)?;
        entries
            .iter()
            .rev()
            .find(|entry| entry.since <= at && entry.btime == ident.btime)
    }

    pub(super) fn claim(&self, at: Version, ident: Ident) -> Claim {
        let fid = match self.get(at, ident) {
            Some(entry) => entry.fid,
            None => match natural(ident.ino) {
                Some(fid) => fid,
                None => return Claim::Unnumbered,
            },
        };
        let owners = self.by_fid.get(&fid.0);
        match owners.and_then(|owners| owners.iter().rev().find(|&&(since, _)| since <= at)) {
            Some(&(since, owner)) if owner != ident.ino => Claim::Displaced { since },
            _ => Claim::Owned(fid),
        }
    }
}

/// The id that an inode number stands for by itself.
fn natural(ino: u64) -> Option<FileId> {
    let fits = ino > FileId::ROOT.0.into() && ino < FileId::FIRST_NEW.into();
    fits.then_some(FileId(ino as u32))
}

/// The ids of all base objects.
///
/// Cost: two hash probes under a shared lock; nothing is stored for the ordinary file.
pub(super) struct IdMap {
    root_ino: u64,
    pub(super) exceptions: RwLock<Exceptions>,
    allocator: Mutex<Allocator>,
    pub(super) on_new_id: Box<dyn Fn(&IdEntry) + Send + Sync>,
    pub(super) make_durable: Box<dyn Fn() -> Result<(), Errno> + Send + Sync>,
}

impl IdMap {
    pub(super) fn new(root_ino: u64, config: IdConfig) -> Self {
        IdMap {
            root_ino,
            exceptions: RwLock::default(),
            allocator: Mutex::new(Allocator::new(config.used, config.cursor)),
            on_new_id: config.on_new_id,
            make_durable: config.make_durable,
        }
    }

    /// The id of an object found at version `at`; allocates one where it has none.
    pub(super) fn fid(&self, at: Version, ident: Ident) -> Result<FileId, BaseError> {
        if ident.ino == self.root_ino {
            return Ok(FileId::ROOT);
        }
        if let Claim::Owned(fid) = self.exceptions.read().claim(at, ident) {
            return Ok(fid);
        }
        let mut exceptions = self.exceptions.write();
        let since = match exceptions.claim(at, ident) {
            Claim::Owned(fid) => return Ok(fid),
            Claim::Displaced { since } => since,
            Claim::Unnumbered => 0,
        };
        self.allocate(&mut exceptions, ident, since)
    }

    /// The id of an inode number alone, where its birth time cannot matter.
    pub(super) fn fid_of_ino(&self, ino: u64) -> Option<FileId> {
        if ino == self.root_ino {
            return Some(FileId::ROOT);
        }
        let exceptions = self.exceptions.read();
        let fid = natural(ino)?;
        let plain =
            !exceptions.by_ino.contains_key(&ino) && !exceptions.by_fid.contains_key(&fid.0);
        plain.then_some(fid)
    }

    /// Gives the object a new id of its own in place of the one that it has now.
    pub(super) fn distinct(&self, ident: Ident) -> Result<FileId, BaseError> {
        let mut exceptions = self.exceptions.write();
        let since = exceptions
            .get(Version::MAX, ident)
            .map_or(0, |entry| entry.since);
        self.allocate(&mut exceptions, ident, since)
    }

    fn allocate(
        &self,
        exceptions: &mut Exceptions,
        ident: Ident,
        since: Version,
    ) -> Result<FileId, BaseError> {
        let fid = self
            .allocator
            .lock()
            .next(|id| exceptions.by_fid.contains_key(&id))?;
        let ctime = exceptions
            .get(Version::MAX, ident)
            .and_then(|entry| entry.ctime);
        let entry = IdEntry {
            ino: ident.ino,
            btime: ident.btime,
            fid,
            ctime,
            since,
        };
        (self.on_new_id)(&entry);
        exceptions.insert(entry);
        Ok(fid)
    }

    /// A free id for a new file in a view.
    pub(super) fn alloc(&self) -> Result<FileId, BaseError> {
        let exceptions = self.exceptions.read();
        self.allocator
            .lock()
            .next(|id| exceptions.by_fid.contains_key(&id))
    }

    /// Where a search for free ids would go on.
    pub(super) fn cursor(&self) -> u32 {
        self.allocator.lock().cursor
    }

    /// Adds or replaces an entry without telling the owner: replay, and what publish reports
    /// itself.
    pub(super) fn restore(&self, entry: IdEntry) {
        self.exceptions.write().insert(entry);
    }

    /// Whether an object was given this id by a publish after version `at`.
    pub(super) fn was_given_after(&self, at: Version, fid: FileId) -> bool {
        let exceptions = self.exceptions.read();
        let newest = exceptions.by_fid.get(&fid.0).and_then(|all| all.last());
        newest.is_some_and(|&(since, _)| since > at)
    }

    /// Every exception, in no order.
    pub(super) fn all(&self) -> Vec<IdEntry> {
        self.exceptions
            .read()
            .by_ino
            .values()
            .flatten()
            .copied()
            .collect()
    }

    /// Drops entries of inodes that no longer own their id at `oldest` or later.
    pub(super) fn trim(&self, oldest: Version) {
        let mut exceptions = self.exceptions.write();
        let mut gone = Vec::new();
        for fid in &exceptions.shared {
            let owners = &exceptions.by_fid[fid];
            let keep = owners
                .partition_point(|&(since, _)| since <= oldest)
                .saturating_sub(1);
            for (since, ino) in &owners[..keep] {
                let entries = exceptions.by_ino.get(ino).into_iter().flatten();
                gone.extend(entries.filter(|entry| entry.since == *since).copied());
            }
        }
        gone.iter().for_each(|entry| exceptions.detach(entry));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::ctimes::WillMove;
    use super::*;
    use crate::tree::Time;

    fn map(used: Vec<u32>, cursor: u32) -> (IdMap, Arc<Mutex<Vec<IdEntry>>>) {
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = log.clone();
        let on_new_id = Box::new(move |entry: &IdEntry| sink.lock().push(*entry));
        (
            IdMap::new(
                77,
                IdConfig {
                    used,
                    cursor,
                    on_new_id,
                    make_durable: Box::new(|| Ok(())),
                },
            ),
            log,
        )
    }

    fn ident(ino: u64, born: i64) -> Ident {
        Ident {
            ino,
            btime: Some(Time { sec: born, nsec: 0 }),
        }
    }

    fn entry(ino: u64, born: i64, fid: u32, since: Version) -> IdEntry {
        let Ident { ino, btime } = ident(ino, born);
        IdEntry {
            ino,
            btime,
            fid: FileId(fid),
            ctime: None,
            since,
        }
    }

    #[test]
    fn ordinary_inodes_need_no_entry() {
        let (ids, log) = map(vec![], 0);
        assert_eq!(ids.fid(0, ident(77, 1)).unwrap(), FileId::ROOT);
        assert_eq!(ids.fid(0, ident(500, 1)).unwrap(), FileId(500));
        assert_eq!(ids.fid_of_ino(500), Some(FileId(500)));
        assert!(log.lock().is_empty());
    }

    #[test]
    fn large_numbers_get_lasting_ids_from_the_upper_half() {
        let (ids, log) = map(vec![0x8000_0000, 0x8000_0001], 0);
        let large = ident(1 << 40, 1);
        assert_eq!(ids.fid_of_ino(1 << 40), None);
        assert_eq!(ids.fid(0, large).unwrap(), FileId(0x8000_0002));
        assert_eq!(ids.fid(5, large).unwrap(), FileId(0x8000_0002));
        assert_eq!(ids.fid(0, ident(1, 1)).unwrap(), FileId(0x8000_0003));
        assert_eq!(ids.alloc().unwrap(), FileId(0x8000_0004));
        let (again, _) = map(vec![], 0);
        log.lock().iter().for_each(|entry| again.restore(*entry));
        assert_eq!(again.fid(0, large).unwrap(), FileId(0x8000_0002));
        assert_eq!(again.alloc().unwrap(), FileId(0x8000_0000));
        assert_eq!(again.alloc().unwrap(), FileId(0x8000_0001));
        assert_eq!(again.alloc().unwrap(), FileId(0x8000_0004));
    }

    #[test]
    fn a_published_inode_takes_the_id_over_from_its_version_on() {
        let (ids, _) = map(vec![], 0);
        ids.restore(entry(900, 2, 500, 4));
        assert_eq!(ids.fid(3, ident(500, 1)).unwrap(), FileId(500));
        assert_eq!(ids.fid(4, ident(900, 2)).unwrap(), FileId(500));
        let other = ids.fid(4, ident(500, 9)).unwrap();
        assert!(
            other.0 >= FileId::FIRST_NEW,
            "a reused inode number is another file: {other:?}"
        );
        assert_eq!(
            ids.fid(3, ident(500, 9)).unwrap(),
            FileId(500),
            "older views see no change"
        );
        ids.restore(entry(901, 3, 500, 6));
        assert_eq!(ids.fid(5, ident(900, 2)).unwrap(), FileId(500));
        assert_eq!(ids.fid(6, ident(901, 3)).unwrap(), FileId(500));
        ids.trim(6);
        assert!(ids.all().iter().all(|entry| entry.ino != 900));
        assert_eq!(ids.fid(6, ident(901, 3)).unwrap(), FileId(500));
    }

    #[test]
    fn an_entry_does_not_outlive_its_inode() {
        let (ids, _) = map(vec![], 0);
        ids.restore(entry(900, 2, 0x8000_0009, 1));
        assert_eq!(ids.fid(1, ident(900, 2)).unwrap(), FileId(0x8000_0009));
        assert_eq!(ids.fid(1, ident(900, 3)).unwrap(), FileId(900));
    }

    #[test]
    fn the_cursor_wraps_and_stops_after_one_round() {
        let last = FileId::FIRST_RESERVED - 1;
        let (ids, _) = map(vec![FileId::FIRST_NEW], last);
        assert_eq!(ids.alloc().unwrap(), FileId(last));
        assert_eq!(ids.alloc().unwrap(), FileId(FileId::FIRST_NEW + 1));
    }

    #[test]
    fn the_shown_ctime_ends_with_the_next_real_change() {
        let (ids, _) = map(vec![], 0);
        let (shown, real) = (Time { sec: 1, nsec: 0 }, Time { sec: 2, nsec: 0 });
        ids.restore(IdEntry {
            ctime: Some((shown, real)),
            ..entry(900, 2, 900, 1)
        });
        assert_eq!(ids.shown_ctime(ident(900, 2), real), shown);
        let later = Time { sec: 3, nsec: 0 };
        assert_eq!(ids.shown_ctime(ident(900, 2), later), later);
    }

    #[test]
    fn a_ctime_that_a_crash_left_moving_is_whatever_is_found_and_that_once() {
        let (ids, log) = map(vec![], 0);
        let time = |sec| Time { sec, nsec: 0 };
        let WillMove::Told(moving) = ids.will_move(0, ident(900, 2), time(1)) else {
            panic!("it has an id");
        };
        let told = log.lock().clone();
        assert!(matches!(
            ids.will_move(0, ident(900, 2), time(1)),
            WillMove::Busy
        ));
        // While it goes on nobody takes a ctime of the middle for the last.
        assert_eq!(ids.shown_ctime(ident(900, 2), time(5)), time(1));
        assert_eq!(ids.shown_ctime(ident(900, 2), time(6)), time(1));
        ids.moved(ident(900, 2), time(7));
        drop(moving);
        assert_eq!(ids.shown_ctime(ident(900, 2), time(7)), time(1));
        assert_eq!(ids.shown_ctime(ident(900, 2), time(8)), time(8));
        let (next, _) = map(vec![], 0);
        told.into_iter().for_each(|entry| next.restore(entry));
        assert_eq!(next.shown_ctime(ident(900, 2), time(7)), time(1));
        assert_eq!(next.shown_ctime(ident(900, 2), time(8)), time(8));
        assert_eq!(next.shown_ctime(ident(900, 2), time(7)), time(1));
        assert_eq!(next.shown_ctime(ident(900, 3), time(7)), time(7));
    }

    #[test]
    fn entries_survive_their_encoding() {
        let full = IdEntry {
            ctime: Some((Time { sec: -1, nsec: 5 }, Time { sec: 7, nsec: 9 })),
            ..entry(1 << 50, -3, 0x8000_1234, 17)
        };
        for entry in [
            full,
            IdEntry {
                btime: None,
                ctime: None,
                ..full
            },
        ] {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            assert_eq!(IdEntry::decode(&bytes).unwrap(), entry);
            assert!(IdEntry::decode(&bytes[..bytes.len() - 1]).is_err());
        }
    }
}
