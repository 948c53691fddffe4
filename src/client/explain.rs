//! What an errno means when a verb answers it, and what to do then.
//!
//! The table of the errnos that a workspace answers, per verb where they differ; an errno that is
//! not in it is told in the system's own words.

use std::io;

use super::error::Verb;
use crate::proto::{BranchPath, ErrnoText};

/// What `errno` says when `verb` answers it, with its name. `told` is whether the daemon's own
/// sentence follows.
pub(super) fn meaning(verb: Verb, errno: i32, told: bool) -> String {
    // Whose the branch is, what main cannot do, what the base's file system does not let be done:
    // that sentence says which.
    if told && matches!(errno, libc::EPERM | libc::EACCES) {
        return format!("it is not permitted ({})", ErrnoText(errno));
    }
    match sentence(verb, errno) {
        Some(text) => format!("{text} ({})", ErrnoText(errno)),
        None => io::Error::from_raw_os_error(errno).to_string(),
    }
}

fn sentence(verb: Verb, errno: i32) -> Option<&'static str> {
    Some(match (verb, errno) {
        (_, libc::ESTALE) => "the branch is over: it was committed or aborted, or a sibling won",
        (Verb::Commit, libc::EBUSY) => "its parent changed the same paths since the fork",
        (Verb::Undo | Verb::Redo, libc::EBUSY) => "the same paths were changed since",
        (Verb::Publish, libc::EBUSY) => "files of the base were changed behind the mount",
        (_, libc::EBUSY) => "it is in use",
        (Verb::Commit | Verb::Abort, libc::ENOTEMPTY) => "it has live children",
        (Verb::Fork | Verb::Rename | Verb::Restore, libc::EEXIST) => "a branch of that name exists",
        (Verb::Fork, libc::ENOENT) => "the branch to fork from is gone",
        (Verb::Undo, libc::ENOENT) => "no commit into it can be taken back",
        (Verb::Redo, libc::ENOENT) => "no commit into it was taken back",
        (_, libc::ENOENT) => "there is no such branch",
        (Verb::Fork | Verb::Rename, libc::EINVAL) => "a branch cannot have that name",
        (Verb::Limits, libc::EINVAL) => "these are no limits",
        (_, libc::EINVAL) => "the workspace does not take this",
        (Verb::Abort, libc::EPERM) => "main cannot be aborted, and only its owner ends a branch",
        (_, libc::EPERM | libc::EACCES) => "you are not the branch's owner",
        (_, libc::ENOSPC) => "the store is full; nothing already written is lost",
        (_, libc::EDQUOT) => "the branch's limit is reached; nothing already written is lost",
        (_, libc::EROFS) => "the workspace is read-only",
        (_, libc::ENOTCONN | libc::ECONNABORTED) => {
            "the workspace's daemon is gone; the change is wholly there or not at all"
        }
        (_, libc::EIO) => "the workspace met an I/O error",
        _ => return None,
    })
}

/// What to do when `verb` on `branch` answers `errno`.
pub(super) fn hint(verb: Verb, errno: i32, branch: &BranchPath) -> Option<String> {
    Some(match (verb, errno) {
        (_, libc::ESTALE) => "branchfs list --trash shows what can be restored".into(),
        (Verb::Commit, libc::EBUSY) => format!(
            "branchfs status {branch} names the paths; move your version of them to a fresh fork"
        ),
        (Verb::Undo | Verb::Redo, libc::EBUSY) => format!(
            "branchfs status {branch} says where its trash has what was before, to copy from"
        ),
        (Verb::Undo | Verb::Redo, libc::ENOENT) => format!(
            "branchfs log {branch} shows what happened; commits stay for as long as the trash"
        ),
        (Verb::Publish, libc::EBUSY) => {
            "keep your copy of the files that it names elsewhere, then publish again".into()
        }
        (Verb::Commit | Verb::Abort, libc::ENOTEMPTY) => {
            format!("commit or abort them first: branchfs list {branch}")
        }
        (Verb::Fork | Verb::Rename, libc::EEXIST) => "branchfs list shows the names".into(),
        (Verb::Restore, libc::EEXIST) => "give it another name with --as NAME".into(),
        (Verb::Fork | Verb::Rename, libc::EINVAL) => {
            "1 to 200 bytes without '/' and newline, not beginning with '.' or '@'".into()
        }
        (Verb::Limits, libc::EINVAL) => "a number, with K, M or G for bytes, or none".into(),
        (_, libc::ENOSPC) => "free space: branchfs gc, or abort branches".into(),
        (_, libc::EDQUOT) => format!("raise it: branchfs limits {branch} --bytes SIZE"),
        (_, libc::EROFS) => "branchfs status says why; branchfs fsck checks the store".into(),
        (_, libc::ENOTCONN | libc::ECONNABORTED) => {
            "mount the workspace again: branchfs mount BASE".into()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(verb: Verb, errno: i32, says: &str, hints: Option<&str>) {
        let branch = BranchPath::parse(b"fix-a").unwrap();
        assert_eq!(meaning(verb, errno, false), says);
        let hint = hint(verb, errno, &branch);
        match hints {
            Some(part) => assert!(
                hint.as_deref().is_some_and(|h| h.contains(part)),
                "{hint:?}"
            ),
            None => assert_eq!(hint, None),
        }
    }

    #[test]
    fn an_errno_means_what_the_verb_makes_of_it() {
        check(
            Verb::Commit,
            libc::EBUSY,
            "its parent changed the same paths since the fork (EBUSY)",
            Some("branchfs status main/fix-a"),
        );
        check(
            Verb::Publish,
            libc::EBUSY,
            "files of the base were changed behind the mount (EBUSY)",
            Some("publish again"),
        );
        check(
            Verb::Commit,
            libc::ESTALE,
            "the branch is over: it was committed or aborted, or a sibling won (ESTALE)",
            Some("--trash"),
        );
        check(
            Verb::Abort,
            libc::ENOTEMPTY,
            "it has live children (ENOTEMPTY)",
            Some("branchfs list main/fix-a"),
        );
        check(
            Verb::Restore,
            libc::EEXIST,
            "a branch of that name exists (EEXIST)",
            Some("--as"),
        );
        check(
            Verb::Fork,
            libc::EACCES,
            "you are not the branch's owner (EACCES)",
            None,
        );
        check(
            Verb::Note,
            libc::EDQUOT,
            "the branch's limit is reached; nothing already written is lost (EDQUOT)",
            Some("branchfs limits main/fix-a"),
        );
        check(
            Verb::Read,
            libc::ENOTDIR,
            "Not a directory (os error 20)",
            None,
        );
    }
}
