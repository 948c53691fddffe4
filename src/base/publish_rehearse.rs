//! Publishing, before the first step: attributes that are to be set in place are tried elsewhere.
//!
//! A new object gets its attributes while it is staged, so what the base refuses is refused before
//! anything has changed. What is set in place is set while the plan is carried out, and a step that
//! the base refuses for good (an attribute larger than its filesystem takes, an owner that an
//! unprivileged daemon may not give) would leave the base between two versions for ever. So an
//! object of the same kind with the same attributes is made in the staging directory, on the same
//! filesystem, and the step is done to that first.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::beneath::open_beneath;
use crate::sys::disk::Change;
use crate::sys::inode;
use crate::sys::rename::At;
use crate::tree::Kind;

use super::event::Loc;
use super::plan::{AttrSet, Plan, Step};
use super::publish_stage::{Staging, set_attrs};
use super::purge::unlink;
use super::reach::stat_at;
use super::simulate::{Origin, Simulation};
use super::{Base, BaseError};

const NAME: &[u8] = b"try";

impl Base {
    /// Tries every change of owner or extended attributes that `plan` makes in place.
    ///
    /// # Errors
    /// [`BaseError::Io`] with the path that the base would refuse it for. Nothing has changed.
    pub fn rehearse(&self, plan: &Plan, staging: &Staging) -> Result<(), BaseError> {
        let mut simulation = Simulation::default();
        for step in &plan.steps {
            if let Step::SetAttr { path, set, .. } = step
                && let Origin::Base(origin) = simulation.origin(path)
            {
                self.rehearse_one(&origin, set, staging)?;
            }
            simulation.advance(step);
        }
        Ok(())
    }

    fn rehearse_one(&self, path: &[u8], set: &AttrSet, staging: &Staging) -> Result<(), BaseError> {
        let loc = Loc::of_path(path.to_vec());
        let raw = self.reach.stat(&loc, path)?;
        if (raw.attr.uid, raw.attr.gid) == (set.uid, set.gid) && set.set.is_empty() {
            return Ok(());
        }
        let object = self.reach.hold(&loc, path)?;
        let rehearse = || -> Result<(), Errno> {
            let before = inode::read_xattrs(object.as_fd())?;
            let fd = staging.stand_in(raw.attr.kind)?;
            let given = staging.disk().change(Change::Attributes(fd.as_fd()), || {
                let mut before = before.iter();
                before.try_for_each(|(name, value)| inode::set_xattr(fd.as_fd(), name, value))
            });
            let now = stat_at(&fd, b"")?;
            let done = given.and_then(|()| set_attrs(staging.disk(), fd.as_fd(), &now, set));
            let flags = match raw.attr.kind {
                Kind::Dir => AtFlags::REMOVEDIR,
                _ => AtFlags::empty(),
            };
            unlink(staging.disk(), staging.fd(), NAME, flags)?;
            done
        };
        rehearse().map_err(|errno| BaseError::io(path, "set attributes of", errno))
    }
}

impl Staging {
    /// An object of this kind that nobody needs. A device is stood in for by a fifo, which anybody
    /// may make.
    fn stand_in(&self, kind: Kind) -> Result<OwnedFd, Errno> {
        let (dir, name, mode) = (self.fd(), NAME, Mode::RWXU);
        self.disk()
            .change(Change::Make(At { dir, name }), || match kind {
                Kind::Dir => rustix::fs::mkdirat(dir, name, mode),
                Kind::Symlink => rustix::fs::symlinkat(name, dir, name),
                Kind::File => rustix::fs::mknodat(dir, name, FileType::RegularFile, mode, 0),
                _ => rustix::fs::mknodat(dir, name, FileType::Fifo, mode, 0),
            })?;
        open_beneath(dir, name, OFlags::PATH)
    }
}
