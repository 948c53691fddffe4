//! Which program this one was called as.
//!
//! mount(8) runs `/sbin/mount.branchfs SRC DIR -o …` for `-t branchfs`, `/sbin/mount.fuse.branchfs`
//! for `-t fuse.branchfs`, and where that does not exist `mount.fuse`, which executes
//! `branchfs SRC DIR -o …`. umount(8) runs `/sbin/umount.fuse.branchfs DIR`, since the mount table
//! says `fuse.branchfs`. All of them are the same binary.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::verb;

/// The programs that the binary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// `branchfs COMMAND`.
    Command,
    /// What mount(8) calls.
    Mount,
    /// What umount(8) calls.
    Umount,
}

impl Invocation {
    /// What a command line asks for, argv\[0\] included.
    pub fn of(arguments: &[OsString]) -> Invocation {
        let name = arguments
            .first()
            .and_then(|program| Path::new(program).file_name()?.to_str());
        match name {
            Some("mount.branchfs" | "mount.fuse.branchfs") => Invocation::Mount,
            Some("umount.branchfs" | "umount.fuse.branchfs") => Invocation::Umount,
            _ if is_from_mount_fuse(arguments) => Invocation::Mount,
            _ => Invocation::Command,
        }
    }
}

/// `branchfs SRC DIR … -o …`, where SRC is no command.
fn is_from_mount_fuse(arguments: &[OsString]) -> bool {
    let [_, source, directory, rest @ ..] = arguments else {
        return false;
    };
    let word = |text: &OsStr| !text.as_encoded_bytes().starts_with(b"-");
    let options = rest
        .iter()
        .any(|argument| argument.as_encoded_bytes().starts_with(b"-o"));
    word(source) && word(directory) && options && !verb::is_verb(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expect: Invocation) {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        assert_eq!(Invocation::of(&arguments), expect, "{line}");
    }

    #[test]
    fn the_name_decides() {
        check("/sbin/mount.branchfs /src /dir -o rw", Invocation::Mount);
        check("mount.fuse.branchfs /src /dir", Invocation::Mount);
        check("mount.branchfs", Invocation::Mount);
        check("/sbin/umount.branchfs /dir", Invocation::Umount);
        check("umount.fuse.branchfs /dir -l", Invocation::Umount);
        check(
            "/usr/bin/branchfs mount /src /dir -o ro",
            Invocation::Command,
        );
        check("branchfs umount /dir", Invocation::Command);
        check("branchfs", Invocation::Command);
    }

    #[test]
    fn what_mount_fuse_executes_is_recognised() {
        check("branchfs /src /dir -o rw,nosuid", Invocation::Mount);
        check("branchfs /src /dir -orw", Invocation::Mount);
        check("branchfs src dir -o rw", Invocation::Mount);
        check("branchfs /src /dir", Invocation::Command);
        check("branchfs commit fix-a -o", Invocation::Command);
        check("branchfs --version /dir -o rw", Invocation::Command);
    }
}
