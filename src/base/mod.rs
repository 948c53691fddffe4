//! The directory below the workspace, readable at every published version, and its only writer.
//!
//! Owns: reading the base (`read`), the ids of its objects (`ids`), the events that lead from one
//! version to the next (`event`), and publishing (`publish_*`: the only code that writes the base).
//! Must not know: branches, views, the journal. The owner keeps events and ids durable, says which
//! versions are pinned, and plans what is to be published.
//!
//! # Confinement
//!
//! The base is reached only below a directory descriptor given at open, never by an absolute path,
//! so it is reached under an in-place mount too. Symbolic links are not followed, mount points are
//! not crossed ([`BaseError::CrossesMount`]), special files are never opened: they are looked at
//! with statx(2) and O_PATH only. The directory that holds the store, if it lies in the base, does
//! not exist as far as this layer tells.
//!
//! # Versions
//!
//! Publishing turns version v into v + 1 in place. What a view at v could still want is kept: a
//! replaced or removed object is renamed into the *old* directory with everything below it, and
//! events say what went where (see `event` for the exact rule). So reading at an old version is
//! resolving the path by the events and reading what is there. [`Base::trim`] ends old versions.
//!
//! One thing is not exact: while a removed directory tree is kept, a file in it that has names
//! elsewhere in the base shows one link too many there. Telling would take a walk of the tree.
//!
//! # Who may change the base
//!
//! We do, by publishing. With [`BaseConfig::exclusive`] nobody else can (the mount covers it), and
//! directory descriptors, listings and open files are cached until a publish touches them. Without
//! it, they are trusted for [`TRUST`], as long as the kernel trusts its own entries of such a
//! mount, and listings are checked against the directory's times. A [`Stamp`] tells whether a file
//! is still the one that was seen.
//!
//! # Locks
//!
//! `purging`, then `layout`: shared for reading (around resolving *and* using what was resolved),
//! exclusive for publishing and trimming; then, each alone, the caches, the id map, the purge
//! queue. Callbacks given by the owner run under these locks and must not call into the base.
//!
//! # Cost
//!
//! | operation | system calls when caches are warm |
//! | --- | --- |
//! | lookup | 1 (statx below a cached directory), at any depth and version |
//! | list | 0 when exclusive, else 1; cold: getdents and no stat per name |
//! | open_file | 0; cold: statx, open, statx |
//! | publish | about 3 per step, held against readers only while it runs |

mod ctimes;
mod error;
mod event;
mod event_log;
mod id_alloc;
mod id_entry;
mod ids;
mod listing;
mod lru;
mod path;
mod plan;
mod publish_apply;
mod publish_check;
mod publish_finish;
mod publish_identity;
mod publish_rehearse;
mod publish_seal;
mod publish_stage;
mod publish_steps;
mod purge;
mod reach;
mod read;
mod simulate;
mod trace;
mod tree_stamp;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::hash::Hasher;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use siphasher::sip::SipHasher13;

pub use error::BaseError;
pub use event::{Event, EventRecord, OldName};
pub use id_entry::IdEntry;
pub use ids::IdConfig;
pub use listing::{Listing, Name};
pub use plan::{AttrSet, Before, Plan, Sealed, Shown, Step};
pub use publish_apply::Applied;
pub use publish_check::{Conflict, Expect, Seen, Want, What};
pub use publish_stage::{Slot, StagedIno, Staging, Unfilled};
pub use trace::{copy_error, read_at};
pub use tree_stamp::tree_stamp;

use crate::sys::disk::Disk;
use crate::tree::{Attr, FileId, Kind, Time};
use event_log::EventLog;
use ids::IdMap;
use reach::Reach;

/// Counts the publishes of a base.
pub type Version = u64;

/// How long what was read of a base that others can change is taken to hold.
pub const TRUST: Duration = Duration::from_secs(1);

/// Which object of the base: an inode number, told apart from its later uses by the birth time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ident {
    /// Inode number.
    pub ino: u64,
    /// When the inode was created, where the filesystem says so.
    pub btime: Option<Time>,
}

/// A hash of what changes when a file does: inode, size, mtime and shown ctime. Of a directory: its
/// inode alone, since its names are compared one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    fn of(ident: Ident, attr: &Attr) -> Stamp {
        let mut hasher = SipHasher13::new();
        hasher.write_u64(ident.ino);
        if attr.kind != Kind::Dir {
            hasher.write_u64(attr.size);
            for time in [attr.mtime, attr.ctime] {
                hasher.write_i64(time.sec);
                hasher.write_u32(time.nsec);
            }
        }
        Stamp(hasher.finish())
    }
}

/// An object of the base, as it was at the version that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub fid: FileId,
    /// Which object it is.
    pub ident: Ident,
    /// To tell later whether it has changed.
    pub stamp: Stamp,
    /// Its attributes.
    pub attr: Attr,
}

/// What a base is opened with.
pub struct BaseConfig {
    /// The base directory, opened before anything is mounted over it.
    pub root: OwnedFd,
    /// A directory of the same filesystem for objects that only old versions have.
    pub old: OwnedFd,
    /// A directory of the same filesystem for what is about to be published.
    pub stage: OwnedFd,
    /// The path of the store, if it lies in the base: it is hidden.
    pub hide: Option<Vec<u8>>,
    /// The key of [`crate::tree::name_hash`], drawn once per store.
    pub hash_key: [u8; 16],
    /// Nobody else can change the base while it is open.
    pub exclusive: bool,
    /// The version that the base is at.
    pub version: Version,
    /// Numbering.
    pub ids: IdConfig,
    /// Where changes go.
    pub disk: Disk,
}

/// What one version is on disk. Readers hold it shared while they resolve and use what they found.
struct Layout {
    version: Version,
    events: EventLog,
    /// The plan that an error interrupted.
    half_done: Option<u64>,
}

/// The base directory.
pub struct Base {
    reach: Reach,
    hash_key: [u8; 16],
    layout: RwLock<Layout>,
    ids: IdMap,
    listings: Mutex<read::ListingCache>,
    /// Names in the old directory that nobody needs.
    doomed: Mutex<VecDeque<purge::Doomed>>,
    /// Held by the one thread that purges; counts the directories that it has moved up.
    purging: Mutex<u64>,
}

impl Base {
    /// Opens a base at `config.version`. Events and ids are restored by the owner afterwards, then
    /// plans found by [`Base::pending`] are finished, then [`Base::sweep`] finds garbage.
    pub fn open(config: BaseConfig) -> Result<Base, BaseError> {
        let BaseConfig {
            root,
            old,
            stage,
            hide,
            hash_key,
            exclusive,
            version,
            ids,
            disk,
        } = config;
        if let Some(hide) = &hide {
            path::check(hide)?;
        }
        let reach = Reach::open([root, old, stage].map(Arc::new), hide, exclusive, disk)?;
        let ids = IdMap::new(reach.root_ino(), ids);
        let layout = Layout {
            version,
            events: EventLog::default(),
            half_done: None,
        };
        Ok(Base {
            reach,
            hash_key,
            layout: RwLock::new(layout),
            ids,
            listings: Mutex::new(read::ListingCache::new(read::LISTING_BYTES)),
            doomed: Mutex::default(),
            purging: Mutex::default(),
        })
    }

    /// The newest version.
    pub fn version(&self) -> Version {
        self.layout.read().version
    }

    /// Whether a plan was begun that an error interrupted.
    pub fn is_half_done(&self) -> bool {
        self.layout.read().half_done.is_some()
    }

    /// A free id for a new file in a view.
    pub fn alloc_fid(&self) -> Result<FileId, BaseError> {
        self.ids.alloc()
    }

    /// Gives a base object a new id, because its own is in use by another file in some view.
    pub fn distinct_fid(&self, ident: Ident) -> Result<FileId, BaseError> {
        let fid = self.ids.distinct(ident)?;
        self.listings.lock().clear();
        Ok(fid)
    }

    /// How many directory listings are cached, and their bytes.
    pub fn cached_listings(&self) -> (usize, usize) {
        self.listings.lock().size()
    }

    /// Drops the cached listings, to be read again when they are asked for.
    pub fn forget_listings(&self) {
        self.listings.lock().clear();
    }

    /// Every exception from the rule that a file's id is its inode number, for a checkpoint.
    pub fn ids(&self) -> Vec<IdEntry> {
        self.ids.all()
    }

    /// Where the search for free ids would go on, for a checkpoint.
    pub fn id_cursor(&self) -> u32 {
        self.ids.cursor()
    }

    /// Adds an exception at replay.
    pub fn restore_id(&self, entry: IdEntry) {
        self.ids.restore(entry);
    }

    /// Every event that some pinned version needs, in order, for a checkpoint.
    pub fn events(&self) -> Vec<EventRecord> {
        self.layout.read().events.records()
    }

    /// Adds an event at replay.
    pub fn restore_event(&self, record: EventRecord) {
        self.layout.write().events.push(record);
    }

    /// Sets the version at replay.
    pub fn restore_version(&self, version: Version) {
        self.layout.write().version = version;
    }
}
