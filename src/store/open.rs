//! Opening a store: making it, locking it, recovering it.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::barrier::Rounds;
use super::blobs::Blobs;
use super::checkpoint::{self, Source};
use super::faults::Faults;
use super::files::{Access, Dir};
use super::handles::Handles;
use super::journal::{Journal, Position, Recovered};
use super::mounted::{self, Mounted};
use super::reader::Reader;
use super::records::Records;
use super::recovery::{self, Input, Plan};
use super::release::{Reclaimer, ReleaseQueue};
use super::rescue::{self, Rescue};
use super::segments::{CHUNK_BYTES, Segments};
use super::superblock::{self, Superblock};
use super::writer::Checkpoints;
use super::{Cause, Data, Lsn, Store, StoreError};
use crate::sys;
use crate::sys::disk::Disk;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The size of a new journal segment; a single large record gets a larger one.
    pub journal_segment_bytes: u64,
    /// The size of a data segment, for a store that is made; an existing one keeps its own.
    /// A multiple of 64 KiB.
    pub data_segment_bytes: u64,
    /// Change nothing, and share the store with other readers.
    pub read_only: bool,
    /// Open a damaged store all the same, with what it still holds. Needs `read_only`.
    pub rescue: bool,
    /// The boot id to believe in instead of the kernel's, so that a test can lose power.
    pub boot_id: Option<[u8; 16]>,
    /// Whether a thread frees what is released; else only [`Store::reclaim`] does.
    pub reclaims: bool,
    /// Where the store's files, and those of a base above it, are changed.
    pub disk: Disk,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            journal_segment_bytes: 16 << 20,
            data_segment_bytes: 64 << 20,
            read_only: false,
            rescue: false,
            boot_id: None,
            reclaims: true,
            disk: Default::default(),
        }
    }
}

/// A store that was opened, and what it held.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// There was no store in the directory, and one was made.
    pub created: bool,
    /// What has to be replayed.
    pub recovery: Recovery,
}

/// What an open found.
pub struct Recovery {
    /// The last user closed the store; or there was none.
    pub clean: bool,
    /// The last user did not close the store and the machine was restarted since: records after the
    /// last barrier were dropped, if there were any.
    pub power_loss: bool,
    /// The records to replay, in order.
    pub records: Records,
    /// Bytes of the journal that were dropped: unsynced records after power loss, or the torn end
    /// of the last append.
    pub dropped_bytes: u64,
    /// Checkpoints that were damaged and done without.
    pub damaged_checkpoints: Vec<StoreError>,
    /// The store is damaged, and the records are what is left.
    pub rescue: Option<Rescue>,
}

impl Store {
    /// Opens the store in a directory, or makes one there.
    ///
    /// The records must be replayed before a checkpoint is begun.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::NewerStore`], [`StoreError::NewerReadOnly`],
    /// [`StoreError::NotAStore`] (read-only), [`StoreError::Damaged`], [`StoreError::Full`].
    pub fn open(dir: OwnedFd, options: &StoreOptions) -> Result<Opened, StoreError> {
        if !options.rescue {
            return Store::open_with(dir, options, Faults::none());
        }
        assert!(options.read_only, "a damaged store is only read");
        let again = dir.try_clone().map_err(|source| StoreError::Io {
            operation: "open",
            file: ".".to_owned(),
            source,
        })?;
        match Store::open_with(dir, options, Faults::none()) {
            Err(damage @ (StoreError::Damaged { .. } | StoreError::Missing { .. })) => {
                rescue(again, options, damage)
            }
            opened => opened,
        }
    }

    pub(super) fn open_with(
        dir: OwnedFd,
        options: &StoreOptions,
        faults: Faults,
    ) -> Result<Opened, StoreError> {
        assert!(
            options.data_segment_bytes > 0
                && options.data_segment_bytes.is_multiple_of(CHUNK_BYTES),
            "data segments of {} bytes",
            options.data_segment_bytes
        );
        let root = Dir::root(dir, faults, options.disk.clone())?;
        let writable = !options.read_only;
        let lock = super::lock::lock(&root, writable)?;
        if writable {
            root.drop_default_acl()?;
        }
        let found = Superblock::read(&root, writable)?;
        let created = found.is_none();
        let superblock = match found {
            Some(superblock) => superblock,
            None if writable => create(&root, options)?,
            None => return Err(StoreError::NotAStore),
        };
        let mounted = Mounted::read(&root)?;
        let input = Input {
            root: &root,
            uuid: superblock.uuid,
            mounted,
            boot_id: boot_id(options)?,
        };
        let plan = recovery::plan(&input)?;
        let records = records(&input, &plan)?;
        let mounted_now = match writable {
            true => enter(&input, &plan)?,
            false => mounted,
        };
        let recovery = Recovery {
            clean: plan.clean,
            power_loss: plan.power_loss,
            records,
            dropped_bytes: plan.dropped_bytes,
            damaged_checkpoints: plan.damaged,
            rescue: None,
        };
        let next_address = mounted.clean.then_some(mounted.next_address);
        let found = Found {
            superblock,
            mounted: mounted_now,
            next_address,
            journal: plan.journal,
            checkpoint: plan.checkpoint,
            killed: !plan.clean && !plan.power_loss,
            intact: recovery.damaged_checkpoints.is_empty(),
        };
        let mut store = assemble(root, options, found)?;
        store._lock = lock;
        Ok(Opened {
            store,
            created,
            recovery,
        })
    }
}

fn boot_id(options: &StoreOptions) -> Result<[u8; 16], StoreError> {
    options.boot_id.map_or_else(recovery::boot_id, Ok)
}

/// Opens a store that cannot be opened because of `damage`, to read what it still holds.
fn rescue(dir: OwnedFd, options: &StoreOptions, damage: StoreError) -> Result<Opened, StoreError> {
    let root = Dir::root(dir, Faults::none(), options.disk.clone())?;
    let lock = super::lock::lock(&root, false)?;
    let superblock = match Superblock::read(&root, false) {
        Ok(Some(superblock)) => superblock,
        Ok(None) | Err(StoreError::Damaged { .. }) => {
            rescue::superblock(&root, options.data_segment_bytes)?.ok_or(StoreError::NotAStore)?
        }
        Err(error) => return Err(error),
    };
    let mounted = Mounted::read(&root).or_else(|error| match error {
        // As if it had been closed: then everything that checks is taken.
        StoreError::Damaged { .. } | StoreError::Missing { .. } => Ok(Mounted {
            clean: true,
            ..Mounted::default()
        }),
        other => Err(other),
    })?;
    let input = Input {
        root: &root,
        uuid: superblock.uuid,
        mounted,
        boot_id: boot_id(options)?,
    };
    let rescued = rescue::read(&input, damage)?;
    let found = Found {
        superblock,
        mounted,
        next_address: None,
        journal: Recovered {
            end: Position::START,
            bytes: 0,
            covered: Lsn(0),
        },
        checkpoint: None,
        killed: false,
        intact: false,
    };
    let mut store = assemble(root, options, found)?;
    store._lock = lock;
    store.poison = OnceLock::from(Cause::Damaged {
        what: rescued.rescue.damage.to_string(),
    });
    Ok(Opened {
        store,
        created: false,
        recovery: Recovery {
            clean: false,
            power_loss: rescued.power_loss,
            records: Records::found(rescued.records),
            dropped_bytes: 0,
            damaged_checkpoints: Vec::new(),
            rescue: Some(rescued.rescue),
        },
    })
}

/// Cuts off what the plan does not keep, then notes durably that the store is in use.
fn enter(input: &Input<'_>, plan: &Plan) -> Result<Mounted, StoreError> {
    let file = input.root.create(mounted::NAME, Access::Write)?;
    let mut mounted = Mounted {
        counter: input.mounted.counter,
        boot_id: input.mounted.boot_id,
        durable: plan.journal.covered,
        clean: false,
        next_address: 0,
    };
    if plan.power_loss {
        // The barrier that says what is durable lies behind what it covers and is cut off: whoever
        // comes after a second power loss must know it from here. It is still that other boot whose
        // records are not to be trusted.
        mounted.counter += 1;
        mounted.write(&file)?;
    }
    if !plan.tidy {
        let journal = input.dir(super::JOURNAL_DIR)?;
        recovery::cut(&journal, &input.uuid, plan.journal.end)?;
    }
    mounted.counter += 1;
    mounted.boot_id = input.boot_id;
    mounted.write(&file)?;
    Ok(mounted)
}

/// What [`assemble`] makes a store of.
struct Found {
    superblock: Superblock,
    mounted: Mounted,
    next_address: Option<u64>,
    journal: Recovered,
    checkpoint: Option<checkpoint::Mark>,
    killed: bool,
    intact: bool,
}

fn records(input: &Input<'_>, plan: &Plan) -> Result<Records, StoreError> {
    let source = match plan.checkpoint {
        Some(mark) => {
            let dir = input.dir(super::CHECKPOINT_DIR)?;
            Some(Source::open(&dir, &input.uuid, mark.lsn())?)
        }
        None => None,
    };
    let journal = input.dir(super::JOURNAL_DIR)?;
    let reader = Reader::new(journal, input.uuid, plan.start());
    Ok(Records::new(source, reader, plan.journal.end.last()))
}

fn assemble(root: Dir, options: &StoreOptions, found: Found) -> Result<Store, StoreError> {
    let writable = !options.read_only;
    let dir = |name: &str| {
        let dir = root.subdir(name)?.ok_or_else(|| StoreError::Missing {
            file: name.to_owned(),
        })?;
        if writable {
            dir.drop_default_acl()?;
        }
        Ok(dir)
    };
    let open_files = sys::limits::raise_open_files();
    let handles = Arc::new(Handles::new(open_files));
    if found.killed {
        handles.all_dirty();
    }
    let uuid = found.superblock.uuid;
    let file_bytes = found.superblock.data_segment_bytes;
    let segment_dir = dir(super::SEGMENT_DIR)?;
    let segments = Segments::open(
        segment_dir,
        file_bytes,
        found.next_address,
        Arc::clone(&handles),
    )?;
    let blobs = Blobs::open(
        dir(super::BLOB_DIR)?,
        found.mounted.counter,
        Arc::clone(&handles),
    );
    let journal = Journal::resume(
        dir(super::JOURNAL_DIR)?,
        uuid,
        options.journal_segment_bytes,
        &found.journal,
        writable,
    )?;
    let checkpoints = Checkpoints::new(dir(super::CHECKPOINT_DIR)?, found.checkpoint);
    if writable {
        checkpoints.dir().unlink(checkpoint::TEMP)?;
        if let (Some(mark), true) = (found.checkpoint, found.intact) {
            // The newest one was read whole, so the one before has done its duty.
            checkpoints.prune()?;
            journal.remove_below(mark.position)?;
        }
    }
    let (old, stage) = (dir(super::OLD_DIR)?, dir(super::STAGE_DIR)?);
    let data = Arc::new(Data {
        root,
        handles,
        segments,
        blobs,
    });
    let release = Arc::new(ReleaseQueue::default());
    let reclaimer = match writable && options.reclaims {
        true => Some(Reclaimer::start(Arc::clone(&release), Arc::clone(&data))?),
        false => None,
    };
    Ok(Store {
        superblock: found.superblock,
        mounted: Mutex::new(found.mounted),
        data,
        journal,
        checkpoints,
        old,
        stage,
        rounds: Rounds::default(),
        synced: AtomicU64::new(found.journal.covered.0),
        poison: OnceLock::new(),
        writable: AtomicBool::new(writable),
        release,
        _reclaimer: reclaimer,
        _lock: None,
    })
}

/// Makes a store. The superblock comes last: without it there is none, and the next open begins
/// anew with what is there.
fn create(root: &Dir, options: &StoreOptions) -> Result<Superblock, StoreError> {
    for name in [
        super::JOURNAL_DIR,
        super::CHECKPOINT_DIR,
        super::SEGMENT_DIR,
        super::BLOB_DIR,
        super::OLD_DIR,
        super::STAGE_DIR,
    ] {
        root.make_dir(name)?;
    }
    if let Some(journal) = root.subdir(super::JOURNAL_DIR)? {
        if !journal.names()?.is_empty() {
            // This was a store: making a new superblock would be the end of its branches.
            return Err(StoreError::Missing {
                file: superblock::NAME.to_owned(),
            });
        }
        journal.prefer_in_place();
    }
    root.create(".gitignore", Access::Create)?
        .write_at(b"*\n", 0)?;
    Mounted::create(root)?;
    let superblock = Superblock::new(options.data_segment_bytes)?;
    superblock.write(root)?;
    Ok(superblock)
}
