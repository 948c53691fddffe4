//! Which processes there are: the folders in `/proc` whose names are numbers.

use std::path::PathBuf;

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
