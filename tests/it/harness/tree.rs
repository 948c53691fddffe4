//! A directory, with the file operations that tests need in one line each.
//!
//! Names are bytes. Every operation that a test expects to work panics with the path that failed;
//! what is expected to fail goes through [`assert_errno`] on the plain `std` or `rustix` call.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

/// A directory that a test works in.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The directory `root`, which need not exist yet.
    pub fn at(root: impl Into<PathBuf>) -> Tree {
        Tree { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of `name` below the directory.
    pub fn path(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.root.join(OsStr::from_bytes(name.as_ref()))
    }

    /// The directory `name` as a tree of its own.
    pub fn sub(&self, name: impl AsRef<[u8]>) -> Tree {
        Tree::at(self.path(name))
    }

    /// Replaces the content of `name`, creating it where it does not exist.
    #[track_caller]
    pub fn write(&self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        expect(fs::write(&path, content), "write", &path);
    }

    /// Adds to the end of `name` with O_APPEND.
    #[track_caller]
    pub fn append(&self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        let mut file = expect(OpenOptions::new().append(true).open(&path), "open", &path);
        expect(file.write_all(content.as_ref()), "append to", &path);
    }

    /// The whole content of `name`.
    #[track_caller]
    pub fn read(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        let path = self.path(name);
        expect(fs::read(&path), "read", &path)
    }

    /// The whole content of `name` as text.
    #[track_caller]
    pub fn text(&self, name: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        expect(fs::read_to_string(&path), "read", &path)
    }

    /// Opens `name` for reading.
    #[track_caller]
    pub fn open(&self, name: impl AsRef<[u8]>) -> File {
        let path = self.path(name);
        expect(File::open(&path), "open", &path)
    }

    /// Opens `name` for reading and writing, creating it with mode 0644 where it does not exist.
    #[track_caller]
    pub fn open_rw(&self, name: impl AsRef<[u8]>) -> File {
        let path = self.path(name);
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644);
        expect(options.open(&path), "open", &path)
    }

    /// Creates the directory `name`, and the ones above it.
    #[track_caller]
    pub fn mkdir(&self, name: impl AsRef<[u8]>) -> Tree {
        let path = self.path(name);
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&path);
        expect(made, "mkdir", &path);
        Tree::at(path)
    }

    /// Removes the empty directory `name`.
    #[track_caller]
    pub fn rmdir(&self, name: impl AsRef<[u8]>) {
        let path = self.path(name);
        expect(fs::remove_dir(&path), "rmdir", &path);
    }

    /// Removes the file `name`.
    #[track_caller]
    pub fn unlink(&self, name: impl AsRef<[u8]>) {
        let path = self.path(name);
        expect(fs::remove_file(&path), "unlink", &path);
    }

    /// Removes the directory `name` and all that is in it.
    #[track_caller]
    pub fn remove_all(&self, name: impl AsRef<[u8]>) {
        let path = self.path(name);
        expect(fs::remove_dir_all(&path), "remove", &path);
    }

    /// Renames within the directory.
    #[track_caller]
    pub fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) {
        let (from, to) = (self.path(from), self.path(to));
        expect(fs::rename(&from, &to), "rename", &from);
    }

    /// Makes `new` another name of `old`.
    #[track_caller]
    pub fn link(&self, old: impl AsRef<[u8]>, new: impl AsRef<[u8]>) {
        let (old, new) = (self.path(old), self.path(new));
        expect(fs::hard_link(&old, &new), "link", &new);
    }

    /// Makes `name` a symbolic link to `target`.
    #[track_caller]
    pub fn symlink(&self, target: impl AsRef<[u8]>, name: impl AsRef<[u8]>) {
        let path = self.path(name);
        let target = OsStr::from_bytes(target.as_ref());
        expect(std::os::unix::fs::symlink(target, &path), "symlink", &path);
    }

    /// The target of the symbolic link `name`.
    #[track_caller]
    pub fn readlink(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        let path = self.path(name);
        expect(fs::read_link(&path), "readlink", &path)
            .into_os_string()
            .into_vec()
    }

    /// The names in directory `name`, as bytes, sorted.
    #[track_caller]
    pub fn list(&self, name: impl AsRef<[u8]>) -> BTreeSet<Vec<u8>> {
        let path = self.path(name);
        let entries = expect(fs::read_dir(&path), "list", &path);
        entries
            .map(|e| expect(e, "list", &path).file_name().into_vec())
            .collect()
    }

    /// The names in directory `name` as text, sorted.
    #[track_caller]
    pub fn names(&self, name: impl AsRef<[u8]>) -> Vec<String> {
        let names = self.list(name);
        names
            .into_iter()
            .map(|n| String::from_utf8_lossy(&n).into_owned())
            .collect()
    }

    /// Whether `name` exists; a dangling symbolic link does.
    #[track_caller]
    pub fn exists(&self, name: impl AsRef<[u8]>) -> bool {
        let path = self.path(name);
        match fs::symlink_metadata(&path) {
            Ok(_) => true,
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(e) => panic!("stat {}: {e}", path.display()),
        }
    }

    /// lstat(2) of `name`.
    #[track_caller]
    pub fn stat(&self, name: impl AsRef<[u8]>) -> Metadata {
        let path = self.path(name);
        expect(fs::symlink_metadata(&path), "stat", &path)
    }

    /// The permission, set-id and sticky bits of `name`.
    #[track_caller]
    pub fn mode(&self, name: impl AsRef<[u8]>) -> u32 {
        self.stat(name).mode() & 0o7777
    }

    /// Sets the permission, set-id and sticky bits of `name`.
    #[track_caller]
    pub fn chmod(&self, name: impl AsRef<[u8]>, mode: u32) {
        let path = self.path(name);
        expect(
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)),
            "chmod",
            &path,
        );
    }

    /// Sets owner and group of `name`, without following a symbolic link.
    #[track_caller]
    pub fn chown(&self, name: impl AsRef<[u8]>, uid: u32, gid: u32) {
        let path = self.path(name);
        expect(
            std::os::unix::fs::lchown(&path, Some(uid), Some(gid)),
            "chown",
            &path,
        );
    }

    /// Sets both times of `name` to `sec` seconds since 1970, without following a symbolic link.
    #[track_caller]
    pub fn utimes(&self, name: impl AsRef<[u8]>, sec: i64, nsec: u32) {
        let path = self.path(name);
        let time = Timespec {
            tv_sec: sec,
            tv_nsec: nsec.into(),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        let set = rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW);
        expect(set, "utimensat", &path);
    }

    /// The value of an extended attribute of `name`, if it has it.
    #[track_caller]
    pub fn xattr(&self, name: impl AsRef<[u8]>, attribute: &str) -> Option<Vec<u8>> {
        let path = self.path(name);
        let mut value = vec![0; 65536];
        match rustix::fs::lgetxattr(&path, attribute, &mut value) {
            Ok(len) => {
                value.truncate(len);
                Some(value)
            }
            Err(Errno::NODATA) => None,
            Err(e) => panic!("getxattr {attribute} of {}: {e}", path.display()),
        }
    }

    /// Sets an extended attribute of `name`.
    #[track_caller]
    pub fn set_xattr(&self, name: impl AsRef<[u8]>, attribute: &str, value: impl AsRef<[u8]>) {
        let path = self.path(name);
        let set = rustix::fs::lsetxattr(&path, attribute, value.as_ref(), XattrFlags::empty());
        expect(set, "setxattr", &path);
    }

    /// Asserts that `name` holds exactly `content`.
    #[track_caller]
    pub fn check(&self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) {
        let path = self.path(name.as_ref());
        let (is, want) = (self.read(name), content.as_ref());
        if is != want {
            panic!(
                "{} holds {}, not {}",
                path.display(),
                brief(&is),
                brief(want)
            );
        }
    }
}

/// Bytes for a message: shortened text, and the length.
fn brief(bytes: &[u8]) -> String {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    format!("{head:?} ({} bytes)", bytes.len())
}

/// The value, or a panic that says what was done to which path.
#[track_caller]
pub fn expect<T, E: Into<io::Error>>(result: Result<T, E>, verb: &str, path: &Path) -> T {
    match result {
        Ok(value) => value,
        Err(e) => panic!("{verb} {}: {}", path.display(), e.into()),
    }
}

/// Asserts that a call failed with exactly `errno`.
#[track_caller]
pub fn assert_errno<T: Debug, E: Into<io::Error>>(result: Result<T, E>, errno: Errno) {
    match result {
        Ok(value) => panic!("worked ({value:?}) where it had to fail with {errno:?}"),
        Err(e) => {
            let e: io::Error = e.into();
            let raw = Some(errno.raw_os_error());
            assert_eq!(e.raw_os_error(), raw, "failed with {e}, not with {errno:?}");
        }
    }
}

/// Reads what is left of an open file.
#[track_caller]
pub fn read_rest(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .expect("read from a descriptor");
    bytes
}
