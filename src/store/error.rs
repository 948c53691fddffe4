//! What can go wrong with a store.
//!
//! Whoever maps these to an errno needs three questions only: [`StoreError::Full`] is ENOSPC and
//! nothing was changed, [`StoreError::Poisoned`] and [`StoreError::ReadOnly`] are EROFS, and the
//! rest is EIO.

use std::io;

use super::Lsn;

/// An error of the store; names of files are relative to the store's directory.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A system call failed.
    #[error("{operation} of {file} failed: {source}")]
    Io {
        /// The operation, as in a sentence: "write", "sync".
        operation: &'static str,
        /// The file it was done to.
        file: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// No space or quota left. Nothing was changed; the same call may succeed later.
    #[error("no space left for {file}")]
    Full {
        /// The file that could not be made or grow.
        file: String,
    },
    /// Another process has the store open.
    #[error("the store is in use by {}", holder(.pid))]
    Locked {
        /// The process that holds the lock, where its lock file names one.
        pid: Option<u32>,
    },
    /// The store was written by a newer program in a way that this one cannot read.
    #[error("the store needs a newer program: format {version}, features {incompatible:#x}")]
    NewerStore {
        /// The format version of the superblock.
        version: u32,
        /// The incompatible feature bits that are not known here.
        incompatible: u64,
    },
    /// The store has features that this program can read but not write.
    #[error("the store can only be opened read-only here: features {ro_compatible:#x}")]
    NewerReadOnly {
        /// The read-only-compatible feature bits that are not known here.
        ro_compatible: u64,
    },
    /// The directory holds no store, and a read-only open does not make one.
    #[error("there is no store in this directory")]
    NotAStore,
    /// Bytes on disk are not what was written there.
    #[error("{file} is damaged at byte {offset}: {damage}")]
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// How it shows.
        damage: Damage,
    },
    /// An earlier write or sync failed, so nothing more can be made durable. Reads go on.
    #[error("the store takes no more writes since {cause}")]
    Poisoned {
        /// The failure that ended writing.
        cause: Cause,
    },
    /// The store was opened read-only.
    #[error("the store is open read-only")]
    ReadOnly,
    /// A record's payload is larger than [`super::MAX_RECORD_BYTES`].
    #[error("a record of {len_bytes} bytes is too large")]
    RecordTooLarge {
        /// The length of the payload.
        len_bytes: usize,
    },
    /// An allocation is larger than a data segment.
    #[error("an allocation of {len_bytes} bytes is larger than a segment ({max_bytes})")]
    AllocationTooLarge {
        /// What was asked for.
        len_bytes: u64,
        /// The size of a data segment of this store.
        max_bytes: u64,
    },
    /// A range of segment addresses does not lie within one segment.
    #[error("{len_bytes} bytes at segment address {address:#x} are not in one segment")]
    CrossesSegment {
        /// The first address.
        address: u64,
        /// The length.
        len_bytes: u64,
    },
    /// A file of the store that a read needs is not there.
    #[error("{file} is missing")]
    Missing {
        /// The file.
        file: String,
    },
    /// A read went beyond what was ever written.
    #[error("{file} ends before byte {end}")]
    ShortRead {
        /// The file.
        file: String,
        /// The end of the range that was asked for.
        end: u64,
    },
    /// A checkpoint is being written already.
    #[error("a checkpoint is being written already")]
    CheckpointRunning,
}

/// How damage shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file does not start with its magic number.
    #[error("no magic number")]
    Magic,
    /// A checksum does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// The file belongs to another store, or has another one's name.
    #[error("belongs to another file or store")]
    Foreign,
    /// A record claims a length or kind that cannot be.
    #[error("impossible record header {word:#010x}")]
    Header {
        /// The first word of the record.
        word: u32,
    },
    /// A record is not the one that follows the last.
    #[error("record {found} where {expected} belongs")]
    Sequence {
        /// The number that the chain continues with.
        expected: Lsn,
        /// The number that is there.
        found: Lsn,
    },
    /// The chain ends although a record that follows it is known to have been written.
    #[error("record {first} is missing, record {known} was written")]
    Lost {
        /// The first record that is not there.
        first: Lsn,
        /// A later one that was.
        known: Lsn,
    },
    /// The file is shorter than what it must hold.
    #[error("the file is too short")]
    Short,
    /// The trailer does not describe the file.
    #[error("the trailer does not match")]
    Trailer,
    /// The file says less than what was written after it.
    #[error("older than the journal, which ends with record {last}")]
    Stale {
        /// The last record of the journal.
        last: Lsn,
    },
    /// The file is not there.
    #[error("missing")]
    Absent,
    /// A name that no file of a store has.
    #[error("not a file of a store")]
    Stray,
}

/// What poisoned a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// A copy of an [`StoreError::Io`].
    #[error("{operation} of {file} failed: {}", io::Error::from_raw_os_error(*.errno))]
    Failed {
        /// The operation.
        operation: &'static str,
        /// The file it was done to.
        file: String,
        /// The errno, 0 where the failure carried none.
        errno: i32,
    },
    /// It was opened to read what a damaged store still holds.
    #[error("it is damaged ({what}) and shows what can still be read")]
    Damaged {
        /// What was found first.
        what: String,
    },
    /// The program itself is in doubt.
    #[error("{why}")]
    Doubt {
        /// What it did, as a clause.
        why: &'static str,
    },
}

impl StoreError {
    /// The error as the reason for poisoning.
    pub(super) fn to_cause(&self) -> Cause {
        match self {
            StoreError::Io {
                operation,
                file,
                source,
            } => Cause::Failed {
                operation,
                file: file.clone(),
                errno: source.raw_os_error().unwrap_or(0),
            },
            StoreError::Full { file } => Cause::Failed {
                operation: "write",
                file: file.clone(),
                errno: libc::ENOSPC,
            },
            StoreError::Poisoned { cause } => cause.clone(),
            other => Cause::Failed {
                operation: "write",
                file: other.to_string(),
                errno: 0,
            },
        }
    }
}

fn holder(pid: &Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}
