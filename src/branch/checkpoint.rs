//! Checkpoints: the whole table as records, so that replay need not start from the beginning.
//!
//! Views share structure and so does a checkpoint. Along one branch's life its snapshots (what its
//! children forked from, in order, then its present view) differ little, so each is written as its
//! difference from the one before: the size is that of what is distinct, not branches times
//! changes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::{BranchError, BranchMeta, Ending, Record, Workspace};
use crate::store::CheckpointWriter;
use crate::sys::failpoint;
use crate::tree::{BranchId, Name, View, parts};

/// Journal bytes after which the background work writes a checkpoint.
const DUE_BYTES: u64 = 32 << 20;

/// A branch as it was when the checkpoint began.
struct Snapshot {
    meta: BranchMeta,
    view: View,
    fork_view: View,
    ended: Option<Ending>,
    trash_name: Option<Name>,
}

impl Workspace {
    /// Writes a checkpoint where the journal has grown enough since the last one.
    pub fn checkpoint_if_due(&self) -> Result<(), BranchError> {
        if self.store.journal_bytes_since_checkpoint() > DUE_BYTES {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Writes a checkpoint. Operations stop only while pointers are copied.
    pub fn checkpoint(&self) -> Result<(), BranchError> {
        let _no_publish = self.publishing.lock();
        self.go_on()?;
        let (mut writer, snapshots, counters, happened) = {
            let _still = self.quiesce.write();
            let snapshots = self.snapshots();
            let counters = Record::Counters {
                number: self.table.next_number.load(Ordering::Relaxed),
                epoch: self.table.next_epoch.load(Ordering::Relaxed),
                plan: self.table.next_plan.load(Ordering::Relaxed),
                version: self.base.version(),
                file: self.base.id_cursor(),
            };
            // Under its lock, so that every event is either in the copy or after the beginning.
            let happened = self.history.still();
            let writer = self.store.begin_checkpoint()?;
            (writer, snapshots, counters, happened.clone())
        };
        failpoint::reach("checkpoint-begun");
        writer.put(&counters.encode())?;
        for entry in self.base.ids() {
            writer.put(&Record::of_id(&entry).encode())?;
        }
        for event in self.base.events() {
            writer.put(&Record::of_base_event(&event).encode())?;
        }
        for event in happened {
            let event = Box::new(event);
            writer.put(&Record::Event { event }.encode())?;
        }
        write_branches(&mut writer, &snapshots)?;
        failpoint::reach("checkpoint-written");
        writer.finish()?;
        Ok(())
    }

    fn snapshots(&self) -> BTreeMap<BranchId, Snapshot> {
        let mut snapshots = BTreeMap::new();
        let mut trash_names = BTreeMap::new();
        for branch in self.table.all() {
            let state = branch.state.read();
            trash_names.extend(state.trash.iter().map(|(name, id)| (*id, name.clone())));
            snapshots.insert(
                branch.id,
                Snapshot {
                    meta: state.meta.clone(),
                    view: state.view.clone(),
                    fork_view: state.fork_view.clone(),
                    ended: state.ended,
                    trash_name: None,
                },
            );
        }
        for (id, name) in trash_names {
            if let Some(snapshot) = snapshots.get_mut(&id) {
                snapshot.trash_name = Some(name);
            }
        }
        snapshots
    }
}

fn write_branches(
    writer: &mut CheckpointWriter<'_>,
    snapshots: &BTreeMap<BranchId, Snapshot>,
) -> Result<(), BranchError> {
    let mut children: BTreeMap<BranchId, Vec<BranchId>> = BTreeMap::new();
    for (id, snapshot) in snapshots {
        if let Some(parent) = snapshot.meta.parent {
            children.entry(parent).or_default().push(*id);
        }
    }
    // The view numbers of a branch: what it shows is 2 x its number, what it forked from one more.
    let view_of = |id: BranchId| id.0 * 2;
    let fork_view_of = |id: BranchId| id.0 * 2 + 1;
    for (id, snapshot) in snapshots {
        // A parent's number is below its children's, so `id`'s own fork view is written already.
        let mut from = match snapshot.meta.parent {
            Some(_) => Some((fork_view_of(*id), &snapshot.fork_view)),
            None => {
                write_view(writer, fork_view_of(*id), None, &snapshot.fork_view)?;
                None
            }
        };
        for child in children.get(id).into_iter().flatten() {
            let view = &snapshots[child].fork_view;
            write_view(writer, fork_view_of(*child), from, view)?;
            from = Some((fork_view_of(*child), view));
        }
        write_view(writer, view_of(*id), from, &snapshot.view)?;
    }
    for (id, snapshot) in snapshots {
        let record = Record::Branch {
            meta: Box::new(snapshot.meta.clone()),
            view: view_of(*id),
            fork_view: fork_view_of(*id),
            ended: snapshot.ended,
            trash_name: snapshot.trash_name.clone(),
        };
        writer.put(&record.encode())?;
    }
    Ok(())
}

fn write_view(
    writer: &mut CheckpointWriter<'_>,
    number: u32,
    from: Option<(u32, &View)>,
    view: &View,
) -> Result<(), BranchError> {
    let empty = View::default();
    let (from_number, base) = match from {
        Some((from_number, base)) if !view.is_empty() => (Some(from_number), base),
        _ => (None, &empty),
    };
    let start = Record::ViewStart {
        view: number,
        from: from_number,
        base_version: view.base_version,
    };
    writer.put(&start.encode())?;
    for changes in parts(base.changes_to(view)) {
        let part = Record::ViewPart {
            view: number,
            changes,
        };
        writer.put(&part.encode())?;
    }
    Ok(())
}
