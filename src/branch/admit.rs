//! Whether a record can follow those before it.
//!
//! Replay does what operations did, by the same code, and that code relies on what an operation has
//! looked at before: that a branch is live, that a name is free, that every number is there. A
//! record whose checksum is right can break that only if somebody made it so: a store may come from
//! anywhere, in an archive or a clone. So each record is held against the table first, and one that
//! does not fit is an error that says where.
//!
//! **Invariant**: after this a replayed record neither panics nor waits for a lock that it holds
//! itself. A parent's number is below its children's, so no branch is its own ancestor.

use std::sync::Arc;

use super::recover::Replay;
use super::table::TrashNumbers;
use super::{Branch, BranchError, BranchMeta, Record};
use crate::tree::{BranchId, Change};

impl Replay {
    /// Checks `record` against what the records before it have led to. Changes nothing.
    pub(super) fn admit(&self, lsn: u64, record: &Record) -> Result<(), BranchError> {
        let fits = |holds: bool, what| match holds {
            true => Ok(()),
            false => Err(BranchError::Misfit { lsn, what }),
        };
        match record {
            Record::Fork { meta, .. } => {
                let parent = self.new_branch(lsn, meta)?;
                let parent = parent.ok_or(BranchError::Misfit {
                    lsn,
                    what: "a fork of nothing",
                })?;
                let parent = parent.state.read();
                let free = parent.ended.is_none() && !parent.children.contains_key(&meta.name);
                fits(free, "a fork without a place")
            }
            Record::Branch { meta, ended, .. } => {
                let parent = self.new_branch(lsn, meta)?;
                fits(parent.is_some() || ended.is_none(), "main has ended")
            }
            Record::Commit {
                branch,
                trash_incarnations,
                ..
            } => {
                let (parent, branch) = self.child(lsn, *branch, true)?;
                let childless = branch.state.read().children.is_empty();
                fits(childless, "a commit of a branch with branches")?;
                let numbers: TrashNumbers = trash_incarnations.iter().copied().collect();
                let siblings = parent.state.read().children.clone();
                let beaten = siblings.values().filter(|id| numbers.contains_key(id));
                let all = self.table.some(beaten.copied());
                let all = all
                    .iter()
                    .all(|sibling| self.has_numbers(sibling, &numbers));
                fits(all, "a lost branch without a number")
            }
            Record::Abort {
                branch,
                trash_incarnations,
                ..
            } => {
                let (_, branch) = self.child(lsn, *branch, true)?;
                let numbers: TrashNumbers = trash_incarnations.iter().copied().collect();
                let all = self.has_numbers(&branch, &numbers);
                fits(all, "an aborted branch without a number")
            }
            Record::Restore { branch, name, .. } => {
                let (parent, branch) = self.child(lsn, *branch, false)?;
                let free = !parent.state.read().children.contains_key(name);
                let is_branch = !branch.state.read().is_commit();
                fits(free && is_branch, "a branch restored over another")
            }
            Record::Undo { entry, .. } => {
                let (_, entry) = self.child(lsn, *entry, false)?;
                let is_commit = entry.state.read().is_commit();
                fits(is_commit, "an undo of no commit")
            }
            Record::Expire { branch } => self.child(lsn, *branch, false).map(|_| ()),
            Record::Rename { branch, name } => {
                let (parent, _) = self.child(lsn, *branch, true)?;
                let free = !parent.state.read().children.contains_key(name);
                fits(free, "a branch renamed over another")
            }
            Record::Set { changes, .. }
            | Record::CommitPart { changes, .. }
            | Record::ViewPart { changes, .. } => fits(
                changes.iter().all(Change::is_sound),
                "a file that cannot be",
            ),
            _ => Ok(()),
        }
    }

    /// The parent of a branch that a record makes; `None` for main.
    fn new_branch(&self, lsn: u64, meta: &BranchMeta) -> Result<Option<Arc<Branch>>, BranchError> {
        let misfit = |what| BranchError::Misfit { lsn, what };
        if self.table.branch(meta.id).is_some() {
            return Err(misfit("a branch that exists"));
        }
        match meta.parent {
            None if meta.id == BranchId::MAIN => Ok(None),
            Some(parent) if parent < meta.id && meta.id != BranchId::MAIN => {
                self.branch(lsn, parent).map(Some)
            }
            _ => Err(misfit("a branch that is no child of an older one")),
        }
    }

    /// A branch other than main that is live, or not, and its parent.
    fn child(
        &self,
        lsn: u64,
        id: BranchId,
        live: bool,
    ) -> Result<(Arc<Branch>, Arc<Branch>), BranchError> {
        let branch = self.branch(lsn, id)?;
        let (parent, is_live) = {
            let state = branch.state.read();
            (state.meta.parent, state.ended.is_none())
        };
        match parent {
            Some(parent) if is_live == live => Ok((self.branch(lsn, parent)?, branch)),
            _ => Err(BranchError::Misfit {
                lsn,
                what: "a branch that cannot be meant",
            }),
        }
    }

    /// Whether a branch and all live ones below it have a number for the trash.
    fn has_numbers(&self, branch: &Arc<Branch>, numbers: &TrashNumbers) -> bool {
        let mut todo = vec![branch.clone()];
        while let Some(branch) = todo.pop() {
            if !numbers.contains_key(&branch.id) {
                return false;
            }
            let children = branch.state.read().children.clone();
            todo.extend(self.table.some(children.into_values()));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::{End, Ending, Limits, Policy};
    use super::*;
    use crate::tree::{DentryKey, FileId, Time};

    const LIVE: BranchId = BranchId(5);
    const ENDED: BranchId = BranchId(6);

    fn meta(id: u32, parent: Option<u32>) -> BranchMeta {
        BranchMeta {
            id: BranchId(id),
            parent: parent.map(BranchId),
            name: format!("n{id}").into_bytes().into(),
            uid: 0,
            gid: 0,
            created: Time::default(),
            policy: Policy::FirstWinner,
            generation: 0,
            fork_generation: 0,
            epoch: 1,
            incarnation: id,
            limits: Limits::default(),
            note: Box::default(),
        }
    }

    fn branch(id: u32, parent: Option<u32>, ended: bool) -> Record {
        let ending = Ending {
            end: End::Aborted,
            time: Time::default(),
            incarnation: 100 + id,
        };
        Record::Branch {
            meta: Box::new(meta(id, parent)),
            view: 0,
            fork_view: 0,
            ended: ended.then_some(ending),
            trash_name: ended.then(|| format!("n{id}").into_bytes().into()),
        }
    }

    fn fork(id: u32, parent: Option<u32>) -> Record {
        Record::Fork {
            meta: Box::new(meta(id, parent)),
            parent_epoch: u64::MAX,
        }
    }

    /// main, a live branch with a child, and one in the trash.
    fn replay() -> Replay {
        let mut replay = Replay::new();
        let start = Record::ViewStart {
            view: 0,
            from: None,
            base_version: 0,
        };
        let branches = [
            branch(0, None, false),
            branch(LIVE.0, Some(0), false),
            branch(ENDED.0, Some(0), true),
            branch(7, Some(LIVE.0), false),
        ];
        for record in [start].into_iter().chain(branches) {
            replay.record(1, record).expect("a world");
        }
        replay
    }

    #[track_caller]
    fn misfits(record: Record) {
        match replay().record(2, record) {
            Err(BranchError::Misfit { lsn: 2, .. } | BranchError::Dangling { lsn: 2, .. }) => {}
            other => panic!("{other:?}"),
        }
    }

    fn abort(id: BranchId, numbers: &[u32]) -> Record {
        Record::Abort {
            branch: id,
            trash_incarnations: numbers.iter().map(|n| (BranchId(*n), 1000 + n)).collect(),
            time: Time::default(),
        }
    }

    fn commit(id: BranchId, numbers: &[u32]) -> Record {
        Record::Commit {
            branch: id,
            merged: false,
            incarnation: 2000,
            trash_incarnations: numbers.iter().map(|n| (BranchId(*n), 1000 + n)).collect(),
            time: Time::default(),
        }
    }

    #[test]
    fn a_branch_is_made_once_and_below_an_older_one() {
        misfits(branch(0, None, false));
        misfits(branch(9, None, false));
        misfits(branch(9, Some(9), false));
        misfits(fork(LIVE.0, Some(0)));
        misfits(fork(9, Some(9)));
        misfits(fork(9, Some(10)));
        misfits(fork(9, Some(ENDED.0)));
        misfits(fork(9, None));
        replay().record(2, fork(9, Some(7))).expect("it fits");
    }

    #[test]
    fn only_what_is_live_ends_and_with_a_number_for_each() {
        misfits(abort(BranchId::MAIN, &[0]));
        misfits(abort(ENDED, &[ENDED.0]));
        misfits(abort(LIVE, &[LIVE.0]));
        replay()
            .record(2, abort(LIVE, &[LIVE.0, 7]))
            .expect("it fits");
        misfits(commit(BranchId::MAIN, &[]));
        misfits(commit(LIVE, &[]));
        replay()
            .record(2, commit(BranchId(7), &[]))
            .expect("it fits");
        for numbers in [&[][..], &[7]] {
            replay()
                .record(2, commit(BranchId(7), numbers))
                .expect("with a number it can be taken back");
        }
        misfits(Record::Expire { branch: LIVE });
        misfits(Record::Expire {
            branch: BranchId::MAIN,
        });
        replay()
            .record(2, Record::Expire { branch: ENDED })
            .expect("it fits");
    }

    #[test]
    fn a_commit_beats_siblings_with_all_that_is_below_them() {
        let mut replay = replay();
        replay.record(2, fork(9, Some(0))).expect("it fits");
        let error = replay.record(3, commit(BranchId(9), &[LIVE.0]));
        assert!(matches!(error, Err(BranchError::Misfit { lsn: 3, .. })));
        replay
            .record(3, commit(BranchId(9), &[LIVE.0, 7]))
            .expect("it fits");
    }

    #[test]
    fn only_a_commit_in_the_trash_is_taken_back_and_none_is_restored() {
        let undo = |entry| Record::Undo {
            entry,
            incarnation: 3000,
            trash_incarnation: 3001,
            time: Time::default(),
        };
        misfits(undo(LIVE));
        misfits(undo(ENDED));
        misfits(undo(BranchId::MAIN));
        let mut replay = replay();
        let taken = BranchId(7);
        replay.record(2, commit(taken, &[7])).expect("it fits");
        let restore = Record::Restore {
            branch: taken,
            name: b"new"[..].into(),
            incarnation: 3002,
        };
        let error = replay.record(3, restore);
        assert!(matches!(error, Err(BranchError::Misfit { lsn: 3, .. })));
        for lsn in 4..7 {
            replay.record(lsn, undo(taken)).expect("there and back");
        }
    }

    #[test]
    fn names_are_not_given_twice() {
        let restore = |branch, name: &[u8]| Record::Restore {
            branch,
            name: name.into(),
            incarnation: 3000,
        };
        misfits(restore(LIVE, b"new"));
        misfits(restore(ENDED, b"n5"));
        misfits(restore(BranchId::MAIN, b"new"));
        let rename = |branch, name: &[u8]| Record::Rename {
            branch,
            name: name.into(),
        };
        misfits(rename(ENDED, b"new"));
        misfits(rename(BranchId::MAIN, b"new"));
        misfits(rename(LIVE, b"n5"));
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for name in [&b"../etc"[..], b"..", b"a/b", b""] {
            let key = DentryKey {
                dir: FileId::ROOT,
                hash: 7,
                name: name.into(),
            };
            misfits(Record::Set {
                branch: LIVE,
                changes: vec![Change::NoDentry { key }],
            });
        }
    }
}
