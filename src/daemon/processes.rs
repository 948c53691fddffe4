//! Which processes there are, the folders in `/proc` whose names are numbers, and what they have
//! open.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folder of each process in `/proc`.
pub(super) fn all() -> impl Iterator<Item = PathBuf> {
    let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(move |entry| entry.file_name().to_str().is_some_and(is_number))
        .map(|entry| entry.path())
}

/// The descriptors of a process, each with what fdinfo says of it; none of one that has ended or
/// that we may not look at.
pub(super) fn descriptors(process: &Path) -> impl Iterator<Item = (OsString, String)> {
    std::fs::read_dir(process.join("fdinfo"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|fd| {
            let info = std::fs::read_to_string(fd.path()).unwrap_or_default();
            (fd.file_name(), info)
        })
}
