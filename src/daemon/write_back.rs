//! Having the kernel write what shared mappings of our own mount hold.
//!
//! syncfs(2) starts those writes; since Linux 6.18 it does not wait for those of a FUSE mount. They
//! are done once the mount has no request but that of the caller; once as many are done as were
//! under way then; or once it has answered a later request and no write came meanwhile. The kernel
//! sends requests in order, but of writes no more than a few hundred at a time.
//!
//! **Invariant**: whatever waits for our own mount does so in one thread with descriptors of its
//! own. Were it to share those of the process, a SIGKILL that finds it waiting would leave
//! `/dev/fuse` open for ever: the kernel would take the mount for a living one, and all who use it
//! would wait for it.
//!
//! The thread serves everybody who waits by one turn, begun after the last of them asked.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};

use super::detach::ask;
use super::mountinfo::MountTable;
use crate::sys::process;
use crate::vfs::{CacheWrites, WrittenBack};

/// How often a turn looks at most whether more has come, where nobody says how much is under way.
const LOOKS: usize = 10_000;

/// How many writes may be in work at once: so many may be done earlier than one before them.
const AT_ONCE: u64 = 64;

/// Somebody who waits for a turn.
type Waiting = mpsc::SyncSender<Result<(), rustix::io::Errno>>;

/// The thread; it ends with this value.
pub(super) struct WriteBack(Mutex<mpsc::Sender<Waiting>>);

impl WriteBack {
    /// For the mount at `mountpoint`, whose writes out of the page cache `writes` counts.
    pub(super) fn start(mountpoint: PathBuf, writes: Arc<CacheWrites>) -> io::Result<WriteBack> {
        let (sender, waiting) = mpsc::channel::<Waiting>();
        process::spawn_with_own_fds("write-back", move || {
            let mut requests = None;
            while let Ok(first) = waiting.recv() {
                let all: Vec<Waiting> = std::iter::once(first).chain(waiting.try_iter()).collect();
                let requests = requests.get_or_insert_with(|| Requests::of(&mountpoint));
                let done = turn(&mountpoint, all.len(), requests, &writes);
                for one in all {
                    // Who does not wait any more does not need it.
                    let _ = one.send(done);
                }
            }
        })?;
        Ok(WriteBack(Mutex::new(sender)))
    }

    /// Begins to have written what mappings hold now. What is handed back returns once it is; for
    /// a thread that answers a request.
    pub(super) fn begin(&self) -> WrittenBack {
        let (sender, done) = mpsc::sync_channel(1);
        let asked = self.0.lock().send(sender).is_ok();
        Box::new(move || match done.recv() {
            Ok(Ok(())) if asked => (),
            Ok(Err(error)) => log::warn!("mappings may not be written back: {error}"),
            _ => log::error!("the thread that writes mappings back is gone"),
        })
    }
}

fn turn(
    mountpoint: &Path,
    callers: usize,
    requests: &Requests,
    writes: &CacheWrites,
) -> Result<(), rustix::io::Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, mountpoint, flags, Mode::empty())?;
    if !requests.is_of(&dir)? {
        // It was unmounted, and then the kernel has written everything. What is below it may take
        // minutes to sync, and is none of ours.
        return Ok(());
    }
    rustix::fs::syncfs(dir)?;
    let waiting = requests.waiting();
    // Each caller is in the middle of one.
    if waiting.is_some_and(|waiting| waiting <= callers) {
        return Ok(());
    }
    // In this order, so that it is too many rather than too few.
    let all_done = waiting.map_or(u64::MAX, |waiting| writes.come() + waiting as u64 + AT_ONCE);
    for _ in 0..LOOKS {
        let before = writes.come();
        ask(mountpoint)?;
        let done = writes.done();
        if done >= all_done || (writes.come() == before && done >= before) {
            break;
        }
    }
    Ok(())
}

/// The requests of the mount, by its device number where the mount table tells that.
struct Requests(Option<(u32, u32)>);

impl Requests {
    fn of(mountpoint: &Path) -> Requests {
        let table = MountTable::read().ok();
        let mount = table.as_ref().and_then(|table| table.top_at(mountpoint));
        Requests(
            mount
                .filter(|mount| mount.is_branchfs())
                .map(|mount| mount.device),
        )
    }

    /// Whether a directory is of the mount, as far as that is known.
    fn is_of(&self, dir: &OwnedFd) -> Result<bool, rustix::io::Errno> {
        let Some(device) = self.0 else {
            return Ok(true);
        };
        // No request: the number is in the kernel.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let found = rustix::fs::statx(dir, c"", flags, StatxFlags::empty())?;
        Ok((found.stx_dev_major, found.stx_dev_minor) == device)
    }

    /// How many are not answered: `waiting` in the directory of the connection, which is not
    /// mounted everywhere. It says something new only to who opens it anew.
    fn waiting(&self) -> Option<usize> {
        let (_, connection) = self.0?;
        let waiting = format!("/sys/fs/fuse/connections/{connection}/waiting");
        fs::read_to_string(waiting).ok()?.trim().parse().ok()
    }
}
