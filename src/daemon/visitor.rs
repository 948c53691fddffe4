//! A thread that uses our own mount as any process does, so that inotify tells what a commit
//! changed; see [`crate::vfs::visitor`].
//!
//! It has descriptors of its own, as whatever waits for our own mount must (see
//! [`super::write_back`]). Between visits it holds nothing of the mount.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};

use super::mountinfo::MountTable;
use super::processes;
use crate::sys::process;
use crate::tree::{Kind, NodeId};
use crate::vfs::visitor::{Visit, Visitor};

/// One visit, and whom to tell that it is done.
struct Errand {
    dir: PathBuf,
    name: Vec<u8>,
    visit: Visit,
    done: mpsc::SyncSender<()>,
}

/// The thread; it ends with this value.
pub(super) struct MountVisitor {
    mountpoint: PathBuf,
    thread: u32,
    errands: Mutex<mpsc::Sender<Errand>>,
}

impl MountVisitor {
    /// For the mount at `mountpoint`.
    pub(super) fn start(mountpoint: PathBuf) -> io::Result<MountVisitor> {
        let (errands, to_run) = mpsc::channel::<Errand>();
        let (tell, told) = mpsc::channel();
        process::spawn_with_own_fds("visitor", move || {
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            if tell.send(thread.cast_unsigned()).is_err() {
                return;
            }
            for errand in to_run {
                // Who watches learns nothing then. The directory may be gone by now.
                let _ = run(&errand.dir, &errand.name, errand.visit);
                let _ = errand.done.send(());
            }
        })?;
        let gone = |_| io::Error::other("the thread ended at once");
        Ok(MountVisitor {
            mountpoint,
            thread: told.recv().map_err(gone)?,
            errands: Mutex::new(errands),
        })
    }
}

impl Visitor for MountVisitor {
    fn thread(&self) -> u32 {
        self.thread
    }

    /// What fdinfo says of the inotify descriptors of every process that we may look at: see
    /// proc_pid_fdinfo(5).
    fn watched(&self) -> HashSet<NodeId> {
        let table = MountTable::read().unwrap_or_default();
        let Some(mount) = table.top_at(&self.mountpoint) else {
            return HashSet::new();
        };
        let (major, minor) = mount.device;
        let device = format!("sdev:{:x}", major << 20 | minor);
        let watched_at = |line: &str| {
            let mut fields = line.strip_prefix("inotify ")?.split(' ');
            let node = fields.find_map(|field| field.strip_prefix("ino:"))?;
            fields.find(|field| *field == device)?;
            u64::from_str_radix(node, 16).ok().map(NodeId)
        };
        processes::all()
            .flat_map(|process| inotify_infos(&process))
            .flat_map(|info| info.lines().filter_map(watched_at).collect::<Vec<_>>())
            .collect()
    }

    fn visit(&self, path: &[u8], name: &[u8], visit: Visit) {
        let (done, is_done) = mpsc::sync_channel(1);
        let errand = Errand {
            dir: self.mountpoint.join(OsStr::from_bytes(path)),
            name: name.to_vec(),
            visit,
            done,
        };
        if self.errands.lock().send(errand).is_ok() {
            let _ = is_done.recv();
        }
    }
}

/// The fdinfo of each inotify descriptor of a process.
fn inotify_infos(process: &Path) -> Vec<String> {
    let is_inotify = |fd: &fs::DirEntry| {
        fs::read_link(fd.path()).is_ok_and(|target| target == Path::new("anon_inode:inotify"))
    };
    fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(is_inotify)
        .filter_map(|fd| fs::read_to_string(process.join("fdinfo").join(fd.file_name())).ok())
        .collect()
}

fn run(dir: &Path, name: &[u8], visit: Visit) -> rustix::io::Result<()> {
    let path_only = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, dir, path_only | OFlags::DIRECTORY, Mode::empty())?;
    let mode = Mode::RUSR | Mode::WUSR;
    match visit {
        Visit::Remove(Kind::Dir) => rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR),
        Visit::Remove(_) => rustix::fs::unlinkat(&dir, name, AtFlags::empty()),
        Visit::Make(Kind::Dir) => rustix::fs::mkdirat(&dir, name, mode),
        Visit::Make(Kind::Symlink) => rustix::fs::symlinkat("target", &dir, name),
        Visit::Make(kind) => {
            let file_type = match kind {
                Kind::Fifo => FileType::Fifo,
                Kind::Socket => FileType::Socket,
                Kind::Char => FileType::CharacterDevice,
                Kind::Block => FileType::BlockDevice,
                _ => FileType::RegularFile,
            };
            rustix::fs::mknodat(&dir, name, file_type, mode, 0)
        }
        Visit::Rewrite => {
            let now = Timespec {
                tv_sec: 0,
                tv_nsec: rustix::fs::UTIME_NOW,
            };
            let omit = Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            };
            let times = Timestamps {
                last_access: omit,
                last_modification: now,
            };
            rustix::fs::utimensat(&dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            open_for_writing(rustix::fs::openat(&dir, name, path_only, Mode::empty())?)
        }
    }
}

/// Opens a file for writing and closes it, if it is a regular file: to open another does things.
fn open_for_writing(file: impl std::os::fd::AsFd) -> rustix::io::Result<()> {
    let file: BorrowedFd<'_> = file.as_fd();
    let stat = rustix::fs::fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(());
    }
    let path = format!("/proc/thread-self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map(drop)
}
