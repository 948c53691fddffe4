//! What can go wrong in the base. Every error names the path that it is about.

/// An error of the base layer. Paths are relative to the base's root.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// There is no such file.
    #[error("{}: no such file in the base", .path.escape_ascii())]
    NotFound {
        /// What was asked for.
        path: Vec<u8>,
    },
    /// A directory was asked for and something else is there.
    #[error("{}: not a directory", .path.escape_ascii())]
    NotDir {
        /// What was asked for.
        path: Vec<u8>,
    },
    /// Content was asked for and the path is not a regular file (or not a symbolic link).
    #[error("{}: has no content of that kind", .path.escape_ascii())]
    WrongKind {
        /// What was asked for.
        path: Vec<u8>,
    },
    /// Not a path below the base: empty, `.`, `..` or NUL components.
    #[error("{}: not a path below the base", .path.escape_ascii())]
    BadPath {
        /// What was asked for.
        path: Vec<u8>,
    },
    /// What a branch has not changed of a file is gone with the base's, which somebody removed or
    /// replaced behind the mount.
    #[error(
        "{}: the base has no more of this file; move the one that was there back to read the rest",
        .path.escape_ascii()
    )]
    Lost {
        /// Where the base had it.
        path: Vec<u8>,
    },
    /// The file is not the one that it was: somebody changed the base behind the mount.
    #[error("{}: changed behind the mount", .path.escape_ascii())]
    Changed {
        /// What was changed.
        path: Vec<u8>,
    },
    /// Another filesystem is mounted there; the base ends at its mount points.
    #[error("{}: another filesystem is mounted here", .path.escape_ascii())]
    CrossesMount {
        /// The mount point, or something below it.
        path: Vec<u8>,
    },
    /// A system call failed.
    #[error("{op} {}: {source}", .path.escape_ascii())]
    Io {
        /// What it was about; staged files are shown as `<stage>/SLOT`, kept ones as `<old>/NAME`.
        path: Vec<u8>,
        /// The call.
        op: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Every file number was given out since the mount; a remount makes the unused ones free again.
    #[error("no free file numbers are left in this mount")]
    IdsExhausted,
    /// A plan was interrupted by an error and must be applied before any other.
    #[error("publish {id:x} is half done and must be finished first")]
    PlanPending {
        /// The plan that is in the way.
        id: u64,
    },
    /// A plan was made for another version of the base.
    #[error("publish {id:x} makes version {wants}, but the base is at version {version}")]
    PlanOutOfOrder {
        /// The plan.
        id: u64,
        /// The version that it makes.
        wants: u64,
        /// The version that the base is at.
        version: u64,
    },
    /// A plan's bytes do not decode.
    #[error("the plan of publish {id:x} is damaged at byte {offset}")]
    PlanDamaged {
        /// Which one; 0 where even that is not readable.
        id: u64,
        /// Where.
        offset: usize,
    },
    /// An event's or id's bytes do not decode.
    #[error("a record of the base is damaged at byte {offset}")]
    RecordDamaged {
        /// Where.
        offset: usize,
    },
}

impl BaseError {
    /// An [`BaseError::Io`] about `path`.
    pub(super) fn io(path: &[u8], op: &'static str, source: impl Into<std::io::Error>) -> Self {
        BaseError::Io {
            path: path.to_vec(),
            op,
            source: source.into(),
        }
    }
}
