//! Publishing: one step at a time, each of which can be met half done.
//!
//! Every step names the inodes that it deals with, so whether it was done is seen by looking where
//! they are. `resume` is set when a plan is taken up again: only then is what looks done accepted
//! as done; otherwise it means that somebody changed the base, and the step is refused.
//!
//! **Progress**: some steps leave a trace that nothing else can have left, see [`trace_of`]. After
//! each of the others the length of `stage/<id>/done` becomes the number of steps done. Both are
//! changes of metadata like the steps themselves, so a filesystem that replays its metadata in
//! order (ext4, xfs) knows after a power loss at most one step more than they say, and one that
//! persists a renamed directory early (btrfs may) shows a later step by its trace.
//! [`Executor::first_undone`] goes by whichever says more.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::beneath::open_beneath;
use crate::sys::disk::{Change, Disk};
use crate::sys::inode;
use crate::sys::rename::{At, exchange, rename_noreplace};
use crate::tree::Kind;

use super::event::Area;
use super::path::{is_within, split};
use super::plan::{AttrSet, Sealed, Step};
use super::publish_stage::{DONE, old_name, set_attrs, slot_name};
use super::purge::{set_mode, unlink};
use super::reach::{Raw, stat_at, walk_error};
use super::{Base, BaseError};

/// A name in one of the directories that a step deals with.
#[derive(Clone, Copy)]
enum Spot<'s> {
    Base(&'s [u8]),
    Slot(u32),
    Kept(u32),
}

/// A spot with its directory open.
struct Place {
    dir: Arc<OwnedFd>,
    name: Vec<u8>,
}

impl Place {
    fn at(&self) -> At<'_> {
        At {
            dir: self.dir.as_fd(),
            name: &self.name,
        }
    }

    /// The inode that is here.
    fn ino(&self) -> Result<Option<u64>, Errno> {
        match stat_at(&self.dir, &self.name) {
            Ok(raw) => Ok(Some(raw.ident.ino)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn hold(&self) -> Result<(OwnedFd, Raw), Errno> {
        let fd = open_beneath(self.dir.as_fd(), &self.name, OFlags::PATH)?;
        let raw = stat_at(&fd, b"")?;
        Ok((fd, raw))
    }
}

/// Carries out the steps of one plan.
pub(super) struct Executor<'a> {
    base: &'a Base,
    sealed: &'a Sealed,
    stage: Arc<OwnedFd>,
    done: OwnedFd,
    resume: bool,
    /// The directory that was used last: the steps of a plan come sorted by directory.
    last_dir: Option<(Vec<u8>, Arc<OwnedFd>)>,
}

/// The slot for the object that is to be kept under a number, for a moment.
pub(super) fn aside(keep: u32) -> u32 {
    keep | 1 << 31
}

/// What is so once a step is done, and never before.
enum Trace {
    /// This inode is kept under this number.
    Kept(u32, u64),
    /// Nothing is in this slot.
    Empty(u32),
}

fn trace_of(step: &Step) -> Option<Trace> {
    match step {
        Step::Evict { ino, keep, .. }
        | Step::Exchange {
            ino_old: ino, keep, ..
        } => Some(Trace::Kept(*keep, *ino)),
        Step::Place { slot, .. } => Some(Trace::Empty(*slot)),
        _ => None,
    }
}

/// A directory that was made writable for a moment.
struct Loosened {
    fd: OwnedFd,
    mode: u32,
}

impl<'a> Executor<'a> {
    pub(super) fn open(
        base: &'a Base,
        sealed: &'a Sealed,
        resume: bool,
    ) -> Result<Self, BaseError> {
        let stage = Arc::new(base.open_stage(sealed.plan.id)?);
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let at = At {
            dir: stage.as_fd(),
            name: DONE,
        };
        let open = || rustix::fs::openat(&stage, DONE, flags, Mode::RUSR | Mode::WUSR);
        let done = base
            .reach
            .disk
            .change(Change::Make(at), open)
            .map_err(|errno| BaseError::io(b"<stage>", "open the progress in", errno))?;
        Ok(Executor {
            base,
            sealed,
            stage,
            done,
            resume,
            last_dir: None,
        })
    }

    /// The plan.
    pub(super) fn sealed(&self) -> &'a Sealed {
        self.sealed
    }

    /// The first step that is not known to be done.
    pub(super) fn first_undone(&mut self) -> Result<usize, BaseError> {
        let steps = &self.sealed.plan.steps;
        let marked = stat_at(&self.done, b"")
            .map_err(|errno| BaseError::io(b"<stage>", "read the progress in", errno))?;
        let marked = steps.len().min(marked.attr.size as usize);
        for (index, step) in steps.iter().enumerate().skip(marked).rev() {
            if self.left_a_trace(step)? {
                return Ok(index + 1);
            }
        }
        Ok(marked)
    }

    /// Whether a step was done, going by what only that step can have done.
    fn left_a_trace(&mut self, step: &Step) -> Result<bool, BaseError> {
        let mut look = || match trace_of(step) {
            Some(Trace::Kept(keep, ino)) => Ok(self.place(Spot::Kept(keep))?.ino()? == Some(ino)),
            Some(Trace::Empty(slot)) => Ok(self.place(Spot::Slot(slot))?.ino()?.is_none()),
            None => Ok(false),
        };
        look().map_err(|errno: Errno| BaseError::io(b"<stage>", "look at", errno))
    }

    /// Notes that the steps up to this one are done, unless it has left a trace.
    pub(super) fn mark(&self, index: usize) -> Result<(), BaseError> {
        if trace_of(&self.sealed.plan.steps[index]).is_some() {
            return Ok(());
        }
        let count = index + 1;
        let length = Change::Length(self.done.as_fd());
        let mark = || rustix::fs::ftruncate(&self.done, count as u64);
        self.disk()
            .change(length, mark)
            .map_err(|errno| BaseError::io(b"<stage>", "note the progress in", errno))
    }

    fn place(&mut self, spot: Spot<'_>) -> Result<Place, Errno> {
        match spot {
            Spot::Slot(slot) => Ok(Place {
                dir: self.stage.clone(),
                name: slot_name(slot),
            }),
            Spot::Kept(keep) => Ok(Place {
                dir: self.base.reach.area(Area::Old).clone(),
                name: old_name(self.sealed.plan.id, keep),
            }),
            Spot::Base(path) => {
                let root = self.base.reach.area(Area::Root);
                let Some((dir, name)) = split(path).filter(|(dir, _)| !dir.is_empty()) else {
                    return Ok(Place {
                        dir: root.clone(),
                        name: path.to_vec(),
                    });
                };
                let fd = match &self.last_dir {
                    Some((path, fd)) if path == dir => fd.clone(),
                    _ => {
                        let flags = OFlags::PATH | OFlags::DIRECTORY;
                        let fd = Arc::new(open_beneath(root.as_fd(), dir, flags)?);
                        self.last_dir = Some((dir.to_vec(), fd.clone()));
                        fd
                    }
                };
                Ok(Place {
                    dir: fd,
                    name: name.to_vec(),
                })
            }
        }
    }

    /// Forgets the open directory if it is not at its path any more.
    fn moved(&mut self, path: &[u8]) {
        self.last_dir.take_if(|(dir, _)| is_within(dir, path));
    }

    /// Carries out one step; with `resume`, whatever of it is left to do.
    pub(super) fn execute(&mut self, step: &Step) -> Result<(), BaseError> {
        match step {
            Step::Evict { path, ino, keep } => {
                self.relocate(Spot::Base(path), Spot::Kept(*keep), *ino, path)
            }
            Step::Park { path, ino, slot } => {
                self.relocate(Spot::Base(path), Spot::Slot(*slot), *ino, path)
            }
            Step::Unpark {
                slot, path, ino, ..
            }
            | Step::Place {
                slot, ino, path, ..
            } => self.relocate(Spot::Slot(*slot), Spot::Base(path), *ino, path),
            Step::Move { from, to, ino, .. } => {
                self.relocate(Spot::Base(from), Spot::Base(to), *ino, from)
            }
            Step::Exchange {
                ino_new,
                path,
                ino_old,
                keep,
                ..
            } => self.replace(*ino_new, path, *ino_old, *keep),
            Step::Link { from, to, ino, .. } => self.link(from, to, *ino),
            Step::SetAttr { path, ino, set, .. } => self.set_attr(path, *ino, set),
            Step::Times {
                path, atime, mtime, ..
            } => {
                let mut set = || {
                    let (fd, _) = self.place(Spot::Base(path))?.hold()?;
                    let times = ((atime.sec, atime.nsec), (mtime.sec, mtime.nsec));
                    let change = Change::Attributes(fd.as_fd());
                    self.disk()
                        .change(change, || inode::set_times(fd.as_fd(), times.0, times.1))
                };
                set().map_err(|errno| walk_error(path, "set times of", errno))
            }
        }
    }

    fn relocate(
        &mut self,
        from: Spot<'_>,
        to: Spot<'_>,
        ino: u64,
        path: &[u8],
    ) -> Result<(), BaseError> {
        for spot in [from, to] {
            if let Spot::Base(path) = spot {
                self.moved(path);
            }
        }
        let mut relocate = || {
            let target = self.place(to)?;
            if self.resume && target.ino()? == Some(ino) {
                return Ok(true);
            }
            let source = match self.place(from) {
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
                other => other?,
            };
            if source.ino()? != Some(ino) {
                return Ok(false);
            }
            self.with_access(&[&source, &target], || self.rename(&source, &target))?;
            Ok(true)
        };
        expect_done(relocate(), path, "rename")
    }

    /// An exchange, or on a filesystem that has none: the old object goes aside, the new one to its
    /// place, the old one to where the new one was.
    fn replace(&mut self, new: u64, path: &[u8], old: u64, keep: u32) -> Result<(), BaseError> {
        self.moved(path);
        let mut replace = || {
            let kept = self.place(Spot::Kept(keep))?;
            let place = self.place(Spot::Base(path))?;
            let aside = self.place(Spot::Slot(aside(keep)))?;
            let keep_old = || self.with_access(&[&aside], || self.rename(&aside, &kept));
            let in_place = place.ino()?;
            // The first time that is what was staged a moment ago.
            let mut in_kept = Some(new);
            if self.resume {
                in_kept = kept.ino()?;
                let is_aside = aside.ino()? == Some(old);
                match (in_kept, in_place) {
                    (Some(kept), Some(there)) if (kept, there) == (old, new) => return Ok(true),
                    (Some(ino), None) if ino == new && is_aside => {
                        self.put_over(&kept, &place)?;
                        return keep_old().map(|()| true);
                    }
                    (None, Some(there)) if there == new && is_aside => {
                        return keep_old().map(|()| true);
                    }
                    _ => {}
                }
            }
            if (in_kept, in_place) != (Some(new), Some(old)) {
                return Ok(false);
            }
            if self.with_access(&[&kept, &place], || self.exchange(&kept, &place))? {
                return Ok(true);
            }
            // As a link, if it can have one, so that the place is never empty.
            if aside.ino()? != Some(old) {
                let link = self.second_name(&place, &aside);
                if link.is_err() || stat_at(&kept.dir, &kept.name)?.attr.kind == Kind::Dir {
                    if link.is_ok() {
                        unlink(
                            self.disk(),
                            aside.dir.as_fd(),
                            &aside.name,
                            AtFlags::empty(),
                        )?;
                    }
                    self.with_access(&[&place], || self.rename(&place, &aside))?;
                }
            }
            self.put_over(&kept, &place)?;
            keep_old().map(|()| true)
        };
        expect_done(replace(), path, "replace")
    }

    /// Whether a replacement without an exchange stopped while the old object was aside.
    pub(super) fn is_aside(&mut self, keep: u32, old: u64) -> bool {
        let ino = (self.place(Spot::Slot(aside(keep)))).and_then(|place| place.ino());
        ino.is_ok_and(|ino| ino == Some(old))
    }

    fn link(&mut self, from: &[u8], to: &[u8], ino: u64) -> Result<(), BaseError> {
        let mut link = || {
            let target = self.place(Spot::Base(to))?;
            if self.resume && target.ino()? == Some(ino) {
                return Ok(true);
            }
            let source = self.place(Spot::Base(from))?;
            if source.ino()? != Some(ino) {
                return Ok(false);
            }
            self.with_access(&[&target], || self.second_name(&source, &target))?;
            Ok(true)
        };
        expect_done(link(), to, "link")
    }

    fn set_attr(&mut self, path: &[u8], ino: u64, set: &AttrSet) -> Result<(), BaseError> {
        let mut set_attr = || {
            let (fd, raw) = self.place(Spot::Base(path))?.hold()?;
            if raw.ident.ino != ino {
                return Ok(false);
            }
            set_attrs(self.disk(), fd.as_fd(), &raw, set)?;
            Ok(true)
        };
        expect_done(set_attr(), path, "set attributes of")
    }
}

/// `false`: the objects were not where the step wants them.
fn expect_done(done: Result<bool, Errno>, path: &[u8], op: &'static str) -> Result<(), BaseError> {
    match done {
        Ok(true) => Ok(()),
        Ok(false) => Err(BaseError::Changed {
            path: path.to_vec(),
        }),
        Err(errno) => Err(walk_error(path, op, errno)),
    }
}

/// The system calls of the steps.
impl Executor<'_> {
    fn disk(&self) -> &Disk {
        &self.base.reach.disk
    }

    fn rename(&self, from: &Place, to: &Place) -> Result<(), Errno> {
        let (from, to) = (from.at(), to.at());
        self.disk()
            .change(Change::Rename { from, to }, || rename_noreplace(from, to))
    }

    fn exchange(&self, a: &Place, b: &Place) -> Result<bool, Errno> {
        let (a, b) = (a.at(), b.at());
        self.disk()
            .change(Change::Exchange(a, b), || exchange(a, b))
    }

    fn second_name(&self, from: &Place, to: &Place) -> Result<(), Errno> {
        let (from, to) = (from.at(), to.at());
        self.disk().change(Change::Link { from, to }, || {
            rustix::fs::linkat(from.dir, from.name, to.dir, to.name, AtFlags::empty())
        })
    }

    /// Moves a staged object over a file that has another name, or to where nothing is.
    fn put_over(&self, staged: &Place, place: &Place) -> Result<(), Errno> {
        let (from, to) = (staged.at(), place.at());
        self.with_access(&[staged, place], || {
            self.disk().change(Change::Rename { from, to }, || {
                rustix::fs::renameat(from.dir, from.name, to.dir, to.name)
            })
        })
    }

    /// Runs a change of names. An owner without root may have taken the write permission off its
    /// own directories; they get it back for that moment, as a person who moves such files would do
    /// it.
    fn with_access<T>(
        &self,
        places: &[&Place],
        change: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match change() {
            Err(Errno::ACCESS) => {}
            other => return other,
        }
        let mut loosened = Vec::new();
        for place in places {
            // Moving a directory writes its `..`, so the object itself must be writable too.
            let dir = open_beneath(place.dir.as_fd(), b"", OFlags::PATH).ok();
            let object = open_beneath(place.dir.as_fd(), &place.name, OFlags::PATH).ok();
            let both = [dir, object].into_iter().flatten();
            loosened.extend(both.filter_map(|fd| self.loosen(fd)));
        }
        let result = change();
        for Loosened { fd, mode } in loosened.into_iter().rev() {
            set_mode(self.disk(), fd.as_fd(), mode)?;
        }
        result
    }

    fn loosen(&self, fd: OwnedFd) -> Option<Loosened> {
        let attr = stat_at(&fd, b"").ok()?.attr;
        if attr.kind != Kind::Dir || attr.mode & 0o300 == 0o300 {
            return None;
        }
        set_mode(self.disk(), fd.as_fd(), attr.mode | 0o700).ok()?;
        Some(Loosened {
            fd,
            mode: attr.mode,
        })
    }
}
