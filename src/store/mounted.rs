//! Whether the last user of the store closed it, and if not, whether the machine went down since.
//!
//! # On disk
//!
//! The file `mounted` has two slots, at byte 0 and 4096. Each change writes the slot that does
//! not hold the newest state, so a torn write leaves the previous one. A slot, little-endian:
//!
//! ```text
//!    0  magic "bfsMOUNT"        32  first unused segment address u64 (when clean)
//!    8  counter u64             40  durable LSN u64
//!   16  boot id, 16 bytes       48  1 when closed cleanly, else 0, u64
//!                               56  zero u32, 60 crc32 over bytes 0 to 59
//! ```
//!
//! The slot with the higher counter holds. The counter goes up with every write and is durable
//! before open returns, so it numbers the opens of a store without ever repeating: blob ids are
//! built from it.

use super::files::{Access, Dir, File};
use super::frame::{u32_at, u64_at};
use super::{Damage, Lsn, StoreError};

/// The name of the file.
pub(super) const NAME: &str = "mounted";
const MAGIC: &[u8; 8] = b"bfsMOUNT";
const SLOT_STRIDE: u64 = 4096;
const SLOT_BYTES: usize = 64;

/// One state of the store's use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mounted {
    /// How many states were written before and with this one.
    pub(super) counter: u64,
    /// The boot that the user ran in.
    pub(super) boot_id: [u8; 16],
    /// Where segment allocation goes on; means something only when `clean`.
    pub(super) next_address: u64,
    /// Records up to here were durable when this was written. When `clean` they are all there are.
    pub(super) durable: Lsn,
    /// The user is gone and everything was synced.
    pub(super) clean: bool,
}

impl Mounted {
    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut b = [0; SLOT_BYTES];
        b[..8].copy_from_slice(MAGIC);
        b[8..16].copy_from_slice(&self.counter.to_le_bytes());
        b[16..32].copy_from_slice(&self.boot_id);
        b[32..40].copy_from_slice(&self.next_address.to_le_bytes());
        b[40..48].copy_from_slice(&self.durable.0.to_le_bytes());
        b[48..56].copy_from_slice(&u64::from(self.clean).to_le_bytes());
        let crc = crc32fast::hash(&b[..60]);
        b[60..].copy_from_slice(&crc.to_le_bytes());
        b
    }

    fn decode(b: &[u8; SLOT_BYTES]) -> Option<Mounted> {
        if &b[..8] != MAGIC || crc32fast::hash(&b[..60]) != u32_at(b, 60) {
            return None;
        }
        Some(Mounted {
            counter: u64_at(b, 8),
            boot_id: b[16..32].try_into().expect("16 bytes"),
            next_address: u64_at(b, 32),
            durable: Lsn(u64_at(b, 40)),
            clean: u64_at(b, 48) == 1,
        })
    }

    /// Makes the file with its first state, durable together with the directory's next sync.
    pub(super) fn create(root: &Dir) -> Result<(), StoreError> {
        let file = root.create(NAME, Access::Create)?;
        file.write_at(&[0; 2 * SLOT_STRIDE as usize], 0)?;
        Mounted {
            clean: true,
            ..Mounted::default()
        }
        .write(&file)
    }

    /// The state that holds.
    pub(super) fn read(root: &Dir) -> Result<Mounted, StoreError> {
        let Some(file) = root.open(NAME, Access::Read)? else {
            return Err(StoreError::Missing {
                file: NAME.to_owned(),
            });
        };
        let mut states = [None; 2];
        for slot in 0..2 {
            let mut bytes = [0; SLOT_BYTES];
            file.read_at(&mut bytes, slot * SLOT_STRIDE)?;
            states[slot as usize] = Mounted::decode(&bytes);
        }
        let newest = states
            .into_iter()
            .flatten()
            .max_by_key(|state| state.counter);
        newest.ok_or_else(|| StoreError::Damaged {
            file: NAME.to_owned(),
            offset: 0,
            damage: Damage::Checksum,
        })
    }

    /// Makes this the state that holds, durably. Its counter must be above the last one's.
    pub(super) fn write(&self, file: &File) -> Result<(), StoreError> {
        file.write_at(&self.encode(), self.counter % 2 * SLOT_STRIDE)?;
        file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::root_dir;

    #[test]
    fn the_newest_state_holds_and_a_torn_write_leaves_the_one_before() {
        let (_keep, root) = root_dir();
        Mounted::create(&root).unwrap();
        assert!(Mounted::read(&root).unwrap().clean);
        let file = root.create(NAME, Access::Write).unwrap();
        for counter in 1..5 {
            let state = Mounted {
                counter,
                durable: Lsn(counter * 10),
                ..Mounted::default()
            };
            state.write(&file).unwrap();
            assert_eq!(Mounted::read(&root).unwrap(), state);
        }
        file.write_at(b"torn", 8).unwrap();
        assert_eq!(Mounted::read(&root).unwrap().counter, 3);
        file.write_at(b"torn", 4096 + 8).unwrap();
        assert!(matches!(
            Mounted::read(&root),
            Err(StoreError::Damaged { .. })
        ));
    }
}
