//! The contents of staged files. Where there are many a second thread writes them, while the
//! planner goes on and makes the next files: both halves take about as long.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::{BranchError, Workspace};
use crate::base::{AttrSet, Staging, Unfilled};
use crate::store::{BlobId, SegAddr};
use crate::tree::{Extent, ExtentMap, Source, View};

/// Up to this size reading and writing is cheaper than having the kernel copy between files.
const SMALL_BYTES: u64 = 64 << 10;
/// From this many files in a view on there is a second thread.
const MANY_FILES: usize = 64;
/// How many files wait for it, each with a descriptor.
const WAITING: usize = 64;

/// A staged file that is to be filled.
pub(super) struct Fill<'a> {
    pub file: Unfilled,
    /// Where it is meant for.
    pub path: Vec<u8>,
    pub set: AttrSet,
    pub extents: &'a ExtentMap,
    pub size: u64,
}

/// Fills files, at once or in a thread.
pub(super) struct Filling<'a> {
    pub workspace: &'a Workspace,
    pub view: &'a View,
    pub staging: &'a Staging,
    thread: Option<SyncSender<Fill<'a>>>,
}

impl<'a> Filling<'a> {
    /// Runs `stage` and returns once all that it added is filled, or with the first error.
    pub(super) fn run<T>(
        workspace: &'a Workspace,
        view: &'a View,
        staging: &'a Staging,
        stage: impl FnOnce(Filling<'a>) -> Result<T, BranchError>,
    ) -> Result<T, BranchError> {
        let version = view.base_version;
        let mut filling = Filling {
            workspace,
            view,
            staging,
            thread: None,
        };
        if view.len().1 < MANY_FILES {
            return stage(filling);
        }
        std::thread::scope(|scope| {
            let (sender, receiver): (_, Receiver<Fill<'a>>) = sync_channel(WAITING);
            let fill_all = move || {
                let mut fills = receiver.into_iter();
                fills.try_for_each(|fill| workspace.fill(version, staging, fill))
            };
            let thread = std::thread::Builder::new().name("publish".into());
            let Ok(thread) = thread.spawn_scoped(scope, fill_all) else {
                return stage(filling);
            };
            filling.thread = Some(sender);
            let staged = stage(filling);
            match thread.join() {
                Ok(filled) => filled.and(staged),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Fills a file, or has it filled.
    pub(super) fn add(&self, fill: Fill<'a>) -> Result<(), BranchError> {
        match &self.thread {
            None => (self.workspace).fill(self.view.base_version, self.staging, fill),
            Some(thread) => {
                // Where it has ended early its error is what counts.
                let _ = thread.send(fill);
                Ok(())
            }
        }
    }
}

impl Workspace {
    fn fill(&self, version: u64, staging: &Staging, fill: Fill<'_>) -> Result<(), BranchError> {
        let Fill {
            file,
            path,
            set,
            extents,
            size,
        } = fill;
        let mut failed = None;
        let filled = staging.fill(file, &path, &set, &mut |fd| {
            let mut written = 0;
            for extent in extents.iter() {
                match self.copy_extent(version, extent, fd) {
                    Ok(end) => written = written.max(end),
                    Err(error) => {
                        failed = Some(error);
                        return Err(std::io::ErrorKind::Other.into());
                    }
                }
            }
            // A hole at the end was not written. Where there is none the length is left alone:
            // setting it has XFS write the file first and wait for that.
            match written == size {
                true => Ok(()),
                false => Ok(rustix::fs::ftruncate(fd, size)?),
            }
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(filled?),
        }
    }

    /// Writes an extent's bytes to the same offset of a new file outside the store, and returns
    /// where what was written ends. Holes of the source stay holes.
    fn copy_extent(
        &self,
        version: u64,
        extent: &Extent,
        to: BorrowedFd<'_>,
    ) -> Result<u64, BranchError> {
        let (from, at) = match &extent.source {
            Source::Base { origin, at } => (self.base.open_file(version, &origin.path)?, *at),
            Source::Segment { at, .. } if extent.len <= SMALL_BYTES => {
                let mut bytes = vec![0; extent.len as usize];
                self.store.seg_read(SegAddr(*at), &mut bytes)?;
                return write_at(to, &bytes, extent.off)
                    .map_err(|errno| crate::base::copy_error(errno).into());
            }
            Source::Segment { at, .. } => self.store.seg_fd(SegAddr(*at))?,
            Source::Blob { id, at } => (self.store.blob_fd(BlobId(*id))?, *at),
        };
        copy_data(from.as_fd(), at, to, extent.off, extent.len)
            .map_err(|errno| crate::base::copy_error(errno).into())
    }
}

/// Writes all bytes at an offset, and returns where they end.
fn write_at(to: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> Result<u64, Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(to, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(offset)
}

/// Copies the data of a range into a file that has nothing there yet, passing over holes:
/// copy_file_range(2) would fill them with zeros. Returns where what was copied ends.
fn copy_data(
    from: BorrowedFd<'_>,
    start: u64,
    to: BorrowedFd<'_>,
    to_start: u64,
    len: u64,
) -> Result<u64, Errno> {
    let end = start + len;
    let mut at = start;
    let mut written = 0;
    while at < end {
        at = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(data) if data < end => data,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno),
        };
        let hole = rustix::fs::seek(from, SeekFrom::Hole(at))?.min(end);
        let mut off = to_start + (at - start);
        while at < hole {
            let want = usize::try_from(hole - at)
                .unwrap_or(usize::MAX)
                .min(1 << 30);
            match rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut off), want) {
                // The file was cut behind us: the publish is checked against that elsewhere.
                Ok(0) => return Ok(written),
                Ok(_) => written = off,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(written)
}
