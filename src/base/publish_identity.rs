//! Publishing: what published objects go on showing of themselves.
//!
//! A file that was published keeps the id and the ctime that it had in its view, and a file that
//! publishing only moved, linked or unlinked by one of its names keeps the ctime that it showed:
//! git and others go by ctime to tell whether a file is unchanged, and so does a [`super::Stamp`].

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::AtFlags;

use crate::tree::{Kind, Time};

use super::event::{Area, Loc, OldName};
use super::plan::{Before, Sealed, Shown, Step};
use super::purge::unlink;
use super::reach::stat_at;
use super::{Base, BaseError, IdEntry, Ident, Layout};

/// An object whose ctime a step moved although the file is the same as before.
struct Untouched {
    ident: Ident,
    ctime: Time,
    fd: Arc<OwnedFd>,
}

impl Base {
    /// Records the ids and ctimes that objects keep, as the last thing, since every step before may
    /// move a ctime.
    pub(super) fn keep_identities(
        &self,
        layout: &mut Layout,
        sealed: &Sealed,
        befores: &HashMap<u64, &Before>,
    ) -> Result<Vec<IdEntry>, BaseError> {
        // Of an inode the last step that leaves it somewhere says what it shows.
        let mut given = Vec::new();
        let mut last = HashMap::new();
        let since = sealed.version;
        let untouched = self.untouched(layout, sealed, befores)?;
        for (index, step) in sealed.plan.steps.iter().enumerate() {
            let Some((path, Shown { fid, ctime })) = identity(step) else {
                continue;
            };
            let after = (sealed.version, 2 * index as u32 + 1);
            let Some(loc) = layout.events.trace(after, path, |_| ()) else {
                continue;
            };
            let raw = self.reach.stat(&loc, path)?;
            let Ident { ino, btime } = raw.ident;
            if let Some(earlier) = last.insert(ino, given.len()) {
                given[earlier] = None;
            }
            given.push(Some(IdEntry {
                ino,
                btime,
                fid,
                ctime: Some((ctime, raw.attr.ctime)),
                since,
            }));
        }
        let mut ids: Vec<IdEntry> = given.into_iter().flatten().collect();
        ids.iter().for_each(|entry| self.ids.restore(*entry));
        // After the others, which may have taken over the ids of these.
        for Untouched { ident, ctime, fd } in untouched {
            let Ident { ino, btime } = ident;
            if last.insert(ino, ids.len()).is_some() {
                continue;
            }
            let raw = stat_at(&fd, b"").map_err(|errno| BaseError::io(b"<old>", "statx", errno))?;
            let fid = self.ids.fid(sealed.version, ident)?;
            let entry = IdEntry {
                ino,
                btime,
                fid,
                ctime: Some((ctime, raw.attr.ctime)),
                since,
            };
            self.ids.restore(entry);
            ids.push(entry);
        }
        Ok(ids)
    }

    /// Files that lost or gained a name and are otherwise what they were. Names that nobody needs
    /// go for good at once, since that moves the ctime once more.
    fn untouched(
        &self,
        layout: &mut Layout,
        sealed: &Sealed,
        befores: &HashMap<u64, &Before>,
    ) -> Result<Vec<Untouched>, BaseError> {
        let mut untouched = Vec::new();
        for (index, step) in sealed.plan.steps.iter().enumerate() {
            let (ino, loc, kept_name) = match step {
                Step::Link {
                    to,
                    ino,
                    shown: None,
                    ..
                } => {
                    let after = (sealed.version, 2 * index as u32 + 1);
                    (*ino, layout.events.trace(after, to, |_| ()), None)
                }
                Step::Evict { ino, keep, .. }
                | Step::Exchange {
                    ino_old: ino, keep, ..
                } => {
                    let name = OldName {
                        plan: sealed.plan.id,
                        keep: *keep,
                    };
                    (
                        *ino,
                        Some(Loc {
                            area: Area::Old,
                            path: name.bytes(),
                        }),
                        Some(name),
                    )
                }
                _ => continue,
            };
            let (Some(before), Some(loc)) = (befores.get(&ino), loc) else {
                continue;
            };
            let linked = matches!(step, Step::Link { .. });
            if before.attr.kind == Kind::Dir || (before.attr.nlink < 2 && !linked) {
                continue;
            }
            let fd = match self.reach.hold(&loc, &before.path) {
                // A redo of a plan that came this far already.
                Err(BaseError::NotFound { .. }) => continue,
                other => other?,
            };
            // As in `settle_events`: what the owner gets an event of stays until that is dropped,
            // or a restart would count a name that is not there.
            let has_event = sealed.plan.keep_old || layout.events.has_before(sealed.version);
            if let Some(name) = kept_name.filter(|_| !has_event) {
                let old = self.reach.area(Area::Old).as_fd();
                match unlink(&self.reach.disk, old, &loc.path, AtFlags::empty()) {
                    Ok(()) => layout.events.unkept_early(name, before.ident),
                    // No reason to stop, when other names are gone that readers of the old version
                    // would still look for. It goes with what is doomed.
                    Err(errno) => log::warn!("old/{}: {errno}", loc.path.escape_ascii()),
                }
            }
            untouched.push(Untouched {
                ident: before.ident,
                ctime: before.attr.ctime,
                fd,
            });
        }
        Ok(untouched)
    }
}

/// The path at which a step leaves an object, and the identity that the object keeps.
fn identity(step: &Step) -> Option<(&[u8], Shown)> {
    match step {
        Step::Unpark { path, shown, .. }
        | Step::Exchange { path, shown, .. }
        | Step::Place { path, shown, .. }
        | Step::Link {
            to: path, shown, ..
        }
        | Step::Move {
            to: path, shown, ..
        }
        | Step::SetAttr { path, shown, .. }
        | Step::Times { path, shown, .. } => shown.map(|shown| (path.as_slice(), shown)),
        Step::Evict { .. } | Step::Park { .. } => None,
    }
}
