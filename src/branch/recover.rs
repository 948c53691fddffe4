//! Opening a workspace: what the store's records say happened, replayed.
//!
//! Replay touches no base file. Then the base is opened at the version that the records lead to,
//! and a publish that was cut short is finished. It was cut short if its plan is durable, nothing
//! says that it was given up or done, and main's view is still the one that was planned: whoever
//! changed main after the base would have had to record the flip before.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;

use super::table::{Table, TrashNumbers};
use super::{
    Branch, BranchError, BranchMeta, Effects, End, History, Limits, Policy, Record, Workspace,
    WorkspaceOptions, apply, clock,
};
use crate::base::{Base, BaseConfig, EventRecord, IdConfig, IdEntry};
use crate::store::{Recovery, Rescue, Store, StoreError, StoreOptions};
use crate::tree::{BranchId, Change, FileId, Time, View};

/// Where a workspace is.
pub struct Places {
    /// The base directory.
    pub base: OwnedFd,
    /// The store's directory.
    pub store: OwnedFd,
    /// The store's path below the base, where it is inside.
    pub hide: Option<Vec<u8>>,
    /// Whether nobody but this process can change the base while it is mounted.
    pub exclusive: bool,
}

/// A publish that has begun.
struct Intent {
    plan: u64,
    view: View,
    flipped: bool,
}

/// What the records have led to so far.
pub(super) struct Replay {
    pub table: Table,
    history: History,
    effects: Effects,
    views: HashMap<u32, View>,
    parts: Vec<Change>,
    ids: Vec<IdEntry>,
    events: Vec<EventRecord>,
    version: u64,
    file_cursor: u32,
    intent: Option<Intent>,
}

impl Replay {
    pub fn new() -> Replay {
        Replay {
            table: Table::new(),
            history: History::default(),
            effects: Effects::default(),
            views: HashMap::new(),
            parts: Vec::new(),
            ids: Vec::new(),
            events: Vec::new(),
            version: 0,
            file_cursor: FileId::FIRST_NEW,
            intent: None,
        }
    }

    pub(super) fn branch(&self, lsn: u64, id: BranchId) -> Result<Arc<Branch>, BranchError> {
        let missing = BranchError::Dangling {
            lsn,
            what: "branch",
            number: u64::from(id.0),
        };
        self.table.branch(id).ok_or(missing)
    }

    fn parent(&self, lsn: u64, branch: &Branch) -> Result<Arc<Branch>, BranchError> {
        let parent = branch.state.read().meta.parent.unwrap_or(BranchId::MAIN);
        self.branch(lsn, parent)
    }

    fn view(&self, lsn: u64, view: u32) -> Result<View, BranchError> {
        let missing = BranchError::Dangling {
            lsn,
            what: "view",
            number: u64::from(view),
        };
        self.views.get(&view).cloned().ok_or(missing)
    }

    /// Takes in the next record.
    pub fn record(&mut self, lsn: u64, record: Record) -> Result<(), BranchError> {
        self.admit(lsn, &record)?;
        self.effects.dead.clear();
        match record {
            Record::Set { branch, changes } => {
                let branch = self.branch(lsn, branch)?;
                let mut state = branch.state.write();
                for change in &changes {
                    apply(&mut state, change);
                }
            }
            Record::Fork { meta, parent_epoch } => {
                let parent = self.branch(lsn, meta.parent.unwrap_or(BranchId::MAIN))?;
                self.table
                    .forked(&mut parent.state.write(), *meta, parent_epoch);
            }
            // One without changes is the first of a commit: what an earlier one left that found no
            // room for its last record is not part of it.
            Record::CommitPart { changes, .. } if changes.is_empty() => self.parts.clear(),
            Record::CommitPart { changes, .. } => self.parts.extend(changes),
            Record::Commit {
                branch,
                merged,
                incarnation,
                trash_incarnations,
                time,
            } => {
                self.commit(lsn, branch, merged, incarnation, trash_incarnations, time)?;
            }
            Record::Abort {
                branch,
                trash_incarnations,
                time,
            } => {
                let branch = self.branch(lsn, branch)?;
                let parent = self.parent(lsn, &branch)?;
                let numbers: TrashNumbers = trash_incarnations.into_iter().collect();
                let when = (End::Aborted, time);
                self.table
                    .end_tree(&parent, &branch, when, &numbers, &mut self.effects);
            }
            Record::Restore {
                branch,
                name,
                incarnation,
            } => {
                let branch = self.branch(lsn, branch)?;
                let parent = self.parent(lsn, &branch)?;
                self.table.restored(&parent, &branch, &name, incarnation);
            }
            Record::Expire { branch } => self.table.expired(&self.branch(lsn, branch)?),
            Record::Rename { branch, name } => {
                let branch = self.branch(lsn, branch)?;
                let parent = self.parent(lsn, &branch)?;
                let mut parent = parent.state.write();
                self.table
                    .renamed(&mut parent, &mut branch.state.write(), &name);
            }
            Record::Policy { branch, policy } => {
                self.branch(lsn, branch)?.state.write().meta.policy = policy;
            }
            Record::Limits { branch, limits } => {
                self.branch(lsn, branch)?.state.write().meta.limits = limits;
            }
            Record::Note { branch, note } => {
                self.branch(lsn, branch)?.state.write().meta.note = note;
            }
            Record::Event { event } => self.history.replay(*event),
            Record::Epoch { branch, epoch } => {
                let branch = self.branch(lsn, branch)?;
                self.table.renewed(&mut branch.state.write(), epoch);
            }
            Record::Undo {
                entry,
                incarnation,
                trash_incarnation,
                time,
            } => {
                let entry = self.branch(lsn, entry)?;
                let parent = self.parent(lsn, &entry)?;
                let parts = std::mem::take(&mut self.parts);
                let mut parent_state = parent.state.write();
                self.table.undone(
                    (&parent, &mut parent_state),
                    (&entry, &mut entry.state.write()),
                    &parts,
                    (incarnation, &[]),
                    (trash_incarnation, time),
                );
            }
            publish @ (Record::Id { .. }
            | Record::BaseEvent { .. }
            | Record::PublishIntent { .. }
            | Record::PublishCancel { .. }
            | Record::PublishFlip { .. }
            | Record::PublishDone { .. }) => self.publish_record(lsn, publish)?,
            checkpoint => self.checkpoint_record(lsn, checkpoint)?,
        }
        Ok(())
    }

    fn commit(
        &mut self,
        lsn: u64,
        branch: BranchId,
        merged: bool,
        incarnation: u32,
        trash_incarnations: Vec<(BranchId, u32)>,
        time: Time,
    ) -> Result<(), BranchError> {
        let branch = self.branch(lsn, branch)?;
        let parent = self.parent(lsn, &branch)?;
        let parts = std::mem::take(&mut self.parts);
        let numbers: TrashNumbers = trash_incarnations.into_iter().collect();
        let beaten = {
            let mut parent_state = parent.state.write();
            let mut state = branch.state.write();
            self.table.committed(
                (&parent, &mut parent_state),
                (&branch, &mut state),
                merged.then_some(&parts[..]),
                (incarnation, &[]),
                numbers.get(&branch.id).map(|number| (*number, time)),
            );
            let children = parent_state.children.values().copied();
            self.table
                .some(children.filter(|id| numbers.contains_key(id)))
        };
        for sibling in beaten {
            let when = (End::Lost, time);
            self.table
                .end_tree(&parent, &sibling, when, &numbers, &mut self.effects);
        }
        Ok(())
    }

    fn publish_record(&mut self, lsn: u64, record: Record) -> Result<(), BranchError> {
        match record {
            Record::Id { entry } => self.ids.push(IdEntry::decode(&entry)?),
            Record::BaseEvent { event } => self.events.push(EventRecord::decode(&event)?),
            Record::PublishIntent { plan } => {
                let view = self.branch(lsn, BranchId::MAIN)?.state.read().view.clone();
                self.intent = Some(Intent {
                    plan,
                    view,
                    flipped: false,
                });
                let next = plan.saturating_add(1);
                self.table.next_plan.fetch_max(next, Ordering::Relaxed);
            }
            Record::PublishFlip { version, .. } => {
                let main = self.branch(lsn, BranchId::MAIN)?;
                super::publish::flip(&mut main.state.write(), version);
                self.version = version;
                if let Some(intent) = &mut self.intent {
                    intent.flipped = true;
                }
            }
            _ => self.intent = None,
        }
        Ok(())
    }

    fn checkpoint_record(&mut self, lsn: u64, record: Record) -> Result<(), BranchError> {
        match record {
            Record::Counters {
                number,
                epoch,
                plan,
                version,
                file,
            } => {
                self.table.next_number.fetch_max(number, Ordering::Relaxed);
                self.table.next_epoch.fetch_max(epoch, Ordering::Relaxed);
                self.table.next_plan.fetch_max(plan, Ordering::Relaxed);
                self.version = version;
                self.file_cursor = file;
            }
            Record::ViewStart {
                view,
                from,
                base_version,
            } => {
                let mut start = match from {
                    Some(from) => self.view(lsn, from)?,
                    None => View::default(),
                };
                start.base_version = base_version;
                self.views.insert(view, start);
            }
            Record::ViewPart { view, changes } => {
                let missing = BranchError::Dangling {
                    lsn,
                    what: "view",
                    number: u64::from(view),
                };
                let view = self.views.get_mut(&view).ok_or(missing)?;
                for change in &changes {
                    view.apply(change);
                }
            }
            Record::Branch {
                meta,
                view,
                fork_view,
                ended,
                trash_name,
            } => {
                let view = self.view(lsn, view)?;
                let fork_view = self.view(lsn, fork_view)?;
                let id = meta.id;
                let (name, parent) = (meta.name.clone(), meta.parent);
                let branch = Arc::new(Branch::new(*meta, view, fork_view, ended));
                if let Some(parent) = parent {
                    let parent = self.branch(lsn, parent)?;
                    let mut parent = parent.state.write();
                    match trash_name {
                        Some(name) => parent.trash.insert(name, id),
                        None => parent.children.insert(name, id),
                    };
                }
                self.table.insert(branch);
            }
            other => unreachable!("not a record of a checkpoint: {other:?}"),
        }
        Ok(())
    }

    /// Every number of a file that a view uses and that is not a base inode's.
    fn used_files(&self) -> Vec<u32> {
        let mut used = std::collections::BTreeSet::new();
        let mut last: Option<View> = None;
        for branch in self.table.all() {
            let state = branch.state.read();
            let from = last.take().unwrap_or_default();
            for (file, ..) in from.diff_inodes(&state.fork_view) {
                used.insert(file.0);
            }
            for (file, ..) in state.fork_view.diff_inodes(&state.view) {
                used.insert(file.0);
            }
            last = Some(state.view.clone());
        }
        used.into_iter()
            .filter(|file| *file >= FileId::FIRST_NEW)
            .collect()
    }
}

impl Workspace {
    /// Opens the store, or makes a new one, replays it and finishes what was cut short.
    pub fn open(places: Places, options: WorkspaceOptions) -> Result<Workspace, BranchError> {
        let store_options = StoreOptions {
            read_only: options.read_only,
            rescue: options.rescue,
            ..StoreOptions::default()
        };
        Workspace::open_with(places, options, &store_options)
    }

    /// [`Workspace::open`] with a store that is not as usual.
    pub fn open_with(
        places: Places,
        options: WorkspaceOptions,
        store_options: &StoreOptions,
    ) -> Result<Workspace, BranchError> {
        let opened = Store::open(places.store, store_options)?;
        let store = Arc::new(opened.store);
        let mut replay = Replay::new();
        let clean = opened.recovery.clean;
        read(&mut replay, opened.recovery, options.rescue)?;
        // Also where a crash came between making the store and its first records.
        if replay.table.branch(BranchId::MAIN).is_none() {
            let main = Arc::new(new_main(&options));
            if !options.rescue {
                log_main(&store, &main)?;
            }
            replay.table.insert(main);
        }
        let (sink, log) = (store.clone(), store.clone());
        let base = Base::open(BaseConfig {
            root: places.base,
            old: own(store.old_dir())?,
            stage: own(store.stage_dir())?,
            hide: places.hide,
            hash_key: store.hash_key(),
            exclusive: places.exclusive,
            version: replay.version,
            disk: store_options.disk.clone(),
            ids: IdConfig {
                used: replay.used_files(),
                cursor: replay.file_cursor,
                on_new_id: Box::new(move |entry| {
                    if let Err(error) = sink.append(&Record::of_id(entry).encode()) {
                        log::error!("a file number could not be recorded: {error}");
                    }
                }),
                make_durable: Box::new(move || {
                    log.barrier().map_err(|error| {
                        log::error!("ctimes could not be made durable: {error}");
                        Errno::IO
                    })
                }),
            },
        })?;
        for entry in &replay.ids {
            base.restore_id(*entry);
        }
        for event in replay.events.drain(..) {
            base.restore_event(event);
        }
        let workspace = Workspace {
            hash_key: store.hash_key(),
            store,
            base,
            options,
            history: replay.history,
            table: replay.table,
            pins: Mutex::default(),
            quiesce: RwLock::default(),
            family: Mutex::default(),
            publishing: Mutex::default(),
            unfinished: Mutex::default(),
            publish_error: Mutex::default(),
            room: Default::default(),
            frozen: Default::default(),
        };
        for branch in workspace.branches() {
            let mut state = branch.state.write();
            state.usage = state.counted_usage();
        }
        if workspace.options.maxima.bytes.is_some() {
            workspace.measure_room()?;
        }
        if !workspace.options.read_only {
            let intent = replay.intent.take();
            // A plan that was not begun has left no record, and maybe what was staged for it.
            if let Some(last) = workspace.base.last_plan()? {
                (workspace.table.next_plan).fetch_max(last.saturating_add(1), Ordering::Relaxed);
            }
            workspace.finish_publish(intent.map(|i| (i.plan, i.view, i.flipped)))?;
            workspace.apply_policy()?;
            if !workspace.is_unfinished() {
                workspace.base.trim(workspace.oldest_pinned());
                workspace.base.sweep()?;
                // A crash leaves space that was given out and that no record names.
                if !clean {
                    workspace.tidy()?;
                }
            }
        }
        Ok(workspace)
    }
}

impl Workspace {
    /// Gives main the policy that the user chose now, if another was chosen before.
    fn apply_policy(&self) -> Result<(), BranchError> {
        let main = self.main();
        let before = main.state.read().meta.policy;
        match self.options.policy {
            Some(policy) if policy != before => self.set(
                &main,
                &Record::Policy {
                    branch: main.id,
                    policy,
                },
            ),
            _ => Ok(()),
        }
    }
}

/// A descriptor of our own for a directory that the store has open.
fn own(dir: std::os::fd::BorrowedFd<'_>) -> Result<OwnedFd, BranchError> {
    dir.try_clone_to_owned().map_err(|source| {
        StoreError::Io {
            operation: "open",
            file: ".".to_owned(),
            source,
        }
        .into()
    })
}

fn new_main(options: &WorkspaceOptions) -> Branch {
    let meta = BranchMeta {
        id: BranchId::MAIN,
        parent: None,
        name: b"main"[..].into(),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        created: clock::now(),
        policy: options.policy.unwrap_or(Policy::FirstWinner),
        generation: 0,
        fork_generation: 0,
        epoch: 1,
        incarnation: 0,
        limits: Limits::default(),
        note: Box::default(),
    };
    Branch::new(meta, View::on(0), View::on(0), None)
}

/// Makes main part of a new store, by the records that a checkpoint would hold of it.
fn log_main(store: &Store, main: &Branch) -> Result<(), BranchError> {
    let meta = Box::new(main.state.read().meta.clone());
    store.append(
        &Record::ViewStart {
            view: 0,
            from: None,
            base_version: 0,
        }
        .encode(),
    )?;
    let record = Record::Branch {
        meta,
        view: 0,
        fork_view: 0,
        ended: None,
        trash_name: None,
    };
    store.append(&record.encode())?;
    store.barrier()?;
    Ok(())
}

fn read(replay: &mut Replay, recovery: Recovery, rescue: bool) -> Result<(), BranchError> {
    if recovery.dropped_bytes > 0 {
        log::warn!(
            "the machine stopped without a clean unmount: {} bytes of the journal that were not \
             yet durable are dropped; the workspace is as it was at the last fsync or commit",
            recovery.dropped_bytes
        );
    }
    let mut misfits = 0_u64;
    for record in recovery.records {
        let record = record?;
        let lsn = record.lsn.0;
        let decoded = Record::decode(&record.payload)
            .map_err(|source| BranchError::BadRecord { lsn, source });
        match decoded.and_then(|decoded| replay.record(lsn, decoded)) {
            Err(error) if rescue => {
                misfits += 1;
                log::warn!("left out: {error}");
            }
            done => done?,
        }
    }
    if let Some(Rescue {
        damage,
        missing_records,
    }) = recovery.rescue
    {
        log::error!(
            "the store is damaged: {damage}; at least {missing_records} records are lost, what is \
             shown is what can still be read"
        );
    }
    if misfits > 0 {
        log::error!("{misfits} records that do not fit what is left were left out");
    }
    Ok(())
}
