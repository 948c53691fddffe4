//! The order of names in a directory listing: by a keyed hash, which is also their readdir cookie.
//!
//! A name's cookie does not depend on what else is in the directory, so a listing that was
//! interrupted goes on at the right place however the directory changed in between. The key is
//! drawn once per store: nobody can choose names that collide.

use siphasher::sip::SipHasher13;

/// The hash of `name`: 63 bits (readdir offsets are signed) and never 0, 1 or 2, which are the
/// cookies of the start, `.` and `..`.
pub fn name_hash(key: &[u8; 16], name: &[u8]) -> u64 {
    let hash = SipHasher13::new_with_key(key).hash(name) >> 1;
    if hash < 3 { hash + 3 } else { hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_depend_on_key_and_name_and_fit_a_signed_offset() {
        let (a, b) = ([1; 16], [2; 16]);
        assert_ne!(name_hash(&a, b"x"), name_hash(&b, b"x"));
        assert_ne!(name_hash(&a, b"x"), name_hash(&a, b"y"));
        for i in 0..1000u32 {
            let hash = name_hash(&a, &i.to_le_bytes());
            assert!(hash > 2 && hash <= i64::MAX as u64);
        }
    }
}
