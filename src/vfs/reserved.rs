//! Reserved files and directories as the kernel sees them: attributes, lookups, listings, reads.
//!
//! The attributes of the files hold for no time and their mtime always moves, so that a reader gets
//! the text as it is when it looks. The text that a look gave the size of is kept for the reads
//! that follow.
//!
//! `@branches` and `@self` are believed until they are invalidated: every path into a branch leads
//! through the first, so it must not cost a request. Whatever adds or takes away a name in
//! `@branches` other than by the kernel's own mkdir, rmdir and rename invalidates it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Inner;
use super::ops::{DirItem, Entry, Errno, FOREVER, Lookup, NodeAttr, OpResult, Sink};
use crate::branch::{Branch, now};
use crate::ctlfs::{Reserved, Texts};
use crate::tree::{Attr, BranchId, FileId, Kind, NodeId};

/// Why somebody looks at a reserved file's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// To find it: the kernel asks again for whatever needs its length.
    Find,
    /// stat(2), or the check of permissions before an open.
    Stat,
    /// After its length or times were set, as `echo >` does before it writes.
    Change,
    /// To read it.
    Read,
}

impl Look {
    /// Whether the length has to be that of the text as it is now. The previews list every change
    /// of a branch, and a commit or an abort, which opens them to write, must not wait for that.
    fn is_exact(self, file: Reserved) -> bool {
        match self {
            Look::Find | Look::Change => false,
            Look::Stat => !matches!(file, Reserved::Commit | Reserved::Abort),
            Look::Read => true,
        }
    }
}

/// Whether what the kernel knows of it stays right until it is told otherwise.
fn is_lasting(file: Reserved) -> bool {
    matches!(file, Reserved::Branches | Reserved::SelfDir)
}

impl Inner {
    /// The branch that a reserved node belongs to.
    pub(super) fn branch_of(&self, node: NodeId) -> OpResult<Arc<Branch>> {
        let branch = self.workspace().by_incarnation(node.incarnation());
        branch.ok_or(Errno(libc::ESTALE))
    }

    /// Who controls a branch: who forked it; of main, whoever owns its root.
    pub(super) fn owner(&self, branch: &Arc<Branch>) -> (u32, u32) {
        if branch.id == BranchId::MAIN
            && let Ok(root) = self.overlay.getattr(self.overlay.root(branch))
        {
            return (root.uid, root.gid);
        }
        let state = branch.state.read();
        (state.meta.uid, state.meta.gid)
    }

    /// The text of a file as it is now, kept for the reads that follow.
    fn new_text(
        &self,
        branch: &Arc<Branch>,
        node: NodeId,
        file: Reserved,
    ) -> OpResult<Arc<Vec<u8>>> {
        let text = Arc::new(self.text(branch, file)?);
        self.texts.keep(node, Arc::clone(&text));
        if file == Reserved::Metrics {
            self.texts.settle_metrics();
        }
        Ok(text)
    }

    fn text(&self, branch: &Arc<Branch>, file: Reserved) -> OpResult<Vec<u8>> {
        let counters = || {
            let mut text = String::new();
            // Writing to a string does not fail.
            let _ = self.config.metrics.write_prometheus(&mut text);
            text
        };
        let texts = Texts {
            overlay: &self.overlay,
            counters: &counters,
            errno: |error| Errno::from(error).0,
            config: &self.config.config,
        };
        texts.render(branch, file).map_err(Errno::from)
    }

    /// The attributes of a reserved file or directory, as it is now. Where the length need not be
    /// exact it is that of the last text, so that whoever reads that one does not see its end
    /// early.
    pub(super) fn reserved_attr(
        &self,
        node: NodeId,
        file: Reserved,
        look: Look,
    ) -> OpResult<NodeAttr> {
        let branch = self.branch_of(node)?;
        let size = match file.kind() {
            Kind::Dir => 0,
            _ if !look.is_exact(file) => self.texts.len_bytes(node),
            _ if file == Reserved::Metrics && self.texts.metrics_are_settled() => {
                self.texts.len_bytes(node)
            }
            _ => self.new_text(&branch, node, file)?.len() as u64,
        };
        let (uid, gid) = self.owner(&branch);
        let mut mode = file.mode();
        if !branch.is_live() {
            mode &= 0o555;
        }
        let mut time = now();
        time.nsec = (self.ticks.fetch_add(1, Ordering::Relaxed) % 1_000_000_000) as u32;
        let attr = Attr {
            kind: file.kind(),
            mode,
            uid,
            gid,
            rdev: 0,
            nlink: links(&branch, file),
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
        };
        let attr_ttl = if is_lasting(file) {
            FOREVER
        } else {
            Duration::ZERO
        };
        Ok(NodeAttr {
            node,
            attr,
            attr_ttl,
        })
    }

    pub(super) fn reserved_entry(&self, node: NodeId, file: Reserved) -> OpResult<Entry> {
        let node = self.reserved_attr(node, file, Look::Find)?;
        let entry_ttl = match file {
            _ if is_lasting(file) => FOREVER,
            // Every open asks for the name, and gets the metrics as they are then.
            Reserved::Metrics => {
                self.texts.unsettle_metrics();
                Duration::ZERO
            }
            _ => super::SHARED_TTL,
        };
        Ok(Entry {
            node,
            entry_ttl,
            generation: 0,
        })
    }

    /// The root of a branch, as an entry of `@branches` or the trash; counts a lookup.
    pub(super) fn branch_entry(&self, branch: &Arc<Branch>) -> OpResult<Entry> {
        let root = self.overlay.root(branch);
        let attr = self.overlay.getattr(root)?;
        self.overlay.looked_up_root(branch, root);
        let ttl = self.ttl(branch);
        let node = NodeAttr {
            node: root,
            attr,
            attr_ttl: ttl,
        };
        Ok(Entry {
            node,
            entry_ttl: ttl,
            generation: 0,
        })
    }

    /// A lookup in a reserved directory.
    pub(super) fn reserved_lookup(
        &self,
        node: NodeId,
        dir: Reserved,
        name: &[u8],
    ) -> OpResult<Lookup> {
        let branch = self.branch_of(node)?;
        let incarnation = node.incarnation();
        let child = match dir {
            Reserved::Branches if name == Reserved::Trash.name().as_bytes() => {
                let trash = Reserved::Trash.node(incarnation);
                return self
                    .reserved_entry(trash, Reserved::Trash)
                    .map(Lookup::Found);
            }
            Reserved::Branches => branch.state.read().children.get(name).copied(),
            Reserved::Trash => branch.state.read().trash.get(name).copied(),
            Reserved::SelfDir => {
                let mut files = Reserved::in_self(branch.id == BranchId::MAIN);
                return match files.find(|file| file.name().as_bytes() == name) {
                    Some(file) => self
                        .reserved_entry(file.node(incarnation), file)
                        .map(Lookup::Found),
                    None => Ok(Lookup::Absent(Duration::ZERO)),
                };
            }
            _ => return Err(Errno(libc::ENOTDIR)),
        };
        match child.and_then(|id| self.workspace().branch(id)) {
            Some(child) => self.branch_entry(&child).map(Lookup::Found),
            None => Ok(Lookup::Absent(Duration::ZERO)),
        }
    }

    /// The names of a reserved directory with their nodes, in the order of their positions.
    fn reserved_names(
        &self,
        node: NodeId,
        dir: Reserved,
    ) -> OpResult<Vec<(Vec<u8>, NodeId, Kind)>> {
        let branch = self.branch_of(node)?;
        let children: Vec<_> = {
            let state = branch.state.read();
            let map = match dir {
                Reserved::Branches => &state.children,
                Reserved::Trash => &state.trash,
                _ => {
                    let files = Reserved::in_self(branch.id == BranchId::MAIN);
                    return Ok(files
                        .map(|file| {
                            let name = file.name().as_bytes().to_vec();
                            (name, file.node(node.incarnation()), Kind::File)
                        })
                        .collect());
                }
            };
            map.iter().map(|(name, id)| (name.to_vec(), *id)).collect()
        };
        let shown = children.into_iter().filter_map(|(name, id)| {
            let child = self.workspace().branch(id)?;
            // A commit that can be taken back is no branch: it is there for those who ask for it.
            let is_branch = !child.state.read().is_commit();
            is_branch.then(|| (name, self.overlay.root(&child), Kind::Dir))
        });
        Ok(shown.collect())
    }

    /// Lists a reserved directory. A name's position is its hash, as in any directory.
    pub(super) fn reserved_list(
        &self,
        node: NodeId,
        dir: Reserved,
        from: u64,
        sink: &mut dyn FnMut(&DirItem<'_>) -> Sink,
    ) -> OpResult<()> {
        let incarnation = node.incarnation();
        let parent = match dir {
            Reserved::Trash => Reserved::Branches.node(incarnation),
            _ => NodeId::new(incarnation, FileId::ROOT),
        };
        for (name, node, next) in [(&b"."[..], node, 1), (b"..", parent, 2)] {
            let item = DirItem {
                name,
                node,
                kind: Kind::Dir,
                next,
            };
            if from < next && sink(&item) == Sink::Full {
                return Ok(());
            }
        }
        let mut names: Vec<_> = self
            .reserved_names(node, dir)?
            .into_iter()
            .map(|(name, node, kind)| {
                let hash = self.workspace().key(FileId::ROOT, &name).hash;
                (hash, name, node, kind)
            })
            .filter(|(hash, ..)| *hash > from)
            .collect();
        names.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        for (next, name, node, kind) in names {
            if sink(&DirItem {
                name: &name,
                node,
                kind,
                next,
            }) == Sink::Full
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads a reserved file: the text that the last look at it gave.
    pub(super) fn reserved_read(
        &self,
        node: NodeId,
        file: Reserved,
        offset: u64,
        len: u32,
        out: &mut Vec<u8>,
    ) -> OpResult<()> {
        let branch = self.branch_of(node)?;
        // With the last word on the length of files, the kernel does not look before it reads.
        let is_look = |text: &[u8]| {
            let grows = matches!(file, Reserved::Events | Reserved::Log);
            self.config.writeback && (offset == 0 || grows && offset >= text.len() as u64)
        };
        let text = match self.texts.read(node).filter(|text| !is_look(text)) {
            Some(text) => text,
            None => self.new_text(&branch, node, file)?,
        };
        let start = text
            .len()
            .min(usize::try_from(offset).unwrap_or(usize::MAX));
        let end = text.len().min(start + len as usize);
        out.extend_from_slice(&text[start..end]);
        Ok(())
    }
}

/// As many as a directory with these subdirectories has.
fn links(branch: &Branch, file: Reserved) -> u32 {
    let state = branch.state.read();
    let inside = match file {
        Reserved::Branches => state.children.len(),
        Reserved::Trash => state.trash.len(),
        _ if file.kind() == Kind::Dir => 0,
        _ => return 1,
    };
    2 + inside as u32
}
