//! What inotify(7) tells of some files and directories.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

/// A queue of events.
pub struct Inotify {
    queue: OwnedFd,
}

impl Inotify {
    /// Watches nothing yet.
    pub fn new() -> Inotify {
        let queue = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("inotify_init");
        Inotify { queue }
    }

    /// Watches `path` for `events`.
    #[track_caller]
    pub fn watch(&self, path: &Path, events: WatchFlags) {
        add_watch(&self.queue, path, events)
            .unwrap_or_else(|e| panic!("watch {}: {e}", path.display()));
    }

    /// What has come since the last call: each event with the name in the directory, if it has one.
    pub fn seen(&self) -> Vec<(ReadFlags, Option<Vec<u8>>)> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.queue, &mut buffer);
        let mut seen = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_bytes().to_vec());
                    seen.push((event.events(), name));
                }
                Err(Errno::AGAIN) => return seen,
                Err(e) => panic!("read from inotify: {e}"),
            }
        }
    }
}
