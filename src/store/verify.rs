//! Checking a store that nobody has open. Changes nothing.

use std::os::fd::OwnedFd;

use super::checkpoint::{self, Source};
use super::faults::Faults;
use super::files::Dir;
use super::handles::Handles;
use super::mounted::Mounted;
use super::reader::Reader;
use super::records::Records;
use super::recovery::{self, Input};
use super::superblock::Superblock;
use super::{BlobId, Damage, SegAddr, StoreError, segments};

/// Something that is wrong with a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, relative to the store.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// What is wrong.
    pub damage: Damage,
}

/// The file of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobFile {
    /// The blob.
    pub id: BlobId,
    /// The length of its file.
    pub len_bytes: u64,
}

/// The file of a data segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// The address of its first byte.
    pub start: SegAddr,
    /// The length of its file: what is beyond was never written.
    pub len_bytes: u64,
}

/// What [`verify`] found.
pub struct Report {
    /// What is wrong; empty when the store is sound.
    pub problems: Vec<Problem>,
    /// The records that an open would replay; `None` when it would fail.
    pub records: Option<Records>,
    /// The last user closed the store.
    pub clean: bool,
    /// Bytes of journal that an open would drop.
    pub dropped_bytes: u64,
    /// The blobs that have a file, by id.
    pub blobs: Vec<BlobFile>,
    /// The data segments, by address.
    pub segments: Vec<SegmentFile>,
}

/// Checks superblock, journal, checkpoints and names of the store in a directory.
///
/// What an open would drop as unsynced or torn is no problem; what it would refuse is.
///
/// # Errors
/// Only what keeps it from looking: [`StoreError::Locked`], [`StoreError::NotAStore`],
/// [`StoreError::NewerStore`], [`StoreError::Io`]. Damage is in the report.
pub fn verify(dir: OwnedFd) -> Result<Report, StoreError> {
    let root = Dir::root(dir, Faults::none(), Default::default())?;
    let _lock = super::lock::lock(&root, false)?;
    let mut report = Report {
        problems: Vec::new(),
        records: None,
        clean: false,
        dropped_bytes: 0,
        blobs: Vec::new(),
        segments: Vec::new(),
    };
    let superblock = match Superblock::read(&root, false) {
        Ok(Some(superblock)) => superblock,
        Ok(None) => return Err(StoreError::NotAStore),
        Err(error) => {
            report.add(error)?;
            return Ok(report);
        }
    };
    let found = report.check_journal(&root, &superblock);
    found.or_else(|error| report.add(error))?;
    let found = report.list_data(&root, &superblock);
    found.or_else(|error| report.add(error))?;
    Ok(report)
}

impl Report {
    /// Turns an error that is a finding into one.
    fn add(&mut self, error: StoreError) -> Result<(), StoreError> {
        let problem = match error {
            StoreError::Damaged {
                file,
                offset,
                damage,
            } => Problem {
                file,
                offset,
                damage,
            },
            StoreError::Missing { file } => Problem {
                file,
                offset: 0,
                damage: Damage::Absent,
            },
            other => return Err(other),
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
        Ok(())
    }

    fn check_journal(&mut self, root: &Dir, superblock: &Superblock) -> Result<(), StoreError> {
        let mounted = Mounted::read(root)?;
        self.clean = mounted.clean;
        // The lock says that nobody has the store open, so only the boot decides what is kept.
        let boot_id = recovery::boot_id()?;
        let input = Input {
            root,
            uuid: superblock.uuid,
            mounted,
            boot_id,
        };
        let checkpoints = input.dir(super::CHECKPOINT_DIR)?;
        for lsn in checkpoint::list(&checkpoints)? {
            checkpoint::verify(&checkpoints, &superblock.uuid, lsn)
                .map(|_| ())
                .or_else(|error| self.add(error))?;
        }
        let plan = recovery::plan(&input)?;
        self.dropped_bytes = plan.dropped_bytes;
        let source = match plan.checkpoint {
            Some(mark) => Some(Source::open(&checkpoints, &superblock.uuid, mark.lsn())?),
            None => None,
        };
        let reader = Reader::new(
            input.dir(super::JOURNAL_DIR)?,
            superblock.uuid,
            plan.start(),
        );
        self.records = Some(Records::new(source, reader, plan.journal.end.last()));
        self.check_names(&input)
    }

    /// Every name in the store's own directories belongs there.
    fn check_names(&mut self, input: &Input<'_>) -> Result<(), StoreError> {
        let known: [(&str, usize); 3] = [
            (super::JOURNAL_DIR, 16),
            (super::CHECKPOINT_DIR, 16),
            (super::SEGMENT_DIR, 8),
        ];
        for (name, digits) in known {
            for file in input.dir(name)?.names()? {
                let temporary = name == super::CHECKPOINT_DIR && file == checkpoint::TEMP;
                if super::parse_hex(&file, digits).is_none() && !temporary {
                    let file = format!("{name}/{file}");
                    self.add(StoreError::Damaged {
                        file,
                        offset: 0,
                        damage: Damage::Stray,
                    })?;
                }
            }
        }
        Ok(())
    }

    fn list_data(&mut self, root: &Dir, superblock: &Superblock) -> Result<(), StoreError> {
        let dir = |name: &str| {
            root.subdir(name)?.ok_or_else(|| StoreError::Missing {
                file: name.to_owned(),
            })
        };
        let handles = std::sync::Arc::new(Handles::new(0));
        super::Blobs::open(dir(super::BLOB_DIR)?, 0, handles).for_each(|id, size| {
            self.blobs.push(BlobFile {
                id,
                len_bytes: size.len_bytes,
            });
            Ok(())
        })?;
        self.blobs.sort_unstable_by_key(|blob| blob.id);
        let dir = dir(super::SEGMENT_DIR)?;
        for number in segments::numbers(&dir)? {
            let start = SegAddr(u64::from(number) * superblock.data_segment_bytes);
            let len_bytes = dir.size(&segments::name(number))?.len_bytes;
            self.segments.push(SegmentFile { start, len_bytes });
        }
        Ok(())
    }
}
