//! How a workspace is, as metrics: branches, caches, the store and its journal.
//!
//! The text format of Prometheus: each metric has its HELP and its TYPE once, before its values,
//! which stand together. What is only counted (requests, latencies) is `vfs::metrics`.

use std::fmt::{Display, Write};

use crate::branch::End;
use crate::overlay::Overlay;

/// Collects metrics as text.
struct Gauges(String);

impl Gauges {
    /// Adds a metric of `kind`, with a value for each set of labels (`{name="value"}`, or none).
    fn add<V: Display>(&mut self, name: &str, kind: &str, help: &str, values: &[(&str, V)]) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}

/// The metrics of the workspace that `overlay` shows.
pub(super) fn gauges(overlay: &Overlay) -> String {
    let mut out = Gauges(String::new());
    let version = env!("CARGO_PKG_VERSION");
    let labels = format!("{{version=\"{version}\"}}");
    out.add(
        "branchfs_info",
        "gauge",
        "What serves the mount.",
        &[(labels.as_str(), 1)],
    );
    branches(overlay, &mut out);
    trials(overlay, &mut out);
    caches(overlay, &mut out);
    store(overlay, &mut out);
    out.0
}

fn branches(overlay: &Overlay, out: &mut Gauges) {
    let (mut open, mut lost, mut aborted) = (0, 0, 0);
    let (mut committed, mut undone) = (0, 0);
    let (mut bytes, mut inodes) = (0, 0);
    for branch in overlay.workspace.branches() {
        let state = branch.state.read();
        match state.ended.map(|ended| ended.end) {
            None => open += 1,
            Some(End::Lost) => lost += 1,
            Some(End::Aborted) => aborted += 1,
            Some(End::Committed) => committed += 1,
            Some(End::Undone) => undone += 1,
        }
        bytes += state.usage.bytes.max(0);
        inodes += state.usage.inodes.max(0);
    }
    out.add(
        "branchfs_branches",
        "gauge",
        "Branches by state, main included, and commits in the trash.",
        &[
            ("{state=\"open\"}", open),
            ("{state=\"lost\"}", lost),
            ("{state=\"aborted\"}", aborted),
            ("{state=\"committed\"}", committed),
            ("{state=\"undone\"}", undone),
        ],
    );
    let help = "Bytes that branches hold of their own.";
    out.add("branchfs_branch_bytes", "gauge", help, &[("", bytes)]);
    let help = "Files and directories that branches hold of their own.";
    out.add("branchfs_branch_inodes", "gauge", help, &[("", inodes)]);
    let maxima = &overlay.workspace.options.maxima;
    let mut limits = vec![("{of=\"depth\"}", u64::from(maxima.depth))];
    limits.extend(maxima.bytes.map(|limit| ("{of=\"bytes\"}", limit)));
    limits.extend(maxima.branches.map(|limit| ("{of=\"branches\"}", limit)));
    let help = "What all branches may be together.";
    out.add("branchfs_limit", "gauge", help, &limits);
    let version = overlay.workspace.base.version();
    let help = "Publishes so far.";
    out.add("branchfs_base_version", "gauge", help, &[("", version)]);
}

fn trials(overlay: &Overlay, out: &mut Gauges) {
    let workspace = &overlay.workspace;
    let branches = workspace.branches();
    let live = branches.iter().filter(|branch| branch.is_live());
    let depth = live.map(|branch| workspace.names_of(branch).len()).max();
    let help = "How deep live branches are nested; main is at 0.";
    out.add("branchfs_depth", "gauge", help, &[("", depth.unwrap_or(0))]);
    let trials = workspace.history.trial_counts();
    out.add(
        "branchfs_trials",
        "gauge",
        "Trials that the events tell of, by state.",
        &[
            ("{state=\"pending\"}", trials.pending),
            ("{state=\"running\"}", trials.running),
            ("{state=\"all\"}", trials.total),
        ],
    );
    let help = "How long ended trials ran together.";
    let name = "branchfs_trial_duration_milliseconds_sum";
    out.add(name, "gauge", help, &[("", trials.duration_ms)]);
    let help = "How many trials have ended.";
    let name = "branchfs_trial_duration_milliseconds_count";
    out.add(name, "gauge", help, &[("", trials.ended)]);
}

fn caches(overlay: &Overlay, out: &mut Gauges) {
    let nodes = overlay.known_nodes();
    let help = "Inodes that the kernel knows.";
    out.add("branchfs_known_nodes", "gauge", help, &[("", nodes)]);
    let help = "Files that are open or mapped and have no name any more.";
    let orphans = overlay.open_orphans().len();
    out.add("branchfs_orphans", "gauge", help, &[("", orphans)]);
    let (entries, bytes) = overlay.workspace.base.cached_listings();
    let cache = "{cache=\"listings\"}";
    let help = "What a cache holds.";
    out.add("branchfs_cache_entries", "gauge", help, &[(cache, entries)]);
    let help = "The memory that a cache takes.";
    out.add("branchfs_cache_bytes", "gauge", help, &[(cache, bytes)]);
}

fn store(overlay: &Overlay, out: &mut Gauges) {
    let store = &overlay.workspace.store;
    if let Ok(usage) = store.usage() {
        out.add(
            "branchfs_store_bytes",
            "gauge",
            "Bytes on disk by part of the store.",
            &[
                ("{part=\"journal\"}", usage.journal_bytes),
                ("{part=\"checkpoint\"}", usage.checkpoint_bytes),
                ("{part=\"segment\"}", usage.segment_bytes),
                ("{part=\"blob\"}", usage.blob_bytes),
            ],
        );
    }
    if let Ok(stat) = rustix::fs::fstatvfs(store.old_dir()) {
        let help = "Bytes left on the store's file system.";
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        out.add("branchfs_store_free_bytes", "gauge", help, &[("", free)]);
    }
    let (last, synced) = (store.last_lsn().0, store.synced_to().0);
    let help = "Records that the journal has taken since the store was made.";
    out.add(
        "branchfs_journal_records_total",
        "counter",
        help,
        &[("", last)],
    );
    let help = "Records that a power loss now would take.";
    let unsynced = last.saturating_sub(synced);
    out.add(
        "branchfs_journal_unsynced_records",
        "gauge",
        help,
        &[("", unsynced)],
    );
    let since = store.journal_bytes_since_checkpoint();
    let help = "What a mount after a crash would replay.";
    let name = "branchfs_journal_bytes_since_checkpoint";
    out.add(name, "gauge", help, &[("", since)]);
    let poisoned = u8::from(store.poisoned().is_some());
    let help = "1 once the store takes no more writes.";
    out.add("branchfs_store_poisoned", "gauge", help, &[("", poisoned)]);
}
