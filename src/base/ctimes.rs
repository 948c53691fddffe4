//! Which ctime an object shows where something of ours has moved its own.
//!
//! Nobody can set a ctime, and nobody knows what one will be before a name is removed. So what an
//! object goes on showing is told to the owner before: its entry says [`MOVING`] in place of the
//! object's own ctime, and once that is durable the name may go. Whoever comes after a crash takes
//! whatever ctime the object then has for one that we gave it.
//!
//! **Steps**: [`IdMap::will_move`], the owner makes it durable, the removal, [`IdMap::moved`].
//! While the [`Moving`] lives, the entry stays as it is; after that the next look at the object
//! ends the uncertainty, which is also what happens after a restart.

use super::id_entry::{IdEntry, MOVING};
use super::ids::{Claim, IdMap};
use super::{Ident, Version};
use crate::tree::Time;

/// Something of ours is about to move the ctime of an object, or has just done so.
#[must_use]
pub struct Moving<'a> {
    ids: &'a IdMap,
    ident: Ident,
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.ids.exceptions.write().moving.remove(&self.ident);
    }
}

/// What [`IdMap::will_move`] says.
pub(super) enum WillMove<'a> {
    /// The owner has been told.
    Told(Moving<'a>),
    /// It was told before, by somebody who is not done yet.
    Busy,
    /// The object shows nothing that could be kept.
    Nothing,
}

impl IdMap {
    /// The ctime that an object shows, given its own.
    pub(super) fn shown_ctime(&self, ident: Ident, real: Time) -> Time {
        let shown = {
            let exceptions = self.exceptions.read();
            let entry = exceptions.get(Version::MAX, ident);
            match entry.and_then(|entry| entry.ctime) {
                Some((shown, then)) if then == real => return shown,
                Some((shown, MOVING)) if exceptions.moving.contains(&ident) => return shown,
                Some((shown, MOVING)) => shown,
                _ => return real,
            }
        };
        // Left by a crash, or by somebody who gave up.
        self.moved(ident, real);
        shown
    }

    /// Tells the owner that something of ours is about to move the ctime of an object that shows
    /// `shown`. An object that has no id at `at` was not shown there.
    pub(super) fn will_move(&self, at: Version, ident: Ident, shown: Time) -> WillMove<'_> {
        let mut exceptions = self.exceptions.write();
        let Claim::Owned(fid) = exceptions.claim(at, ident) else {
            return WillMove::Nothing;
        };
        if !exceptions.moving.insert(ident) {
            return WillMove::Busy;
        }
        let since = exceptions
            .get(Version::MAX, ident)
            .map_or(0, |entry| entry.since);
        let entry = IdEntry {
            ino: ident.ino,
            btime: ident.btime,
            fid,
            ctime: Some((shown, MOVING)),
            since,
        };
        (self.on_new_id)(&entry);
        exceptions.insert(entry);
        WillMove::Told(Moving { ids: self, ident })
    }

    /// The same for the object of an inode number that shows a ctime not its own: what it showed
    /// last, whatever its own is now.
    pub(super) fn will_move_again(&self, at: Version, ino: u64) -> Option<Moving<'_>> {
        let (ident, shown) = {
            let exceptions = self.exceptions.read();
            let entry = exceptions.by_ino.get(&ino)?.last()?;
            (entry.ident(), entry.ctime?.0)
        };
        match self.will_move(at, ident, shown) {
            WillMove::Told(moving) => Some(moving),
            WillMove::Busy | WillMove::Nothing => None,
        }
    }

    /// Whether the owner knows that the object's own ctime moves.
    pub(super) fn is_moving(&self, ident: Ident) -> bool {
        let exceptions = self.exceptions.read();
        let entry = exceptions.get(Version::MAX, ident);
        matches!(entry.and_then(|entry| entry.ctime), Some((_, MOVING)))
    }

    /// The object's own ctime is `real` now, and what it shows is what it showed before it moved.
    pub(super) fn moved(&self, ident: Ident, real: Time) {
        let mut exceptions = self.exceptions.write();
        let Some(entry) = exceptions.get(Version::MAX, ident).copied() else {
            return;
        };
        if let Some((shown, MOVING)) = entry.ctime {
            let ctime = Some((shown, real));
            let entry = IdEntry { ctime, ..entry };
            (self.on_new_id)(&entry);
            exceptions.insert(entry);
        }
    }
}
