//! What an operation on files can fail with. `vfs` turns each variant into its errno.

use crate::base::BaseError;
use crate::branch::BranchError;
use crate::store::StoreError;

/// An error of a file operation.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// No such name (ENOENT).
    #[error("no such file or directory")]
    NotFound,
    /// The name is taken (EEXIST).
    #[error("file exists")]
    Exists,
    /// A directory is needed (ENOTDIR).
    #[error("not a directory")]
    NotDir,
    /// A directory is not wanted (EISDIR).
    #[error("is a directory")]
    IsDir,
    /// The directory has entries (ENOTEMPTY).
    #[error("directory not empty")]
    NotEmpty,
    /// The branch has ended, or the node is no more (ESTALE).
    #[error("stale file handle")]
    Stale,
    /// Trash and read-only mounts (EROFS).
    #[error("read-only")]
    ReadOnly,
    /// Not allowed to this user (EPERM).
    #[error("operation not permitted")]
    NotPermitted,
    /// Not allowed by permission bits (EACCES).
    #[error("permission denied")]
    AccessDenied,
    /// Makes no sense (EINVAL).
    #[error("invalid argument")]
    Invalid,
    /// More than 255 bytes (ENAMETOOLONG).
    #[error("file name too long")]
    NameTooLong,
    /// No such extended attribute (ENODATA).
    #[error("no such attribute")]
    NoAttribute,
    /// Larger than a file can be (EFBIG).
    #[error("file too large")]
    TooBig,
    /// Larger than an extended attribute can be (E2BIG).
    #[error("attribute too large")]
    AttributeTooBig,
    /// More than a file's extended attributes can take together (ENOSPC).
    #[error("no room for more attributes of this file")]
    AttributesFull,
    /// More names than a file can have (EMLINK).
    #[error("too many links")]
    TooManyLinks,
    /// Not possible for this file (EOPNOTSUPP).
    #[error("operation not supported")]
    NotSupported,
    /// Between two branches (EXDEV).
    #[error("in another branch")]
    OtherBranch,
    /// Nothing there (ENXIO).
    #[error("no such offset")]
    NoOffset,
    /// From the branches.
    #[error(transparent)]
    Branch(#[from] BranchError),
}

impl From<StoreError> for FsError {
    fn from(error: StoreError) -> FsError {
        FsError::Branch(BranchError::Store(error))
    }
}

impl From<BaseError> for FsError {
    fn from(error: BaseError) -> FsError {
        FsError::Branch(BranchError::Base(error))
    }
}
