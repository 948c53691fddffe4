//! Reading the journal back, record by record.
//!
//! Knows the chain (numbers without gaps, segments without gaps) and where it breaks. It must not
//! decide what a break means: that is for [`super::recovery`] and [`super::verify`].

use super::files::{Access, Dir};
use super::frame::{Barrier, Kind, parse, seed};
use super::journal::{
    Position, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name, segment_numbers,
};
use super::{Damage, Lsn, StoreError};

/// The bytes of one segment.
struct Segment {
    bytes: Vec<u8>,
    seed: u32,
}

/// What the reader found at its position.
pub(super) enum Step {
    /// A record that continues the chain; its payload is [`Reader::payload`].
    Record(Kind, Lsn),
    /// Nothing: no record starts here and no segment follows.
    End,
    /// The chain breaks: what is here is no continuation of it.
    Broken(Break),
}

/// Where and how the chain breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Break {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) damage: Damage,
}

impl Break {
    pub(super) fn to_error(self) -> StoreError {
        StoreError::Damaged {
            file: format!("journal/{}", segment_name(self.segment)),
            offset: self.offset,
            damage: self.damage,
        }
    }
}

/// A walk over the journal from a position to where it ends or breaks.
pub(super) struct Reader {
    dir: Dir,
    uuid: [u8; 16],
    position: Position,
    segment: Option<Segment>,
    payload: (usize, usize),
}

/// What there is beyond a break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Beyond {
    /// The highest record that checks.
    pub(super) last: Option<Lsn>,
    /// The highest record that a barrier there knew to be durable.
    pub(super) synced: Lsn,
}

impl Reader {
    /// A reader of the journal in `dir` that starts at `position`.
    pub(super) fn new(dir: Dir, uuid: [u8; 16], position: Position) -> Reader {
        Reader {
            dir,
            uuid,
            position,
            segment: None,
            payload: (0, 0),
        }
    }

    /// Where the next record would be.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// The payload of the record that [`Reader::step`] returned last.
    pub(super) fn payload(&self) -> &[u8] {
        let (start, end) = self.payload;
        self.segment
            .as_ref()
            .map_or(&[], |segment| &segment.bytes[start..end])
    }

    /// Reads one record and moves behind it. Does not move when there is none.
    pub(super) fn step(&mut self) -> Result<Step, StoreError> {
        if self.segment.is_none()
            && let Some(step) = self.enter_first()?
        {
            return Ok(step);
        }
        loop {
            let segment = self.segment.as_ref().expect("entered");
            let at = self.position.offset as usize;
            let broken = |damage| {
                let (segment, offset) = (self.position.segment, self.position.offset);
                Ok(Step::Broken(Break {
                    segment,
                    offset,
                    damage,
                }))
            };
            let Some(rest) = segment.bytes.get(at..) else {
                return broken(Damage::Short);
            };
            match parse(rest, segment.seed) {
                Err(damage) => return broken(damage),
                Ok(Some(record)) if record.number != self.position.next.0 => {
                    let (expected, found) = (self.position.next, Lsn(record.number));
                    return broken(Damage::Sequence { expected, found });
                }
                Ok(Some(record)) => {
                    let step = Step::Record(record.kind, self.position.next);
                    let start = at + super::frame::HEADER_BYTES;
                    self.payload = (start, start + record.payload.len());
                    self.position.offset += record.space() as u64;
                    self.position.next.0 += 1;
                    return Ok(step);
                }
                Ok(None) => match self.enter_next()? {
                    Some(step) => return Ok(step),
                    None => continue,
                },
            }
        }
    }

    /// Loads the segment of the position; a step when that ends the walk.
    fn enter_first(&mut self) -> Result<Option<Step>, StoreError> {
        let number = self.position.segment;
        let Some(segment) = load(&self.dir, &self.uuid, number)? else {
            // Only a journal without any record may lack the segment it starts in.
            let follows = self.position != Position::START
                || segment_numbers(&self.dir)?.iter().any(|n| *n > number);
            let damage = Damage::Short;
            let broken = Break {
                segment: number,
                offset: 0,
                damage,
            };
            return Ok(Some(if follows {
                Step::Broken(broken)
            } else {
                Step::End
            }));
        };
        let broken = match SegmentHeader::decode(&segment.bytes, &self.uuid, number) {
            Err(damage) => Some(damage),
            Ok(_) if self.position.offset > segment.bytes.len() as u64 => Some(Damage::Short),
            Ok(header) if self.fits(header.first) => None,
            Ok(header) => Some(Damage::Sequence {
                expected: self.position.next,
                found: header.first,
            }),
        };
        self.segment = Some(segment);
        Ok(broken.map(|damage| {
            self.segment = None;
            Step::Broken(Break {
                segment: number,
                offset: 0,
                damage,
            })
        }))
    }

    fn fits(&self, first: Lsn) -> bool {
        if self.position.offset == SEGMENT_HEADER_BYTES as u64 {
            first == self.position.next
        } else {
            first < self.position.next
        }
    }

    /// Moves to the next segment; a step when there is none or it does not continue the chain.
    fn enter_next(&mut self) -> Result<Option<Step>, StoreError> {
        let number = self.position.segment + 1;
        let Some(segment) = load(&self.dir, &self.uuid, number)? else {
            let last = segment_numbers(&self.dir)?.last().copied().unwrap_or(0);
            let (segment, offset) = (self.position.segment, self.position.offset);
            let damage = Damage::Short;
            let gap = Break {
                segment: number,
                offset: 0,
                damage,
            };
            debug_assert!(offset > 0 && segment + 1 == number);
            return Ok(Some(if last > number {
                Step::Broken(gap)
            } else {
                Step::End
            }));
        };
        match SegmentHeader::decode(&segment.bytes, &self.uuid, number) {
            Err(damage) => Ok(Some(Step::Broken(Break {
                segment: number,
                offset: 0,
                damage,
            }))),
            Ok(header) if header.first != self.position.next => {
                // The records between are gone from the segment that ends here.
                let (segment, offset) = (self.position.segment, self.position.offset);
                let damage = Damage::Sequence {
                    expected: self.position.next,
                    found: header.first,
                };
                Ok(Some(Step::Broken(Break {
                    segment,
                    offset,
                    damage,
                })))
            }
            Ok(_) => {
                self.position.segment = number;
                self.position.offset = SEGMENT_HEADER_BYTES as u64;
                self.segment = Some(segment);
                Ok(None)
            }
        }
    }

    /// Looks for records beyond the position, where the chain does not lead any more.
    pub(super) fn beyond(&self) -> Result<Beyond, StoreError> {
        let mut beyond = Beyond::default();
        for number in segment_numbers(&self.dir)? {
            if number < self.position.segment {
                continue;
            }
            let Some(segment) = load(&self.dir, &self.uuid, number)? else {
                continue;
            };
            let start = if number == self.position.segment {
                self.position.offset as usize
            } else {
                SEGMENT_HEADER_BYTES
            };
            scan(&segment, start, self.position.next, &mut beyond);
        }
        Ok(beyond)
    }

    /// Bytes from the position on that are not zero, up to the last such byte of the journal.
    pub(super) fn trailing_bytes(&self) -> Result<u64, StoreError> {
        let mut total = 0;
        for number in segment_numbers(&self.dir)? {
            if number < self.position.segment {
                continue;
            }
            let Some(segment) = load(&self.dir, &self.uuid, number)? else {
                continue;
            };
            let start = if number == self.position.segment {
                self.position.offset as usize
            } else {
                SEGMENT_HEADER_BYTES
            };
            total += used_bytes(segment.bytes.get(start..).unwrap_or(&[])) as u64;
        }
        Ok(total)
    }
}

/// Takes note of all records in a segment that check and come at or after `next`.
fn scan(segment: &Segment, start: usize, next: Lsn, beyond: &mut Beyond) {
    let mut at = start;
    while at + super::frame::HEADER_BYTES <= segment.bytes.len() {
        // Most of what is searched is zeros, where no record starts.
        let step = match parse(&segment.bytes[at..], segment.seed) {
            Ok(Some(record)) if record.number >= next.0 => {
                beyond.last = beyond.last.max(Some(Lsn(record.number)));
                if let Some(barrier) = Barrier::decode(record.payload)
                    && record.kind == Kind::Barrier
                {
                    beyond.synced = beyond.synced.max(barrier.synced);
                }
                record.space()
            }
            _ => 8,
        };
        at += step;
    }
}

/// The length of `bytes` without the zeros at its end.
pub(super) fn used_bytes(bytes: &[u8]) -> usize {
    let zero_chunks = bytes
        .rchunks(4096)
        .take_while(|chunk| *chunk == &[0; 4096][..chunk.len()]);
    let rest = bytes.len() - zero_chunks.map(<[u8]>::len).sum::<usize>();
    rest - bytes[..rest]
        .iter()
        .rev()
        .take_while(|byte| **byte == 0)
        .count()
}

fn load(dir: &Dir, uuid: &[u8; 16], number: u64) -> Result<Option<Segment>, StoreError> {
    let Some(file) = dir.open(&segment_name(number), Access::Read)? else {
        return Ok(None);
    };
    let bytes = file.read_all()?;
    Ok(Some(Segment {
        bytes,
        seed: seed(uuid, b'j', number),
    }))
}
