//! Commit: a branch's changes go into its parent as one step, the first winner's siblings are lost.
//!
//! The decision is taken and the tables are changed under the parent's and the branch's lock, after
//! one small record is in the journal. Where the parent is still as it was at the fork, which is
//! the usual case, its view becomes a clone of the branch's: O(1), whatever the branch changed.
//! Else the changes are merged (see `merge`), and any path that both sides changed refuses the
//! whole commit.

use std::sync::Arc;

use super::end::require_childless;
use super::history::Names;
use super::table::TrashNumbers;
use super::{
    Branch, BranchError, BranchMeta, End, PathChange, Policy, Record, State, What, Workspace, clock,
};
use crate::sys::failpoint;
use crate::tree::{BranchId, Change, FileId, Kind, Name, View, parts};

/// A branch that has just ended: everything that the kernel knows of it is stale.
#[derive(Clone)]
pub struct DeadTree {
    /// The branch.
    pub branch: Arc<Branch>,
    /// The incarnation that its files had.
    pub incarnation: u32,
    /// The branch whose `@branches` had it.
    pub parent: Arc<Branch>,
    /// The name that it had there.
    pub name: Name,
}

/// What a commit changed in the branch that took it.
#[derive(Clone)]
pub struct Changed {
    /// That branch.
    pub branch: Arc<Branch>,
    /// Names that show another file now, or none.
    pub names: Vec<(FileId, Name)>,
    /// Files that another version has replaced.
    pub replaced: Vec<FileId>,
    /// Directories whose entries or attributes changed.
    pub dirs: Vec<FileId>,
}

/// What the kernel has to be told after an operation.
#[derive(Clone, Default)]
pub struct Effects {
    /// Branches that ended.
    pub dead: Vec<DeadTree>,
    /// The branch that changed under its users.
    pub changed: Option<Changed>,
}

/// What a commit would do.
pub struct Preview {
    /// The paths that it would change.
    pub changes: Vec<PathChange>,
    /// The paths that both sides changed.
    pub conflicts: Vec<Vec<u8>>,
    /// Why it would be refused.
    pub refusal: Option<BranchError>,
    /// The siblings that it would beat.
    pub losers: Vec<Name>,
}

impl Workspace {
    /// What committing `branch` now would do. Changes nothing.
    pub fn preview(&self, branch: &Arc<Branch>) -> Result<Preview, BranchError> {
        let _running = self.begin();
        let parent = self.parent_of(branch, "committed")?;
        let parent = parent.state.read();
        let state = branch.state.read();
        let changes = self.diff(&state.fork_view, &state.view)?;
        let merge = self.merge(&parent, &state)?;
        let refusal = refuse(&parent, &state)
            .err()
            .or_else(|| merge.refusal(&state.meta.name));
        let losers = losers(&parent, branch.id);
        Ok(Preview {
            changes,
            conflicts: merge.conflicts,
            refusal,
            losers: losers.map(|(name, _)| name.clone()).collect(),
        })
    }

    /// What [`Workspace::commit`] would make stale in the parent if it were called now.
    pub fn affected(&self, branch: &Arc<Branch>) -> Result<Changed, BranchError> {
        let _running = self.begin();
        let parent = self.parent_of(branch, "committed")?;
        let state = branch.state.read();
        Ok(changed(&parent, &state.fork_view, &state.view))
    }

    /// Whether the base still is what `branch`, a child of main, and main itself take it for where
    /// they would change it. Fails with `BaseChanged`.
    ///
    /// A branch that could not be committed anyway is refused for that, as [`Workspace::commit`]
    /// would.
    pub fn check_base(&self, branch: &Arc<Branch>) -> Result<(), BranchError> {
        refuse(&self.main().state.read(), &branch.state.read())?;
        let (fork_view, view) = {
            let state = branch.state.read();
            (state.fork_view.clone(), state.view.clone())
        };
        self.check_base_between(&fork_view, &view)
    }

    /// The same for what changes from `old` to `new`.
    pub(super) fn check_base_between(&self, old: &View, new: &View) -> Result<(), BranchError> {
        self.base.distrust();
        let mut paths = Vec::new();
        let main = self.main().state.read().view.clone();
        self.changed_behind(&View::on(main.base_version), &main, &mut paths)?;
        self.changed_behind(old, new, &mut paths)?;
        paths.sort();
        paths.dedup();
        match paths.is_empty() {
            true => Ok(()),
            false => Err(BranchError::BaseChanged { paths }),
        }
    }

    /// Adds the base paths that what changed from `old` to `new` replaces, and that are no longer
    /// what they were when it did.
    fn changed_behind(
        &self,
        old: &View,
        new: &View,
        paths: &mut Vec<Vec<u8>>,
    ) -> Result<(), BranchError> {
        let mut check = |path: &[u8], stamp: Option<u64>, gone| -> Result<(), BranchError> {
            // What a publish has replaced since is the merge's to judge.
            let Some(now) = self.base.current_path(new.base_version, path)? else {
                return Ok(());
            };
            // In the version of the view: that a publish set its attributes is no change behind us.
            let found = self.base.lookup(new.base_version, path)?;
            let is_dir = found.is_some_and(|found| found.attr.kind == Kind::Dir);
            let changed = match (found.map(|found| found.stamp.0), stamp) {
                (found, stamp) if found == stamp => false,
                (Some(_), Some(tree)) if is_dir && gone => {
                    self.base.tree_stamp(new.base_version, path)? != tree
                }
                (Some(_), Some(_)) => !is_dir,
                _ => true,
            };
            if changed {
                paths.push(now);
            }
            Ok(())
        };
        for (_, _, inode) in old.diff_inodes(new) {
            if let Some(origin) = inode.and_then(|inode| inode.origin.as_ref()) {
                check(&origin.path, Some(origin.stamp), false)?;
            }
        }
        for (key, _, dentry) in old.diff_dentries(new) {
            let dir = super::resolve::origin_of(new, old, key.dir);
            if let (Some(dir), Some(dentry)) = (dir, dentry) {
                check(&super::resolve::join(dir, &key.name), dentry.hides, true)?;
            }
        }
        Ok(())
    }

    /// Commits a live branch into its parent. That is durable after the next
    /// [`Workspace::make_durable`], or publish that has something to do.
    ///
    /// `orphan` is called for each file of the parent that the commit replaces or removes, with the
    /// parent's state as it still is and the view that takes its place. Fails with `Ended`,
    /// `HasChildren`, `LateCommit` or `Conflict`, and has changed nothing then.
    pub fn commit(
        &self,
        branch: &Arc<Branch>,
        orphan: &mut dyn FnMut(&State, &Changed, &View),
    ) -> Result<Effects, BranchError> {
        let names = self.names_of(branch);
        let done = self.decide(branch, orphan);
        match &done {
            Ok(effects) => {
                self.note_commit(branch, names, effects);
            }
            Err(BranchError::Conflict { paths, .. } | BranchError::BaseChanged { paths }) => {
                self.happened(
                    What::Conflict {
                        paths: paths.clone(),
                    },
                    names,
                    branch.id,
                );
            }
            Err(_) => {}
        }
        done
    }

    /// Journals what a merge found, for the record that is to follow.
    pub(super) fn log_parts(
        &self,
        branch: BranchId,
        changes: &[Change],
    ) -> Result<(), BranchError> {
        self.log(&Record::CommitPart {
            branch,
            changes: Vec::new(),
        })?;
        parts(changes.iter().cloned())
            .into_iter()
            .try_for_each(|changes| self.log(&Record::CommitPart { branch, changes }))
    }

    fn note_commit(&self, branch: &Branch, winner: Names, effects: &Effects) {
        let Some(changed) = &effects.changed else {
            return;
        };
        let generation = changed.branch.state.read().meta.generation;
        let paths = (changed.names.len().max(changed.replaced.len())) as u64;
        self.happened(
            What::Commit { generation, paths },
            winner.clone(),
            branch.id,
        );
        for dead in &effects.dead {
            if dead.branch.id != branch.id {
                let lost = What::Lost {
                    winner: winner.clone(),
                };
                self.happened(lost, self.names_of(&dead.branch), dead.branch.id);
            }
        }
    }

    fn decide(
        &self,
        branch: &Arc<Branch>,
        orphan: &mut dyn FnMut(&State, &Changed, &View),
    ) -> Result<Effects, BranchError> {
        let _running = self.begin();
        let _family = self.family.lock();
        let parent = self.parent_of(branch, "committed")?;
        let mut parent_state = parent.state.write();
        let mut state = branch.state.write();
        self.check_frozen(parent.id)?;
        refuse(&parent_state, &state)?;
        let merge = self.merge(&parent_state, &state)?;
        if let Some(refusal) = merge.refusal(&state.meta.name) {
            return Err(refusal);
        }
        let mut trash_incarnations = Vec::new();
        let beaten = self
            .table
            .some(losers(&parent_state, branch.id).map(|(_, id)| *id));
        for sibling in &beaten {
            trash_incarnations.extend(self.trash_numbers(sibling)?);
        }
        let incarnation = self.number()?;
        let time = clock::now();
        if let Some(changes) = &merge.changes {
            self.log_parts(branch.id, changes)?;
        }
        let kept = match self.options.trash.is_zero() {
            true => None,
            false => Some((self.number()?, time)),
        };
        if let Some((number, _)) = kept {
            trash_incarnations.push((branch.id, number));
            self.renew_epoch(parent.id, &mut parent_state)?;
        }
        failpoint::reach("commit-decided");
        self.log(&Record::Commit {
            branch: branch.id,
            merged: merge.changes.is_some(),
            incarnation,
            trash_incarnations: trash_incarnations.clone(),
            time,
        })?;
        failpoint::reach("commit-recorded");
        let changed = changed(&parent, &state.fork_view, &state.view);
        let next = merge.result(&parent_state.view, &state.view);
        orphan(&parent_state, &changed, &next);
        let dead = self.table.committed(
            (&parent, &mut parent_state),
            (branch, &mut state),
            merge.changes.as_deref(),
            (incarnation, &changed.replaced),
            kept,
        );
        drop(state);
        drop(parent_state);
        let mut effects = Effects {
            dead: vec![dead],
            changed: Some(changed),
        };
        let numbers: TrashNumbers = trash_incarnations.into_iter().collect();
        for sibling in &beaten {
            self.table
                .end_tree(&parent, sibling, (End::Lost, time), &numbers, &mut effects);
        }
        Ok(effects)
    }
}

/// The children of a branch that a commit of `winner` ends.
pub(super) fn losers(parent: &State, winner: BranchId) -> impl Iterator<Item = (&Name, &BranchId)> {
    let first_winner = parent.meta.policy == Policy::FirstWinner;
    parent
        .children
        .iter()
        .filter(move |(_, id)| first_winner && **id != winner)
}

fn refuse(parent: &State, state: &State) -> Result<(), BranchError> {
    require_childless(state)?;
    if parent.ended.is_some() {
        return Err(BranchError::Ended {
            name: parent.meta.name.clone(),
        });
    }
    let BranchMeta {
        name,
        fork_generation,
        ..
    } = &state.meta;
    if parent.meta.policy == Policy::FirstWinner && *fork_generation != parent.meta.generation {
        return Err(BranchError::LateCommit { name: name.clone() });
    }
    Ok(())
}

/// What of `parent` is stale once the difference between two views of a child has gone into it.
pub(super) fn changed(parent: &Arc<Branch>, fork_view: &View, view: &View) -> Changed {
    let names = fork_view
        .diff_dentries(view)
        .map(|(key, _, _)| (key.dir, key.name.clone()));
    let mut replaced = Vec::new();
    let mut dirs = Vec::new();
    for (file, was, is) in fork_view.diff_inodes(view) {
        let existed = was.is_some() || is.is_some_and(|inode| inode.origin.is_some());
        match is.or(was) {
            Some(inode) if inode.is_dir() => dirs.push(file),
            Some(_) if existed => replaced.push(file),
            _ => {}
        }
    }
    Changed {
        branch: parent.clone(),
        names: names.collect(),
        replaced,
        dirs,
    }
}
