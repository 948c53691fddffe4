//! Trials: commands that run in branches, and patterns that keep the best of them.
//!
//! Owns running a command in a branch of its own (confined, limited, and gone without a trace when
//! it is over) and the patterns made of that. Stands on `client`: a fork is a mkdir, a commit a
//! write, and nothing here could not be done by a script. It must not know how branches are kept,
//! nor how anything is shown to people; what it wants to say as things happen it says to a
//! [`Progress`].
//!
//! | file | what it owns |
//! | --- | --- |
//! | [`runner`] | a pool of trials: fork, run, ask whether to go on |
//! | [`land`] | commit, abort, keep |
//! | [`pattern`] | run, speculate, best-of-n, ...: who runs, who wins |
//! | [`process`] | one supervised process from outside |
//! | [`waiting`] | a supervisor before it has an order |
//! | [`supervise`] | the same from inside: namespaces, reaping |
//! | [`cgroup`] | limits |
//! | [`mounts`] | the table of mounts |
//! | [`carry`] | work that goes elsewhere than a commit would put it |
//!
//! **Invariants**: no process of a trial outlives it; a branch that a pattern has made is
//! committed, aborted, lost or, if so asked, kept when the pattern returns, however it ends.

mod cancel;
mod carry;
pub mod cgroup;
pub mod detached;
mod error;
mod land;
mod mounts;
mod outcome;
pub mod pattern;
mod process;
mod runner;
mod settings;
pub mod supervise;
mod telemetry;
mod view;
mod waiting;

pub use cancel::Prepared;
pub use error::TrialError;
pub use land::end_tree;
pub use outcome::{Fate, Outcome, Summary, TrialReport, Verdict};
pub use process::Streams;
pub use runner::{Action, Runner};
pub use settings::{Isolation, Settings};

use crate::client::Branch;

/// Who is told how trials go.
pub trait Progress: Sync {
    /// A trial's command begins.
    fn started(&self, branch: &Branch, label: Option<&str>);
    /// A trial's command has ended.
    fn ended(&self, outcome: &Outcome);
    /// Something that the user should know.
    fn note(&self, text: &str);
}

impl Runner<'_> {
    /// Writes the telemetry that the user asked for.
    pub fn write_telemetry(&self) -> Result<(), TrialError> {
        match &self.settings.telemetry {
            Some(file) => Ok(telemetry::append(file, &self.told())?),
            None => Ok(()),
        }
    }
}
