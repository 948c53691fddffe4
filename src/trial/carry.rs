//! Carrying work from one branch to another by plain file operations.
//!
//! For what a commit cannot do: two branches that wrote the same path, paths that go somewhere
//! else,
//! and work that is to outlive the branch that its own branch was forked from. Contents, modes,
//! owners, times and extended attributes are carried; hard links become files of their own.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::TrialError;
use crate::client::Branch;
use crate::proto::{Change, ChangeKind, Text};

/// Repeats in `to` all that `from` has changed since its fork.
pub fn all(from: &Branch, to: &Branch) -> Result<(), TrialError> {
    changes(&from.dir, &from.changes()?, &to.dir, &mut |_, _, _| {
        Ok(false)
    })
}

/// What is done with one changed file instead of copying it, given its path and both places;
/// whether anything was.
pub type Instead<'a> = dyn FnMut(&Path, &Path, &Path) -> Result<bool, TrialError> + 'a;

/// Repeats `list` below `to`, with what is below `from`.
pub fn changes(
    from: &Path,
    list: &[Change],
    to: &Path,
    instead: &mut Instead<'_>,
) -> Result<(), TrialError> {
    let gone = list.iter().filter_map(|change| match &change.kind {
        ChangeKind::Deleted => Some(change.path.as_path()),
        ChangeKind::Renamed { from } => Some(from.as_path()),
        _ => None,
    });
    // A name that is gone may be another file's by now, so everything goes before anything comes.
    for path in gone {
        remove(&to.join(path)).map_err(at(path))?;
    }
    let mut here: Vec<&Change> = list
        .iter()
        .filter(|change| change.kind != ChangeKind::Deleted)
        .collect();
    here.sort_by(|a, b| a.path.0.cmp(&b.path.0));
    for change in here {
        let path = change.path.as_path();
        let (source, target) = (from.join(path), to.join(path));
        if instead(path, &source, &target)? {
            continue;
        }
        let moved_tree = change.dir && matches!(change.kind, ChangeKind::Renamed { .. });
        let copied = if moved_tree {
            tree(&source, &target)
        } else {
            one(&source, &target)
        };
        copied.map_err(at(path))?;
    }
    Ok(())
}

/// Names the path that an error is about.
pub fn at(path: &Path) -> impl FnOnce(io::Error) -> TrialError {
    let path = Text::from(path.as_os_str().as_bytes());
    move |source| TrialError::Carry { path, source }
}

/// Whether a path stays below the directory that it is joined to.
pub fn is_inside(path: &Path) -> bool {
    let plain = |component| matches!(component, Component::Normal(_));
    path.components().all(plain) && path.components().next().is_some()
}

/// Copies a file, or a directory with all that is in it.
pub fn tree(source: &Path, target: &Path) -> io::Result<()> {
    one(source, target)?;
    if fs::symlink_metadata(source)?.is_dir() {
        for entry in fs::read_dir(source)? {
            let name = entry?.file_name();
            tree(&source.join(&name), &target.join(&name))?;
        }
        // What was made in it has changed its times.
        attributes(source, target, &fs::symlink_metadata(source)?)?;
    }
    Ok(())
}

/// Copies one file, or a directory without what is in it.
pub fn one(source: &Path, target: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(source)?;
    let kind = metadata.file_type();
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if fs::symlink_metadata(target).is_ok_and(|old| old.file_type() != kind) {
        remove(target)?;
    }
    if kind.is_dir() {
        match fs::create_dir(target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    } else if kind.is_symlink() {
        remove(target)?;
        std::os::unix::fs::symlink(fs::read_link(source)?, target)?;
    } else if kind.is_file() {
        let mut to = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(target)?;
        io::copy(&mut File::open(source)?, &mut to)?;
    } else {
        remove(target)?;
        let node = match () {
            () if kind.is_fifo() => FileType::Fifo,
            () if kind.is_socket() => FileType::Socket,
            () if kind.is_char_device() => FileType::CharacterDevice,
            () => FileType::BlockDevice,
        };
        let mode = Mode::from_raw_mode(metadata.mode() & 0o7777);
        rustix::fs::mknodat(CWD, target, node, mode, metadata.rdev())?;
    }
    attributes(source, target, &metadata)
}

fn attributes(source: &Path, target: &Path, metadata: &fs::Metadata) -> io::Result<()> {
    let old = fs::symlink_metadata(target)?;
    if (old.uid(), old.gid()) != (metadata.uid(), metadata.gid()) {
        std::os::unix::fs::lchown(target, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    if !metadata.is_symlink() {
        fs::set_permissions(target, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
        xattrs(source, target)?;
    }
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    };
    Ok(rustix::fs::utimensat(
        CWD,
        target,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn xattrs(source: &Path, target: &Path) -> io::Result<()> {
    let names = |path: &Path| -> io::Result<Vec<Vec<u8>>> {
        let mut list = vec![0; 64 << 10];
        let len = rustix::fs::llistxattr(path, &mut list)?;
        let names = list[..len].split(|byte| *byte == 0);
        Ok(names
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect())
    };
    let wanted = names(source)?;
    for name in names(target)? {
        if !wanted.contains(&name) {
            rustix::fs::lremovexattr(target, &name[..])?;
        }
    }
    for name in wanted {
        let mut value = vec![0; 64 << 10];
        let len = rustix::fs::lgetxattr(source, &name[..], &mut value)?;
        rustix::fs::lsetxattr(target, &name[..], &value[..len], XattrFlags::empty())?;
    }
    Ok(())
}

/// Removes whatever is there; that nothing is, is as good.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_carried_with_modes_links_times_and_attributes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(from.join("sub/file"), "text").unwrap();
        fs::set_permissions(from.join("sub/file"), fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("file", from.join("sub/link")).unwrap();
        rustix::fs::setxattr(from.join("sub/file"), "user.a", b"1", XattrFlags::empty()).unwrap();
        // Where a directory was, a link comes, and the other way round.
        fs::create_dir_all(to.join("sub/link/deep")).unwrap();
        tree(&from, &to).unwrap();
        let (old, new) = (from.join("sub/file"), to.join("sub/file"));
        assert_eq!(fs::read(&new).unwrap(), b"text");
        let (old, new) = (fs::metadata(old).unwrap(), fs::metadata(&new).unwrap());
        assert_eq!(old.mode(), new.mode());
        assert_eq!(old.modified().unwrap(), new.modified().unwrap());
        assert_eq!(
            fs::read_link(to.join("sub/link")).unwrap(),
            Path::new("file")
        );
        let mut value = [0; 8];
        let len = rustix::fs::getxattr(to.join("sub/file"), "user.a", &mut value).unwrap();
        assert_eq!(&value[..len], b"1");
    }

    #[test]
    fn paths_that_lead_out_are_told_from_those_that_do_not() {
        for (path, inside) in [
            ("a/b", true),
            ("", false),
            ("../a", false),
            ("/a", false),
            ("a/../../b", false),
        ] {
            assert_eq!(is_inside(Path::new(path)), inside, "{path}");
        }
    }
}
