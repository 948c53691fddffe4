//! fuser's types from ours and back.
//!
//! fuser encodes a `SystemTime` before 1970 right when it answers, but decodes one wrongly: seconds
//! -2 and nanoseconds 800,000,000, which is 1.2 s before 1970, arrive as 2.8 s before. The two
//! numbers that the kernel sent can be read off again, which [`time_from_request`] does, so nothing
//! is lost.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, Request, TimeOrNow};

use crate::tree::{Kind, NodeId, Time};
use crate::vfs::ops::{Cred, Errno, NodeAttr, SetTime};

/// What stat(2) gives as the best size of an I/O. Python, for one, takes it as the size of its
/// buffers, and every write(2) is a round trip, so it is larger than a page.
const IO_BYTES: u32 = 64 << 10;

/// Our node from fuser's.
pub(super) fn node(ino: INodeNo) -> NodeId {
    NodeId(ino.0)
}

/// Who sent `req`.
pub(super) fn cred(req: &Request) -> Cred {
    Cred {
        uid: req.uid(),
        gid: req.gid(),
        pid: req.pid(),
    }
}

/// The errno that the kernel gets.
///
/// ENOSYS would make it give the operation up for the whole mount, and it refuses an answer whose
/// errno is not between 1 and 511, which would leave the caller waiting for ever.
pub(super) fn errno(errno: Errno) -> fuser::Errno {
    match errno.0 {
        libc::ENOSYS => fuser::Errno::EOPNOTSUPP,
        number @ 1..=511 => fuser::Errno::from_i32(number),
        _ => fuser::Errno::EIO,
    }
}

/// The type of a file.
pub(super) fn kind(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Dir => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::Char => FileType::CharDevice,
        Kind::Block => FileType::BlockDevice,
    }
}

/// Attributes, with the node as inode number.
pub(super) fn attr(node: &NodeAttr) -> FileAttr {
    let attr = &node.attr;
    FileAttr {
        ino: INodeNo(node.node.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: UNIX_EPOCH,
        kind: kind(attr.kind),
        perm: (attr.mode & 0o7777) as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: IO_BYTES,
        flags: 0,
    }
}

/// What a time attribute of a setattr asks for.
pub(super) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(time_from_request(time)),
    }
}

/// The time that the kernel sent, from what fuser made of it.
///
/// For negative seconds fuser subtracts both numbers from 1970, so their distance to it is the pair
/// itself.
pub(super) fn time_from_request(time: SystemTime) -> Time {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Time {
            sec: after.as_secs() as i64,
            nsec: after.subsec_nanos(),
        },
        Err(before) => {
            let before = before.duration();
            Time {
                sec: (before.as_secs() as i64).wrapping_neg(),
                nsec: before.subsec_nanos(),
            }
        }
    }
}

/// The `SystemTime` that fuser encodes as `time`; the nearest it can hold for a time beyond that.
fn system_time(time: Time) -> SystemTime {
    let whole = Duration::from_secs(time.sec.unsigned_abs());
    let second = if time.sec < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    second
        .and_then(|second| second.checked_add(Duration::from_nanos(time.nsec.into())))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fuser 0.18 does with the numbers of a request.
    fn as_fuser_decodes(time: Time) -> SystemTime {
        match time.sec {
            sec @ 0.. => UNIX_EPOCH + Duration::new(sec as u64, time.nsec),
            sec => UNIX_EPOCH - Duration::new(sec.unsigned_abs(), time.nsec),
        }
    }

    /// What fuser 0.18 sends for a `SystemTime` (its `time_from_system_time`).
    fn as_fuser_encodes(time: SystemTime) -> Time {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Time {
                sec: after.as_secs() as i64,
                nsec: after.subsec_nanos(),
            },
            Err(before) => match before.duration() {
                d if d.subsec_nanos() == 0 => Time {
                    sec: -(d.as_secs() as i64),
                    nsec: 0,
                },
                d => {
                    let nsec = 1_000_000_000 - d.subsec_nanos();
                    Time {
                        sec: -(d.as_secs() as i64) - 1,
                        nsec,
                    }
                }
            },
        }
    }

    #[test]
    fn times_on_both_sides_of_1970_pass_through_unchanged() {
        for sec in [
            0,
            1,
            -1,
            -2,
            1_700_000_000,
            -86_400 * 365 * 69,
            1 << 40,
            -(1 << 40),
        ] {
            for nsec in [0, 1, 500_000_000, 800_000_000, 999_999_999] {
                let time = Time { sec, nsec };
                assert_eq!(
                    time_from_request(as_fuser_decodes(time)),
                    time,
                    "in: {time:?}"
                );
                assert_eq!(as_fuser_encodes(system_time(time)), time, "out: {time:?}");
            }
        }
    }

    #[test]
    fn no_errno_turns_an_operation_off_or_leaves_a_caller_waiting() {
        for (ours, sent) in [
            (libc::ESTALE, libc::ESTALE),
            (libc::ENOSYS, libc::EOPNOTSUPP),
            (0, libc::EIO),
            (-libc::ENOENT, libc::EIO),
            (512, libc::EIO),
        ] {
            assert_eq!(errno(Errno(ours)).code(), sent, "{ours}");
        }
    }

    #[test]
    fn a_time_that_no_clock_holds_does_not_panic() {
        for sec in [i64::MIN, i64::MAX] {
            for nsec in [0, 999_999_999, u32::MAX] {
                system_time(Time { sec, nsec });
            }
        }
    }
}
