//! Reading what a damaged store still holds, for an open that only reads.
//!
//! An ordinary open refuses a store that lacks anything known to have been durable. This takes what
//! is left: the newest checkpoint that checks as a whole, else every record of the newest one that
//! checks by itself; then every record of the journal that is later and checks, wherever it lies.
//! Where the machine lost power, what no barrier covers is left out as ever.
//!
//! **What it does not promise**: records are missing in between, so what they lead to need not be
//! what any moment showed, and one may not fit those before it. Whoever replays them leaves out
//! what does not fit.

use std::collections::BTreeMap;

use super::checkpoint;
use super::files::{Access, Dir};
use super::frame::{Barrier, HEADER_BYTES, Kind, Parsed, parse, seed};
use super::journal::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name, segment_numbers};
use super::records::{Record, Source};
use super::recovery::Input;
use super::superblock::Superblock;
use super::{Lsn, StoreError};

/// What was wrong with a store that was opened all the same.
#[derive(Debug)]
pub struct Rescue {
    /// What an ordinary open finds first.
    pub damage: StoreError,
    /// Records of the journal that are known to have been written and are not there, at least.
    pub missing_records: u64,
}

/// What is left of a store.
pub(super) struct Rescued {
    pub(super) records: Vec<Record>,
    pub(super) rescue: Rescue,
    pub(super) power_loss: bool,
}

/// The superblock of a store that has lost it: its uuid is in every segment of the journal, and a
/// data segment has the size that new stores get. `None` where no journal tells.
pub(super) fn superblock(
    root: &Dir,
    data_segment_bytes: u64,
) -> Result<Option<Superblock>, StoreError> {
    let Some(dir) = root.subdir(super::JOURNAL_DIR)? else {
        return Ok(None);
    };
    for number in segment_numbers(&dir)? {
        let Some(file) = dir.open(&segment_name(number), Access::Read)? else {
            continue;
        };
        let mut header = [0; SEGMENT_HEADER_BYTES];
        file.read_at(&mut header, 0)?;
        if let Some(uuid) = SegmentHeader::uuid(&header) {
            return Ok(Some(Superblock {
                uuid,
                ..Superblock::new(data_segment_bytes)?
            }));
        }
    }
    Ok(None)
}

/// Reads everything that checks. `damage` is why the store cannot be opened otherwise.
pub(super) fn read(input: &Input<'_>, damage: StoreError) -> Result<Rescued, StoreError> {
    let mounted = input.mounted;
    let power_loss = !mounted.clean && mounted.boot_id != input.boot_id;
    let (start, mut records) = read_checkpoint(input)?;
    let found = read_journal(input, start)?;
    let last = match power_loss {
        true => found.covered.max(mounted.durable.0),
        false => found.last,
    };
    let journal = found.records.range(..=last);
    // Of a journal that somebody made up, the numbers may end here.
    let (mut next, mut missing_records) = (start.0.saturating_add(1), 0_u64);
    for (&lsn, (kind, payload)) in journal {
        missing_records = missing_records.saturating_add(lsn.saturating_sub(next));
        next = lsn.saturating_add(1);
        if *kind == Kind::Payload {
            records.push(Record {
                source: Source::Journal,
                lsn: Lsn(lsn),
                payload: payload.clone(),
            });
        }
    }
    let known = mounted.durable.0.saturating_add(1).saturating_sub(next);
    missing_records = missing_records.saturating_add(known);
    Ok(Rescued {
        records,
        rescue: Rescue {
            damage,
            missing_records,
        },
        power_loss,
    })
}

/// The records of the checkpoint to start from, and what it is of.
fn read_checkpoint(input: &Input<'_>) -> Result<(Lsn, Vec<Record>), StoreError> {
    let Some(dir) = input.root.subdir(super::CHECKPOINT_DIR)? else {
        return Ok((Lsn(0), Vec::new()));
    };
    let lsns = checkpoint::list(&dir)?;
    for &lsn in lsns.iter().rev() {
        match read_whole(&dir, &input.uuid, lsn) {
            Ok(records) => return Ok((lsn, records)),
            Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let Some(&lsn) = lsns.last() else {
        return Ok((Lsn(0), Vec::new()));
    };
    let Some(file) = dir.open(&checkpoint::name(lsn), Access::Read)? else {
        return Ok((lsn, Vec::new()));
    };
    let mut records = BTreeMap::new();
    let bytes = file.read_all()?;
    scan(&bytes, seed(&input.uuid, b'c', lsn.0), |found| {
        if found.kind == Kind::Payload {
            records.insert(found.number, found.payload.to_vec());
        }
    });
    let record = |payload| Record {
        source: Source::Checkpoint,
        lsn,
        payload,
    };
    Ok((lsn, records.into_values().map(record).collect()))
}

fn read_whole(dir: &Dir, uuid: &[u8; 16], lsn: Lsn) -> Result<Vec<Record>, StoreError> {
    let mut source = checkpoint::Source::open(dir, uuid, lsn)?;
    let mut records = Vec::new();
    while let Some(payload) = source.next()? {
        records.push(Record {
            source: Source::Checkpoint,
            lsn,
            payload: payload.to_vec(),
        });
    }
    Ok(records)
}

/// What was found of a journal.
#[derive(Default)]
struct Found {
    /// By number.
    records: BTreeMap<u64, (Kind, Vec<u8>)>,
    last: u64,
    /// The last record that a barrier covers.
    covered: u64,
}

fn read_journal(input: &Input<'_>, start: Lsn) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let Some(dir) = input.root.subdir(super::JOURNAL_DIR)? else {
        return Ok(found);
    };
    for number in segment_numbers(&dir)? {
        let Some(file) = dir.open(&segment_name(number), Access::Read)? else {
            continue;
        };
        let bytes = file.read_all()?;
        scan(&bytes, seed(&input.uuid, b'j', number), |record| {
            if record.number <= start.0 {
                return;
            }
            if let (Kind::Barrier, Some(barrier)) = (record.kind, Barrier::decode(record.payload)) {
                found.covered = found.covered.max(barrier.covers.0);
            }
            found.last = found.last.max(record.number);
            let kept = (record.kind, record.payload.to_vec());
            found.records.insert(record.number, kept);
        });
    }
    Ok(found)
}

/// Shows `each` every record in `bytes` that checks.
fn scan(bytes: &[u8], seed: u32, mut each: impl FnMut(Parsed<'_>)) {
    let mut at = 0;
    while at + HEADER_BYTES <= bytes.len() {
        at += match parse(&bytes[at..], seed) {
            Ok(Some(record)) => {
                let space = record.space();
                each(record);
                space
            }
            _ => 8,
        };
    }
}
