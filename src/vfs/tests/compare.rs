//! Looking at everything a user can see, and comparing it with the model.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::branches::Bid;
use super::kernel::{CRED, Did};
use super::tree::{Body, Fid, File, ROOT, Tree};
use super::world::{Checked, World, show};
use crate::tree::{Attr, Kind, NodeId, Time};
use crate::vfs::ops::{Ops, Outcome, Sink};

/// How a directory is listed.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    /// Names per call.
    pub chunk: usize,
    /// With attributes.
    pub plus: bool,
}

impl World {
    /// Compares every branch, those in the trash too.
    pub fn compare_all(&mut self, listing: Listing) -> Checked {
        let all: Vec<Bid> = self.model.all.keys().copied().collect();
        for branch in all {
            let done = self.compare(branch, listing);
            done.map_err(|e| format!("in branch {}: {e}", show(&self.root_path(branch))))?;
            self.compare_diff(branch)?;
        }
        self.recount_usage()?;
        self.read_open()
    }

    /// What branches count against their limits is what they hold.
    fn recount_usage(&self) -> Checked {
        for branch in self.vfs().workspace().branches() {
            let state = branch.state.read();
            let (kept, counted) = (state.usage, state.counted_usage());
            if kept != counted {
                let name = state.meta.name.escape_ascii();
                return Err(format!("{name} counts {kept:?} and holds {counted:?}"));
            }
        }
        Ok(())
    }

    /// Compares one branch's whole tree.
    pub fn compare(&mut self, branch: Bid, listing: Listing) -> Checked {
        let tree = self.model.get(branch).tree.clone();
        let links = tree.links();
        let mut nodes: BTreeMap<Fid, NodeId> = BTreeMap::new();
        for dir in tree.dirs() {
            let at = self.dir(branch, dir)?;
            let path = show(&tree.path_of_dir(dir).unwrap_or_default());
            let listed = self
                .list(at, listing)
                .map_err(|e| format!("listing {path}: {e}"))?;
            let expected: BTreeSet<&Vec<u8>> = tree.entries(dir).keys().collect();
            let seen: BTreeSet<&Vec<u8>> = listed.keys().collect();
            if seen != expected {
                let names = |s: &BTreeSet<&Vec<u8>>| {
                    show(&s.iter().map(|n| (*n).clone()).collect::<Vec<_>>())
                };
                let (seen, expected) = (names(&seen), names(&expected));
                return Err(format!("{path} lists {seen}, the model has {expected}"));
            }
            for (name, file) in tree.entries(dir) {
                let dentry = self.find(branch, dir, name)?;
                let node = self.kernel.node(dentry);
                let path = format!("{path}/{}", name.escape_ascii());
                let (shown, kind) = listed[name];
                if shown != node || kind != tree.get(*file).kind {
                    return Err(format!("{path} is {node:?}, listed as {shown:?} {kind:?}"));
                }
                if *nodes.entry(*file).or_insert(node) != node {
                    return Err(format!("two names of one file differ at {path}"));
                }
                self.same_id(*file, node)
                    .map_err(|e| format!("{path}: {e}"))?;
                let done = self.compare_file(branch, *file, node, links[file]);
                done.map_err(|e| format!("{path} ({node:?}): {e}"))?;
            }
        }
        let distinct: BTreeSet<NodeId> = nodes.values().copied().collect();
        if distinct.len() != nodes.len() {
            return Err("two files share a node".into());
        }
        let root = self.dir(branch, ROOT)?;
        self.compare_file(branch, ROOT, self.kernel.node(root), 0)
    }

    /// A file has one id in every branch and as long as it is in any.
    fn same_id(&mut self, file: Fid, node: NodeId) -> Checked {
        // After a kill the number of a file that is nowhere any more may go to another one.
        let model = &self.model;
        let trees = model.all.values().flat_map(|b| [&b.tree, &b.fork]);
        let old = self.named.get(&node.file()).copied();
        if old.is_some_and(|old| !trees.into_iter().any(|tree| tree.files.contains_key(&old))) {
            self.named.remove(&node.file());
        }
        let id = *self.ids.entry(file).or_insert(node.file());
        let back = *self.named.entry(node.file()).or_insert(file);
        match id == node.file() && back == file {
            true => Ok(()),
            false => Err(format!("its id was {id:?} and is {:?}", node.file())),
        }
    }

    fn compare_file(&mut self, branch: Bid, file: Fid, node: NodeId, links: u32) -> Checked {
        let model = self.model.get(branch).tree.get(file).clone();
        let attr = self
            .vfs()
            .getattr(&CRED, node, true)
            .and_then(Outcome::wait)
            .map_err(|e| format!("getattr: {e:?}"))?
            .attr;
        if links > 0 && attr.nlink != links {
            return Err(format!("nlink {} instead of {links}", attr.nlink));
        }
        self.compare_content(node, &model, &attr)?;
        if model.mtime.is_none() {
            let tree = &mut self.model.get_mut(branch).tree;
            let file = tree.files.get_mut(&file).expect("the model has it");
            std::sync::Arc::make_mut(file).mtime = Some(attr.mtime);
        }
        Ok(())
    }

    pub fn compare_content(&self, node: NodeId, model: &File, attr: &Attr) -> Checked {
        let vfs = self.vfs();
        let shown = (attr.kind, attr.mode, attr.uid, attr.gid);
        let expected = (model.kind, model.mode, model.uid, model.gid);
        if shown != expected {
            return Err(format!("{} instead of {}", words(shown), words(expected)));
        }
        if model.kind != Kind::Dir && attr.size != model.size() as u64 {
            return Err(format!("{} bytes instead of {}", attr.size, model.size()));
        }
        if model.mtime.is_some_and(|mtime| mtime != attr.mtime) {
            return Err(format!(
                "mtime {:?} instead of {:?}",
                attr.mtime, model.mtime
            ));
        }
        match &model.body {
            Body::Data(data) => {
                let mut bytes = Vec::new();
                let read = vfs.read(node, 0, data.len() as u32 + 100, &mut bytes);
                read.map_err(|e| format!("read: {e:?}"))?;
                same_bytes(&bytes, data)?;
            }
            Body::Link(target) => {
                let got = vfs.readlink(node).map_err(|e| format!("readlink: {e:?}"))?;
                if got != *target {
                    return Err(format!("links to {}", got.escape_ascii()));
                }
            }
            _ => {}
        }
        let list = vfs
            .listxattr(&CRED, node)
            .map_err(|e| format!("listxattr: {e:?}"))?;
        let mut xattrs = BTreeMap::new();
        for name in list.split(|b| *b == 0).filter(|name| !name.is_empty()) {
            let value = vfs
                .getxattr(&CRED, node, name)
                .map_err(|e| format!("getxattr: {e:?}"))?;
            xattrs.insert(name.to_vec(), value);
        }
        match xattrs == model.xattrs {
            true => Ok(()),
            false => Err(format!("xattrs {xattrs:?} instead of {:?}", model.xattrs)),
        }
    }

    /// Lists a directory in pieces.
    pub fn list(
        &mut self,
        dir: Did,
        listing: Listing,
    ) -> Checked<BTreeMap<Vec<u8>, (NodeId, Kind)>> {
        let (vfs, node) = (self.vfs(), self.kernel.node(dir));
        let mut names = BTreeMap::new();
        let (mut from, mut dots) = (0, 0);
        loop {
            let mut got = Vec::new();
            let mut entries = Vec::new();
            let mut take = |item: &crate::vfs::ops::DirItem<'_>| {
                if got.len() == listing.chunk {
                    return Sink::Full;
                }
                got.push((item.name.to_vec(), item.node, item.kind, item.next));
                Sink::Taken
            };
            let done = match listing.plus {
                false => vfs.readdir(&CRED, node, from, &mut take),
                true => vfs.readdirplus(&CRED, node, from, &mut |item, entry| {
                    let took = take(item);
                    if took == Sink::Taken && item.name != b"." && item.name != b".." {
                        entries.push((item.name.to_vec(), *entry));
                    }
                    took
                }),
            };
            done.map_err(|errno| format!("errno {}", errno.0))?;
            for (name, entry) in entries {
                self.kernel.instantiate_listed(&vfs, dir, &name, &entry);
            }
            let Some((.., next)) = got.last() else { break };
            from = *next;
            for (name, node, kind, _) in got {
                if name == b"." || name == b".." {
                    dots += 1;
                } else if names.insert(name.clone(), (node, kind)).is_some() {
                    return Err(format!("{} is listed twice", name.escape_ascii()));
                }
            }
        }
        match dots {
            2 => Ok(names),
            _ => Err(format!("{dots} dots are listed")),
        }
    }

    /// Reads every open node.
    pub fn read_open(&mut self) -> Checked {
        let open: Vec<_> = self
            .open
            .iter()
            .map(|(node, open)| (*node, open.clone()))
            .collect();
        for (node, opened) in open {
            let got = self
                .vfs()
                .getattr(&CRED, node, true)
                .and_then(Outcome::wait);
            let model = match (&opened.orphan, opened.file) {
                _ if opened.dead => {
                    let mut bytes = Vec::new();
                    let read = self.vfs().read(node, 0, 1, &mut bytes);
                    if got.is_ok() || read != Err(crate::vfs::ops::Errno(libc::ESTALE)) {
                        return Err(format!("{node:?} of an ended branch answers {read:?}"));
                    }
                    continue;
                }
                (Some(orphan), _) => orphan.clone(),
                (None, Some(file)) => self.model.get(opened.branch).tree.get(file).clone(),
                (None, None) => continue,
            };
            let attr = got
                .map_err(|e| format!("open {node:?}: getattr: {e:?}"))?
                .attr;
            let done = self.compare_content(node, &model, &attr);
            done.map_err(|e| format!("open {node:?} {:?}: {e}", opened.file))?;
            if opened.orphan.is_some() && attr.nlink != 0 {
                return Err(format!("orphan {node:?} has {} links", attr.nlink));
            }
        }
        Ok(())
    }

    /// Compares the real base with the model's main.
    pub fn compare_base(&mut self, unmounted: bool) -> Checked {
        let tree = self.model.get(0).tree.clone();
        let links = tree.links();
        let mut inodes: BTreeMap<Fid, u64> = BTreeMap::new();
        let mut todo = vec![(self.base(), ROOT)];
        while let Some((path, dir)) = todo.pop() {
            let mut expected = tree.entries(dir).clone();
            for entry in std::fs::read_dir(&path).map_err(|e| format!("{path:?}: {e}"))? {
                let entry = entry.map_err(|e| e.to_string())?;
                let name = entry.file_name();
                if dir == ROOT && name == ".branchfs" {
                    continue;
                }
                let Some(file) = expected.remove(name.as_bytes()) else {
                    return Err(format!("the base has {:?}, main has not", entry.path()));
                };
                let at = |e: String| format!("in the base, {:?}: {e}", entry.path());
                let (is, meta) = read_base(&entry.path());
                compare_files(&is, tree.get(file)).map_err(at)?;
                // While it is mounted, names that branches see or saw are kept in the store.
                let (nlink, model) = (meta.nlink(), u64::from(links[&file]));
                if nlink < model || (nlink > model && unmounted && self.model.all.len() == 1) {
                    return Err(at(format!("{} links, not {}", meta.nlink(), links[&file])));
                }
                if *inodes.entry(file).or_insert(meta.ino()) != meta.ino() {
                    return Err(at("is not the same file as its other name".into()));
                }
                if is.kind == Kind::Dir {
                    todo.push((entry.path(), file));
                }
            }
            if let Some(name) = expected.keys().next() {
                return Err(format!("the base lacks {path:?}/{}", name.escape_ascii()));
            }
        }
        Ok(())
    }

    /// Applies what the branch's diff says to its fork: that has to make its tree.
    pub fn compare_diff(&mut self, id: Bid) -> Checked {
        let branch = self.model.get(id);
        if id == 0 || !self.model.is_live(id) {
            return Ok(());
        }
        let vfs = self.vfs();
        let mut at = vfs.workspace().main();
        for name in self
            .root_path(id)
            .iter()
            .filter(|name| *name != b"@branches")
        {
            let child = at.state.read().children.get(&name[..]).copied();
            at = child
                .and_then(|id| vfs.workspace().branch(id))
                .ok_or("no such branch")?;
        }
        let state = at.state.read();
        let diff = vfs.workspace().diff(&state.fork_view, &state.view);
        let diff = diff.map_err(|e| format!("diff: {e}"))?;
        let done = super::diff::apply(&branch.fork, &branch.tree, &diff);
        done.map_err(|e| format!("diff of {}: {e} in {diff:?}", show(&self.root_path(id))))
    }
}

fn words((kind, mode, uid, gid): (Kind, u32, u32, u32)) -> String {
    format!("{kind:?} {mode:o} {uid}:{gid}")
}

fn same_bytes(got: &[u8], expected: &[u8]) -> Checked {
    if got == expected {
        return Ok(());
    }
    let at = got.iter().zip(expected).position(|(a, b)| a != b);
    let (len, want) = (got.len(), expected.len());
    Err(format!(
        "content differs at {at:?} of {len} bytes, {want} expected"
    ))
}

fn compare_files(is: &File, expected: &File) -> Checked {
    let own = |f: &File| words((f.kind, f.mode, f.uid, f.gid));
    if own(is) != own(expected) {
        return Err(format!("{} instead of {}", own(is), own(expected)));
    }
    if expected.mtime.is_some_and(|mtime| Some(mtime) != is.mtime) {
        return Err(format!(
            "mtime {:?} instead of {:?}",
            is.mtime, expected.mtime
        ));
    }
    if is.xattrs != expected.xattrs {
        return Err(format!(
            "xattrs {:?} instead of {:?}",
            is.xattrs, expected.xattrs
        ));
    }
    match (&is.body, &expected.body) {
        (Body::Data(is), Body::Data(expected)) => same_bytes(is, expected),
        (Body::Link(is), Body::Link(expected)) if is != expected => Err("another target".into()),
        _ => Ok(()),
    }
}

/// A file of the real base; a directory without its entries.
pub fn read_base(path: &Path) -> (File, std::fs::Metadata) {
    let meta = path.symlink_metadata().expect("it was just listed");
    let kind = Kind::from_mode(meta.mode()).expect("a type of Linux");
    let mut file = File::new(kind, meta.mode() & 0o7777);
    (file.uid, file.gid) = (meta.uid(), meta.gid());
    file.mtime = Some(Time {
        sec: meta.mtime(),
        nsec: meta.mtime_nsec() as u32,
    });
    match &mut file.body {
        Body::Data(data) => *data = std::fs::read(path).expect("it is readable").into(),
        Body::Link(link) => {
            *link = std::fs::read_link(path)
                .expect("a link")
                .as_os_str()
                .as_bytes()
                .to_vec();
        }
        _ => {}
    }
    let mut list = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut list[..]).expect("xattrs are listed");
    for name in list[..len]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 65536];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("it was listed");
        file.xattrs.insert(name.to_vec(), value[..len].to_vec());
    }
    (file, meta)
}

/// The path of every file of a tree.
pub fn paths(tree: &Tree) -> BTreeMap<Vec<u8>, Fid> {
    let mut paths = BTreeMap::new();
    let mut todo = vec![(Vec::new(), ROOT)];
    while let Some((path, dir)) = todo.pop() {
        for (name, file) in tree.entries(dir) {
            let path = crate::branch::join(&path, name);
            if tree.get(*file).kind == Kind::Dir {
                todo.push((path.clone(), *file));
            }
            paths.insert(path, *file);
        }
    }
    paths
}
