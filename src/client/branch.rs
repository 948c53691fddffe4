//! One branch, and each verb on it as the file operation that it is.
//!
//! Errors are looked into before they are returned: a branch that is not there may be in the trash,
//! and the branch that refused has left a sentence in its status.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::error::{ClientError, Verb};
use super::files;
use crate::proto::{
    BranchName, BranchPath, Change, Command, Conflict, Event, EventKind, LimitsChange, Preview,
    ProtoError, State, Status, Text, TrashName, TreeNode, reserved,
};

/// A branch by its path, and where its root is.
#[derive(Clone, Debug)]
pub struct Branch {
    /// Its path from `main`.
    pub path: BranchPath,
    /// Its root directory.
    pub dir: PathBuf,
}

/// An ended branch that can be restored.
#[derive(Clone, Debug)]
pub struct TrashEntry {
    /// Its name in the trash.
    pub entry: TrashName,
    /// What it says of itself.
    pub status: Status,
}

impl Branch {
    /// Its status.
    pub fn status(&self) -> Result<Status, ClientError> {
        let file = self.own(reserved::STATUS);
        Status::parse(&self.read(&file)?)
            .map_err(|source| ClientError::BadText { path: file, source })
    }

    /// What it changed since its fork.
    pub fn changes(&self) -> Result<Vec<Change>, ClientError> {
        self.lines(reserved::DIFF, Change::parse)
    }

    /// Which other branches changed the same paths.
    pub fn conflicts(&self) -> Result<Vec<Conflict>, ClientError> {
        self.lines(reserved::CONFLICTS, Conflict::parse)
    }

    /// Its history.
    pub fn events(&self) -> Result<Vec<Event>, ClientError> {
        self.lines(reserved::EVENTS, Event::parse)
    }

    /// Its history as text.
    pub fn log(&self) -> Result<Vec<u8>, ClientError> {
        self.read(&self.own(reserved::LOG))
    }

    /// Its note as text.
    pub fn note(&self) -> Result<Vec<u8>, ClientError> {
        self.read(&self.own(reserved::NOTE))
    }

    /// Its patch, for reading.
    pub fn patch(&self) -> Result<File, ClientError> {
        File::open(self.own(reserved::PATCH)).map_err(|e| self.explain(Verb::Read, e))
    }

    /// What a commit would do.
    pub fn preview(&self) -> Result<Preview, ClientError> {
        let file = self.dir.join(reserved::COMMIT);
        Preview::parse(&self.read(&file)?)
            .map_err(|source| ClientError::BadText { path: file, source })
    }

    /// The names of its live children, sorted.
    pub fn children(&self) -> Result<Vec<BranchName>, ClientError> {
        let names = self.entries(&self.dir.join(reserved::BRANCHES))?;
        Ok(names
            .iter()
            .filter_map(|name| BranchName::new(name).ok())
            .collect())
    }

    /// The live children with their statuses, sorted by name.
    ///
    /// A child that ends while this looks is left out.
    pub fn child_statuses(&self) -> Result<Vec<(Branch, Status)>, ClientError> {
        let mut children = Vec::new();
        for name in self.children()? {
            let child = self.child(name);
            match child.status() {
                Ok(status) => children.push((child, status)),
                Err(e) if gone(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(children)
    }

    /// What is in its trash, sorted by name.
    pub fn trash(&self) -> Result<Vec<TrashEntry>, ClientError> {
        let dir = self.trash_dir();
        let mut entries = Vec::new();
        for name in self.entries(&dir)? {
            let Ok(entry) = TrashName::new(&name) else {
                continue;
            };
            if let Some(status) = status_in(&dir.join(entry.as_path())) {
                entries.push(TrashEntry { entry, status });
            }
        }
        Ok(entries)
    }

    /// The status of an entry of its trash, also of one that is not listed.
    pub fn trashed(&self, entry: &Text) -> Option<Status> {
        status_in(&self.trash_dir().join(OsStr::from_bytes(&entry.0)))
    }

    /// It and every branch below it.
    pub fn tree(&self) -> Result<TreeNode, ClientError> {
        self.tree_with(self.status()?)
    }

    fn tree_with(&self, status: Status) -> Result<TreeNode, ClientError> {
        let mut children = Vec::new();
        for (child, status) in self.child_statuses()? {
            match child.tree_with(status) {
                Ok(node) => children.push(node),
                Err(e) if gone(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(TreeNode { status, children })
    }

    /// The child called `name`, which need not exist.
    pub fn child(&self, name: BranchName) -> Branch {
        let dir = self.dir.join(reserved::BRANCHES).join(name.as_path());
        Branch {
            path: self.path.child(name),
            dir,
        }
    }

    /// Makes a child.
    pub fn fork(&self, name: BranchName) -> Result<Branch, ClientError> {
        let child = self.child(name);
        match std::fs::create_dir(&child.dir) {
            Ok(()) => Ok(child),
            Err(e) if !self.dir.exists() => Err(self.explain(Verb::Fork, e)),
            Err(e) => Err(refused(Verb::Fork, child.path, e, |errno| {
                self.last_error(errno)
            })),
        }
    }

    /// Commits the branch, whose number is `number`, into its parent.
    ///
    /// The answer is an error where it has landed in main, and main could not be published into the
    /// base after that.
    pub fn commit(&self, number: u32) -> Result<Option<ClientError>, ClientError> {
        let error = match self.command(Verb::Commit, &Command::Commit) {
            Ok(()) => return Ok(self.parent().and_then(|parent| parent.unpublished())),
            Err(error) => error,
        };
        // An older mount answers that error to the write.
        let Some(parent) = self.parent().filter(|parent| parent.has_taken(number)) else {
            return Err(error);
        };
        let source = error.errno().map(|e| io::Error::from_raw_os_error(e.0));
        Ok(Some(source.map_or(error, |source| {
            refused(Verb::Publish, parent.path.clone(), source, |errno| {
                parent.last_error(errno)
            })
        })))
    }

    /// Why it is not in the base, if it is main and could not be published.
    fn unpublished(&self) -> Option<ClientError> {
        let is_main = self.path.parent().is_none();
        let status = is_main.then(|| status_in(&self.dir))??;
        Some(ClientError::Unpublished {
            sentence: status.publish_error?,
        })
    }

    /// Whether the child that had this number has landed in it.
    fn has_taken(&self, number: u32) -> bool {
        let events = self.events().unwrap_or_default();
        let landed = |kind: &EventKind| matches!(kind, EventKind::Commit { .. });
        let mut of_child = events.iter().filter(|event| event.number == number);
        of_child.any(|event| landed(&event.kind))
    }

    /// Changes its limits.
    pub fn set_limits(&self, change: &LimitsChange) -> Result<(), ClientError> {
        self.replace(
            Verb::Limits,
            &self.own(reserved::LIMITS),
            limits_text(change).as_bytes(),
        )
    }

    /// Replaces its note.
    pub fn set_note(&self, text: &str) -> Result<(), ClientError> {
        self.replace(
            Verb::Note,
            &self.own(reserved::NOTE),
            format!("{text}\n").as_bytes(),
        )
    }

    /// Gives it another name, and says where it is then.
    pub fn rename(&self, name: BranchName) -> Result<Branch, ClientError> {
        let parent = self.parent().ok_or(ClientError::RenameMain)?;
        let renamed = parent.child(name);
        match renameat_with(CWD, &self.dir, CWD, &renamed.dir, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(renamed),
            Err(e) if !self.dir.exists() => Err(self.explain(Verb::Rename, e.into())),
            Err(e) => Err(refused(
                Verb::Rename,
                self.path.clone(),
                e.into(),
                |errno| parent.last_error(errno),
            )),
        }
    }

    /// Brings `entry` back from its trash, under `name` or the name that it had.
    pub fn restore(
        &self,
        entry: &TrashName,
        name: Option<BranchName>,
    ) -> Result<Branch, ClientError> {
        let from = self.trash_dir().join(entry.as_path());
        let Some(status) = status_in(&from) else {
            // Where the branch itself is not there, that is what is to be said.
            self.status()?;
            let entry = Text::from(entry.as_bytes());
            return Err(ClientError::NotInTrash {
                entry,
                parent: self.path.clone(),
            });
        };
        let name = match name {
            Some(name) => name,
            None => BranchName::new(&status.name.0)?,
        };
        let restored = self.child(name);
        renameat_with(CWD, &from, CWD, &restored.dir, RenameFlags::NOREPLACE).map_err(|e| {
            refused(Verb::Restore, restored.path.clone(), e.into(), |errno| {
                self.last_error(errno)
            })
        })?;
        Ok(restored)
    }

    fn parent(&self) -> Option<Branch> {
        let path = self.path.parent()?;
        let dir = self.dir.parent()?.parent()?.to_owned();
        Some(Branch { path, dir })
    }

    fn own(&self, file: &str) -> PathBuf {
        self.dir.join(reserved::SELF).join(file)
    }

    fn trash_dir(&self) -> PathBuf {
        self.dir.join(reserved::BRANCHES).join(reserved::TRASH)
    }

    fn read(&self, file: &Path) -> Result<Vec<u8>, ClientError> {
        files::read(file).map_err(|e| self.explain(Verb::Read, e))
    }

    fn lines<T>(
        &self,
        file: &str,
        parse: fn(&[u8]) -> Result<T, ProtoError>,
    ) -> Result<Vec<T>, ClientError> {
        let file = self.own(file);
        let text = self.read(&file)?;
        let lines = text.split(|&b| b == b'\n').filter(|line| !line.is_empty());
        lines
            .map(parse)
            .collect::<Result<_, _>>()
            .map_err(|source| ClientError::BadText { path: file, source })
    }

    /// The names in a directory, sorted.
    fn entries(&self, dir: &Path) -> Result<Vec<Vec<u8>>, ClientError> {
        let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.map_err(|e| self.explain(Verb::Read, e))?;
        let mut names: Vec<_> = entries
            .into_iter()
            .map(|e| e.file_name().into_vec())
            .collect();
        names.sort();
        Ok(names)
    }

    /// What `echo TEXT > FILE` does: opened with O_TRUNC, and one write(2) of the whole text.
    fn replace(&self, verb: Verb, file: &Path, text: &[u8]) -> Result<(), ClientError> {
        let file = OpenOptions::new().write(true).truncate(true).open(file);
        file.and_then(|file| files::write_at_once(&file, text))
            .map_err(|error| self.explain(verb, error))
    }

    /// The error of a verb on this branch, with what else is known: that the branch does not exist,
    /// that it is in the trash, or why the daemon refused.
    pub(super) fn explain(&self, verb: Verb, error: io::Error) -> ClientError {
        let over = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE));
        if over && !self.dir.exists() {
            return match self.in_trash() {
                Some(state) => ClientError::Ended {
                    verb,
                    branch: self.path.clone(),
                    state,
                },
                None if error.raw_os_error() == Some(libc::ENOENT) => ClientError::NoSuchBranch {
                    branch: self.path.clone(),
                },
                None => refused(verb, self.path.clone(), error, |_| None),
            };
        }
        refused(verb, self.path.clone(), error, |errno| {
            self.last_error(errno)
        })
    }

    /// How it ended, if the trash knows.
    fn in_trash(&self) -> Option<State> {
        let name = TrashName::plain(self.path.names().last()?);
        let status = status_in(&self.parent()?.trash_dir().join(name.as_path()))?;
        Some(status.state)
    }

    /// The sentence that goes with `errno`, if that is what the status holds.
    fn last_error(&self, errno: i32) -> Option<String> {
        let status = status_in(&self.dir)?;
        let same = status.last_errno.is_some_and(|last| last.0 == errno);
        status.last_error.filter(|_| same)
    }
}

fn status_in(dir: &Path) -> Option<Status> {
    let file = dir.join(reserved::SELF).join(reserved::STATUS);
    files::read(&file)
        .ok()
        .and_then(|json| Status::parse(&json).ok())
}

fn gone(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::NoSuchBranch { .. } | ClientError::Ended { .. }
    ) || error.errno().is_some_and(|errno| errno.0 == libc::ESTALE)
}

fn refused(
    verb: Verb,
    branch: BranchPath,
    error: io::Error,
    sentence: impl FnOnce(i32) -> Option<String>,
) -> ClientError {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    ClientError::Refused {
        verb,
        branch,
        errno,
        sentence: sentence(errno),
    }
}

/// One line per limit.
fn limits_text(change: &LimitsChange) -> String {
    change
        .to_string()
        .split(' ')
        .map(|pair| format!("{pair}\n"))
        .collect()
}

#[cfg(test)]
#[path = "branch_tests.rs"]
mod tests;
