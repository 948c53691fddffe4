//! The end of old versions: dropping events, and deleting what only they could reach.
//!
//! Deleting goes in bounded steps and holds the layout only for names of files that live on under
//! other names. A directory tree is taken apart from the top: its subdirectories are renamed up
//! into the old directory and queued, so no depth needs more than a few descriptors, and a crash
//! leaves nothing but names that [`Base::sweep`] finds. Names so made start with `x`.

use std::collections::HashSet;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::sys::beneath::open_beneath;
use crate::sys::disk::{Change, Disk};
use crate::sys::inode;
use crate::sys::rename::{At, rename_noreplace};
use crate::tree::Kind;

use super::ctimes::{Moving, WillMove};
use super::event::{Area, Event, OldName};
use super::reach::stat_at;
use super::{Base, BaseError, Ident, Layout, Version};

/// A name in the old directory that nobody needs.
pub(super) struct Doomed {
    name: Vec<u8>,
    /// It counts as a kept link of this inode.
    link: Option<Ident>,
}

/// The names in a directory, without `.` and `..`.
pub(super) fn names(dir: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, c".", flags, Mode::empty())?;
    let mut buf = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(&fd, &mut buf);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// A name whose file lives on under another, and goes on showing the ctime that it has now.
struct Leaving<'a> {
    dir: BorrowedFd<'a>,
    name: Vec<u8>,
    ident: Ident,
    _moving: Moving<'a>,
}

/// What became of a name, or of a directory.
enum Unlinked<'a> {
    Gone,
    /// For [`Base::unlink_leaving`].
    Leaving(Leaving<'a>),
    /// It is there still, maybe since another name of the same file is leaving.
    Later,
}

/// Removes one name; with REMOVEDIR, a directory.
pub(super) fn unlink(
    disk: &Disk,
    dir: BorrowedFd<'_>,
    name: &[u8],
    flags: AtFlags,
) -> Result<(), Errno> {
    disk.change(Change::Unlink(At { dir, name }), || {
        rustix::fs::unlinkat(dir, name, flags)
    })
}

/// Sets the permission bits of what `fd` holds.
pub(super) fn set_mode(disk: &Disk, fd: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    disk.change(Change::Attributes(fd), || inode::set_mode(fd, mode))
}

/// Opens a directory for taking it apart, whatever its mode.
fn open_doomed(disk: &Disk, dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let fd = open_beneath(dir, name, OFlags::PATH | OFlags::DIRECTORY)?;
    let mode = stat_at(&fd, b"")?.attr.mode;
    if mode & 0o700 != 0o700 {
        set_mode(disk, fd.as_fd(), mode | 0o700)?;
    }
    Ok(fd)
}

fn gone_is_fine(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Removes `name` in `dir` with what is in it, in one go; it is no error that it is not there. For
/// staging directories, whose depth is two.
pub(super) fn remove_tree(disk: &Disk, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match unlink(disk, dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        other => return gone_is_fine(other),
    }
    let fd = open_doomed(disk, dir, name)?;
    for name in names(fd.as_fd())? {
        remove_tree(disk, fd.as_fd(), &name)?;
    }
    gone_is_fine(unlink(disk, dir, name, AtFlags::REMOVEDIR))
}

impl Base {
    /// Drops the events that no view pinned to `oldest_pinned` or later needs, and queues what they
    /// had kept; `None`: no view is pinned to anything but the newest version.
    pub fn trim(&self, oldest_pinned: Option<Version>) {
        let mut layout = self.layout.write();
        let newest = layout.version;
        let oldest = oldest_pinned.unwrap_or(newest).min(newest);
        let kept = layout.events.drop_through(oldest);
        self.ids.trim(oldest);
        if !kept.is_empty() {
            self.doom(&mut layout, kept);
            // Open descriptors would keep the space of deleted files.
            self.reach.forget();
        }
    }

    pub(super) fn doom(&self, layout: &mut Layout, kept: Vec<(OldName, Ident, Kind)>) {
        self.doomed
            .lock()
            .extend(kept.into_iter().map(|(name, ident, kind)| {
                let counts = kind != Kind::Dir && !layout.events.was_unkept_early(name);
                Doomed {
                    name: name.bytes(),
                    link: counts.then_some(ident),
                }
            }));
    }

    /// Queues whatever is in the old directory without an event that names it, and removes what is
    /// in the staging directory: left by a crash. What was queued and deleted before the crash
    /// counts no more. To be called once, after events were restored, pending plans finished and
    /// the events that nobody needs dropped.
    ///
    /// A file with further names goes from there at once: it may have been staged for a plan that
    /// was never sealed. Then the other name is the owner's, who must not take it for published.
    pub fn sweep(&self) -> Result<(), BaseError> {
        let stage = self.reach.area(Area::Stage).as_fd();
        let error = |errno| BaseError::io(b"<stage>", "sweep", errno);
        for name in names(stage).map_err(error)? {
            remove_tree(&self.reach.disk, stage, &name).map_err(error)?;
        }
        let mut layout = self.layout.write();
        let old = self.reach.area(Area::Old);
        let error = |errno| BaseError::io(b"<old>", "list", errno);
        let there: HashSet<Vec<u8>> = names(old.as_fd()).map_err(error)?.into_iter().collect();
        let mut queued: HashSet<Vec<u8>> = HashSet::new();
        self.doomed.lock().retain(|doomed| {
            let is_there = there.contains(&doomed.name);
            if is_there {
                queued.insert(doomed.name.clone());
            } else if let Some(ident) = doomed.link {
                layout.events.unkept(ident);
            }
            is_there
        });
        let kept: HashSet<Vec<u8>> = (layout.events.records().into_iter())
            .filter_map(|record| match record.event {
                Event::Kept { name, .. } => Some(name.bytes()),
                _ => None,
            })
            .collect();
        let mut linked = Vec::new();
        for name in there {
            if kept.contains(&name) || queued.contains(&name) {
                continue;
            }
            let raw = match stat_at(old, &name) {
                Err(Errno::NOENT) => continue,
                other => other.map_err(error)?,
            };
            let link = (raw.attr.kind != Kind::Dir).then_some(raw.ident);
            if link.is_some() && raw.attr.nlink > 1 {
                linked.push(name);
                continue;
            }
            if let Some(ident) = link {
                layout.events.kept_again(ident, raw.attr.kind);
            }
            self.doomed.lock().push_back(Doomed { name, link });
        }
        drop(layout);
        let remove = || {
            let mut leaving = Vec::new();
            for name in linked {
                match self.unlink_old(old.as_fd(), &name)? {
                    Unlinked::Gone => {}
                    Unlinked::Leaving(name) => leaving.push(name),
                    Unlinked::Later => self.doomed.lock().push_back(Doomed { name, link: None }),
                }
            }
            self.unlink_leaving(&leaving)
        };
        remove().map_err(|errno| BaseError::io(b"<old>", "sweep", errno))?;
        Ok(())
    }

    /// Deletes up to about `steps` of the queued objects; `true`: there is more to do.
    pub fn purge(&self, steps: usize) -> Result<bool, BaseError> {
        let mut moved_up = self.purging.lock();
        let mut left = steps;
        let (mut leaving, mut waiting) = (Vec::new(), Vec::new());
        let mut done = Ok(());
        while left > 0 && done.is_ok() {
            let Some(doomed) = self.doomed.lock().pop_front() else {
                break;
            };
            match self.purge_one(&doomed, &mut left, &mut moved_up) {
                Ok(Unlinked::Gone) => self.purged(&doomed),
                Ok(Unlinked::Later) => self.doomed.lock().push_back(doomed),
                Ok(Unlinked::Leaving(name)) => {
                    leaving.push(name);
                    waiting.push(doomed);
                }
                Err(errno) => {
                    done = Err(BaseError::io(&doomed.name, "delete the old", errno));
                    self.doomed.lock().push_back(doomed);
                }
            }
        }
        let gone = self.unlink_leaving(&leaving);
        let gone = gone.unwrap_or_else(|errno| {
            done = Err(BaseError::io(b"<old>", "delete from", errno));
            Vec::new()
        });
        for (index, doomed) in waiting.into_iter().enumerate() {
            match gone.get(index) {
                Some(true) => self.purged(&doomed),
                Some(false) | None => self.doomed.lock().push_back(doomed),
            }
        }
        done?;
        Ok(!self.doomed.lock().is_empty())
    }

    fn purged(&self, doomed: &Doomed) {
        if let Some(ident) = doomed.link {
            self.layout.write().events.unkept(ident);
        }
    }

    /// Deletes one name, or part of the directory there, which then goes on later.
    fn purge_one(
        &self,
        doomed: &Doomed,
        left: &mut usize,
        moved_up: &mut u64,
    ) -> Result<Unlinked<'_>, Errno> {
        let old = self.reach.area(Area::Old).as_fd();
        *left = left.saturating_sub(1);
        let raw = match stat_at(old, &doomed.name) {
            Err(Errno::NOENT) => None,
            other => Some(other?),
        };
        if raw.is_none_or(|raw| raw.attr.kind != Kind::Dir) {
            return self.unlink_old(old, &doomed.name);
        }
        let disk = &self.reach.disk;
        let dir = open_doomed(disk, old, &doomed.name)?;
        let mut is_first = true;
        let (mut leaving, mut later) = (Vec::new(), false);
        for name in names(dir.as_fd())? {
            // Checked after the first name, so that every call gets further.
            if std::mem::take(&mut is_first) {
                *left += 1;
            } else if *left == 0 {
                later = true;
                break;
            }
            *left -= 1;
            match stat_at(&dir, &name) {
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
                Ok(raw) if raw.attr.kind != Kind::Dir => {
                    match self.unlink_old(dir.as_fd(), &name)? {
                        Unlinked::Gone => {}
                        Unlinked::Leaving(name) => leaving.push(name),
                        Unlinked::Later => later = true,
                    }
                }
                Ok(_) => self.move_up(dir.as_fd(), &name, moved_up)?,
            }
        }
        let gone = self.unlink_leaving(&leaving)?;
        if later || gone.contains(&false) {
            return Ok(Unlinked::Later);
        }
        gone_is_fine(unlink(disk, old, &doomed.name, AtFlags::REMOVEDIR))?;
        Ok(Unlinked::Gone)
    }

    fn move_up(&self, dir: BorrowedFd<'_>, name: &[u8], moved_up: &mut u64) -> Result<(), Errno> {
        // Moving a directory writes its `..`.
        let disk = &self.reach.disk;
        drop(open_doomed(disk, dir, name)?);
        let old = self.reach.area(Area::Old).as_fd();
        loop {
            *moved_up += 1;
            let up = format!("x{moved_up:x}").into_bytes();
            let (from, to) = (
                At { dir, name },
                At {
                    dir: old,
                    name: &up,
                },
            );
            match disk.change(Change::Rename { from, to }, || rename_noreplace(from, to)) {
                Err(Errno::EXIST) => {}
                other => {
                    self.doomed.lock().push_back(Doomed {
                        name: up,
                        link: None,
                    });
                    return other;
                }
            }
        }
    }

    /// The files with these inode numbers are about to be the base's, or are, and have another name
    /// in the owner's store: no link that counts, until [`Base::unlink`] removes it.
    pub fn named_in_store(&self, files: impl IntoIterator<Item = u64>) {
        let mut layout = self.layout.write();
        for ino in files {
            layout.events.set_in_store(ino, true);
        }
    }

    /// Removes a name in or below the old directory, unless the file lives on under another.
    fn unlink_old<'a>(&'a self, dir: BorrowedFd<'a>, name: &[u8]) -> Result<Unlinked<'a>, Errno> {
        let raw = match stat_at(dir, name) {
            Err(Errno::NOENT) => return Ok(Unlinked::Gone),
            other => other?,
        };
        if raw.attr.nlink > 1 {
            let layout = self.layout.read();
            let shown = self.ids.shown_ctime(raw.ident, raw.attr.ctime);
            match self.ids.will_move(layout.version, raw.ident, shown) {
                WillMove::Nothing => {}
                WillMove::Busy => return Ok(Unlinked::Later),
                WillMove::Told(moving) => {
                    return Ok(Unlinked::Leaving(Leaving {
                        dir,
                        name: name.to_vec(),
                        ident: raw.ident,
                        _moving: moving,
                    }));
                }
            }
        }
        gone_is_fine(unlink(&self.reach.disk, dir, name, AtFlags::empty()))?;
        Ok(Unlinked::Gone)
    }

    /// Removes names whose files live on, once it is durable what those show: whether each is gone.
    fn unlink_leaving(&self, leaving: &[Leaving<'_>]) -> Result<Vec<bool>, Errno> {
        if leaving.is_empty() {
            return Ok(Vec::new());
        }
        (self.ids.make_durable)()?;
        let one = |&Leaving {
                       dir,
                       ref name,
                       ident,
                       ..
                   }: &Leaving<'_>| {
            let file = match open_beneath(dir, name, OFlags::PATH) {
                Err(Errno::NOENT) => return Ok(true),
                other => other?,
            };
            let _layout = self.layout.write();
            // A publish has given the file another ctime to show in between.
            if !self.ids.is_moving(ident) {
                return Ok(false);
            }
            let unlinked = unlink(&self.reach.disk, dir, name, AtFlags::empty());
            self.ids.moved(ident, stat_at(&file, b"")?.attr.ctime);
            gone_is_fine(unlinked).map(|()| true)
        };
        leaving.iter().map(one).collect()
    }

    /// The owner is about to remove the names that its store has of these files of the base: what
    /// they show is kept if the owner's log is durable before, and until what this returns is
    /// dropped.
    pub fn will_unlink(&self, files: impl IntoIterator<Item = u64>) -> Vec<Moving<'_>> {
        let layout = self.layout.read();
        let will_move = |ino| self.ids.will_move_again(layout.version, ino);
        files.into_iter().filter_map(will_move).collect()
    }

    /// Removes the name that the owner's store has of a file, after [`Base::will_unlink`]. If the
    /// file lives on under another, it goes on showing the ctime that it had. It is no error when
    /// the name is not there.
    pub fn unlink(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        let file = match open_beneath(dir, name, OFlags::PATH) {
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        };
        let ident = stat_at(&file, b"")?.ident;
        let mut layout = self.layout.write();
        gone_is_fine(unlink(&self.reach.disk, dir, name, AtFlags::empty()))?;
        layout.events.set_in_store(ident.ino, false);
        self.ids.moved(ident, stat_at(&file, b"")?.attr.ctime);
        Ok(())
    }
}
