//! Where every change that the store and the base make to a file passes.
//!
//! Whoever changes a file says what with a [`Change`] and hands over the system call. In the
//! program that is all: a [`Disk`] has no size and makes the call. In a test a [`Backend`] is told
//! before and after, so that it can refuse the call, record what was done, or do without a sync;
//! and it can say what number and times an inode is to show, so that a copy of a directory that a
//! power cut left stands for the directory itself.
//!
//! Reads do not pass here: what is read is what was written, or what somebody damaged.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::rename::At;

/// What is about to be done to a file or a name. The descriptors may be `O_PATH`.
#[derive(Clone, Copy)]
pub enum Change<'a> {
    /// A regular file, directory, link or special file is made.
    Make(At<'a>),
    /// A file gets a second name.
    Link {
        /// The name that it has.
        from: At<'a>,
        /// The name that it gets.
        to: At<'a>,
    },
    /// A name moves, over what is there.
    Rename {
        /// From here.
        from: At<'a>,
        /// To here.
        to: At<'a>,
    },
    /// Two names are swapped.
    Exchange(At<'a>, At<'a>),
    /// A name is removed.
    Unlink(At<'a>),
    /// The bytes of a range change, or are given or lose space; the file may get longer.
    Bytes {
        /// The file.
        file: BorrowedFd<'a>,
        /// Where the range begins.
        offset: u64,
        /// How long it is.
        len: u64,
    },
    /// Bytes are stored through a mapping, which cannot be refused.
    Store {
        /// The file.
        file: BorrowedFd<'a>,
        /// Where the range begins.
        offset: u64,
        /// How long it is.
        len: u64,
    },
    /// A file gets another length, and all after it goes.
    Length(BorrowedFd<'a>),
    /// Mode, owner, times or extended attributes change.
    Attributes(BorrowedFd<'a>),
    /// A file's bytes and length become durable.
    Sync(BorrowedFd<'a>),
    /// The names in a directory become durable.
    SyncNames(BorrowedFd<'a>),
    /// Everything becomes durable.
    SyncAll(BorrowedFd<'a>),
}

#[cfg(not(test))]
pub use plain::Disk;
#[cfg(test)]
pub use replaced::{Backend, Disk, Shown, conceal, reveal, shown};

#[cfg(not(test))]
mod plain {
    use super::{Change, Errno};

    /// The disk as it is.
    #[derive(Clone, Debug, Default)]
    pub struct Disk;

    impl Disk {
        /// Makes a change.
        #[inline(always)]
        pub fn change<T>(
            &self,
            _: Change<'_>,
            call: impl FnOnce() -> Result<T, Errno>,
        ) -> Result<T, Errno> {
            call()
        }

        /// Makes something durable.
        #[inline(always)]
        pub fn sync(
            &self,
            _: Change<'_>,
            call: impl FnOnce() -> Result<(), Errno>,
        ) -> Result<(), Errno> {
            call()
        }
    }
}

#[cfg(test)]
mod replaced {
    use std::collections::HashMap;
    use std::sync::{Arc, LazyLock};

    use parking_lot::RwLock;

    use super::{Change, Errno};

    /// What stands between the program and the disk in a test.
    pub trait Backend: Send + Sync {
        /// Before a change; an error is what the change then gives.
        fn begin(&self, change: &Change<'_>) -> Result<(), Errno>;
        /// The change was made. Not called when it failed.
        fn done(&self, change: &Change<'_>);
        /// Whether syncs reach the real disk.
        fn syncs(&self) -> bool {
            false
        }
    }

    /// The disk as it is, or what a test put before it.
    #[derive(Clone, Default)]
    pub struct Disk(Option<Arc<dyn Backend>>);

    impl std::fmt::Debug for Disk {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(if self.0.is_some() { "Backend" } else { "Disk" })
        }
    }

    impl Disk {
        /// A disk with something before it.
        pub fn behind(backend: Arc<dyn Backend>) -> Disk {
            Disk(Some(backend))
        }

        /// Makes a change.
        pub fn change<T>(
            &self,
            change: Change<'_>,
            call: impl FnOnce() -> Result<T, Errno>,
        ) -> Result<T, Errno> {
            let Some(backend) = &self.0 else {
                return call();
            };
            backend.begin(&change)?;
            let result = call()?;
            backend.done(&change);
            Ok(result)
        }

        /// Makes something durable.
        pub fn sync(
            &self,
            change: Change<'_>,
            call: impl FnOnce() -> Result<(), Errno>,
        ) -> Result<(), Errno> {
            let skip = self.0.as_ref().is_some_and(|backend| !backend.syncs());
            self.change(change, || if skip { Ok(()) } else { call() })
        }
    }

    /// What an inode is to show instead of its own.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Shown {
        /// The inode number.
        pub ino: u64,
        /// The time of birth, in nanoseconds.
        pub born: i64,
        /// The time of the last change, in nanoseconds.
        pub changed: i64,
    }

    /// By device and real inode number.
    static SHOWN: LazyLock<RwLock<HashMap<(u64, u64), Shown>>> = LazyLock::new(RwLock::default);

    /// From now on an inode shows this.
    pub fn conceal(dev: u64, ino: u64, shown: Shown) {
        SHOWN.write().insert((dev, ino), shown);
    }

    /// From now on an inode shows its own numbers again.
    pub fn reveal(dev: u64, ino: u64) {
        SHOWN.write().remove(&(dev, ino));
    }

    /// What an inode shows, where that is not its own.
    pub fn shown(dev: u64, ino: u64) -> Option<Shown> {
        SHOWN.read().get(&(dev, ino)).copied()
    }
}
