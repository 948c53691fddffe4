//! The texts that cross the control files, shared by the side that serves them and the side that
//! reads them.
//!
//! Owns every grammar of a reserved file: the commands of `.ctl`, the JSON of `@self/status`, the
//! lines of `@self/diff`, `@self/conflicts`, `@self/events` and `@self/limits`, the preview in
//! `.commit`, branch names, and how bytes that are no text are written as text. Pure: no I/O, no
//! clock, nothing of FUSE, of the store or of branches in memory.
//!
//! **Invariants**: parsing takes bytes that anybody may have written and never panics; what is
//! rendered here parses back to the same value.
//!
//! | file | format |
//! | --- | --- |
//! | `.ctl` | read: [`Status::ctl_lines`]; write: [`Command`], one per line |
//! | `.commit`, `.abort` | read: [`Preview`]; write: anything |
//! | `@self/status` | one JSON object, [`Status`] |
//! | `@self/diff` | one [`Change`] per line |
//! | `@self/conflicts` | one [`Conflict`] per line |
//! | `@self/events` | one JSON object per line, [`Event`] |
//! | `@self/log` | one line per [`Event`], its `Display` form |
//! | `@self/limits` | [`Limits`]; write: [`LimitsChange`] |
//! | `@self/note` | UTF-8 of up to [`NOTE_BYTES_MAX`] bytes |
//! | `@self/tree` | [`TreeNode`], its `Display` form |

mod change;
mod command;
mod conflict;
mod errno;
mod error;
mod event;
mod limits;
mod name;
mod preview;
mod quote;
pub mod reserved;
mod status;
mod time;
mod tree;
mod trial;

pub use change::{Change, ChangeKind};
pub use command::{Command, NOTE_BYTES_MAX};
pub use conflict::{Conflict, ConflictKind};
pub use errno::ErrnoText;
pub use error::ProtoError;
pub use event::{Event, EventKind};
pub use limits::{Limits, LimitsChange, parse_size};
pub use name::{BranchName, BranchPath, NAME_BYTES_MAX, TrashName};
pub use preview::{Action, Preview, Verdict};
pub use quote::{Text, display, git_quoted};
pub use status::{ChangeCounts, Policy, State, Status, Usage};
pub use time::Timestamp;
pub use tree::TreeNode;
pub use trial::{Score, TRIAL_BYTES_MAX, Trial, TrialPhase, TrialResult};
