//! The names that are reserved at the root of every branch.
//!
//! Owns the spelling only; what the files do is `ctlfs`, and only a branch's root has them: deeper
//! down, and inside `@branches/NAME/`, the same names are ordinary files of the user.

/// Status to read, commands to write.
pub const CTL: &str = ".ctl";
/// What a commit would do; any write commits.
pub const COMMIT: &str = ".commit";
/// What an abort would discard; any write aborts.
pub const ABORT: &str = ".abort";
/// The live children.
pub const BRANCHES: &str = "@branches";
/// The files that describe the branch.
pub const SELF: &str = "@self";
/// Inside [`BRANCHES`]: the children that were aborted or lost and can still be restored.
pub const TRASH: &str = ".trash";

/// The names at a branch's root that no file of the user can have.
pub const AT_ROOT: [&str; 5] = [CTL, COMMIT, ABORT, BRANCHES, SELF];

/// The files of [`SELF`] in every branch.
pub const IN_SELF: [&str; 8] = [STATUS, DIFF, PATCH, CONFLICTS, LOG, EVENTS, LIMITS, NOTE];
/// The files that `main`'s [`SELF`] has besides.
pub const IN_MAIN_SELF: [&str; 3] = [TREE, METRICS, CONFIG];

/// In [`SELF`]: the branch's status as JSON.
pub const STATUS: &str = "status";
/// In [`SELF`]: one line per changed path.
pub const DIFF: &str = "diff";
/// In [`SELF`]: the change as `git apply` takes it.
pub const PATCH: &str = "patch";
/// In [`SELF`]: paths that the parent or another live branch changed too.
pub const CONFLICTS: &str = "conflicts";
/// In [`SELF`]: the branch's history, one line per event.
pub const LOG: &str = "log";
/// In [`SELF`]: the branch's history, one JSON object per line.
pub const EVENTS: &str = "events";
/// In [`SELF`], writable: byte and inode limits.
pub const LIMITS: &str = "limits";
/// In [`SELF`], writable: a note of the user.
pub const NOTE: &str = "note";
/// In `main`'s [`SELF`]: the tree of all branches.
pub const TREE: &str = "tree";
/// In `main`'s [`SELF`]: counters in the Prometheus text format.
pub const METRICS: &str = "metrics";
/// In `main`'s [`SELF`]: the options of the mount.
pub const CONFIG: &str = "config";
