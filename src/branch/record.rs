//! The journal's records: what each payload says, and how it is written as bytes.
//!
//! A record is one acknowledged operation. Records are logical: `Commit` names the branches and
//! replay merges them again, so a commit of any size is one small record and thereby atomic.
//!
//! *On disk*: postcard's encoding of [`Record`]. Variants are numbered in order, so new ones go to
//! the end, and a change of an existing one needs an incompatible feature bit in the superblock.

use serde::{Deserialize, Serialize};

use super::history::Happened;
use super::state::{BranchMeta, Ending, Limits, Policy};
use crate::base::{EventRecord, IdEntry};
use crate::tree::{BranchId, Change, Name, Time};

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// An operation on one branch's files.
    Set {
        /// The branch.
        branch: BranchId,
        /// What changes, in order.
        changes: Vec<Change>,
    },
    /// A branch was forked from `parent`.
    Fork {
        /// What it starts with.
        meta: Box<BranchMeta>,
        /// The epoch of `parent` from now on.
        parent_epoch: u64,
    },
    /// A branch's changes went into its parent; siblings that this beats are lost by the same
    /// record.
    Commit {
        /// The branch.
        branch: BranchId,
        /// Whether the parent's changes are those of the `CommitPart`s before; else the parent
        /// takes over the branch's view.
        merged: bool,
        /// The incarnation of the files that it replaced in the parent.
        incarnation: u32,
        /// The incarnations of the lost branches' trees in the trash, one for each, in order of id;
        /// and one for the branch itself, where the commit can be taken back.
        trash_incarnations: Vec<(BranchId, u32)>,
        /// When.
        time: Time,
    },
    /// Some of what a commit that is about to follow changes in the parent.
    CommitPart {
        /// The branch that commits.
        branch: BranchId,
        /// The changes, in order.
        changes: Vec<Change>,
    },
    /// A branch was given up and is in the trash.
    Abort {
        /// The branch.
        branch: BranchId,
        /// As in `Commit`, for it and its descendants.
        trash_incarnations: Vec<(BranchId, u32)>,
        /// When.
        time: Time,
    },
    /// A branch in the trash is live again.
    Restore {
        /// The branch.
        branch: BranchId,
        /// Its name from now on.
        name: Name,
        /// Its incarnation from now on.
        incarnation: u32,
    },
    /// A branch in the trash is gone for good.
    Expire {
        /// The branch.
        branch: BranchId,
    },
    /// A branch has another name.
    Rename {
        /// The branch.
        branch: BranchId,
        /// Its name from now on.
        name: Name,
    },
    /// A branch has another policy for its children's commits.
    Policy {
        /// The branch.
        branch: BranchId,
        /// The policy.
        policy: Policy,
    },
    /// A branch has other limits.
    Limits {
        /// The branch.
        branch: BranchId,
        /// The limits.
        limits: Limits,
    },
    /// A branch has another note.
    Note {
        /// The branch.
        branch: BranchId,
        /// The text.
        note: Box<[u8]>,
    },
    /// A base file has a number of its own (see `base`).
    Id {
        /// The entry, as `base` encodes it.
        entry: Box<[u8]>,
    },
    /// A plan to publish `main` is durable in the stage directory and is about to be carried out.
    PublishIntent {
        /// The plan's number.
        plan: u64,
    },
    /// The plan was given up before it touched the base.
    PublishCancel {
        /// The plan's number.
        plan: u64,
    },
    /// The base shows what `main` showed when the plan was made, and `main`'s view is empty.
    PublishFlip {
        /// The plan's number.
        plan: u64,
        /// The version of the base from now on.
        version: u64,
    },
    /// Something that views on older versions of the base need (see `base`).
    BaseEvent {
        /// The event, as `base` encodes it.
        event: Box<[u8]>,
    },
    /// What the plan did is durable in the base.
    PublishDone {
        /// The plan's number.
        plan: u64,
    },
    /// In a checkpoint: the counters that give out numbers.
    Counters {
        /// The next branch number or incarnation.
        number: u32,
        /// The next epoch.
        epoch: u64,
        /// The next plan number.
        plan: u64,
        /// The base's version.
        version: u64,
        /// The next file id.
        file: u32,
    },
    /// In a checkpoint: a view begins, as a copy of an earlier one or empty.
    ViewStart {
        /// A number for it within the checkpoint.
        view: u32,
        /// The view that it starts from.
        from: Option<u32>,
        /// Its base version.
        base_version: u64,
    },
    /// In a checkpoint: some of the changes that make up a view.
    ViewPart {
        /// The view.
        view: u32,
        /// The changes.
        changes: Vec<Change>,
    },
    /// In a checkpoint: a branch, after the views that it names.
    Branch {
        /// All but its views.
        meta: Box<BranchMeta>,
        /// Its view.
        view: u32,
        /// Its parent's view when it was forked.
        fork_view: u32,
        /// How it ended, for a branch in the trash.
        ended: Option<Ending>,
        /// The name that its parent's trash has it under.
        trash_name: Option<Name>,
    },
    /// Something happened to a branch; changes nothing.
    Event {
        /// What, to whom and when.
        event: Box<Happened>,
    },
    /// A branch has another epoch: its content so far counts as shared.
    Epoch {
        /// The branch.
        branch: BranchId,
        /// Its epoch from now on.
        epoch: u64,
    },
    /// A commit, or an undo, that a branch in the trash stands for was taken back. What changes in
    /// its parent are the `CommitPart`s before.
    Undo {
        /// The branch in the trash.
        entry: BranchId,
        /// The incarnation of the files that it replaced in the parent.
        incarnation: u32,
        /// The incarnation of the branch in the trash from now on.
        trash_incarnation: u32,
        /// When.
        time: Time,
    },
}

impl Record {
    /// That a base file has a number of its own.
    pub fn of_id(entry: &IdEntry) -> Record {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        let entry = bytes.into();
        Record::Id { entry }
    }

    /// That something happened that views on older versions of the base need.
    pub fn of_base_event(event: &EventRecord) -> Record {
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        let event = bytes.into();
        Record::BaseEvent { event }
    }

    /// The bytes of the record.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a record of plain values can be written to memory")
    }

    /// The record in `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Record, postcard::Error> {
        postcard::from_bytes(bytes)
    }
}

/// The bytes of a [`Record::Set`] with borrowed changes, for the path of every operation.
pub fn encode_set(branch: BranchId, changes: &[Change], out: &mut Vec<u8>) {
    #[derive(Serialize)]
    enum Set<'a> {
        Set {
            branch: BranchId,
            changes: &'a [Change],
        },
    }
    out.clear();
    let taken = std::mem::take(out);
    *out = postcard::to_extend(&Set::Set { branch, changes }, taken)
        .expect("a record of plain values can be written to memory");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{DentryKey, FileId};

    #[test]
    fn borrowed_and_owned_changes_have_the_same_bytes() {
        let key = DentryKey {
            dir: FileId(1),
            hash: 77,
            name: b"na\xffme"[..].into(),
        };
        let changes = vec![
            Change::NoDentry { key },
            Change::NoInode { file: FileId(300) },
        ];
        let mut bytes = vec![1, 2, 3];
        encode_set(BranchId(9), &changes, &mut bytes);
        let record = Record::Set {
            branch: BranchId(9),
            changes,
        };
        assert_eq!(bytes, record.encode());
        assert_eq!(Record::decode(&bytes), Ok(record));
    }

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        for len in 0..64 {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 37 + 11) as u8 | 0x80).collect();
            assert!(Record::decode(&bytes).is_err());
        }
    }
}
