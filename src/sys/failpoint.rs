//! Named points at which a test ends the process, as a crash would end it there.
//!
//! `BRANCHFS_FAILPOINT=NAME` (or `NAME:2` for the second time) in the daemon's environment sends it
//! SIGKILL when it comes to the point NAME: nothing is written, closed or unlocked any more. The
//! crash simulation cuts the power between any two changes of the disk, without a kernel; these
//! points show the same moments of a commit, a publish, a checkpoint and a reclaim through a real
//! mount.
//!
//! **Why debug assertions and not a feature**: the tests start the program that cargo has built for
//! them anyway, in the profile that has debug assertions. A feature would be a second program, and
//! one that somebody could ship. In a release build a point is nothing: no code, no name, and the
//! variable is not read.

/// Every point, in the order in which an operation comes to them.
///
/// `commit-*` are of any commit, `undo-*` of what takes one back, `publish-*` of what main puts
/// into the base, `checkpoint-*` and `reclaim-*` of the store's own work.
pub const POINTS: [&str; 24] = [
    "commit-decided",
    "commit-recorded",
    "commit-durable",
    "undo-decided",
    "undo-recorded",
    "undo-durable",
    "publish-staged",
    "publish-sealed",
    "publish-intended",
    "publish-stepped",
    "publish-applied",
    "publish-flipped",
    "publish-recorded",
    "publish-settled",
    "publish-finished",
    "publish-unnamed",
    "checkpoint-begun",
    "checkpoint-written",
    "checkpoint-synced",
    "checkpoint-renamed",
    "checkpoint-pruned",
    "reclaim-marked",
    "reclaim-blobs",
    "reclaim-swept",
];

/// The process has come to the point `name`.
#[cfg(debug_assertions)]
pub fn reach(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static TIMES: AtomicU64 = AtomicU64::new(0);
    debug_assert!(POINTS.contains(&name), "{name} is not in the list");
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("BRANCHFS_FAILPOINT").ok()?;
        let (point, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some((point.to_owned(), times.parse().unwrap_or(1)))
    });
    let Some((point, times)) = wanted else { return };
    if point == name && TIMES.fetch_add(1, Ordering::Relaxed) + 1 == *times {
        // A signal to oneself that nobody can catch: this does not return.
        let killed =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        panic!("still there after SIGKILL: {killed:?}");
    }
}

/// The process has come to the point `name`, which is nothing in this build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn reach(_: &str) {}
