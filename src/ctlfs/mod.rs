//! The reserved files of a branch: which there are, their numbers, and what they say.
//!
//! Owns the names at a branch's root (`.ctl`, `@branches`, ...), the directories behind them, and
//! the texts. What a *write* to them does is `vfs`'s, which has to tell the kernel. Nothing here
//! changes anything.
//!
//! A reserved file's [`FileId`] is [`FileId::FIRST_RESERVED`] and its place in [`Reserved::ALL`],
//! its incarnation its branch's: so its node needs no table.

mod gauges;
mod patch;
mod patch_files;
mod text;

use crate::proto::reserved;
use crate::tree::{FileId, Kind, NodeId};

pub use text::{Texts, config};

/// A reserved file or directory of one branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reserved {
    /// `.ctl`
    Ctl,
    /// `.commit`
    Commit,
    /// `.abort`
    Abort,
    /// `@branches/`
    Branches,
    /// `@branches/.trash/`
    Trash,
    /// `@self/`
    SelfDir,
    /// `@self/status`
    Status,
    /// `@self/diff`
    Diff,
    /// `@self/patch`
    Patch,
    /// `@self/conflicts`
    Conflicts,
    /// `@self/log`
    Log,
    /// `@self/events`
    Events,
    /// `@self/limits`
    Limits,
    /// `@self/note`
    Note,
    /// `@self/tree`, at the mount root
    Tree,
    /// `@self/metrics`, at the mount root
    Metrics,
    /// `@self/config`, at the mount root
    Config,
}

impl Reserved {
    /// Every one, in the order of their numbers.
    pub const ALL: [Reserved; 17] = {
        use Reserved::*;
        [
            Ctl, Commit, Abort, Branches, Trash, SelfDir, Status, Diff, Patch, Conflicts, Log,
            Events, Limits, Note, Tree, Metrics, Config,
        ]
    };

    /// Those at the root of a branch.
    pub const AT_ROOT: [Reserved; 5] = {
        use Reserved::*;
        [Ctl, Commit, Abort, Branches, SelfDir]
    };

    /// Its name where it lies.
    pub fn name(self) -> &'static str {
        match self {
            Reserved::Ctl => reserved::CTL,
            Reserved::Commit => reserved::COMMIT,
            Reserved::Abort => reserved::ABORT,
            Reserved::Branches => reserved::BRANCHES,
            Reserved::Trash => reserved::TRASH,
            Reserved::SelfDir => reserved::SELF,
            Reserved::Status => reserved::STATUS,
            Reserved::Diff => reserved::DIFF,
            Reserved::Patch => reserved::PATCH,
            Reserved::Conflicts => reserved::CONFLICTS,
            Reserved::Log => reserved::LOG,
            Reserved::Events => reserved::EVENTS,
            Reserved::Limits => reserved::LIMITS,
            Reserved::Note => reserved::NOTE,
            Reserved::Tree => reserved::TREE,
            Reserved::Metrics => reserved::METRICS,
            Reserved::Config => reserved::CONFIG,
        }
    }

    /// Whether it is a file or a directory.
    pub fn kind(self) -> Kind {
        match self {
            Reserved::Branches | Reserved::Trash | Reserved::SelfDir => Kind::Dir,
            _ => Kind::File,
        }
    }

    /// Its permission bits. The texts show what is in files that only the owner may be able to
    /// read.
    pub fn mode(self) -> u32 {
        match self {
            Reserved::Branches | Reserved::SelfDir => 0o755,
            Reserved::Trash => 0o700,
            _ if self.is_writable() => 0o600,
            _ => 0o400,
        }
    }

    /// Whether writing to it means something.
    pub fn is_writable(self) -> bool {
        use Reserved::*;
        matches!(self, Ctl | Commit | Abort | Limits | Note)
    }

    /// The file id.
    pub fn file(self) -> FileId {
        let place = Reserved::ALL
            .iter()
            .position(|r| *r == self)
            .expect("all are in ALL");
        FileId(FileId::FIRST_RESERVED + place as u32)
    }

    /// The node in the branch with this incarnation.
    pub fn node(self, incarnation: u32) -> NodeId {
        NodeId::new(incarnation, self.file())
    }

    /// The reserved file with this id, if it is one.
    pub fn of(file: FileId) -> Option<Reserved> {
        let place = file.0.checked_sub(FileId::FIRST_RESERVED)?;
        Reserved::ALL.get(place as usize).copied()
    }

    /// The reserved name at a branch's root.
    pub fn at_root(name: &[u8]) -> Option<Reserved> {
        if !matches!(name.first(), Some(b'.' | b'@')) {
            return None;
        }
        Reserved::AT_ROOT
            .into_iter()
            .find(|r| r.name().as_bytes() == name)
    }

    /// The files in `@self`, where `is_main` those of the mount root.
    pub fn in_self(is_main: bool) -> impl Iterator<Item = Reserved> {
        use Reserved::*;
        let common = [Status, Diff, Patch, Conflicts, Log, Events, Limits, Note];
        let main = [Tree, Metrics, Config];
        common
            .into_iter()
            .chain(main.into_iter().filter(move |_| is_main))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_file_is_found_by_its_number_and_by_its_name() {
        for reserved in Reserved::ALL {
            assert_eq!(Reserved::of(reserved.file()), Some(reserved));
        }
        for reserved in Reserved::AT_ROOT {
            assert_eq!(
                Reserved::at_root(reserved.name().as_bytes()),
                Some(reserved)
            );
        }
        for name in [
            &b"@scope"[..],
            b".ctlx",
            b"status",
            b".trash",
            b"@branch",
            b"",
        ] {
            assert_eq!(Reserved::at_root(name), None);
        }
        assert_eq!(Reserved::of(FileId::ROOT), None);
    }
}
