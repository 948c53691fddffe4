//! What the two ends of a supervisor's control socket say: one JSON object per line.
//!
//! A supervisor that is executed has the socket as its standard input. The starting side sends
//! descriptors, one [`Order`] and then nothing; that it closes its end, however that comes about,
//! means "end the trial". The descriptors are, in this order: where the score goes; the program's
//! standard output and error, if they are captured; its standard input, if it has no session of its
//! own. The supervisor answers with [`Report`]s.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::proto::Text;

/// The descriptor at which a trial finds where to write its score.
pub const SCORE_FD: i32 = 3;

/// What to run, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The program and its arguments.
    pub argv: Vec<Text>,
    /// What to set in the environment, beside what the supervisor itself has.
    pub env: Vec<(String, Text)>,
    /// Where it starts, as it will see that directory.
    pub dir: Text,
    /// Whether it gets a session of its own and no input, away from the terminal.
    pub own_session: bool,
    /// Whether its outputs go elsewhere than those of the supervisor.
    pub captured: bool,
    /// The `cgroup.procs` files to join before anything else.
    pub cgroups: Vec<Text>,
    /// What it may see; everything if `None`.
    pub view: Option<View>,
}

/// The part of the file tree that a trial sees, by namespaces of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The branch's root.
    pub branch: Text,
    /// The directories that show the branch instead of what they are.
    pub over: Vec<Text>,
    /// The directories that show nothing.
    pub hide: Vec<Text>,
    /// Whether everything but the branch is read-only.
    pub read_only_root: bool,
    /// Whether there is no network but a loopback of its own.
    pub no_network: bool,
}

impl View {
    /// The workspace's path, where the trial sees its branch.
    pub fn root(&self) -> &Path {
        // It is covered last.
        self.over.last().map_or(Path::new("/"), Text::as_path)
    }
}

/// What a supervisor has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Report {
    /// The program was not started.
    Failed {
        /// At what.
        step: Step,
        /// Why.
        errno: i32,
    },
    /// The program has ended.
    Ended {
        /// Its exit code, if it ended by itself.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// Everything has ended that the program started, and this is the last report.
    Over {
        /// The most memory that one process of it held at once.
        peak_bytes: u64,
    },
}

/// What a supervisor does before the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Joining a control group.
    Cgroup,
    /// Making namespaces.
    Namespaces,
    /// Writing the maps of users and groups.
    UserMap,
    /// Changing mounts in them.
    Mounts,
    /// Mounting a /proc for them.
    Proc,
    /// Starting another process.
    Fork,
    /// Executing the program.
    Exec,
}

impl Step {
    /// Whether it is a part of isolation.
    pub fn isolates(self) -> bool {
        matches!(
            self,
            Step::Namespaces | Step::UserMap | Step::Mounts | Step::Proc
        )
    }

    /// What it does, after "cannot".
    pub fn describe(self) -> &'static str {
        match self {
            Step::Cgroup => "put the trial into its control group",
            Step::Namespaces => "make user, mount and pid namespaces",
            Step::UserMap => "map the user into a namespace",
            Step::Mounts => "mount the branch over the workspace",
            Step::Proc => "mount a /proc for the trial",
            Step::Fork => "start a process",
            Step::Exec => "execute the command",
        }
    }
}
