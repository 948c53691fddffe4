//! What an open keeps of the journal, and cutting off the rest.
//!
//! Three cases, told apart by the `mounted` file:
//!
//! - **closed cleanly**: the journal must end with exactly the record that the close named.
//! - **killed** (not closed, same boot): every record that was appended is in the page cache, so
//!   everything that checks is kept. What does not check is the torn end of the last append,
//!   unless a record that checks comes after it: then bytes were lost in the middle.
//! - **power loss** (not closed, another boot): pages came to the disk in any order, records
//!   before the data that they name. Only what the last barrier covers is kept.
//!
//! In all three, a record that is known to have been durable (by the `mounted` file, by a
//! checkpoint, by a barrier anywhere in the journal) and is not in the chain is damage: an error
//! that names file and offset, never a silent cut.
//!
//! **Durability**: later segments are removed and the rest of the last one is zeroed, both synced,
//! before anything is appended. So a record that was dropped can never come back behind new ones.

use super::checkpoint::{self, Mark};
use super::files::{Access, Dir};
use super::frame::{Barrier, Kind};
use super::journal::{Position, Recovered, SegmentHeader, segment_name, segment_numbers};
use super::mounted::Mounted;
use super::reader::{Break, Reader, Step, used_bytes};
use super::{Damage, Lsn, StoreError};

/// What recovery found and decided.
pub(super) struct Plan {
    /// The checkpoint to start from.
    pub(super) checkpoint: Option<Mark>,
    /// Newer checkpoints that are damaged, and how.
    pub(super) damaged: Vec<StoreError>,
    /// Where the journal goes on.
    pub(super) journal: Recovered,
    /// The last user closed the store.
    pub(super) clean: bool,
    /// Records that no barrier covers were dropped, if there were any.
    pub(super) power_loss: bool,
    /// The journal ends as it should and there is nothing to cut off.
    pub(super) tidy: bool,
    /// Bytes of the journal that are not kept.
    pub(super) dropped_bytes: u64,
}

impl Plan {
    /// Where the journal is replayed from.
    pub(super) fn start(&self) -> Position {
        self.checkpoint
            .map_or(Position::START, |mark| mark.position)
    }
}

/// The parts of a store that recovery reads.
pub(super) struct Input<'a> {
    pub(super) root: &'a Dir,
    pub(super) uuid: [u8; 16],
    pub(super) mounted: Mounted,
    pub(super) boot_id: [u8; 16],
}

impl Input<'_> {
    /// A directory of the store, which must be there.
    pub(super) fn dir(&self, name: &str) -> Result<Dir, StoreError> {
        self.root.subdir(name)?.ok_or_else(|| StoreError::Missing {
            file: name.to_owned(),
        })
    }
}

/// The boot that this process runs in.
pub(super) fn boot_id() -> Result<[u8; 16], StoreError> {
    crate::sys::boot_id::boot_id().map_err(|source| StoreError::Io {
        operation: "read",
        file: "/proc/sys/kernel/random/boot_id".to_owned(),
        source,
    })
}

/// Decides what to keep. Changes nothing.
pub(super) fn plan(input: &Input<'_>) -> Result<Plan, StoreError> {
    let checkpoints = input.dir(super::CHECKPOINT_DIR)?;
    let mut durable = input.mounted.durable;
    let mut damaged = Vec::new();
    let mut checkpoint = None;
    for lsn in checkpoint::list(&checkpoints)?.into_iter().rev() {
        match checkpoint::verify(&checkpoints, &input.uuid, lsn) {
            Ok(mark) => {
                checkpoint = Some(mark);
                break;
            }
            Err(error @ StoreError::Damaged { .. }) => {
                // The journal must lead past it, or what it held is lost.
                durable = durable.max(lsn);
                damaged.push(error);
            }
            Err(error) => return Err(error),
        }
    }
    let start = checkpoint.map_or(Position::START, |mark| mark.position);
    match plan_journal(input, start, durable) {
        Ok(kept) => Ok(Plan {
            checkpoint,
            damaged,
            journal: kept.journal,
            clean: input.mounted.clean,
            power_loss: kept.power_loss,
            tidy: kept.tidy,
            dropped_bytes: kept.dropped_bytes,
        }),
        Err(error) => Err(damaged.into_iter().next().unwrap_or(error)),
    }
}

/// What a walk over the whole chain tells.
struct Chain {
    end: Position,
    broken: Option<Break>,
    bytes: u64,
    covered: Lsn,
    synced: Lsn,
}

/// What of the journal is kept.
struct Kept {
    journal: Recovered,
    power_loss: bool,
    tidy: bool,
    dropped_bytes: u64,
}

fn plan_journal(input: &Input<'_>, start: Position, durable: Lsn) -> Result<Kept, StoreError> {
    let mut reader = Reader::new(input.dir(super::JOURNAL_DIR)?, input.uuid, start);
    let chain = walk(&mut reader, durable.max(start.last()))?;
    let last = chain.end.last();
    let same_boot = input.mounted.boot_id == input.boot_id;
    let power_loss = !input.mounted.clean && !same_boot;
    let mut known = chain.synced;
    if input.mounted.clean {
        if last > durable && start.last() < last {
            let file = super::mounted::NAME.to_owned();
            let damage = Damage::Stale { last };
            return Err(StoreError::Damaged {
                file,
                offset: 0,
                damage,
            });
        }
    } else {
        let beyond = reader.beyond()?;
        known = known.max(beyond.synced);
        if same_boot {
            known = known.max(beyond.last.unwrap_or_default());
        }
    }
    // Without the segment that the checkpoint names, whole up to there, there is nothing to append
    // to either.
    let unreadable = |broken: Break| broken.segment == start.segment && broken.offset == 0;
    if known > last || start != Position::START && chain.broken.is_some_and(unreadable) {
        return Err(lost(&chain, known));
    }
    let mut recovered = Recovered {
        end: chain.end,
        bytes: chain.bytes,
        covered: chain.synced,
    };
    if power_loss && last > chain.covered {
        reader = Reader::new(input.dir(super::JOURNAL_DIR)?, input.uuid, start);
        recovered = walk_to(&mut reader, chain.covered)?;
    } else if power_loss {
        recovered.covered = chain.covered;
    }
    let dropped = if input.mounted.clean {
        0
    } else {
        reader.trailing_bytes()?
    };
    let tidy = input.mounted.clean && chain.broken.is_none();
    Ok(Kept {
        journal: recovered,
        power_loss,
        tidy,
        dropped_bytes: dropped,
    })
}

fn lost(chain: &Chain, known: Lsn) -> StoreError {
    let broken = chain.broken.unwrap_or(Break {
        segment: chain.end.segment,
        offset: chain.end.offset,
        damage: Damage::Lost {
            first: chain.end.next,
            known,
        },
    });
    broken.to_error()
}

fn walk(reader: &mut Reader, durable: Lsn) -> Result<Chain, StoreError> {
    let (mut bytes, mut covered, mut synced) = (0, durable, durable);
    let broken = loop {
        match reader.step()? {
            Step::Record(kind, _) => {
                bytes += super::frame::space(reader.payload().len()) as u64;
                if let (Kind::Barrier, Some(barrier)) = (kind, Barrier::decode(reader.payload())) {
                    covered = covered.max(barrier.covers);
                    synced = synced.max(barrier.synced);
                }
            }
            Step::End => break None,
            Step::Broken(broken) => break Some(broken),
        }
    };
    Ok(Chain {
        end: reader.position(),
        broken,
        bytes,
        covered,
        synced,
    })
}

/// Walks up to and including record `last`, which the chain is known to hold.
fn walk_to(reader: &mut Reader, last: Lsn) -> Result<Recovered, StoreError> {
    let mut bytes = 0;
    while reader.position().last() < last {
        match reader.step()? {
            Step::Record(..) => {
                bytes += super::frame::space(reader.payload().len()) as u64;
            }
            Step::Broken(broken) => return Err(broken.to_error()),
            Step::End => break,
        }
    }
    Ok(Recovered {
        end: reader.position(),
        bytes,
        covered: last,
    })
}

/// Removes from the disk what the plan does not keep, durably.
pub(super) fn cut(journal: &Dir, uuid: &[u8; 16], end: Position) -> Result<(), StoreError> {
    let mut removed = false;
    for number in segment_numbers(journal)?.into_iter().rev() {
        if number > end.segment {
            journal.unlink(&segment_name(number))?;
            removed = true;
        }
    }
    if removed {
        journal.sync()?;
    }
    let name = segment_name(end.segment);
    let Some(file) = journal.open(&name, Access::Write)? else {
        return Ok(());
    };
    let mut bytes = file.read_all()?;
    if SegmentHeader::decode(&bytes, uuid, end.segment).is_err() {
        // The plan accepts this only of a first segment that never held a durable record.
        journal.unlink(&name)?;
        return journal.sync();
    }
    let tail = bytes.split_off(end.offset as usize);
    let used = used_bytes(&tail);
    if used == 0 {
        return Ok(());
    }
    file.write_at(&vec![0; used], end.offset)?;
    file.sync()
}
