//! Bytes made wrong: flipped, overwritten, cut, repeated, moved, and lengths that lie.

use crate::random::Random;

/// Makes some bytes wrong, in one way. `other` is where spliced bytes come from.
pub fn bytes(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len());
    let most = 1 << random.below(13);
    let len = 1 + random.below(bytes.len().saturating_sub(at).min(most));
    let end = (at + len).min(bytes.len());
    match random.below(10) {
        0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        2 if !bytes.is_empty() => bytes[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
        3 => number(bytes, random),
        4 => bytes.truncate(at),
        5 => bytes[at..end].fill(0),
        6 => {
            bytes.drain(at..end);
        }
        7 => {
            let again = bytes[at..end].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, again);
        }
        8 => splice(bytes, other, random),
        _ => {
            let more = random.bytes(64);
            bytes.splice(at..at, more);
        }
    }
}

/// Puts a number that breaks things where a number may be: at a multiple of four.
fn number(bytes: &mut [u8], random: &mut Random) {
    let width = *random.pick(&[1, 2, 4, 8]);
    let at = random.below(bytes.len() / 4) * 4;
    let value = random.edge().to_le_bytes();
    if let Some(place) = bytes.get_mut(at..at + width) {
        place.copy_from_slice(&value[..width]);
    }
}

/// Puts bytes of `other` over some of `bytes`, at the same place or anywhere.
fn splice(bytes: &mut [u8], other: &[u8], random: &mut Random) {
    let from = random.below(other.len()) & !7;
    let to = match random.once_in(2) {
        true => from,
        false => random.below(bytes.len()) & !7,
    };
    let len = random.below(4096).min(other.len() - from);
    let len = len.min(bytes.len().saturating_sub(to));
    if len > 0 {
        bytes[to..to + len].copy_from_slice(&other[from..from + len]);
    }
}
