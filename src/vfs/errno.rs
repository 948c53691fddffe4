//! Which errno each error is answered with. The only place that decides it.

use super::ops::Errno;
use crate::base::BaseError;
use crate::branch::BranchError;
use crate::overlay::FsError;
use crate::proto::ProtoError;
use crate::store::StoreError;

impl From<FsError> for Errno {
    fn from(error: FsError) -> Errno {
        Errno(match error {
            FsError::NotFound => libc::ENOENT,
            FsError::Exists => libc::EEXIST,
            FsError::NotDir => libc::ENOTDIR,
            FsError::IsDir => libc::EISDIR,
            FsError::NotEmpty => libc::ENOTEMPTY,
            FsError::Stale => libc::ESTALE,
            FsError::ReadOnly => libc::EROFS,
            FsError::NotPermitted => libc::EPERM,
            FsError::AccessDenied => libc::EACCES,
            FsError::Invalid => libc::EINVAL,
            FsError::NameTooLong => libc::ENAMETOOLONG,
            FsError::NoAttribute => libc::ENODATA,
            FsError::TooBig => libc::EFBIG,
            FsError::AttributeTooBig => libc::E2BIG,
            FsError::AttributesFull => libc::ENOSPC,
            FsError::TooManyLinks => libc::EMLINK,
            FsError::NotSupported => libc::EOPNOTSUPP,
            FsError::OtherBranch => libc::EXDEV,
            FsError::NoOffset => libc::ENXIO,
            FsError::Branch(error) => return (&error).into(),
        })
    }
}

impl From<BranchError> for Errno {
    fn from(error: BranchError) -> Errno {
        (&error).into()
    }
}

impl From<&BranchError> for Errno {
    fn from(error: &BranchError) -> Errno {
        Errno(match error {
            BranchError::Ended { .. } | BranchError::LateCommit { .. } => libc::ESTALE,
            BranchError::Conflict { .. }
            | BranchError::ChangedSince { .. }
            | BranchError::BaseChanged { .. } => libc::EBUSY,
            BranchError::HasChildren { .. } => libc::ENOTEMPTY,
            BranchError::NameTaken { .. } => libc::EEXIST,
            BranchError::NoSuchBranch { .. } | BranchError::NothingToUndo { .. } => libc::ENOENT,
            BranchError::MainStays { .. } | BranchError::NotOwner { .. } => libc::EPERM,
            BranchError::NotMain
            | BranchError::NotABranch { .. }
            | BranchError::TrialPhase { .. } => libc::EINVAL,
            BranchError::OverLimit { .. }
            | BranchError::TooManyBranches { .. }
            | BranchError::TooDeep { .. } => libc::EDQUOT,
            BranchError::StoreLimit { .. } => libc::ENOSPC,
            BranchError::ReadOnly | BranchError::HalfPublished => libc::EROFS,
            BranchError::NumbersUsedUp => libc::ENOSPC,
            BranchError::BadRecord { .. }
            | BranchError::Dangling { .. }
            | BranchError::Misfit { .. } => libc::EIO,
            BranchError::Store(error) => store_errno(error),
            BranchError::Base(error) => base_errno(error),
        })
    }
}

impl From<&ProtoError> for Errno {
    fn from(_: &ProtoError) -> Errno {
        Errno(libc::EINVAL)
    }
}

fn store_errno(error: &StoreError) -> i32 {
    match error {
        StoreError::Full { .. } => libc::ENOSPC,
        StoreError::Poisoned { .. } | StoreError::ReadOnly => libc::EROFS,
        _ => libc::EIO,
    }
}

fn base_errno(error: &BaseError) -> i32 {
    match error {
        BaseError::NotFound { .. } => libc::ENOENT,
        BaseError::NotDir { .. } => libc::ENOTDIR,
        BaseError::WrongKind { .. } | BaseError::BadPath { .. } => libc::EINVAL,
        BaseError::Changed { .. } => libc::EBUSY,
        BaseError::CrossesMount { .. } => libc::EXDEV,
        BaseError::IdsExhausted => libc::ENOSPC,
        BaseError::Io { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
        _ => libc::EIO,
    }
}
