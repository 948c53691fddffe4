//! One process per store.
//!
//! The lock is flock(2) on the file `lock`, held for as long as the store is open, and released by
//! the kernel when the process dies. The file's text is the holder's pid, for messages only.

use super::StoreError;
use super::files::{Access, Dir, File};

const NAME: &str = "lock";

/// Takes the lock: exclusive, or shared with other readers. It is held until the file is dropped.
///
/// `None` where a reader finds no lock file, which is a store that nobody ever opened.
///
/// # Errors
/// [`StoreError::Locked`] with the holder's pid.
pub(super) fn lock(root: &Dir, exclusive: bool) -> Result<Option<File>, StoreError> {
    let access = if exclusive {
        Access::Create
    } else {
        Access::Read
    };
    let Some(file) = root.open(NAME, access)? else {
        return Ok(None);
    };
    if !file.try_lock(exclusive)? {
        let text = file.read_all()?;
        let pid = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        return Err(StoreError::Locked { pid });
    }
    if exclusive {
        write_pid(&file)?;
    }
    Ok(Some(file))
}

fn write_pid(file: &File) -> Result<(), StoreError> {
    let text = format!("{}\n", std::process::id());
    match file
        .write_at(text.as_bytes(), 0)
        .and_then(|()| file.set_len(text.len() as u64))
    {
        // A full disk must not keep a store from being opened; the pid is only for messages.
        Err(StoreError::Full { .. }) => file.set_len(0),
        other => other,
    }
}
