//! The branches of the model: what fork, commit, abort and restore do to whole trees.
//!
//! A commit is compared as a user would judge it: [`Verdict`] says whether it has to be refused,
//! has to be accepted, or may be either because both sides touched the same file in different ways.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use super::tree::{Body, Fid, File, ROOT, Tree};
use crate::tree::Kind;

/// The model's number of a branch; main is 0.
pub type Bid = u32;

static TICKS: AtomicU64 = AtomicU64::new(1);

/// A number that was not there before.
pub fn tick() -> u64 {
    TICKS.fetch_add(1, Ordering::Relaxed)
}

/// One branch.
#[derive(Clone, Debug)]
pub struct Branch {
    pub parent: Option<Bid>,
    pub name: Vec<u8>,
    pub tree: Tree,
    pub fork: Tree,
    pub generation: u64,
    pub fork_generation: u64,
    pub merges: bool,
    /// Whether it is in its parent's trash, under `name`.
    pub ended: bool,
    /// For an entry of the trash that is a commit: `tree` is what the parent was before it, `fork`
    /// what it was after.
    pub taken: Option<Taken>,
}

/// A commit, or an undo.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The name of the branch that was committed.
    pub of: Vec<u8>,
    pub undone: bool,
    /// The higher, the later.
    pub order: u64,
}

impl Taken {
    fn trash_name(&self) -> Vec<u8> {
        let suffix: &[u8] = if self.undone { b"~undone" } else { b"~before" };
        [&self.of[..], suffix].concat()
    }
}

/// Whether a commit is refused for what both sides changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    Accept,
    Either,
    Refuse,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Branches {
    pub all: BTreeMap<Bid, Branch>,
    pub next: Bid,
}

impl Branches {
    pub fn get(&self, id: Bid) -> &Branch {
        &self.all[&id]
    }

    pub fn get_mut(&mut self, id: Bid) -> &mut Branch {
        self.all.get_mut(&id).expect("the model has it")
    }

    /// Whether it and everything above it is live.
    pub fn is_live(&self, id: Bid) -> bool {
        let branch = self.get(id);
        !branch.ended && branch.parent.is_none_or(|parent| self.is_live(parent))
    }

    pub fn live(&self) -> Vec<Bid> {
        self.all
            .keys()
            .copied()
            .filter(|id| self.is_live(*id))
            .collect()
    }

    pub fn children(&self, id: Bid, ended: bool) -> Vec<Bid> {
        let is_child = |b: &Branch| b.parent == Some(id) && b.ended == ended;
        self.all
            .iter()
            .filter(|(_, b)| is_child(b))
            .map(|(id, _)| *id)
            .collect()
    }

    pub fn child(&self, id: Bid, name: &[u8], ended: bool) -> Option<Bid> {
        self.children(id, ended)
            .into_iter()
            .find(|child| self.get(*child).name == name)
    }

    pub fn fork(&mut self, parent: Bid, name: &[u8]) -> Result<Bid, i32> {
        if self.child(parent, name, false).is_some() {
            return Err(libc::EEXIST);
        }
        let from = self.get(parent);
        let branch = Branch {
            parent: Some(parent),
            name: name.to_vec(),
            tree: from.tree.clone(),
            fork: from.tree.clone(),
            generation: 0,
            fork_generation: from.generation,
            merges: from.merges,
            ended: false,
            taken: None,
        };
        self.next += 1;
        self.all.insert(self.next, branch);
        Ok(self.next)
    }

    fn trash_name(&self, parent: Bid, name: &[u8]) -> Vec<u8> {
        let mut free = name.to_vec();
        for n in 2.. {
            if self.child(parent, &free, true).is_none() {
                break;
            }
            free = [name, format!("~{n}").as_bytes()].concat();
        }
        free
    }

    /// Puts a branch and everything live below it into the trash. Returns which.
    pub fn end(&mut self, id: Bid) -> Vec<Bid> {
        let mut ended = Vec::new();
        for child in self.children(id, false) {
            ended.extend(self.end(child));
        }
        let parent = self.get(id).parent.expect("main does not end");
        let name = self.trash_name(parent, &self.get(id).name.clone());
        let branch = self.get_mut(id);
        (branch.name, branch.ended) = (name, true);
        ended.push(id);
        ended
    }

    /// What a commit would come to, apart from what both sides changed.
    pub fn refusal(&self, id: Bid) -> Option<i32> {
        let branch = self.get(id);
        let parent = self.get(branch.parent.expect("main is not committed"));
        if !self.children(id, false).is_empty() {
            return Some(libc::ENOTEMPTY);
        }
        let late = !parent.merges && branch.fork_generation != parent.generation;
        late.then_some(libc::ESTALE)
    }

    /// Commits. Returns the branches that ended by it.
    pub fn commit(&mut self, id: Bid, tree: Tree) -> Vec<Bid> {
        let parent = self.get(id).parent.expect("main is not committed");
        for inner in self.children(id, true) {
            // What is taken back now is this commit, with all that went into it.
            if self
                .get(inner)
                .taken
                .as_ref()
                .is_some_and(|taken| !taken.undone)
            {
                self.expire(inner);
                continue;
            }
            let name = self.trash_name(parent, &self.get(inner).name.clone());
            let inner = self.get_mut(inner);
            (inner.parent, inner.name) = (Some(parent), name);
        }
        let of = self.get(id).name.clone();
        self.get_mut(parent).generation += 1;
        self.take(id, parent, of, false, tree);
        let merges = self.get(parent).merges;
        let mut ended = vec![id];
        if !merges {
            for loser in self.children(parent, false) {
                ended.extend(self.end(loser));
            }
        }
        ended
    }

    /// `id` becomes an entry of the trash of `parent`, whose tree is `after` from now on.
    pub fn take(&mut self, id: Bid, parent: Bid, of: Vec<u8>, undone: bool, after: Tree) {
        let before = std::mem::replace(&mut self.get_mut(parent).tree, after.clone());
        let order = tick();
        let taken = Taken { of, undone, order };
        // Its own name is free before it gets another.
        self.get_mut(id).name.clear();
        let name = self.trash_name(parent, &taken.trash_name());
        let entry = self.get_mut(id);
        (entry.tree, entry.fork) = (before, after);
        (entry.name, entry.ended, entry.taken) = (name, true, Some(taken));
    }

    /// The entry that an undo, or a redo, in a branch is about.
    pub fn last_taken(&self, id: Bid, undone: bool) -> Option<Bid> {
        let order = |entry: &Bid| self.get(*entry).taken.as_ref().map(|taken| taken.order);
        let wanted = |entry: &Bid| {
            let taken = self.get(*entry).taken.as_ref();
            taken.is_some_and(|taken| taken.undone == undone)
        };
        let entries = self.children(id, true).into_iter();
        entries.filter(wanted).max_by_key(order)
    }

    pub fn expire(&mut self, id: Bid) {
        for inner in self.children(id, true) {
            self.expire(inner);
        }
        self.all.remove(&id);
    }
}

/// Three trees: the parent at the fork, the branch now, the parent now.
pub struct Merge<'a> {
    pub fork: &'a Tree,
    pub child: &'a Tree,
    pub parent: &'a Tree,
}

fn touched<'a>(from: &'a Tree, to: &'a Tree) -> impl Iterator<Item = Fid> + 'a {
    let all: BTreeSet<Fid> = from.files.keys().chain(to.files.keys()).copied().collect();
    let version = |tree: &Tree, f: &Fid| tree.files.get(f).map(|f| f.touched);
    all.into_iter()
        .filter(move |f| version(from, f) != version(to, f))
}

fn name_changes(from: &Tree, to: &Tree) -> BTreeMap<(Fid, Vec<u8>), Option<Fid>> {
    let names = |tree: &Tree| -> BTreeMap<(Fid, Vec<u8>), Fid> {
        tree.names()
            .into_iter()
            .map(|n| ((n.dir, n.name), n.file))
            .collect()
    };
    let (was, is) = (names(from), names(to));
    let mut changes: BTreeMap<_, _> = was
        .keys()
        .filter(|k| !is.contains_key(*k))
        .map(|k| (k.clone(), None))
        .collect();
    let new = is.into_iter().filter(|(k, f)| was.get(k) != Some(f));
    changes.extend(new.map(|(k, f)| (k, Some(f))));
    changes
}

impl Merge<'_> {
    /// The tree that an accepted commit leaves the parent with, and whether it may be accepted.
    pub fn run(&self) -> (Tree, Verdict) {
        let unchanged = touched(self.fork, self.parent).next().is_none();
        if unchanged {
            return (self.child.clone(), Verdict::Accept);
        }
        let mut verdict = self.judge();
        let mut merged = self.parent.clone();
        for file in touched(self.fork, self.child) {
            let Some(theirs) = self.child.files.get(&file) else {
                continue;
            };
            match merged.files.get(&file).cloned() {
                Some(ours) if ours.kind == Kind::Dir => {
                    let dir = merged.get_mut(file);
                    dir.mtime = None;
                    let changed = |was: &File| !was.same_but_for_times(theirs);
                    if self.fork.files.get(&file).is_some_and(|was| changed(was)) {
                        (dir.mode, dir.uid, dir.gid) = (theirs.mode, theirs.uid, theirs.gid);
                        dir.xattrs = theirs.xattrs.clone();
                    }
                }
                _ => {
                    let mut new = (**theirs).clone();
                    if let Body::Dir(entries) = &mut new.body {
                        entries.clear();
                    }
                    merged.files.insert(file, new.into());
                }
            }
        }
        for ((dir, name), file) in name_changes(self.fork, self.child) {
            if !merged.files.contains_key(&dir) {
                continue;
            }
            match file {
                Some(file) if merged.files.contains_key(&file) => {
                    merged.entries_mut(dir).insert(name, file);
                }
                Some(_) => verdict = Verdict::Refuse,
                None => drop(merged.entries_mut(dir).remove(&name)),
            }
        }
        if self.breaks(&merged) {
            verdict = Verdict::Refuse;
        }
        merged.prune();
        (merged, verdict)
    }

    /// Whether a directory of a merged tree is no longer in it though something is in
    /// it, or is there twice.
    fn breaks(&self, merged: &Tree) -> bool {
        let mut named: BTreeMap<Fid, usize> = BTreeMap::new();
        let mut todo = vec![ROOT];
        while let Some(dir) = todo.pop() {
            for file in merged.entries(dir).values() {
                let Some(file_is) = merged.files.get(file) else {
                    return true;
                };
                *named.entry(*file).or_default() += 1;
                if file_is.kind == Kind::Dir {
                    if named[file] > 1 {
                        return true;
                    }
                    todo.push(*file);
                }
            }
        }
        let filled = |f: &Fid| match &merged.get(*f).body {
            Body::Dir(entries) => !entries.is_empty() && !named.contains_key(f) && *f != ROOT,
            _ => false,
        };
        if merged.files.keys().any(filled) {
            return true;
        }
        let kept = |tree: &Tree, f: &Fid| tree.files.contains_key(f);
        merged.files.keys().any(|f| {
            let lost = *f != ROOT && !named.contains_key(f);
            lost && (kept(self.child, f) || !kept(self.fork, f)) && kept(self.parent, f)
        })
    }

    /// Whether the parent moved a directory since the fork: after a publish its old place may not
    /// be found for a branch that moved things there too, and then the commit is refused.
    fn parent_moved_dirs(&self) -> bool {
        let changes = name_changes(self.fork, self.parent);
        let is_dir = |f: &Fid| self.fork.files.get(f).is_some_and(|f| f.kind == Kind::Dir);
        changes.values().flatten().any(is_dir)
    }

    fn judge(&self) -> Verdict {
        let mut verdict = match self.parent_moved_dirs() {
            true => Verdict::Either,
            false => Verdict::Accept,
        };
        let theirs: BTreeSet<Fid> = touched(self.fork, self.child).collect();
        for file in touched(self.fork, self.parent).filter(|f| theirs.contains(f)) {
            let was = self.fork.files.get(&file).map(|f| &**f);
            let [a, b] = [self.child, self.parent].map(|t| t.files.get(&file).map(|f| &**f));
            let differs = |a: Option<&File>, b: Option<&File>| match (a, b) {
                (Some(a), Some(b)) => !a.same_but_for_times(b),
                (a, b) => a.is_some() != b.is_some(),
            };
            if differs(was, a) && differs(was, b) && differs(a, b) {
                return Verdict::Refuse;
            }
            if was.is_none_or(|was| was.kind != Kind::Dir) || differs(was, a) || differs(was, b) {
                verdict = Verdict::Either;
            }
        }
        let ours = name_changes(self.fork, self.parent);
        for (key, file) in name_changes(self.fork, self.child) {
            match ours.get(&key) {
                Some(other) if *other != file => return Verdict::Refuse,
                Some(_) => verdict = Verdict::Either,
                None => {}
            }
        }
        verdict
    }
}
