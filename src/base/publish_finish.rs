//! Publishing, last part: the new version becomes durable in the base and the plan goes.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use rustix::fs::OFlags;

use crate::sys::beneath::open_beneath;
use crate::sys::disk::Change;
use crate::tree::Kind;

use super::event::{Area, Loc};
use super::plan::Sealed;
use super::publish_stage::fsync_dir;
use super::simulate::{Operand, operands};
use super::{Base, BaseError};

/// Beyond this many directories one syncfs(2) is cheaper than an fsync of each.
const FSYNC_DIRS: usize = 32;

impl Base {
    /// Makes a plan that was applied durable in the base, and removes it.
    pub fn finish(&self, sealed: &Sealed) -> Result<(), BaseError> {
        let dirs: BTreeSet<Vec<u8>> = {
            let layout = self.layout.read();
            let steps = sealed.plan.steps.iter().enumerate();
            let dirs = steps.flat_map(|(index, step)| {
                operands(step)
                    .into_iter()
                    .map(move |operand| (index, operand))
            });
            let dir_now = |(index, operand)| {
                let path = match operand {
                    Operand::Entries { dir } => dir,
                    Operand::Object { path, .. } => path,
                    Operand::Vacant { .. } => return None,
                };
                let after = (sealed.version, 2 * index as u32 + 1);
                let loc = layout.events.trace(after, path, |_| ())?;
                (loc.area == Area::Root).then_some(loc.path)
            };
            dirs.filter_map(dir_now).collect()
        };
        let root = self.reach.area(Area::Root);
        let each = dirs.len() <= FSYNC_DIRS && dirs.iter().all(|path| self.fsync(path).is_ok());
        if !each {
            let all = Change::SyncAll(root.as_fd());
            let synced = self.reach.disk.sync(all, || rustix::fs::syncfs(root));
            synced.map_err(|errno| BaseError::io(b"", "syncfs", errno))?;
        }
        fsync_dir(&self.reach.disk, self.reach.area(Area::Old).as_fd())
            .map_err(|errno| BaseError::io(b"<old>", "fsync", errno))?;
        self.discard(sealed.plan.id)
    }

    /// Makes a directory or regular file durable; nothing else is opened.
    fn fsync(&self, path: &[u8]) -> Result<(), BaseError> {
        let loc = Loc::of_path(path.to_vec());
        let kind = match self.reach.stat(&loc, path) {
            Ok(raw) if matches!(raw.attr.kind, Kind::Dir | Kind::File) => raw.attr.kind,
            // Gone since, or carried by its directory.
            Ok(_) | Err(BaseError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let root = self.reach.area(Area::Root).as_fd();
        let fsync = || {
            let fd = open_beneath(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?;
            let change = match kind {
                Kind::Dir => Change::SyncNames(fd.as_fd()),
                _ => Change::Sync(fd.as_fd()),
            };
            self.reach.disk.sync(change, || rustix::fs::fsync(&fd))
        };
        fsync().map_err(|errno| BaseError::io(path, "fsync", errno))
    }
}
