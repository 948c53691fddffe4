//! From one version to the next: where an object is now, what happened below a path, and all the
//! names that an inode has. For owners that carry something over to a newer version.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use super::event::{Area, Event, EventRecord};
use super::path::join;
use super::{Base, BaseError, Version};
use crate::tree::{FileId, Kind};

impl Base {
    /// The path, in the newest version, of the object that was at `path` at version `at`; `None`
    /// where it was replaced or removed since.
    pub fn current_path(&self, at: Version, path: &[u8]) -> Result<Option<Vec<u8>>, BaseError> {
        super::path::check(path)?;
        let layout = self.layout.read();
        let loc = layout.events.resolve(at, path);
        Ok(loc.filter(|loc| loc.area == Area::Root).map(|loc| loc.path))
    }

    /// The paths, in the newest version, at which publishes after version `at` have put a new
    /// object for `file`: where its content changed, however it was moved too.
    ///
    /// Costs a look at what those publishes changed, and nothing where they made no such object.
    pub fn republished(&self, at: Version, file: FileId) -> Result<Vec<Vec<u8>>, BaseError> {
        if !self.ids.was_given_after(at, file) {
            return Ok(Vec::new());
        }
        let layout = self.layout.read();
        let mut paths = BTreeSet::new();
        for EventRecord {
            version,
            seq,
            event,
        } in layout.events.records()
        {
            let path = match event {
                Event::Created { path } | Event::Kept { path, .. } if version > at => path,
                _ => continue,
            };
            // Both events of a step are behind what it put there.
            let Some(loc) = layout.events.trace((version, seq | 1), &path, |_| ()) else {
                continue;
            };
            if loc.area != Area::Root || paths.contains(&loc.path) {
                continue;
            }
            let found = self.lookup_in(&layout, layout.version, &loc.path)?;
            if found.is_some_and(|found| found.fid == file) {
                paths.insert(loc.path);
            }
        }
        Ok(paths.into_iter().collect())
    }

    /// Forgets what is cached of where things are: somebody may have changed the base behind us.
    pub fn distrust(&self) {
        self.reach.forget();
    }

    /// Whether a publish after version `at` changed a name at or below `path`.
    pub fn changed_since(&self, at: Version, path: &[u8]) -> bool {
        self.layout.read().events.happened_below(at, path)
    }

    /// Every path, in the newest version, that leads to inode `ino`. Walks the whole base: for
    /// files with several names only.
    pub fn paths_of(&self, ino: u64) -> Result<Vec<Vec<u8>>, BaseError> {
        let version = self.version();
        let mut paths = Vec::new();
        let mut todo = vec![Vec::new()];
        while let Some(dir) = todo.pop() {
            let listing = match self.list(version, &dir) {
                Ok(listing) => listing,
                // A directory that vanished, or that we may not read, has no name for us.
                Err(BaseError::NotFound { .. } | BaseError::CrossesMount { .. }) => continue,
                Err(error) => return Err(error),
            };
            for name in listing.iter() {
                let path = join(&dir, name.name);
                if name.kind == Kind::Dir {
                    todo.push(path);
                } else if self
                    .lookup(version, &path)?
                    .is_some_and(|f| f.ident.ino == ino)
                {
                    paths.push(path);
                }
            }
        }
        paths.sort();
        Ok(paths)
    }
}

/// pread(2) on a base file; `path` is for the error.
///
/// Returns the number of bytes, 0 at the end of the file.
pub fn read_at(
    file: impl AsFd,
    offset: u64,
    buf: &mut [u8],
    path: &[u8],
) -> Result<usize, BaseError> {
    loop {
        match rustix::io::pread(&file, &mut *buf, offset) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(|errno| BaseError::io(path, "read", errno)),
        }
    }
}

/// An error of copying content into a staged file.
pub fn copy_error(errno: rustix::io::Errno) -> BaseError {
    BaseError::io(b"<stage>", "copy to", errno)
}
