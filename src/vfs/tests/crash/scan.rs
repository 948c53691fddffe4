//! Everything that a mount shows, read out through the vfs, and the base as it lies.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::super::kernel::CRED;
use crate::tree::{Attr, FileId, Kind, NodeId};
use crate::vfs::Vfs;
use crate::vfs::ops::{Entry, Errno, Lookup, Ops, Sink};

/// A file, as a branch shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub fid: u32,
    pub kind: Kind,
    pub mode: u32,
    pub owner: (u32, u32),
    pub nlink: u32,
    pub size: u64,
    pub target: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenBranch {
    /// What is recorded of it, as text.
    pub meta: String,
    pub files: BTreeMap<Vec<u8>, Seen>,
}

/// What files hold, by branch and file.
pub type Contents = BTreeMap<(u32, u32), Arc<Vec<u8>>>;

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    pub branches: BTreeMap<u32, SeenBranch>,
    pub contents: Contents,
}

fn failed(what: &str, path: &[u8]) -> impl Fn(Errno) -> String {
    let text = format!("{what} {}", path.escape_ascii());
    move |errno| format!("{text}: {errno:?}")
}

/// Reads a whole file.
pub fn read(vfs: &Vfs, node: NodeId, size: u64) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < size {
        let before = bytes.len();
        vfs.read(node, before as u64, 128 << 10, &mut bytes)?;
        if bytes.len() == before {
            break;
        }
    }
    Ok(bytes)
}

impl Scan {
    /// Reads everything.
    pub fn of(vfs: &Vfs) -> Result<Scan, String> {
        let mut scan = Scan::default();
        for branch in vfs.workspace().branches() {
            let (meta, incarnation) = {
                let state = branch.state.read();
                let ended = state.ended.map(|ended| (ended.end, ended.incarnation));
                let m = &state.meta;
                let meta = format!(
                    "{} of {:?}: generation {} forked at {}, {:?}, {ended:?}",
                    m.name.escape_ascii(),
                    m.parent,
                    m.generation,
                    m.fork_generation,
                    m.policy,
                );
                (
                    meta,
                    ended.map_or(m.incarnation, |(_, incarnation)| incarnation),
                )
            };
            let mut files = BTreeMap::new();
            let root = NodeId::new(incarnation, FileId::ROOT);
            scan.dir(vfs, branch.id.0, root, &[], &mut files)?;
            let seen = SeenBranch { meta, files };
            scan.branches.insert(branch.id.0, seen);
        }
        Ok(scan)
    }

    fn dir(
        &mut self,
        vfs: &Vfs,
        branch: u32,
        dir: NodeId,
        path: &[u8],
        files: &mut BTreeMap<Vec<u8>, Seen>,
    ) -> Result<(), String> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut take = |item: &crate::vfs::ops::DirItem<'_>| {
            names.push(item.name.to_vec());
            Sink::Taken
        };
        vfs.readdir(&CRED, dir, 0, &mut take)
            .map_err(failed("readdir", path))?;
        names.retain(|name| name != b"." && name != b"..");
        for name in names {
            let path = [path, b"/", &name].concat();
            let found = vfs
                .lookup(&CRED, dir, &name)
                .map_err(failed("lookup", &path))?;
            let Lookup::Found(entry) = found else {
                return Err(format!("{} is listed and not there", path.escape_ascii()));
            };
            let done = self.file(vfs, branch, &entry, &path, files);
            vfs.forget(entry.node.node, 1);
            done?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        vfs: &Vfs,
        branch: u32,
        entry: &Entry,
        path: &[u8],
        files: &mut BTreeMap<Vec<u8>, Seen>,
    ) -> Result<(), String> {
        let (node, attr) = (entry.node.node, &entry.node.attr);
        let mut seen = Seen {
            fid: node.file().0,
            kind: attr.kind,
            mode: attr.mode,
            owner: (attr.uid, attr.gid),
            nlink: attr.nlink,
            size: shown_size(attr),
            target: Vec::new(),
            xattrs: BTreeMap::new(),
        };
        let names = vfs
            .listxattr(&CRED, node)
            .map_err(failed("listxattr", path))?;
        for name in names
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
        {
            let value = vfs
                .getxattr(&CRED, node, name)
                .map_err(failed("getxattr", path))?;
            seen.xattrs.insert(name.to_vec(), value);
        }
        match attr.kind {
            Kind::Dir => self.dir(vfs, branch, node, path, files)?,
            Kind::Symlink => {
                seen.target = vfs.readlink(node).map_err(failed("readlink", path))?;
            }
            Kind::File => {
                let bytes = read(vfs, node, attr.size).map_err(failed("read", path))?;
                if bytes.len() as u64 != attr.size {
                    return Err(format!("{} ends early", path.escape_ascii()));
                }
                self.contents.insert((branch, seen.fid), Arc::new(bytes));
            }
            _ => {}
        }
        files.insert(path.to_vec(), seen);
        Ok(())
    }
}

fn shown_size(attr: &Attr) -> u64 {
    match attr.kind {
        Kind::File => attr.size,
        _ => 0,
    }
}

/// What of a file in the base a user can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseFile {
    pub mode: u32,
    pub owner: (u32, u32),
    pub nlink: u64,
    pub bytes: Vec<u8>,
}

/// The base, as it lies.
pub type BaseTree = BTreeMap<Vec<u8>, BaseFile>;

/// Reads the base.
pub fn read_base(base: &Path) -> BaseTree {
    let mut tree = BaseTree::new();
    // What the store keeps of old versions are no names of the base.
    let mut names: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    let mut todo = vec![(base.to_owned(), Vec::new())];
    while let Some((dir, at)) = todo.pop() {
        for entry in dir.read_dir().expect("a directory can be listed") {
            let entry = entry.expect("a name").path();
            let name = entry.file_name().expect("a name").as_bytes();
            if at.is_empty() && name == b".branchfs" {
                continue;
            }
            let path = [&at[..], b"/", name].concat();
            let st = entry.symlink_metadata().expect("it is there");
            let bytes = match st.file_type() {
                kind if kind.is_dir() => {
                    todo.push((entry.clone(), path.clone()));
                    Vec::new()
                }
                kind if kind.is_file() => std::fs::read(&entry).expect("a file can be read"),
                kind if kind.is_symlink() => {
                    let target = entry.read_link().expect("a target");
                    target.as_os_str().as_bytes().to_vec()
                }
                _ => Vec::new(),
            };
            if !st.is_dir() {
                names.entry(st.ino()).or_default().push(path.clone());
            }
            let file = BaseFile {
                mode: st.mode(),
                owner: (st.uid(), st.gid()),
                nlink: 0,
                bytes,
            };
            tree.insert(path, file);
        }
    }
    for names in names.values() {
        for name in names {
            let file = tree.get_mut(name).expect("it was just put in");
            file.nlink = names.len() as u64;
        }
    }
    tree
}

/// Main, as a base would hold it.
pub fn as_base(scan: &Scan) -> BaseTree {
    let main = &scan.branches[&0];
    let file = |(path, seen): (&Vec<u8>, &Seen)| {
        let bytes = match seen.kind {
            Kind::File => scan.contents[&(0, seen.fid)].to_vec(),
            Kind::Symlink => seen.target.clone(),
            _ => Vec::new(),
        };
        let nlink = if seen.kind == Kind::Dir {
            0
        } else {
            seen.nlink.into()
        };
        let mode = seen.kind.to_mode() | seen.mode;
        (
            path.clone(),
            BaseFile {
                mode,
                owner: seen.owner,
                nlink,
                bytes,
            },
        )
    };
    main.files.iter().map(file).collect()
}

/// The first difference of two base trees, in words.
pub fn base_difference(got: &BaseTree, wanted: &BaseTree) -> Option<String> {
    let paths: std::collections::BTreeSet<&Vec<u8>> = got.keys().chain(wanted.keys()).collect();
    paths.into_iter().find_map(|path| {
        let (got, wanted) = (got.get(path), wanted.get(path));
        let show = |file: Option<&BaseFile>| match file {
            None => "nothing".to_owned(),
            Some(file) => format!(
                "mode {:o}, owner {:?}, {} links, {} bytes, sum {:x}",
                file.mode,
                file.owner,
                file.nlink,
                file.bytes.len(),
                crc32fast::hash(&file.bytes)
            ),
        };
        let text = || {
            format!(
                "{}: {} is to be {}",
                path.escape_ascii(),
                show(got),
                show(wanted)
            )
        };
        (got != wanted).then(text)
    })
}
