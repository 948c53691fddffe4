//! The superblock: what kind of store this is. Written once, when the store is made.
//!
//! # On disk
//!
//! The file `superblock`, 128 bytes, little-endian:
//!
//! ```text
//!    0  magic "branchfs"        56  hash key, 16 random bytes
//!    8  format version u32      72  creation time, seconds since 1970, i64
//!   12  128 u32                 80  bytes of a data segment u64
//!   16  compatible u64          88  zeros
//!   24  ro-compatible u64      124  crc32 over bytes 0 to 123
//!   32  incompatible u64
//!   40  uuid, 16 random bytes
//! ```
//!
//! A compatible bit that is not known may be ignored, an unknown ro-compatible bit forbids
//! writing, an unknown incompatible bit forbids opening.
//!
//! **Durability**: temporary file, fsync, rename, fsync of the directory. A store without a
//! superblock does not exist yet: everything else in the directory is made before it.

use super::files::{Access, Dir};
use super::frame::{u32_at, u64_at};
use super::{Damage, StoreError};

/// The name of the file.
pub(super) const NAME: &str = "superblock";
const TEMP: &str = "superblock.new";
const MAGIC: &[u8; 8] = b"branchfs";
const VERSION: u32 = 1;
const BYTES: usize = 128;

/// Feature bits that this program knows; none exist yet.
const KNOWN_RO_COMPATIBLE: u64 = 0;
const KNOWN_INCOMPATIBLE: u64 = 0;

/// What the superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) compatible: u64,
    pub(super) ro_compatible: u64,
    pub(super) incompatible: u64,
    pub(super) uuid: [u8; 16],
    pub(super) hash_key: [u8; 16],
    pub(super) created: i64,
    pub(super) data_segment_bytes: u64,
}

impl Superblock {
    /// A new one, with fresh random numbers.
    pub(super) fn new(data_segment_bytes: u64) -> Result<Superblock, StoreError> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Ok(Superblock {
            compatible: 0,
            ro_compatible: 0,
            incompatible: 0,
            uuid: random()?,
            hash_key: random()?,
            created: now.map_or(0, |time| time.as_secs() as i64),
            data_segment_bytes,
        })
    }

    fn encode(&self) -> [u8; BYTES] {
        let mut b = [0; BYTES];
        b[..8].copy_from_slice(MAGIC);
        b[8..12].copy_from_slice(&VERSION.to_le_bytes());
        b[12..16].copy_from_slice(&(BYTES as u32).to_le_bytes());
        b[16..24].copy_from_slice(&self.compatible.to_le_bytes());
        b[24..32].copy_from_slice(&self.ro_compatible.to_le_bytes());
        b[32..40].copy_from_slice(&self.incompatible.to_le_bytes());
        b[40..56].copy_from_slice(&self.uuid);
        b[56..72].copy_from_slice(&self.hash_key);
        b[72..80].copy_from_slice(&self.created.to_le_bytes());
        b[80..88].copy_from_slice(&self.data_segment_bytes.to_le_bytes());
        let crc = crc32fast::hash(&b[..124]);
        b[124..].copy_from_slice(&crc.to_le_bytes());
        b
    }

    /// Makes the store exist.
    pub(super) fn write(&self, root: &Dir) -> Result<(), StoreError> {
        let file = root.create(TEMP, Access::Create)?;
        file.set_len(0)?;
        file.write_at(&self.encode(), 0)?;
        file.sync()?;
        root.rename(TEMP, NAME)?;
        root.sync()
    }

    /// Reads it; `None` where there is no store.
    ///
    /// # Errors
    /// [`StoreError::NewerStore`], [`StoreError::Damaged`]; and [`StoreError::NewerReadOnly`] when
    /// `write` is asked for and a ro-compatible bit is unknown.
    pub(super) fn read(root: &Dir, write: bool) -> Result<Option<Superblock>, StoreError> {
        let Some(file) = root.open(NAME, Access::Read)? else {
            return Ok(None);
        };
        let mut b = [0; BYTES];
        let len = file.read_at(&mut b, 0)?;
        let damaged = |offset, damage| {
            Err(StoreError::Damaged {
                file: NAME.to_owned(),
                offset,
                damage,
            })
        };
        if len < 8 || &b[..8] != MAGIC {
            return damaged(0, Damage::Magic);
        }
        // A newer format may have another length and checksum: its version is looked at first.
        let version = u32_at(&b, 8);
        let incompatible = u64_at(&b, 32);
        if version > VERSION && len >= 40 {
            return Err(StoreError::NewerStore {
                version,
                incompatible,
            });
        }
        if len < BYTES {
            return damaged(len as u64, Damage::Short);
        }
        if crc32fast::hash(&b[..124]) != u32_at(&b, 124) {
            return damaged(124, Damage::Checksum);
        }
        if incompatible & !KNOWN_INCOMPATIBLE != 0 {
            let incompatible = incompatible & !KNOWN_INCOMPATIBLE;
            return Err(StoreError::NewerStore {
                version,
                incompatible,
            });
        }
        let ro_compatible = u64_at(&b, 24);
        if write && ro_compatible & !KNOWN_RO_COMPATIBLE != 0 {
            let ro_compatible = ro_compatible & !KNOWN_RO_COMPATIBLE;
            return Err(StoreError::NewerReadOnly { ro_compatible });
        }
        Ok(Some(Superblock {
            compatible: u64_at(&b, 16),
            ro_compatible,
            incompatible,
            uuid: b[40..56].try_into().expect("16 bytes"),
            hash_key: b[56..72].try_into().expect("16 bytes"),
            created: u64_at(&b, 72) as i64,
            data_segment_bytes: u64_at(&b, 80),
        }))
    }
}

fn random() -> Result<[u8; 16], StoreError> {
    let mut bytes = [0; 16];
    // getrandom(2) gives up to 256 bytes whole and without a signal interrupting it.
    match rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()) {
        Ok(_) => Ok(bytes),
        Err(errno) => Err(StoreError::Io {
            operation: "getrandom",
            file: NAME.to_owned(),
            source: errno.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::root_dir;

    fn check(change: impl FnOnce(&mut Superblock), write: bool) -> Result<Superblock, StoreError> {
        let (_keep, root) = root_dir();
        let mut superblock = Superblock::new(1 << 20).unwrap();
        change(&mut superblock);
        superblock.write(&root).unwrap();
        Superblock::read(&root, write).map(Option::unwrap)
    }

    #[test]
    fn what_was_written_is_read() {
        let read = check(|s| s.compatible = 1 << 63, true).unwrap();
        assert_eq!(
            (read.compatible, read.data_segment_bytes),
            (1 << 63, 1 << 20)
        );
        assert_ne!(read.uuid, read.hash_key);
    }

    #[test]
    fn unknown_features_are_refused_as_far_as_they_say() {
        let error = check(|s| s.incompatible = 4, false).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::NewerStore {
                    incompatible: 4,
                    ..
                }
            ),
            "{error}"
        );
        let error = check(|s| s.ro_compatible = 2, true).unwrap_err();
        assert!(
            matches!(error, StoreError::NewerReadOnly { ro_compatible: 2 }),
            "{error}"
        );
        assert!(check(|s| s.ro_compatible = 2, false).is_ok());
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let (_keep, root) = root_dir();
        Superblock::new(1 << 20).unwrap().write(&root).unwrap();
        let file = root.create(NAME, Access::Write).unwrap();
        for at in 0..BYTES as u64 {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_at(&[byte[0] ^ 0x10], at).unwrap();
            assert!(Superblock::read(&root, false).is_err(), "byte {at}");
            file.write_at(&byte, at).unwrap();
        }
        assert!(Superblock::read(&root, false).unwrap().is_some());
    }
}
