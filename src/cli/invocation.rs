//! Which program this one was called as.
//!
//! mount(8) runs `/sbin/mount.branchfs SRC DIR -o …` for `-t branchfs`, `/sbin/mount.fuse.branchfs`
//! for `-t fuse.branchfs`, and where that does not exist `mount.fuse`, which executes
//! `branchfs SRC DIR -o …`. All of them are the same binary.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::CommandFactory;

use super::Cli;

/// The arguments for the mount helper, if that is what was called.
pub fn mount_helper(arguments: &[OsString]) -> Option<Vec<OsString>> {
    let name = arguments
        .first()
        .and_then(|program| Path::new(program).file_name())?;
    let by_name = name == "mount.branchfs" || name == "mount.fuse.branchfs";
    (by_name || from_mount_fuse(arguments)).then(|| arguments.to_vec())
}

/// `branchfs SRC DIR … -o …`, where SRC is no command.
fn from_mount_fuse(arguments: &[OsString]) -> bool {
    let [_, source, directory, rest @ ..] = arguments else {
        return false;
    };
    let word = |text: &OsStr| !text.as_encoded_bytes().starts_with(b"-");
    let options = rest
        .iter()
        .any(|argument| argument.as_encoded_bytes().starts_with(b"-o"));
    let command = Cli::command();
    let known = command
        .get_subcommands()
        .any(|verb| *source == verb.get_name());
    word(source) && word(directory) && options && !known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, helper: bool) {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        assert_eq!(mount_helper(&arguments).is_some(), helper, "{line}");
    }

    #[test]
    fn the_name_decides() {
        check("/sbin/mount.branchfs /src /dir -o rw", true);
        check("mount.fuse.branchfs /src /dir", true);
        check("mount.branchfs", true);
        check("/usr/bin/branchfs mount /src /dir -o ro", false);
        check("branchfs", false);
    }

    #[test]
    fn what_mount_fuse_executes_is_recognised() {
        check("branchfs /src /dir -o rw,nosuid", true);
        check("branchfs /src /dir -orw", true);
        check("branchfs src dir -o rw", true);
        check("branchfs /src /dir", false);
        check("branchfs commit fix-a -o", false);
        check("branchfs --version /dir -o rw", false);
    }
}
