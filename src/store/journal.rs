//! The journal: where records are appended.
//!
//! # On disk
//!
//! `journal/NNNNNNNNNNNNNNNN`, named by the hexadecimal number of the segment, from 1 up without
//! gaps. A segment is fully allocated when it is made, 16 MiB or what one large record needs, and
//! never changes its size. Little-endian:
//!
//! ```text
//!    0  magic "bfsJRNL1"        40  length of the segment u64
//!    8  uuid of the store       48  zeros
//!   24  segment number u64      60  crc32 over bytes 0 to 59
//!   32  LSN of the first record 64  records (see `frame`), without gaps, LSNs without gaps
//! ```
//!
//! After the last record of a segment its bytes are zero. A record that does not fit goes to the
//! next segment. The last [`BARRIER_RESERVE`] bytes take only barrier records, so that what is
//! already written can still be made durable when the disk is full.
//!
//! **Appending** copies the record into the mapping and stores its first word last. It makes no
//! system call, and the record is in the page cache: it survives the death of the process.
//!
//! **Space**: a new segment is allocated with fallocate(2) before the record that needs it changes
//! anything, so a full disk is [`StoreError::Full`] and the journal stays as it was. On ext4, xfs
//! and tmpfs a store into allocated space cannot fail; btrfs is asked not to copy on write.
//!
//! **Syncing** is fdatasync(2) of the segment; Linux includes what was stored through shared
//! mappings. It costs the same as msync(2) of the dirty range (4 ms each on ext4 over a virtual
//! disk, which is the flush), writes allocated-but-unwritten extents as fast as written ones, and
//! needs no range.
//!
//! **Lock order**: the mutex here is the innermost of the store but for the file system itself.

use parking_lot::Mutex;

use super::files::{Access, Dir, File};
use super::frame::{Barrier, Frame, HEADER_BYTES, Kind, seed, space, u32_at, u64_at};
use super::map::Map;
use super::{Damage, Lsn, MAX_RECORD_BYTES, StoreError};

/// Bytes before the first record of a segment.
pub(super) const SEGMENT_HEADER_BYTES: usize = 64;
/// Room at the end of a segment that only barrier records use. Two barriers (32 bytes each) can
/// follow the last payload of a full segment; nothing follows them until the next segment is made.
pub(super) const BARRIER_RESERVE: usize = 128;
const MAGIC: &[u8; 8] = b"bfsJRNL1";

/// A place between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The number of the segment.
    pub(super) segment: u64,
    /// The offset in its file.
    pub(super) offset: u64,
    /// The LSN of the record that starts here, or will.
    pub(super) next: Lsn,
}

impl Position {
    /// The beginning of every journal.
    pub(super) const START: Position = Position {
        segment: 1,
        offset: SEGMENT_HEADER_BYTES as u64,
        next: Lsn(1),
    };

    /// The last record before this place.
    pub(super) fn last(self) -> Lsn {
        Lsn(self.next.0 - 1)
    }
}

/// The name of a segment in the journal's directory.
pub(super) fn segment_name(segment: u64) -> String {
    format!("{segment:016x}")
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) uuid: [u8; 16],
    pub(super) segment: u64,
    pub(super) first: Lsn,
    pub(super) len: u64,
}

impl SegmentHeader {
    fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut b = [0; SEGMENT_HEADER_BYTES];
        b[..8].copy_from_slice(MAGIC);
        b[8..24].copy_from_slice(&self.uuid);
        b[24..32].copy_from_slice(&self.segment.to_le_bytes());
        b[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        b[40..48].copy_from_slice(&self.len.to_le_bytes());
        let crc = crc32fast::hash(&b[..60]);
        b[60..].copy_from_slice(&crc.to_le_bytes());
        b
    }

    /// The store's uuid by itself, where the header checks.
    pub(super) fn uuid(b: &[u8; SEGMENT_HEADER_BYTES]) -> Option<[u8; 16]> {
        let checks = &b[..8] == MAGIC && crc32fast::hash(&b[..60]) == u32_at(b, 60);
        checks.then(|| b[8..24].try_into().expect("16 bytes"))
    }

    /// Reads the header of segment number `segment` of the store `uuid`.
    pub(super) fn decode(b: &[u8], uuid: &[u8; 16], segment: u64) -> Result<Self, Damage> {
        if b.len() < SEGMENT_HEADER_BYTES {
            return Err(Damage::Short);
        }
        if &b[..8] != MAGIC {
            return Err(Damage::Magic);
        }
        if crc32fast::hash(&b[..60]) != u32_at(b, 60) {
            return Err(Damage::Checksum);
        }
        let header = SegmentHeader {
            uuid: b[8..24].try_into().expect("16 bytes"),
            segment: u64_at(b, 24),
            first: Lsn(u64_at(b, 32)),
            len: u64_at(b, 40),
        };
        if header.uuid != *uuid || header.segment != segment {
            return Err(Damage::Foreign);
        }
        if header.len > b.len() as u64 {
            return Err(Damage::Short);
        }
        Ok(header)
    }
}

/// The segment that records are appended to.
struct Active {
    file: File,
    map: Map,
    len: usize,
    seed: u32,
}

struct State {
    /// `None` until the first append after an open that found no segment.
    active: Option<Active>,
    end: Position,
    /// Bytes of records appended since the store was opened, and replayed by that open.
    total_bytes: u64,
    /// `total_bytes` when the last checkpoint began.
    checkpoint_bytes: u64,
    /// The last record that is not a barrier.
    last_payload: Lsn,
    /// What the last barrier record covers.
    covered: Lsn,
    /// Segments with records that no sync has covered yet, oldest first.
    unsynced: Vec<File>,
    /// A segment was made and its name is not durable yet.
    new_names: bool,
}

/// The journal of an open store.
pub(super) struct Journal {
    pub(super) dir: Dir,
    uuid: [u8; 16],
    segment_bytes: u64,
    state: Mutex<State>,
}

/// What has to be synced so that all records up to `upto` are durable.
pub(super) struct SyncSet {
    files: Vec<File>,
    names: bool,
    pub(super) upto: Lsn,
}

/// Where recovery left the journal.
pub(super) struct Recovered {
    pub(super) end: Position,
    /// Bytes of records from the checkpoint to the end.
    pub(super) bytes: u64,
    /// The data of all records up to here is durable, and so are they.
    pub(super) covered: Lsn,
}

impl Journal {
    /// Goes on where recovery ended. The segment at the end, if it exists, is zero from there on.
    /// A journal that is not `writable` only knows where it ends.
    pub(super) fn resume(
        dir: Dir,
        uuid: [u8; 16],
        segment_bytes: u64,
        recovered: &Recovered,
        writable: bool,
    ) -> Result<Journal, StoreError> {
        let end = recovered.end;
        let access = if writable {
            Access::Write
        } else {
            Access::Read
        };
        let active = match dir.open(&segment_name(end.segment), access)? {
            Some(file) if writable => {
                let size = file.size()?;
                if size.allocated_bytes < size.len_bytes {
                    // A store that was copied may have holes; storing into one can be a SIGBUS.
                    file.allocate(0, size.len_bytes)?;
                }
                let len = size.len_bytes as usize;
                let map = file.map(len)?;
                Some(Active {
                    file,
                    map,
                    len,
                    seed: seed(&uuid, b'j', end.segment),
                })
            }
            _ => None,
        };
        // After a kill the records since the last barrier are in the page cache only.
        let unsynced = if recovered.covered < end.last() {
            active.iter().map(|active| active.file.clone()).collect()
        } else {
            Vec::new()
        };
        let state = State {
            active,
            end,
            total_bytes: recovered.bytes,
            checkpoint_bytes: 0,
            last_payload: end.last(),
            covered: recovered.covered,
            new_names: !unsynced.is_empty(),
            unsynced,
        };
        Ok(Journal {
            dir,
            uuid,
            segment_bytes,
            state: Mutex::new(state),
        })
    }

    /// Appends one record of the layer above.
    pub(super) fn append(&self, payload: &[u8]) -> Result<Lsn, StoreError> {
        if payload.len() > MAX_RECORD_BYTES {
            return Err(StoreError::RecordTooLarge {
                len_bytes: payload.len(),
            });
        }
        let frame = Frame::new(Kind::Payload, payload);
        let mut state = self.state.lock();
        let lsn = self.append_frame(&mut state, frame, BARRIER_RESERVE)?;
        state.last_payload = lsn;
        Ok(lsn)
    }

    /// Appends a barrier record, unless the last one says as much, and returns what to sync.
    pub(super) fn append_barrier(&self, barrier: Barrier) -> Result<SyncSet, StoreError> {
        let mut state = self.state.lock();
        if state.last_payload.min(barrier.covers) > state.covered {
            let payload = barrier.encode();
            self.append_frame(&mut state, Frame::new(Kind::Barrier, &payload), 0)?;
            state.covered = barrier.covers;
        }
        Ok(SyncSet {
            files: std::mem::take(&mut state.unsynced),
            names: std::mem::take(&mut state.new_names),
            upto: barrier.covers,
        })
    }

    fn append_frame(
        &self,
        state: &mut State,
        frame: Frame<'_>,
        reserve: usize,
    ) -> Result<Lsn, StoreError> {
        let need = frame.space();
        let room = state.active.as_ref().map_or(0, |active| {
            active
                .len
                .saturating_sub(reserve + state.end.offset as usize)
        });
        if room < need {
            self.roll(state, need)?;
        }
        let lsn = state.end.next;
        let at = state.end.offset as usize;
        let active = state.active.as_mut().expect("rolled when there was none");
        if state.unsynced.is_empty() {
            state.unsynced.push(active.file.clone());
        }
        let payload = frame.payload();
        let header = frame.header(active.seed, lsn.0);
        active.map.write(at + HEADER_BYTES, payload);
        active.map.write(at + 4, &header[4..]);
        active.map.publish_u32(at, u32_at(&header, 0));
        state.end.offset += need as u64;
        state.end.next = Lsn(lsn.0 + 1);
        state.total_bytes += need as u64;
        Ok(lsn)
    }

    /// Makes the next segment the active one. Changes nothing when it cannot be made.
    #[cold]
    fn roll(&self, state: &mut State, need: usize) -> Result<(), StoreError> {
        let segment = match state.active {
            Some(_) => state.end.segment + 1,
            None => state.end.segment,
        };
        let least = SEGMENT_HEADER_BYTES + need + BARRIER_RESERVE;
        let len = (least as u64)
            .next_multiple_of(4096)
            .max(self.segment_bytes);
        let name = segment_name(segment);
        // A file of this name can only be what an earlier failure here could not remove.
        let file = self.dir.create(&name, Access::Create)?;
        let made = file
            .set_len(0)
            .and_then(|()| file.allocate(0, len))
            .and_then(|()| file.map(len as usize));
        let mut map = match made {
            Ok(map) => map,
            Err(error) => {
                self.dir.unlink(&name)?;
                return Err(error);
            }
        };
        let first = state.end.next;
        map.write(
            0,
            &SegmentHeader {
                uuid: self.uuid,
                segment,
                first,
                len,
            }
            .encode(),
        );
        state.unsynced.push(file.clone());
        state.new_names = true;
        let seed = seed(&self.uuid, b'j', segment);
        state.active = Some(Active {
            file,
            map,
            len: len as usize,
            seed,
        });
        state.end.segment = segment;
        state.end.offset = SEGMENT_HEADER_BYTES as u64;
        Ok(())
    }

    /// Where the next record goes.
    pub(super) fn end(&self) -> Position {
        self.state.lock().end
    }

    /// Whether anything was appended since the last barrier took what to sync.
    pub(super) fn is_synced(&self) -> bool {
        self.state.lock().unsynced.is_empty()
    }

    /// Bytes of records that a replay would read.
    pub(super) fn bytes_since_checkpoint(&self) -> u64 {
        let state = self.state.lock();
        state.total_bytes - state.checkpoint_bytes
    }

    /// The end, and how many bytes of records lead to it, for [`Journal::checkpointed`].
    pub(super) fn checkpoint_mark(&self) -> (Position, u64) {
        let state = self.state.lock();
        (state.end, state.total_bytes)
    }

    /// A checkpoint that began at this mark is durable.
    pub(super) fn checkpointed(&self, mark_bytes: u64) {
        self.state.lock().checkpoint_bytes = mark_bytes;
    }

    /// Removes the segments whose records all come before `position`.
    pub(super) fn remove_below(&self, position: Position) -> Result<(), StoreError> {
        remove_below(&self.dir, position.segment)
    }

    /// The size of the largest record that fits where the journal ends now; for tests.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        let state = self.state.lock();
        let used = state.end.offset as usize + BARRIER_RESERVE + HEADER_BYTES;
        state
            .active
            .as_ref()
            .map_or(0, |active| active.len.saturating_sub(used))
    }

    /// Makes a set durable.
    pub(super) fn sync(&self, set: &SyncSet) -> Result<(), StoreError> {
        for file in &set.files {
            file.sync()?;
        }
        if set.names { self.dir.sync() } else { Ok(()) }
    }
}

/// Removes the segments below `segment`, oldest first, so that what remains is without gaps.
pub(super) fn remove_below(dir: &Dir, segment: u64) -> Result<(), StoreError> {
    for number in segment_numbers(dir)? {
        if number < segment {
            dir.unlink(&segment_name(number))?;
        }
    }
    Ok(())
}

/// The numbers of the segments that exist, in order.
pub(super) fn segment_numbers(dir: &Dir) -> Result<Vec<u64>, StoreError> {
    let names = dir.names()?;
    Ok(names
        .iter()
        .filter_map(|name| super::parse_hex(name, 16))
        .collect())
}

// A segment must hold at least one barrier beside its header and its reserve.
const _: () = assert!(space(16) * 2 <= BARRIER_RESERVE);
