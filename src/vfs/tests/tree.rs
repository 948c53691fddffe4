//! One branch's tree as a user sees it, in plain maps, and what POSIX says each operation does to
//! it.
//!
//! Knows nothing of views, of the base or of nodes. A file's [`Fid`] is the model's own number for
//! it, the same in every branch. Errors are errno values.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::tree::{Kind, Time};

/// The model's number of a file.
pub type Fid = u32;
/// The root of every branch.
pub const ROOT: Fid = 0;

/// What an operation of the model returns.
pub type Posix<T> = Result<T, i32>;

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Data(Arc<Vec<u8>>),
    Link(Vec<u8>),
    Dir(BTreeMap<Vec<u8>, Fid>),
    Special,
}

/// A file. `touched` is another number after each change of anything but times.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub body: Body,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Unknown until it is looked at.
    pub mtime: Option<Time>,
    pub touched: u64,
}

impl File {
    pub fn new(kind: Kind, mode: u32) -> File {
        let body = match kind {
            Kind::File => Body::Data(Arc::default()),
            Kind::Dir => Body::Dir(BTreeMap::new()),
            Kind::Symlink => Body::Link(Vec::new()),
            _ => Body::Special,
        };
        let xattrs = BTreeMap::new();
        File {
            kind,
            mode,
            uid: 0,
            gid: 0,
            body,
            xattrs,
            mtime: None,
            touched: 0,
        }
    }

    pub fn data(&self) -> &[u8] {
        match &self.body {
            Body::Data(data) => data,
            _ => &[],
        }
    }

    pub fn size(&self) -> usize {
        match &self.body {
            Body::Link(target) => target.len(),
            _ => self.data().len(),
        }
    }

    /// Changes the bytes. Fails as write(2) does on what is not a regular file.
    pub fn edit(&mut self, edit: impl FnOnce(&mut Vec<u8>)) -> Posix<()> {
        match &mut self.body {
            Body::Data(data) => edit(Arc::make_mut(data)),
            Body::Dir(_) => return Err(libc::EISDIR),
            _ => return Err(libc::EINVAL),
        }
        self.mtime = None;
        Ok(())
    }

    /// Whether two versions say the same of everything but names and times.
    pub fn same_but_for_times(&self, other: &File) -> bool {
        let own = |f: &File| (f.kind, f.mode, f.uid, f.gid);
        let is_dir = self.kind == Kind::Dir;
        own(self) == own(other)
            && self.xattrs == other.xattrs
            && (is_dir || self.body == other.body)
    }

    pub fn drop_set_id(&mut self) {
        if self.kind != Kind::Dir {
            self.mode &= !libc::S_ISUID;
            if self.mode & libc::S_IXGRP != 0 {
                self.mode &= !libc::S_ISGID;
            }
        }
    }
}

/// A name: its directory, itself and the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    pub dir: Fid,
    pub name: Vec<u8>,
    pub file: Fid,
}

/// A tree; cloning it copies no contents.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    pub files: BTreeMap<Fid, Arc<File>>,
}

/// How a rename treats the new name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Onto {
    Replace,
    NoReplace,
    Exchange,
}

impl Tree {
    pub fn get(&self, file: Fid) -> &File {
        &self.files[&file]
    }

    pub fn get_mut(&mut self, file: Fid) -> &mut File {
        let file = Arc::make_mut(self.files.get_mut(&file).expect("the model has it"));
        file.touched = super::branches::tick();
        file
    }

    pub fn entries(&self, dir: Fid) -> &BTreeMap<Vec<u8>, Fid> {
        match &self.get(dir).body {
            Body::Dir(entries) => entries,
            other => panic!("not a directory: {other:?}"),
        }
    }

    pub fn entries_mut(&mut self, dir: Fid) -> &mut BTreeMap<Vec<u8>, Fid> {
        let dir = self.get_mut(dir);
        dir.mtime = None;
        match &mut dir.body {
            Body::Dir(entries) => entries,
            other => panic!("not a directory: {other:?}"),
        }
    }

    /// Every name but the root's, directories before what is in them.
    pub fn names(&self) -> Vec<Named> {
        let mut names: Vec<Named> = Vec::new();
        let mut dirs = vec![ROOT];
        while let Some(dir) = dirs.pop() {
            for (name, file) in self.entries(dir) {
                names.push(Named {
                    dir,
                    name: name.clone(),
                    file: *file,
                });
                if self.get(*file).kind == Kind::Dir {
                    dirs.push(*file);
                }
            }
        }
        names
    }

    /// The components of the path to a directory; `None` where no name leads there.
    pub fn path_of_dir(&self, dir: Fid) -> Option<Vec<Vec<u8>>> {
        let mut names = self.names();
        let (mut at, mut path) = (dir, Vec::new());
        while at != ROOT {
            let named = names.iter_mut().find(|named| named.file == at)?;
            path.push(named.name.clone());
            at = named.dir;
        }
        path.reverse();
        Some(path)
    }

    /// Every directory, the root first.
    pub fn dirs(&self) -> Vec<Fid> {
        let named = self.names().into_iter().map(|named| named.file);
        std::iter::once(ROOT)
            .chain(named.filter(|f| self.get(*f).kind == Kind::Dir))
            .collect()
    }

    /// st_nlink of every file that has a name.
    pub fn links(&self) -> BTreeMap<Fid, u32> {
        let mut links = BTreeMap::from([(ROOT, 2)]);
        for named in self.names() {
            if self.get(named.file).kind == Kind::Dir {
                *links.entry(named.file).or_default() += 2;
                *links.entry(named.dir).or_default() += 1;
            } else {
                *links.entry(named.file).or_default() += 1;
            }
        }
        links
    }

    /// Drops what no name leads to.
    pub fn prune(&mut self) {
        let links = self.links();
        self.files.retain(|file, _| links.contains_key(file));
    }

    pub fn is_below(&self, dir: Fid, above: Fid) -> bool {
        if dir == above {
            return true;
        }
        let children = self.entries(above).values();
        children
            .copied()
            .any(|f| self.get(f).kind == Kind::Dir && self.is_below(dir, f))
    }

    pub fn create(&mut self, fid: Fid, dir: Fid, name: &[u8], mut file: File) -> Posix<()> {
        if name.len() > 255 {
            return Err(libc::ENAMETOOLONG);
        }
        if self.entries(dir).contains_key(name) {
            return Err(libc::EEXIST);
        }
        let parent = self.get(dir);
        if parent.mode & libc::S_ISGID != 0 {
            file.gid = parent.gid;
            if file.kind == Kind::Dir {
                file.mode |= libc::S_ISGID;
            }
        }
        file.touched = super::branches::tick();
        self.files.insert(fid, Arc::new(file));
        self.entries_mut(dir).insert(name.to_vec(), fid);
        Ok(())
    }

    /// unlink(2) and rmdir(2). Returns the file where it was its last name.
    pub fn remove(&mut self, dir: Fid, name: &[u8], want_dir: bool) -> Posix<Option<(Fid, File)>> {
        let file = *self.entries(dir).get(name).ok_or(libc::ENOENT)?;
        match (want_dir, &self.get(file).body) {
            (true, Body::Dir(entries)) if !entries.is_empty() => return Err(libc::ENOTEMPTY),
            (true, Body::Dir(_)) => {}
            (true, _) => return Err(libc::ENOTDIR),
            (false, Body::Dir(_)) => return Err(libc::EISDIR),
            (false, _) => {}
        }
        Ok(self.detach(dir, name, file))
    }

    fn detach(&mut self, dir: Fid, name: &[u8], file: Fid) -> Option<(Fid, File)> {
        self.get_mut(file);
        self.entries_mut(dir).remove(name);
        if self.links().contains_key(&file) {
            return None;
        }
        let gone = self.files.remove(&file).expect("it had a name");
        Some((file, (*gone).clone()))
    }

    pub fn link(&mut self, file: Fid, dir: Fid, name: &[u8]) -> Posix<()> {
        if self.entries(dir).contains_key(name) {
            return Err(libc::EEXIST);
        }
        if self.get(file).kind == Kind::Dir {
            return Err(libc::EPERM);
        }
        self.get_mut(file);
        self.entries_mut(dir).insert(name.to_vec(), file);
        Ok(())
    }

    /// renameat2(2). Returns the file that lost its last name.
    pub fn rename(
        &mut self,
        (dir, name): (Fid, &[u8]),
        (new_dir, new_name): (Fid, &[u8]),
        onto: Onto,
    ) -> Posix<Option<(Fid, File)>> {
        let file = *self.entries(dir).get(name).ok_or(libc::ENOENT)?;
        let target = self.entries(new_dir).get(new_name).copied();
        match (target, onto) {
            (Some(_), Onto::NoReplace) => return Err(libc::EEXIST),
            (None, Onto::Exchange) => return Err(libc::ENOENT),
            (Some(target), _) if target == file => return Ok(None),
            _ => {}
        }
        let is_dir = |tree: &Tree, f: Fid| tree.get(f).kind == Kind::Dir;
        if is_dir(self, file) && self.is_below(new_dir, file) {
            return Err(libc::EINVAL);
        }
        if let (Some(target), Onto::Exchange) = (target, onto) {
            if is_dir(self, target) && self.is_below(dir, target) {
                return Err(libc::EINVAL);
            }
            self.get_mut(file);
            self.get_mut(target);
            self.entries_mut(dir).insert(name.to_vec(), target);
            self.entries_mut(new_dir).insert(new_name.to_vec(), file);
            return Ok(None);
        }
        let mut gone = None;
        if let Some(target) = target {
            match (is_dir(self, file), is_dir(self, target)) {
                (true, false) => return Err(libc::ENOTDIR),
                (false, true) => return Err(libc::EISDIR),
                (true, true) if !self.entries(target).is_empty() => return Err(libc::ENOTEMPTY),
                _ => {}
            }
            gone = self.detach(new_dir, new_name, target);
        }
        self.get_mut(file);
        self.entries_mut(dir).remove(name);
        self.entries_mut(new_dir).insert(new_name.to_vec(), file);
        Ok(gone)
    }
}

/// What pwrite(2) does to bytes.
pub fn write_at(data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if data.len() < at + bytes.len() {
        data.resize(at + bytes.len(), 0);
    }
    data[at..at + bytes.len()].copy_from_slice(bytes);
}
