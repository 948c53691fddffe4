//! POSIX access control lists, as far as a filesystem has to know them: what a new file inherits
//! from its directory, and how the permission bits and the access list follow each other.
//!
//! *On disk* (in an extended attribute, `linux/posix_acl_xattr.h`): version 2 as u32, then entries
//! of tag u16, permissions u16, id u32, all little-endian.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{FsError, FsResult};
use crate::tree::Xattrs;

pub use crate::sys::inode::{ACCESS_ACL as ACCESS, DEFAULT_ACL as DEFAULT};

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AclEntry {
    tag: u16,
    perm: u16,
    id: u32,
}

fn parse(bytes: &[u8]) -> FsResult<Vec<AclEntry>> {
    let (version, rest) = bytes.split_first_chunk::<4>().ok_or(FsError::Invalid)?;
    if u32::from_le_bytes(*version) != VERSION || rest.len() % 8 != 0 {
        return Err(FsError::Invalid);
    }
    let entries: Vec<AclEntry> = rest
        .chunks_exact(8)
        .map(|entry| AclEntry {
            tag: u16::from_le_bytes([entry[0], entry[1]]),
            perm: u16::from_le_bytes([entry[2], entry[3]]),
            id: u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]),
        })
        .collect();
    let known = [USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER];
    let valid = entries
        .iter()
        .all(|e| known.contains(&e.tag) && e.perm <= 7);
    let count = |tag| entries.iter().filter(|e| e.tag == tag).count();
    let named = count(USER) + count(GROUP) > 0;
    let complete = [USER_OBJ, GROUP_OBJ, OTHER]
        .iter()
        .all(|tag| count(*tag) == 1);
    if !valid || !complete || count(MASK) > 1 || (named && count(MASK) == 0) {
        return Err(FsError::Invalid);
    }
    Ok(entries)
}

fn format(entries: &[AclEntry]) -> Vec<u8> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for entry in entries {
        bytes.extend_from_slice(&entry.tag.to_le_bytes());
        bytes.extend_from_slice(&entry.perm.to_le_bytes());
        bytes.extend_from_slice(&entry.id.to_le_bytes());
    }
    bytes
}

/// The permission bits that an access list amounts to: the mask stands for the group.
fn mode_of(entries: &[AclEntry]) -> u32 {
    let perm = |tag| {
        entries
            .iter()
            .find(|e| e.tag == tag)
            .map(|e| u32::from(e.perm))
    };
    let group = perm(MASK).or(perm(GROUP_OBJ)).unwrap_or(0);
    perm(USER_OBJ).unwrap_or(0) << 6 | group << 3 | perm(OTHER).unwrap_or(0)
}

/// Whether permission bits say as much as the list.
fn is_plain(entries: &[AclEntry]) -> bool {
    entries.len() == 3
}

/// What a new file gets from its directory's default list.
pub struct Inherited {
    /// Its mode.
    pub mode: u32,
    /// Its extended attributes.
    pub xattrs: Xattrs,
}

/// What a file that asked for `mode` gets from the default list `defaults`.
pub fn inherit(defaults: &[u8], mode: u32, is_dir: bool) -> FsResult<Inherited> {
    let mut entries = parse(defaults)?;
    restrict(&mut entries, mode);
    let mut xattrs: BTreeMap<Box<[u8]>, Box<[u8]>> = BTreeMap::new();
    if !is_plain(&entries) {
        xattrs.insert(ACCESS.into(), format(&entries).into());
    }
    if is_dir {
        xattrs.insert(DEFAULT.into(), defaults.into());
    }
    let mode = mode & !0o777 | mode_of(&entries);
    Ok(Inherited {
        mode,
        xattrs: Xattrs::Own(Arc::new(xattrs)),
    })
}

/// Takes from the list what the mode of a create does not grant (posix_acl_create).
fn restrict(entries: &mut [AclEntry], mode: u32) {
    let has_mask = entries.iter().any(|e| e.tag == MASK);
    for entry in entries {
        match entry.tag {
            USER_OBJ => entry.perm &= (mode >> 6 & 7) as u16,
            MASK => entry.perm &= (mode >> 3 & 7) as u16,
            GROUP_OBJ if !has_mask => entry.perm &= (mode >> 3 & 7) as u16,
            OTHER => entry.perm &= (mode & 7) as u16,
            _ => {}
        }
    }
}

/// The access list after a chmod to `mode` (posix_acl_chmod).
pub fn after_chmod(access: &[u8], mode: u32) -> FsResult<Vec<u8>> {
    let mut entries = parse(access)?;
    let has_mask = entries.iter().any(|e| e.tag == MASK);
    for entry in &mut entries {
        match entry.tag {
            USER_OBJ => entry.perm = (mode >> 6 & 7) as u16,
            MASK => entry.perm = (mode >> 3 & 7) as u16,
            GROUP_OBJ if !has_mask => entry.perm = (mode >> 3 & 7) as u16,
            OTHER => entry.perm = (mode & 7) as u16,
            _ => {}
        }
    }
    Ok(format(&entries))
}

/// What setting an access list does: the mode, and the list itself unless the mode says it all.
pub fn set_access(access: &[u8], mode: u32) -> FsResult<(u32, Option<Vec<u8>>)> {
    let entries = parse(access)?;
    let mode = mode & !0o777 | mode_of(&entries);
    Ok((mode, (!is_plain(&entries)).then(|| access.to_vec())))
}

/// Whether the bytes are a list at all.
pub fn check(list: &[u8]) -> FsResult<()> {
    parse(list).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16)]) -> Vec<u8> {
        let entry = |&(tag, perm)| AclEntry {
            tag,
            perm,
            id: 1000,
        };
        format(&entries.iter().map(entry).collect::<Vec<_>>())
    }

    #[test]
    fn a_create_gets_no_more_than_it_asked_for() {
        let defaults = list(&[
            (USER_OBJ, 7),
            (USER, 7),
            (GROUP_OBJ, 5),
            (MASK, 7),
            (OTHER, 0),
        ]);
        let inherited = inherit(&defaults, 0o644, false).unwrap();
        assert_eq!(inherited.mode, 0o640);
        let Xattrs::Own(xattrs) = inherited.xattrs else {
            panic!()
        };
        let access = parse(&xattrs[ACCESS]).unwrap();
        assert_eq!(access.iter().find(|e| e.tag == MASK).unwrap().perm, 4);
        assert!(!xattrs.contains_key(DEFAULT));
    }

    #[test]
    fn a_plain_list_is_only_a_mode() {
        let plain = list(&[(USER_OBJ, 6), (GROUP_OBJ, 4), (OTHER, 0)]);
        assert_eq!(set_access(&plain, 0o4777).unwrap(), (0o4640, None));
    }

    #[test]
    fn chmod_changes_the_mask() {
        let access = list(&[
            (USER_OBJ, 7),
            (USER, 7),
            (GROUP_OBJ, 5),
            (MASK, 7),
            (OTHER, 0),
        ]);
        let changed = parse(&after_chmod(&access, 0o604).unwrap()).unwrap();
        assert_eq!(mode_of(&changed), 0o604);
        assert_eq!(changed.iter().find(|e| e.tag == GROUP_OBJ).unwrap().perm, 5);
    }

    #[test]
    fn malformed_lists_are_refused() {
        for bad in [
            &b""[..],
            b"\x01\0\0\0",
            b"\x02\0\0\0abc",
            &list(&[(USER_OBJ, 7)]),
        ] {
            assert!(parse(bad).is_err());
        }
    }
}
