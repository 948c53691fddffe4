//! Checkpoints: the state of the layer above in one file, so that replay need not start at the
//! beginning.
//!
//! # On disk
//!
//! `checkpoint/NNNNNNNNNNNNNNNN`, named by the hexadecimal LSN of the last record whose effect it
//! contains. Little-endian:
//!
//! ```text
//!    0  magic "bfsCHKPT"        40  offset in that segment u64
//!    8  uuid of the store       48  zeros
//!   24  LSN u64                 60  crc32 over bytes 0 to 59
//!   32  journal segment where   64  frames (see `frame`), numbered from 1; the last one is the
//!       replay goes on u64          trailer: their count u64, crc32 over bytes 0 to there u32
//! ```
//!
//! **Durability**: written to `checkpoint/new`; a barrier (a checkpoint may hold records whose
//! data no barrier covers yet); fsync; rename; fsync of the directory. Only then are the segments
//! removed that neither this checkpoint nor the one before needs. The one before goes when the
//! newest was read back whole, at the next open, or when a still newer one is finished.

use super::files::{Access, Dir, File};
use super::frame::{Frame, HEADER_BYTES, Kind, parse, seed, space, u32_at, u64_at};
use super::journal::Position;
use super::{Damage, Lsn, MAX_RECORD_BYTES, StoreError};

/// The name of a checkpoint that is being written.
pub(super) const TEMP: &str = "new";
const MAGIC: &[u8; 8] = b"bfsCHKPT";
const FILE_HEADER_BYTES: usize = 64;
const BUFFER_BYTES: usize = 1 << 20;

/// A checkpoint and the place in the journal where it was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) position: Position,
}

impl Mark {
    /// The last record in the checkpoint; its name.
    pub(super) fn lsn(self) -> Lsn {
        self.position.last()
    }
}

/// The file name of the checkpoint of `lsn`.
pub(super) fn name(lsn: Lsn) -> String {
    format!("{:016x}", lsn.0)
}

/// The LSNs of the checkpoints that exist, in order.
pub(super) fn list(dir: &Dir) -> Result<Vec<Lsn>, StoreError> {
    let names = dir.names()?;
    Ok(names
        .iter()
        .filter_map(|name| super::parse_hex(name, 16))
        .map(Lsn)
        .collect())
}

fn encode_header(uuid: &[u8; 16], mark: Mark) -> [u8; FILE_HEADER_BYTES] {
    let mut b = [0; FILE_HEADER_BYTES];
    b[..8].copy_from_slice(MAGIC);
    b[8..24].copy_from_slice(uuid);
    b[24..32].copy_from_slice(&mark.lsn().0.to_le_bytes());
    b[32..40].copy_from_slice(&mark.position.segment.to_le_bytes());
    b[40..48].copy_from_slice(&mark.position.offset.to_le_bytes());
    let crc = crc32fast::hash(&b[..60]);
    b[60..].copy_from_slice(&crc.to_le_bytes());
    b
}

fn decode_header(b: &[u8; FILE_HEADER_BYTES], uuid: &[u8; 16], lsn: Lsn) -> Result<Mark, Damage> {
    if &b[..8] != MAGIC {
        return Err(Damage::Magic);
    }
    if crc32fast::hash(&b[..60]) != u32_at(b, 60) {
        return Err(Damage::Checksum);
    }
    if b[8..24] != *uuid || u64_at(b, 24) != lsn.0 {
        return Err(Damage::Foreign);
    }
    let (segment, offset) = (u64_at(b, 32), u64_at(b, 40));
    Ok(Mark {
        position: Position {
            segment,
            offset,
            next: Lsn(lsn.0 + 1),
        },
    })
}

/// Writes the temporary file of a checkpoint.
pub(super) struct Sink {
    file: File,
    buffer: Vec<u8>,
    flushed: u64,
    sum: crc32fast::Hasher,
    seed: u32,
    count: u64,
}

impl Sink {
    /// Starts the file, in place of what an earlier attempt left.
    pub(super) fn create(dir: &Dir, uuid: &[u8; 16], mark: Mark) -> Result<Sink, StoreError> {
        let file = dir.create(TEMP, Access::Create)?;
        file.set_len(0)?;
        let mut sink = Sink {
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            flushed: 0,
            sum: crc32fast::Hasher::new(),
            seed: seed(uuid, b'c', mark.lsn().0),
            count: 0,
        };
        sink.buffer.extend_from_slice(&encode_header(uuid, mark));
        Ok(sink)
    }

    /// Adds one payload.
    pub(super) fn put(&mut self, payload: &[u8]) -> Result<(), StoreError> {
        if payload.len() > MAX_RECORD_BYTES {
            return Err(StoreError::RecordTooLarge {
                len_bytes: payload.len(),
            });
        }
        self.count += 1;
        self.frame(Frame::new(Kind::Payload, payload));
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn frame(&mut self, frame: Frame<'_>) {
        let end = self.buffer.len() + frame.space();
        let payload = frame.payload();
        let number = if frame.kind() == Kind::Trailer {
            self.count + 1
        } else {
            self.count
        };
        self.buffer
            .extend_from_slice(&frame.header(self.seed, number));
        self.buffer.extend_from_slice(payload);
        self.buffer.resize(end, 0);
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.file.write_at(&self.buffer, self.flushed)?;
        self.sum.update(&self.buffer);
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the trailer and makes the file durable under its temporary name.
    pub(super) fn finish(mut self) -> Result<(), StoreError> {
        self.flush()?;
        let mut trailer = [0; 12];
        trailer[..8].copy_from_slice(&self.count.to_le_bytes());
        trailer[8..].copy_from_slice(&self.sum.clone().finalize().to_le_bytes());
        self.frame(Frame::new(Kind::Trailer, &trailer));
        self.flush()?;
        self.file.sync()
    }
}

/// Reads a checkpoint from its beginning.
pub(super) struct Source {
    file: File,
    mark: Mark,
    seed: u32,
    buffer: Vec<u8>,
    at: usize,
    /// Offset in the file of the end of the buffer.
    read: u64,
    sum: crc32fast::Hasher,
    count: u64,
    done: bool,
}

impl Source {
    /// Opens the checkpoint of `lsn`.
    pub(super) fn open(dir: &Dir, uuid: &[u8; 16], lsn: Lsn) -> Result<Source, StoreError> {
        let name = name(lsn);
        let file = dir
            .open(&name, Access::Read)?
            .ok_or_else(|| StoreError::Missing {
                file: format!("{}/{name}", super::CHECKPOINT_DIR),
            })?;
        let mut header = [0; FILE_HEADER_BYTES];
        let len = file.read_at(&mut header, 0)?;
        let decoded = if len < FILE_HEADER_BYTES {
            Err(Damage::Short)
        } else {
            decode_header(&header, uuid, lsn)
        };
        let mark = decoded.map_err(|damage| StoreError::Damaged {
            file: file.name().to_owned(),
            offset: 0,
            damage,
        })?;
        let mut sum = crc32fast::Hasher::new();
        sum.update(&header);
        Ok(Source {
            file,
            mark,
            seed: seed(uuid, b'c', lsn.0),
            buffer: Vec::new(),
            at: 0,
            read: FILE_HEADER_BYTES as u64,
            sum,
            count: 0,
            done: false,
        })
    }

    /// What the checkpoint is of.
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    fn offset(&self) -> u64 {
        self.read - (self.buffer.len() - self.at) as u64
    }

    fn damaged(&self, damage: Damage) -> StoreError {
        StoreError::Damaged {
            file: self.file.name().to_owned(),
            offset: self.offset(),
            damage,
        }
    }

    /// Has at least `need` bytes in the buffer, or all that the file still has.
    fn fill(&mut self, need: usize) -> Result<(), StoreError> {
        if self.buffer.len() - self.at >= need {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let have = self.buffer.len();
        self.buffer.resize(need.max(BUFFER_BYTES), 0);
        let got = self.file.read_at(&mut self.buffer[have..], self.read)?;
        self.buffer.truncate(have + got);
        self.read += got as u64;
        Ok(())
    }

    /// The next payload; `None` after the trailer, which has then been checked.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, StoreError> {
        if self.done {
            return Ok(None);
        }
        self.fill(HEADER_BYTES)?;
        if self.buffer.len() - self.at < HEADER_BYTES {
            return Err(self.damaged(Damage::Short));
        }
        let len = (u32_at(&self.buffer, self.at) & 0xff_ffff) as usize;
        self.fill(space(len.min(MAX_RECORD_BYTES)))?;
        let (kind, number, len) = match parse(&self.buffer[self.at..], self.seed) {
            Ok(Some(record)) => (record.kind, record.number, record.payload.len()),
            Ok(None) => return Err(self.damaged(Damage::Short)),
            Err(damage) => return Err(self.damaged(damage)),
        };
        if number != self.count + 1 {
            let (expected, found) = (Lsn(self.count + 1), Lsn(number));
            return Err(self.damaged(Damage::Sequence { expected, found }));
        }
        if self.buffer.len() - self.at < space(len) {
            // What the frame is padded with is cut off.
            return Err(self.damaged(Damage::Short));
        }
        let payload = self.at + HEADER_BYTES..self.at + HEADER_BYTES + len;
        if kind == Kind::Trailer {
            self.check_trailer(payload)?;
            return Ok(None);
        }
        self.sum.update(&self.buffer[self.at..self.at + space(len)]);
        self.at += space(len);
        self.count += 1;
        Ok(Some(&self.buffer[payload]))
    }

    fn check_trailer(&mut self, payload: std::ops::Range<usize>) -> Result<(), StoreError> {
        let trailer = &self.buffer[payload];
        let sum = self.sum.clone().finalize();
        if trailer.len() != 12 || u64_at(trailer, 0) != self.count || u32_at(trailer, 8) != sum {
            return Err(self.damaged(Damage::Trailer));
        }
        self.done = true;
        Ok(())
    }
}

/// Reads the whole checkpoint of `lsn` and checks it.
pub(super) fn verify(dir: &Dir, uuid: &[u8; 16], lsn: Lsn) -> Result<Mark, StoreError> {
    let mut source = Source::open(dir, uuid, lsn)?;
    while source.next()?.is_some() {}
    Ok(source.mark())
}
