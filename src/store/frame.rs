//! The frame of one record, the same in journal segments and in checkpoints.
//!
//! # On disk
//!
//! Little-endian, every frame starts at a multiple of 8:
//!
//! ```text
//! byte 0        4        8                16                 16+len      pad to 8
//!      +--------+--------+----------------+------------------+----------+
//!      | word   | crc32  | number u64     | payload          | zeros    |
//!      +--------+--------+----------------+------------------+----------+
//!      word   = kind << 24 | len (0 to 8 MiB); 0 says that no record starts here
//!      crc32  = over payload, word, seed, number
//!      number = LSN in the journal, position from 1 in a checkpoint
//!      seed   = crc32 over the store's uuid, a letter for the stream and the file's number
//! ```
//!
//! **Why a seed**: a frame checks only in the file that it was written to, so bytes of another
//! store, another segment or an earlier life of the same blocks are never taken for a record.
//! **Why the payload comes first in the checksum**: it can be summed before the record has its
//! number, which is outside the journal's lock.

use super::{Damage, Lsn, MAX_RECORD_BYTES};

/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 16;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A payload of the layer above.
    Payload = 1,
    /// All data up to a record was durable when this was written; see [`Barrier`].
    Barrier = 2,
    /// The end of a checkpoint.
    Trailer = 3,
}

/// The payload of a barrier record: two LSNs, 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Barrier {
    /// The data that records up to this one name was durable before the barrier was appended.
    pub(super) covers: Lsn,
    /// Records up to this one were themselves durable by then.
    pub(super) synced: Lsn,
}

impl Barrier {
    pub(super) fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.covers.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.synced.0.to_le_bytes());
        bytes
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Barrier> {
        let bytes: &[u8; 16] = payload.try_into().ok()?;
        Some(Barrier {
            covers: Lsn(u64_at(bytes, 0)),
            synced: Lsn(u64_at(bytes, 8)),
        })
    }
}

/// The `u64` at `at`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// The `u32` at `at`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

/// The seed of file `number` of a stream (`b'j'` journal, `b'c'` checkpoint).
pub(super) fn seed(uuid: &[u8; 16], stream: u8, number: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(uuid);
    hasher.update(&[stream]);
    hasher.update(&number.to_le_bytes());
    hasher.finalize()
}

/// Bytes that a frame with a payload of `len` bytes takes.
pub(super) const fn space(len: usize) -> usize {
    (HEADER_BYTES + len).next_multiple_of(8)
}

/// A payload with its part of the checksum.
pub(super) struct Frame<'a> {
    kind: Kind,
    word: u32,
    payload: &'a [u8],
    sum: crc32fast::Hasher,
}

impl<'a> Frame<'a> {
    /// Sums the payload, which must not be longer than [`MAX_RECORD_BYTES`].
    pub(super) fn new(kind: Kind, payload: &'a [u8]) -> Frame<'a> {
        assert!(
            payload.len() <= MAX_RECORD_BYTES,
            "record of {} bytes",
            payload.len()
        );
        let mut sum = crc32fast::Hasher::new();
        sum.update(payload);
        Frame {
            kind,
            word: (kind as u32) << 24 | payload.len() as u32,
            payload,
            sum,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn payload(&self) -> &'a [u8] {
        self.payload
    }

    pub(super) fn space(&self) -> usize {
        space(self.payload.len())
    }

    /// The header of the frame as record `number` of a file with this seed.
    pub(super) fn header(self, seed: u32, number: u64) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&self.word.to_le_bytes());
        header[4..8].copy_from_slice(&finish(self.sum, self.word, seed, number).to_le_bytes());
        header[8..].copy_from_slice(&number.to_le_bytes());
        header
    }
}

fn finish(mut sum: crc32fast::Hasher, word: u32, seed: u32, number: u64) -> u32 {
    let mut tail = [0; 16];
    tail[..4].copy_from_slice(&word.to_le_bytes());
    tail[4..8].copy_from_slice(&seed.to_le_bytes());
    tail[8..].copy_from_slice(&number.to_le_bytes());
    sum.update(&tail);
    sum.finalize()
}

/// A frame that checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parsed<'a> {
    pub(super) kind: Kind,
    pub(super) number: u64,
    pub(super) payload: &'a [u8],
}

impl Parsed<'_> {
    pub(super) fn space(&self) -> usize {
        space(self.payload.len())
    }
}

/// Reads the frame at the start of `bytes`, which end where the file does. `None` when no record
/// starts here: a zero word, or no room for a header.
pub(super) fn parse(bytes: &[u8], seed: u32) -> Result<Option<Parsed<'_>>, Damage> {
    if bytes.len() < HEADER_BYTES {
        return Ok(None);
    }
    let word = u32_at(bytes, 0);
    if word == 0 {
        return Ok(None);
    }
    let len = (word & 0xff_ffff) as usize;
    let kind = match word >> 24 {
        1 => Kind::Payload,
        2 => Kind::Barrier,
        3 => Kind::Trailer,
        _ => return Err(Damage::Header { word }),
    };
    if len > MAX_RECORD_BYTES || HEADER_BYTES + len > bytes.len() {
        return Err(Damage::Header { word });
    }
    let number = u64_at(bytes, 8);
    let payload = &bytes[HEADER_BYTES..HEADER_BYTES + len];
    let mut sum = crc32fast::Hasher::new();
    sum.update(payload);
    if finish(sum, word, seed, number) != u32_at(bytes, 4) {
        return Err(Damage::Checksum);
    }
    Ok(Some(Parsed {
        kind,
        number,
        payload,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(payload: &[u8], seed: u32, number: u64) -> Vec<u8> {
        let frame = Frame::new(Kind::Payload, payload);
        let space = frame.space();
        let mut bytes = frame.header(seed, number).to_vec();
        bytes.extend_from_slice(payload);
        bytes.resize(space, 0);
        bytes
    }

    #[test]
    fn a_frame_comes_back_and_any_flipped_bit_is_noticed() {
        let bytes = framed(b"hello", 7, 42);
        let parsed = parse(&bytes, 7).unwrap().unwrap();
        assert_eq!(
            (parsed.number, parsed.payload, parsed.space()),
            (42, &b"hello"[..], 24)
        );
        for bit in 0..(HEADER_BYTES + 5) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&flipped, 7).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn a_frame_of_another_file_does_not_check() {
        let uuid = [3; 16];
        let bytes = framed(b"hello", seed(&uuid, b'j', 1), 42);
        assert!(parse(&bytes, seed(&uuid, b'j', 1)).is_ok());
        assert_eq!(parse(&bytes, seed(&uuid, b'j', 2)), Err(Damage::Checksum));
        assert_eq!(parse(&bytes, seed(&uuid, b'c', 1)), Err(Damage::Checksum));
        assert_eq!(
            parse(&bytes, seed(&[4; 16], b'j', 1)),
            Err(Damage::Checksum)
        );
    }

    #[test]
    fn zeros_are_no_record_and_an_empty_payload_is_one() {
        assert_eq!(parse(&[0; 64], 0), Ok(None));
        assert_eq!(parse(&[1; 8], 0), Ok(None));
        assert_eq!(parse(&framed(b"", 0, 1), 0).unwrap().unwrap().payload, b"");
    }
}
