//! A workspace made of ordinary files, for tests: what a mount would show, without what it would
//! do.
//!
//! Every branch is a directory with its control files; `mkdir` and `mv` in `@branches` work as they
//! do on any directory, and a write to a control file is kept in that file for the test to look at.

use std::fs;
use std::path::{Path, PathBuf};

use super::workspace::{IsMount, Workspace};
use crate::proto::{
    BranchPath, ErrnoText, Limits, Policy, State, Status, Text, Timestamp, Usage, reserved,
};

/// A fake workspace; its directory goes with it.
pub(crate) struct Fake {
    dir: tempfile::TempDir,
}

impl Fake {
    /// `main` and the branches at `paths`, parents first.
    pub(crate) fn with(paths: &[&str]) -> Fake {
        let fake = Fake {
            dir: tempfile::tempdir().unwrap(),
        };
        fake.add(Path::new(""), status("main", State::Open));
        for path in paths {
            let dir = BranchPath::parse(path.as_bytes()).unwrap().dir();
            fake.add(&dir, status(path, State::Open));
        }
        fake
    }

    /// Makes a branch's directory with all its control files.
    pub(crate) fn add(&self, dir: &Path, status: Status) {
        let dir = self.root().join(dir);
        fs::create_dir_all(dir.join(reserved::BRANCHES).join(reserved::TRASH)).unwrap();
        fs::create_dir_all(dir.join(reserved::SELF)).unwrap();
        for file in reserved::IN_SELF {
            fs::write(dir.join(reserved::SELF).join(file), "").unwrap();
        }
        for file in [reserved::CTL, reserved::COMMIT, reserved::ABORT] {
            fs::write(dir.join(file), "").unwrap();
        }
        self.set_status(&dir, &status);
    }

    /// Puts a branch into the trash of `main`.
    pub(crate) fn add_to_trash(&self, entry: &str, status: Status) {
        self.add(
            &Path::new(reserved::BRANCHES)
                .join(reserved::TRASH)
                .join(entry),
            status,
        );
    }

    /// Replaces what the branch at `dir` says of itself.
    pub(crate) fn set_status(&self, dir: &Path, status: &Status) {
        let file = self
            .root()
            .join(dir)
            .join(reserved::SELF)
            .join(reserved::STATUS);
        fs::write(file, status.to_json()).unwrap();
    }

    /// Lets every write to `file` fail with ENOSPC, and leaves `sentence` in the status of `main`.
    pub(crate) fn refuse(&self, file: &str, sentence: &str) {
        assert!(Path::new("/dev/full").exists(), "this test needs /dev/full");
        fs::remove_file(self.path(file)).unwrap();
        std::os::unix::fs::symlink("/dev/full", self.path(file)).unwrap();
        let mut status = status("main", State::Open);
        status.last_error = Some(sentence.to_owned());
        status.last_errno = Some(ErrnoText(libc::ENOSPC));
        self.set_status(Path::new(""), &status);
    }

    /// A path below the workspace's root.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() {
            self.root()
        } else {
            self.root().join(path)
        }
    }

    /// What is in a file.
    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// What says of every directory that it may be a mount.
    pub(crate) fn is_mount(&self) -> IsMount {
        |_| Ok(true)
    }

    /// The workspace, seen from `main`.
    pub(crate) fn workspace(&self) -> Workspace {
        Workspace::find(Some(&self.root()), self.is_mount()).unwrap()
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }
}

/// A plain status.
pub(crate) fn status(path: &str, state: State) -> Status {
    let branch = BranchPath::parse(path.as_bytes()).unwrap();
    Status {
        name: Text::from(branch.name()),
        number: branch.names().len() as u32,
        parent: branch.parent(),
        branch,
        state,
        policy: Policy::FirstWinner,
        generation: 0,
        fork_generation: 0,
        children: 0,
        changed: None,
        usage: Usage::default(),
        limits: Limits::default(),
        created: Timestamp::default(),
        expires: None,
        last_error: None,
        last_errno: None,
        read_only: None,
        publish_error: None,
        note: String::new(),
        undo: None,
        redo: None,
    }
}
