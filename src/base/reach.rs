//! Getting at objects on disk: from a location to directory descriptors and attributes.
//!
//! Owns the descriptors of the root, the old and the staging directory and a cache of directories
//! below them, so that a lookup at any depth is one statx. The cache holds O_PATH descriptors by
//! path: publish empties it after moving things, and in a base that others can change an entry is
//! trusted for [`TRUST`] only.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rustix::fs::{AtFlags, OFlags, Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::sys::beneath::open_beneath;
use crate::sys::disk::Disk;
use crate::sys::inode::statx_at;
use crate::sys::limits::raise_open_files;
use crate::tree::{Attr, Kind, Time};

use super::error::BaseError;
use super::event::{Area, Loc};
use super::lru::Lru;
use super::path::{is_within, split};
use super::{Ident, TRUST};

/// How many directories are held open, where as many files may be open as usual.
const DIRS: usize = 64;

/// What statx(2) says of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw {
    pub(super) ident: Ident,
    pub(super) attr: Attr,
    dev: (u32, u32),
    mount_root: bool,
}

impl Raw {
    pub(super) fn from_statx(st: &Statx) -> Result<Raw, Errno> {
        let time = |t: rustix::fs::StatxTimestamp| Time {
            sec: t.tv_sec,
            nsec: t.tv_nsec,
        };
        let born = StatxFlags::from_bits_retain(st.stx_mask).contains(StatxFlags::BTIME);
        let mode = u32::from(st.stx_mode);
        let (major, minor) = (st.stx_rdev_major, st.stx_rdev_minor);
        let attr = Attr {
            kind: Kind::from_mode(mode).ok_or(Errno::IO)?,
            mode: mode & 0o7777,
            uid: st.stx_uid,
            gid: st.stx_gid,
            rdev: (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12),
            nlink: st.stx_nlink,
            size: st.stx_size,
            blocks: st.stx_blocks,
            atime: time(st.stx_atime),
            mtime: time(st.stx_mtime),
            ctime: time(st.stx_ctime),
        };
        Ok(Raw {
            ident: Ident {
                ino: st.stx_ino,
                btime: born.then(|| time(st.stx_btime)),
            },
            attr,
            dev: (st.stx_dev_major, st.stx_dev_minor),
            mount_root: st.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        })
    }
}

/// Attributes of what a descriptor holds, or of a name below it.
pub(super) fn stat_at(dir: impl AsFd, name: &[u8]) -> Result<Raw, Errno> {
    let raw = Raw::from_statx(&statx_at(dir.as_fd(), name)?)?;
    #[cfg(test)]
    let raw = raw.shown();
    Ok(raw)
}

/// The number of an inode, given what getdents(2) says it is in `dir`.
pub(super) fn entry_ino(dir: impl AsFd, ino: u64) -> u64 {
    #[cfg(test)]
    if let Ok(st) = rustix::fs::fstat(dir.as_fd())
        && let Some(shown) = crate::sys::disk::shown(st.st_dev, ino)
    {
        return shown.ino;
    }
    let _ = dir;
    ino
}

#[cfg(test)]
impl Raw {
    /// With the numbers and times that a test has the inode show.
    fn shown(mut self) -> Raw {
        let dev = rustix::fs::makedev(self.dev.0, self.dev.1);
        if let Some(shown) = crate::sys::disk::shown(dev, self.ident.ino) {
            let time = |ns: i64| Time {
                sec: ns.div_euclid(1_000_000_000),
                nsec: ns.rem_euclid(1_000_000_000) as u32,
            };
            self.ident.ino = shown.ino;
            self.ident.btime = Some(time(shown.born));
            self.attr.ctime = time(shown.changed);
        }
        self
    }
}

/// The device and the mount that a directory is on: renames work within one mount only.
fn mount_of(dir: &OwnedFd) -> Result<(u32, u32, u64), Errno> {
    let st = rustix::fs::statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    let known = StatxFlags::from_bits_retain(st.stx_mask).contains(StatxFlags::MNT_ID);
    Ok((
        st.stx_dev_major,
        st.stx_dev_minor,
        if known { st.stx_mnt_id } else { 0 },
    ))
}

/// An errno of a path walk as an error about `path`.
pub(super) fn walk_error(path: &[u8], op: &'static str, errno: Errno) -> BaseError {
    let path = path.to_vec();
    match errno {
        Errno::NOENT => BaseError::NotFound { path },
        Errno::NOTDIR | Errno::LOOP => BaseError::NotDir { path },
        Errno::XDEV => BaseError::CrossesMount { path },
        errno => BaseError::Io {
            path,
            op,
            source: errno.into(),
        },
    }
}

struct Held {
    fd: Arc<OwnedFd>,
    since: Instant,
}

/// Descriptors by path, one table per area.
pub(super) struct FdCache {
    areas: [Mutex<Lru<Vec<u8>, Held>>; 3],
    exclusive: bool,
}

impl FdCache {
    fn new(capacity: usize, exclusive: bool) -> Self {
        FdCache {
            areas: [(); 3].map(|()| Mutex::new(Lru::new(capacity))),
            exclusive,
        }
    }

    pub(super) fn get(&self, loc: &Loc) -> Option<Arc<OwnedFd>> {
        let mut held = self.areas[loc.area as usize].lock();
        let held = held.get(loc.path.as_slice())?;
        (self.exclusive || held.since.elapsed() < TRUST).then(|| held.fd.clone())
    }

    pub(super) fn insert(&self, loc: &Loc, fd: Arc<OwnedFd>) {
        let held = Held {
            fd,
            since: Instant::now(),
        };
        self.areas[loc.area as usize]
            .lock()
            .insert(loc.path.clone(), held, 1);
    }

    pub(super) fn clear(&self, area: Area) {
        self.areas[area as usize].lock().clear();
    }
}

struct Hidden {
    path: Vec<u8>,
    ino: u64,
    /// The inode number of the directory that it is in.
    dir_ino: u64,
}

/// The three directories and what is open below them.
pub(super) struct Reach {
    areas: [Arc<OwnedFd>; 3],
    root: Raw,
    hidden: Option<Hidden>,
    dirs: FdCache,
    /// Regular files, see `Base::open_file`.
    pub(super) files: FdCache,
    pub(super) exclusive: bool,
    /// Where changes go.
    pub(super) disk: Disk,
}

/// How many files are held open, as above.
const FILES: usize = 128;
/// The share of the process's descriptors that each of the two may take.
const SHARE: u64 = 16;

impl Reach {
    pub(super) fn open(
        areas: [Arc<OwnedFd>; 3],
        hide: Option<Vec<u8>>,
        exclusive: bool,
        disk: Disk,
    ) -> Result<Reach, BaseError> {
        let root = stat_at(&areas[0], b"").map_err(|errno| walk_error(b"", "statx", errno))?;
        if root.attr.kind != Kind::Dir {
            return Err(BaseError::NotDir { path: Vec::new() });
        }
        for (area, path) in [(&areas[1], b"<old>".as_slice()), (&areas[2], b"<stage>")] {
            if mount_of(area).ok() != mount_of(&areas[0]).ok() {
                return Err(BaseError::CrossesMount {
                    path: path.to_vec(),
                });
            }
        }
        let share = usize::try_from(raise_open_files() / SHARE).unwrap_or(usize::MAX);
        let dirs = FdCache::new(share.clamp(8, DIRS), exclusive);
        let files = FdCache::new(share.clamp(8, FILES), exclusive);
        let mut reach = Reach {
            areas,
            root,
            hidden: None,
            dirs,
            files,
            exclusive,
            disk,
        };
        if let Some(path) = hide {
            let loc = Loc {
                area: Area::Root,
                path,
            };
            let ino = reach.stat(&loc, &loc.path)?.ident.ino;
            let dir = Loc {
                area: Area::Root,
                path: split(&loc.path).map_or(&b""[..], |(dir, _)| dir).to_vec(),
            };
            let dir_ino = reach.stat(&dir, &dir.path)?.ident.ino;
            reach.hidden = Some(Hidden {
                path: loc.path,
                ino,
                dir_ino,
            });
        }
        Ok(reach)
    }

    pub(super) fn root_ino(&self) -> u64 {
        self.root.ident.ino
    }

    /// The descriptor of an area's directory.
    pub(super) fn area(&self, area: Area) -> &Arc<OwnedFd> {
        &self.areas[area as usize]
    }

    /// Whether `path` is the store's directory or below it, going by its name.
    pub(super) fn hides(&self, path: &[u8]) -> bool {
        self.hidden
            .as_ref()
            .is_some_and(|hidden| is_within(path, &hidden.path))
    }

    /// The name of the store's directory, if that is directly in the directory at `loc`.
    pub(super) fn hidden_in(&self, loc: &Loc) -> Option<&[u8]> {
        let (dir, name) = split(&self.hidden.as_ref()?.path)?;
        (loc.area == Area::Root && loc.path == dir).then_some(name)
    }

    /// Whether the store lies at or below `path`.
    pub(super) fn holds_store(&self, path: &[u8]) -> bool {
        self.hidden
            .as_ref()
            .is_some_and(|hidden| is_within(&hidden.path, path))
    }

    /// Whether this is the inode number of the directory that the store's is in.
    pub(super) fn is_above_store(&self, ino: u64) -> bool {
        let hidden = self.hidden.as_ref();
        hidden.is_some_and(|hidden| hidden.dir_ino == ino)
    }

    /// Whether this is the inode number of the store's directory.
    pub(super) fn is_store(&self, ino: u64) -> bool {
        self.hidden.as_ref().is_some_and(|hidden| hidden.ino == ino)
    }

    /// The directory at `loc`, as an O_PATH descriptor.
    pub(super) fn dir(&self, loc: &Loc) -> Result<Arc<OwnedFd>, Errno> {
        let area = self.area(loc.area);
        if loc.path.is_empty() {
            return Ok(area.clone());
        }
        if let Some(fd) = self.dirs.get(loc) {
            return Ok(fd);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let fd = Arc::new(open_beneath(area.as_fd(), &loc.path, flags)?);
        self.dirs.insert(loc, fd.clone());
        Ok(fd)
    }

    /// The directory that holds `loc`, and the name of `loc` in it; `""` for an area itself.
    pub(super) fn parent<'a>(&self, loc: &'a Loc) -> Result<(Arc<OwnedFd>, &'a [u8]), Errno> {
        match split(&loc.path) {
            None => Ok((self.area(loc.area).clone(), b"")),
            Some((dir, name)) => Ok((
                self.dir(&Loc {
                    area: loc.area,
                    path: dir.to_vec(),
                })?,
                name,
            )),
        }
    }

    /// The object at `loc`; errors speak of `path`.
    pub(super) fn stat(&self, loc: &Loc, path: &[u8]) -> Result<Raw, BaseError> {
        let stat = || {
            let (dir, name) = self.parent(loc)?;
            let raw = stat_at(&dir, name)?;
            let crosses = !name.is_empty() && (raw.mount_root || raw.dev != self.root.dev);
            if crosses { Err(Errno::XDEV) } else { Ok(raw) }
        };
        stat().map_err(|errno| walk_error(path, "statx", errno))
    }

    /// An O_PATH descriptor of the object at `loc`, whatever its type.
    pub(super) fn hold(&self, loc: &Loc, path: &[u8]) -> Result<Arc<OwnedFd>, BaseError> {
        let hold = || {
            let (dir, name) = self.parent(loc)?;
            match name {
                b"" => Ok(dir),
                name => open_beneath(dir.as_fd(), name, OFlags::PATH).map(Arc::new),
            }
        };
        hold().map_err(|errno| walk_error(path, "open", errno))
    }

    /// Forgets descriptors of directories and files whose paths may now lead elsewhere.
    pub(super) fn forget(&self) {
        for area in [Area::Root, Area::Old, Area::Stage] {
            self.dirs.clear(area);
            self.files.clear(area);
        }
    }
}
