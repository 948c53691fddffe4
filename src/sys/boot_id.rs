//! The kernel's boot id: a random number that stays the same until the machine restarts.
//!
//! Two equal ids say that the page cache has survived, so everything a killed process wrote into
//! files or shared mappings is still there, synced or not.

use std::io;

/// The id of the running boot, from `/proc/sys/kernel/random/boot_id` (random(4)).
///
/// # Errors
/// What reading the file gives; `InvalidData` where it holds no UUID.
pub fn boot_id() -> io::Result<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    parse(text.trim()).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text))
}

fn parse(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_same_twice_and_parses_as_a_uuid() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        let id = parse("00112233-4455-6677-8899-aabbccddeeff").unwrap();
        assert_eq!((id[0], id[15]), (0, 0xff));
        assert_eq!(parse("not a uuid"), None);
    }
}
