//! Reading the base as it was at a version. Nothing here writes.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, Mode, OFlags, RawDir, StatVfs};
use rustix::io::Errno;

use crate::sys::beneath::open_beneath;
use crate::sys::inode;
use crate::tree::{Attr, Kind, Time};

use super::event::{Area, Loc};
use super::listing::{Builder, Listing};
use super::lru::Lru;
use super::path::{check, join};
use super::reach::{Raw, entry_ino, stat_at, walk_error};
use super::{Base, BaseError, Found, Ident, Layout, Stamp, Version};

/// How much memory the cached listings take at most.
pub(super) const LISTING_BYTES: usize = 32 << 20;

/// The size of the buffer for getdents64(2).
const DIRENT_BYTES: usize = 32 << 10;

/// Listings by the directory's place on disk.
pub(super) type ListingCache = Lru<Loc, CachedListing>;

/// A listing and what it holds for.
pub(super) struct CachedListing {
    /// The one version that it holds for; `None`: all that have no events for names in it.
    at: Option<Version>,
    /// The directory when it was read: inode, mtime and ctime.
    dir: (Ident, Time, Time),
    listing: Arc<Listing>,
}

fn seen(raw: &Raw) -> (Ident, Time, Time) {
    (raw.ident, raw.attr.mtime, raw.attr.ctime)
}

/// Whether a directory changed so long ago that its next change will carry another time: the
/// kernel's file times advance in steps of up to 10 ms.
fn has_settled(raw: &Raw) -> bool {
    let changed = raw.attr.ctime;
    let changed = Duration::new(changed.sec.try_into().unwrap_or(0), changed.nsec);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    now.saturating_sub(changed) > Duration::from_millis(100)
}

/// Absence is no error for a lookup.
fn absent_as_none<T>(result: Result<T, BaseError>) -> Result<Option<T>, BaseError> {
    match result {
        Err(BaseError::NotFound { .. } | BaseError::NotDir { .. }) => Ok(None),
        other => other.map(Some),
    }
}

fn not_found(path: &[u8]) -> BaseError {
    BaseError::NotFound {
        path: path.to_vec(),
    }
}

impl Base {
    /// The object at `path` as it was at version `at`; symbolic links are not followed.
    ///
    /// `None`: there was none, or a prefix of the path is no directory.
    pub fn lookup(&self, at: Version, path: &[u8]) -> Result<Option<Found>, BaseError> {
        check(path)?;
        self.lookup_in(&self.layout.read(), at, path)
    }

    pub(super) fn lookup_in(
        &self,
        layout: &Layout,
        at: Version,
        path: &[u8],
    ) -> Result<Option<Found>, BaseError> {
        let Some(loc) = self.resolve(layout, at, path) else {
            return Ok(None);
        };
        match absent_as_none(self.stat(&loc, path))? {
            Some(raw) => self.found(layout, at, &raw).map(Some),
            None => Ok(None),
        }
    }

    /// Where the object is now, without looking whether it exists.
    fn resolve(&self, layout: &Layout, at: Version, path: &[u8]) -> Option<Loc> {
        let loc = layout.events.resolve(at, path)?;
        let hidden = loc.area == Area::Root && self.reach.hides(&loc.path);
        (!hidden).then_some(loc)
    }

    /// The object at `loc`, unless it is the store.
    pub(super) fn stat(&self, loc: &Loc, path: &[u8]) -> Result<Raw, BaseError> {
        let raw = self.reach.stat(loc, path)?;
        match loc.area == Area::Root && self.reach.is_store(raw.ident.ino) {
            true => Err(not_found(path)),
            false => Ok(raw),
        }
    }

    fn must_stat(
        &self,
        layout: &Layout,
        at: Version,
        path: &[u8],
    ) -> Result<(Loc, Raw), BaseError> {
        check(path)?;
        let loc = self
            .resolve(layout, at, path)
            .ok_or_else(|| not_found(path))?;
        let raw = self.stat(&loc, path)?;
        Ok((loc, raw))
    }

    /// The attributes that an object shows at the newest version: its names in the old directory
    /// and the store's `..` do not count, and a ctime that publishing has moved stays what it was.
    pub(super) fn shown_attr(&self, layout: &Layout, raw: &Raw) -> Attr {
        let Raw { ident, attr, .. } = *raw;
        // Some filesystems do not count a directory's subdirectories and always say 1.
        let hidden = attr.nlink > 2 && self.reach.is_above_store(ident.ino);
        let kept = layout.events.kept_links(ident.ino) + u32::from(hidden);
        Attr {
            nlink: attr.nlink.saturating_sub(kept).max(1),
            ctime: self.ids.shown_ctime(ident, attr.ctime),
            ..attr
        }
    }

    fn found(&self, layout: &Layout, at: Version, raw: &Raw) -> Result<Found, BaseError> {
        let ident = raw.ident;
        let old = layout.events.attr(at, ident).copied();
        let attr = old.unwrap_or_else(|| self.shown_attr(layout, raw));
        let fid = self.ids.fid(at, ident)?;
        Ok(Found {
            fid,
            ident,
            stamp: Stamp::of(ident, &attr),
            attr,
        })
    }

    /// The content of the regular file at `path`, for pread(2). The descriptor stays right however
    /// long it is held: publishing replaces files and never changes their content.
    ///
    /// Reading through it leaves the file's atime alone where we may ask for that (owner or root).
    pub fn open_file(&self, at: Version, path: &[u8]) -> Result<Arc<OwnedFd>, BaseError> {
        check(path)?;
        let layout = self.layout.read();
        let loc = self
            .resolve(&layout, at, path)
            .ok_or_else(|| not_found(path))?;
        if let Some(fd) = self.reach.files.get(&loc) {
            return Ok(fd);
        }
        let raw = self.stat(&loc, path)?;
        if raw.attr.kind != Kind::File {
            return Err(BaseError::WrongKind {
                path: path.to_vec(),
            });
        }
        let open = || {
            let (dir, name) = self.reach.parent(&loc)?;
            let flags = OFlags::RDONLY | OFlags::NONBLOCK;
            let fd = match open_beneath(dir.as_fd(), name, flags | OFlags::NOATIME) {
                Err(Errno::PERM) => open_beneath(dir.as_fd(), name, flags)?,
                other => other?,
            };
            let opened = stat_at(&fd, b"")?;
            Ok((opened.ident == raw.ident).then(|| Arc::new(fd)))
        };
        let fd = open().map_err(|errno| walk_error(path, "open", errno))?;
        let fd = fd.ok_or_else(|| BaseError::Changed {
            path: path.to_vec(),
        })?;
        self.reach.files.insert(&loc, fd.clone());
        Ok(fd)
    }

    /// The content of the object `ident`, which was at `path`. Fails with `Lost` where others took
    /// it away or put another in its place.
    pub fn open_object(
        &self,
        at: Version,
        path: &[u8],
        ident: Ident,
    ) -> Result<Arc<OwnedFd>, BaseError> {
        if self.reach.exclusive {
            return self.open_file(at, path);
        }
        let lost = || BaseError::Lost {
            path: path.to_vec(),
        };
        let fd = match self.open_file(at, path) {
            Err(BaseError::NotFound { .. } | BaseError::WrongKind { .. }) => return Err(lost()),
            other => other?,
        };
        let raw = stat_at(&fd, b"").map_err(|errno| BaseError::io(path, "statx", errno))?;
        (raw.ident == ident).then_some(fd).ok_or_else(lost)
    }

    /// The target of the symbolic link at `path`.
    pub fn read_link(&self, at: Version, path: &[u8]) -> Result<Vec<u8>, BaseError> {
        let layout = self.layout.read();
        let (loc, raw) = self.must_stat(&layout, at, path)?;
        if raw.attr.kind != Kind::Symlink {
            return Err(BaseError::WrongKind {
                path: path.to_vec(),
            });
        }
        let (dir, name) = self
            .reach
            .parent(&loc)
            .map_err(|e| walk_error(path, "open", e))?;
        let target = rustix::fs::readlinkat(&dir, name, Vec::new());
        Ok(target
            .map_err(|errno| walk_error(path, "readlink", errno))?
            .into_bytes())
    }

    /// The value of the extended attribute `name`; `None`: there is none of that name.
    pub fn get_xattr(
        &self,
        at: Version,
        path: &[u8],
        name: &[u8],
    ) -> Result<Option<Vec<u8>>, BaseError> {
        let layout = self.layout.read();
        let (loc, raw) = self.must_stat(&layout, at, path)?;
        if let Some(old) = layout.events.xattrs(at, raw.ident) {
            let value = old.iter().find(|(other, _)| other == name);
            return Ok(value.map(|(_, value)| value.clone()));
        }
        let fd = self.reach.hold(&loc, path)?;
        match inode::get_xattr(fd.as_fd(), name) {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NODATA) => Ok(None),
            Err(errno) => Err(BaseError::io(path, "getxattr", errno)),
        }
    }

    /// The names of the extended attributes.
    pub fn list_xattrs(&self, at: Version, path: &[u8]) -> Result<Vec<Vec<u8>>, BaseError> {
        let layout = self.layout.read();
        let (loc, raw) = self.must_stat(&layout, at, path)?;
        if let Some(old) = layout.events.xattrs(at, raw.ident) {
            return Ok(old.iter().map(|(name, _)| name.clone()).collect());
        }
        let parent = self.reach.parent(&loc);
        let listed = match parent.map_err(|errno| walk_error(path, "open", errno))? {
            (dir, b"") => inode::list_xattrs(dir.as_fd()),
            (dir, name) => inode::list_xattrs_at(dir.as_fd(), name),
        };
        listed.map_err(|errno| BaseError::io(path, "listxattr", errno))
    }

    /// Space and inodes of the filesystem that the base is on.
    pub fn statvfs(&self) -> Result<StatVfs, BaseError> {
        let stat = rustix::fs::fstatvfs(self.reach.area(Area::Root));
        stat.map_err(|errno| BaseError::io(b"", "statvfs", errno))
    }

    /// All names in the directory at `dir`, as they were at version `at`.
    pub fn list(&self, at: Version, dir: &[u8]) -> Result<Arc<Listing>, BaseError> {
        check(dir)?;
        let layout = self.layout.read();
        let mut names = BTreeSet::new();
        let loc = layout.events.trace((at, u32::MAX), dir, |path| {
            if layout.events.concerns(at) {
                layout.events.names_below(at, path, &mut names);
            }
        });
        let loc = loc.ok_or_else(|| not_found(dir))?;
        if loc.area == Area::Root && self.reach.hides(&loc.path) {
            return Err(not_found(dir));
        }
        let holds_for = (!names.is_empty()).then_some(at);
        if let Some(listing) = self.cached_listing(&loc, dir, at, holds_for.is_none())? {
            return Ok(listing);
        }
        let raw = self.stat(&loc, dir)?;
        if raw.attr.kind != Kind::Dir {
            return Err(BaseError::NotDir { path: dir.to_vec() });
        }
        let (listing, plain) = self.read_dir(&layout, at, dir, &loc, &names)?;
        let listing = Arc::new(listing);
        if self.reach.exclusive || has_settled(&raw) {
            let at = if plain { holds_for } else { Some(at) };
            let cached = CachedListing {
                at,
                dir: seen(&raw),
                listing: listing.clone(),
            };
            let weight = listing.weight_bytes() + loc.path.len();
            self.listings.lock().insert(loc, cached, weight);
        }
        Ok(listing)
    }

    fn cached_listing(
        &self,
        loc: &Loc,
        dir: &[u8],
        at: Version,
        eventless: bool,
    ) -> Result<Option<Arc<Listing>>, BaseError> {
        let (listing, then) = match self.listings.lock().get(loc) {
            Some(cached) if cached.at == Some(at) || (cached.at.is_none() && eventless) => {
                (cached.listing.clone(), cached.dir)
            }
            _ => return Ok(None),
        };
        let valid = self.reach.exclusive || seen(&self.stat(loc, dir)?) == then;
        Ok(valid.then_some(listing))
    }

    /// Reads a directory: what is in it now, but for the names that have events, and those as they
    /// were. Also says whether no id in it took more than the inode number to know.
    pub(super) fn read_dir(
        &self,
        layout: &Layout,
        at: Version,
        dir: &[u8],
        loc: &Loc,
        evented: &BTreeSet<Vec<u8>>,
    ) -> Result<(Listing, bool), BaseError> {
        let mut builder = Builder::new(&self.hash_key);
        let mut plain = true;
        let hidden = self.reach.hidden_in(loc);
        let errno = |op| move |errno| walk_error(dir, op, errno);
        let parent = self.reach.dir(loc).map_err(errno("open"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&parent, c".", flags | OFlags::NOATIME, Mode::empty());
        let fd = match fd {
            Err(Errno::PERM) => rustix::fs::openat(&parent, c".", flags, Mode::empty()),
            other => other,
        };
        let fd = fd.map_err(errno("open"))?;
        let mut buf = [MaybeUninit::uninit(); DIRENT_BYTES];
        let mut entries = RawDir::new(&fd, &mut buf);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(errno("getdents"))?;
            let name = entry.file_name().to_bytes();
            let ino = entry_ino(&fd, entry.ino());
            let hidden = hidden.is_some_and(|hidden| hidden == name)
                || (loc.area == Area::Root && self.reach.is_store(ino));
            if name == b"." || name == b".." || hidden || evented.contains(name) {
                continue;
            }
            let kind = dirent_kind(entry.file_type());
            if let (Some(kind), Some(fid)) = (kind, self.ids.fid_of_ino(ino)) {
                builder.push(name, kind, fid);
                continue;
            }
            plain = false;
            match self.stat(&loc.child(name), &join(dir, name)) {
                Ok(raw) => builder.push(name, raw.attr.kind, self.ids.fid(at, raw.ident)?),
                // Removed behind us, or no longer of the base.
                Err(BaseError::NotFound { .. } | BaseError::CrossesMount { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for name in evented {
            if let Some(found) = self.lookup_in(layout, at, &join(dir, name))? {
                builder.push(name, found.attr.kind, found.fid);
            }
        }
        Ok((builder.finish(), plain))
    }

    /// Drops cached listings: of the directories in `touched`, and at or below the paths in
    /// `moved`.
    pub(super) fn drop_listings(&self, touched: &BTreeSet<Vec<u8>>, moved: &BTreeSet<Vec<u8>>) {
        self.listings.lock().retain(|loc, cached| {
            if cached.at.is_some() || loc.area != Area::Root || touched.contains(&loc.path) {
                return false;
            }
            let slashes = loc
                .path
                .iter()
                .enumerate()
                .filter(|&(_, &byte)| byte == b'/');
            let mut prefixes = slashes.map(|(end, _)| &loc.path[..end]);
            !moved.contains(&loc.path) && !prefixes.any(|prefix| moved.contains(prefix))
        });
    }
}

fn dirent_kind(kind: FileType) -> Option<Kind> {
    Some(match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::Char,
        FileType::BlockDevice => Kind::Block,
        FileType::Unknown => return None,
    })
}
