//! Everything that a user can see of a tree, to compare two of them.
//!
//! Inode and device numbers, access and change times, block counts and the sizes of directories are
//! not part of it. Content is compared without regard to where holes are.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FileType, SeekFrom};
use rustix::io::Errno;

/// One file of a tree.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its type.
    pub kind: FileType,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Number of names; of a directory too.
    pub nlink: u64,
    /// Length; 0 for a directory.
    pub size: u64,
    /// Time of the last change of the content, in nanoseconds since 1970.
    pub mtime: i128,
    /// Device number.
    pub rdev: u64,
    /// A hash of a file's content, or of a link's target.
    pub content: u64,
    /// The first name, in order, of the same inode within the tree.
    pub same_as: Option<Vec<u8>>,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (uid, gid) = self.owner;
        write!(
            f,
            "{:?} {:o} {uid}:{gid} nlink {}",
            self.kind, self.mode, self.nlink
        )?;
        write!(
            f,
            " size {} mtime {} rdev {}",
            self.size, self.mtime, self.rdev
        )?;
        write!(f, " content {:x}", self.content)?;
        if let Some(name) = &self.same_as {
            write!(f, " same as {}", name.escape_ascii())?;
        }
        for (name, value) in &self.xattrs {
            write!(f, " {}={}", name.escape_ascii(), value.escape_ascii())?;
        }
        Ok(())
    }
}

/// A whole tree, by path. The root itself is not in it.
pub type Snapshot = BTreeMap<Vec<u8>, Seen>;

/// Looks at everything below `root`.
pub fn take(root: &Path) -> io::Result<Snapshot> {
    let mut files = Vec::new();
    walk(root, Path::new(""), &mut files)?;
    files.sort_by(|a, b| a.0.cmp(&b.0));
    let mut first = HashMap::new();
    let mut snapshot = Snapshot::new();
    for (path, meta) in files {
        let full = root.join(Path::new(std::ffi::OsStr::from_bytes(&path)));
        let mut seen = look(&full, &meta)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", full.display())))?;
        if !meta.is_dir() && meta.nlink() > 1 {
            let name = first
                .entry((meta.dev(), meta.ino()))
                .or_insert_with(|| path.clone());
            seen.same_as = Some(name.clone());
        }
        snapshot.insert(path, seen);
    }
    Ok(snapshot)
}

/// [`take`], for trees that must be readable.
#[track_caller]
pub fn of(root: &Path) -> Snapshot {
    take(root).unwrap_or_else(|e| panic!("look at {}: {e}", root.display()))
}

/// How two trees differ, one line for each difference; modification times are not compared.
pub fn differences(left: &Snapshot, right: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, seen) in left {
        let name = path.escape_ascii();
        match right.get(path) {
            None => lines.push(format!("{name}: only on the left: {seen:?}")),
            Some(other) => {
                let other_now = Seen {
                    mtime: seen.mtime,
                    ..other.clone()
                };
                if *seen != other_now {
                    lines.push(format!("{name}:\n    left  {seen:?}\n    right {other:?}"));
                }
            }
        }
    }
    for (path, seen) in right.iter().filter(|(p, _)| !left.contains_key(*p)) {
        lines.push(format!(
            "{}: only on the right: {seen:?}",
            path.escape_ascii()
        ));
    }
    lines
}

/// Asserts that two trees are the same, modification times included.
#[track_caller]
pub fn assert_same(left: &Snapshot, right: &Snapshot, what: &str) {
    let mut lines = differences(left, right);
    for (path, seen) in left {
        let other = right.get(path).map_or(seen.mtime, |o| o.mtime);
        if other != seen.mtime {
            lines.push(format!(
                "{}: mtime {} and {other}",
                path.escape_ascii(),
                seen.mtime
            ));
        }
    }
    assert!(lines.is_empty(), "{what}:\n{}", lines.join("\n"));
}

fn walk(root: &Path, dir: &Path, out: &mut Vec<(Vec<u8>, Metadata)>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(dir))? {
        let entry = entry?;
        let name = dir.join(entry.file_name());
        // The store lies in the base, and is no part of what a mount shows.
        if name.as_os_str() == ".branchfs" {
            continue;
        }
        let meta = fs::symlink_metadata(root.join(&name))?;
        if meta.is_dir() {
            walk(root, &name, out)?;
        }
        out.push((name.into_os_string().into_vec(), meta));
    }
    Ok(())
}

fn look(path: &Path, meta: &Metadata) -> io::Result<Seen> {
    let kind = FileType::from_raw_mode(meta.mode());
    let content = match kind {
        FileType::RegularFile => hash_of_file(path, meta.len())?,
        FileType::Symlink => hash_of(fs::read_link(path)?.as_os_str().as_bytes()),
        _ => 0,
    };
    Ok(Seen {
        kind,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        nlink: meta.nlink(),
        size: if kind == FileType::Directory {
            0
        } else {
            meta.len()
        },
        mtime: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
        rdev: meta.rdev(),
        content,
        same_as: None,
        xattrs: xattrs(path)?,
    })
}

/// The extended attributes of `path`, without following a symbolic link.
pub fn xattrs(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut list = vec![0; 65536];
    let len = match rustix::fs::llistxattr(path, &mut list) {
        Ok(len) => len,
        Err(Errno::OPNOTSUPP) => 0,
        Err(e) => return Err(e.into()),
    };
    let mut found = BTreeMap::new();
    for name in list[..len].split(|&b| b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0; 65536];
        let len = rustix::fs::lgetxattr(path, name, &mut value)?;
        value.truncate(len);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}

/// A hash of some bytes.
pub fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Hashes the blocks that are not all zero, with their positions, skipping holes.
fn hash_of_file(path: &Path, len: u64) -> io::Result<u64> {
    const BLOCK: u64 = 4096;
    let file = File::open(path)?;
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; 64 * BLOCK as usize];
    let mut at = 0;
    while at < len {
        let data = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(data) => data / BLOCK * BLOCK,
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        at = data.max(at);
        let end = rustix::fs::seek(&file, SeekFrom::Hole(at))
            .unwrap_or(len)
            .max(at + 1)
            .min(len);
        while at < end {
            let got = read_full(&file, &mut buffer, at)?;
            if got == 0 {
                return Ok(hasher.finish());
            }
            for (index, block) in buffer[..got].chunks(BLOCK as usize).enumerate() {
                if block.iter().any(|&b| b != 0) {
                    hasher.write_u64(at / BLOCK + index as u64);
                    hasher.write(block);
                }
            }
            at += got as u64;
        }
        at = at.div_ceil(BLOCK) * BLOCK;
    }
    Ok(hasher.finish())
}

fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64)? {
            0 => break,
            n => got += n,
        }
    }
    Ok(got)
}
