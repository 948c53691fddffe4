//! What writing to reserved files, and mkdir, rmdir and rename in `@branches`, do to branches.
//!
//! Every one of these may wait for the disk or for the kernel, so each runs as
//! [`Outcome::Later`](super::ops::Outcome). A refusal leaves its sentence in the branch's
//! `last_error`, next to the errno that the caller got.

use std::sync::Arc;

use super::invalidate::Asked;
use super::ops::{Cred, Entry, Errno, OpResult};
use super::{Vfs, WrittenBack};
use crate::branch::{Back, Branch, BranchError, Limits, Policy, Record};
use crate::ctlfs::Reserved;
use crate::proto::{BranchName, Command, LimitsChange, NOTE_BYTES_MAX, ProtoError};
use crate::tree::{BranchId, Name, NodeId};

/// Why a control operation was refused.
pub(super) enum Refused {
    Branch(BranchError),
    Proto(ProtoError),
}

impl From<BranchError> for Refused {
    fn from(error: BranchError) -> Refused {
        Refused::Branch(error)
    }
}

impl From<ProtoError> for Refused {
    fn from(error: ProtoError) -> Refused {
        Refused::Proto(error)
    }
}

impl Refused {
    pub(super) fn errno_and_sentence(&self) -> (Errno, String) {
        match self {
            Refused::Branch(error) => (Errno::from(error), error.to_string()),
            Refused::Proto(error) => (Errno::from(error), error.to_string()),
        }
    }
}

pub(super) type Done<T = ()> = Result<T, Refused>;

impl Vfs {
    /// Runs a control operation on `branch` and notes a refusal there.
    fn noted<T>(&self, branch: &Arc<Branch>, done: Done<T>) -> OpResult<T> {
        done.map_err(|refused| {
            let (errno, sentence) = refused.errno_and_sentence();
            branch.state.write().last_error = Some((errno.0, sentence));
            errno
        })
    }

    /// Only a branch's owner and root control it.
    pub(super) fn check_owner(&self, branch: &Arc<Branch>, cred: &Cred) -> Result<(), BranchError> {
        let (owner, _) = self.0.owner(branch);
        if cred.uid == 0 || cred.uid == owner {
            return Ok(());
        }
        Err(BranchError::NotOwner {
            name: branch.state.read().meta.name.clone(),
            owner,
        })
    }

    /// A write to a reserved file.
    pub(super) fn control_write(
        &self,
        cred: &Cred,
        node: NodeId,
        file: Reserved,
        data: &[u8],
    ) -> OpResult<()> {
        let branch = self.0.branch_of(node)?;
        if !branch.is_live() {
            return Err(Errno(libc::ESTALE));
        }
        let done = self
            .check_owner(&branch, cred)
            .map_err(Refused::from)
            .and_then(|()| match file {
                Reserved::Commit => self.command(&branch, cred, Command::Commit),
                Reserved::Abort => self.command(&branch, cred, Command::Abort),
                Reserved::Ctl => Command::parse_all(data)?
                    .into_iter()
                    .try_for_each(|command| self.command(&branch, cred, command)),
                Reserved::Limits => {
                    self.command(&branch, cred, Command::Limit(LimitsChange::parse(data)?))
                }
                Reserved::Note => {
                    let note = data.strip_suffix(b"\n").unwrap_or(data);
                    self.set_note(&branch, &note[..note.len().min(NOTE_BYTES_MAX)])
                }
                _ => Err(BranchError::ReadOnly.into()),
            });
        self.noted(&branch, done)
    }

    fn set_note(&self, branch: &Arc<Branch>, note: &[u8]) -> Done {
        let record = Record::Note {
            branch: branch.id,
            note: note.into(),
        };
        Ok(self.workspace().set(branch, &record)?)
    }

    fn command(&self, branch: &Arc<Branch>, cred: &Cred, command: Command) -> Done {
        let workspace = self.workspace();
        match command {
            Command::Commit if branch.id == BranchId::MAIN => self.publish(),
            Command::Commit => self.commit(branch),
            Command::Undo => self.undo(branch, Back::Undo),
            Command::Redo => self.undo(branch, Back::Redo),
            Command::Abort => self.abort(branch, Asked::ByWrite),
            Command::Fork(name) => {
                let written = (self.0.config.write_back)();
                self.fork_child(branch, &name.as_bytes().into(), cred, written)?;
                self.0.drop_listing(branch);
                Ok(())
            }
            Command::Rename(name) => {
                let parent = workspace.parent_of(branch, "renamed")?;
                let old = branch.state.read().meta.name.clone();
                workspace.rename(branch, &name.as_bytes().into())?;
                let dir = Reserved::Branches.node(self.0.overlay.root(&parent).incarnation());
                self.0.config.cache.inval_entry(dir, &old);
                self.0.config.cache.inval_entry(dir, name.as_bytes());
                self.0.drop_listing(&parent);
                Ok(())
            }
            Command::Restore { entry, new_name } => {
                let entry: Name = entry.as_bytes().into();
                let name = new_name.map(|name| Name::from(name.as_bytes()));
                self.restore(branch, &entry, &name.unwrap_or_else(|| plain(&entry)))
            }
            Command::Publish => match branch.id == BranchId::MAIN {
                true => self.publish(),
                false => Err(BranchError::NotMain.into()),
            },
            Command::Gc => {
                self.collect()?;
                Ok(())
            }
            Command::Policy(policy) => {
                let policy = match policy {
                    crate::proto::Policy::FirstWinner => Policy::FirstWinner,
                    crate::proto::Policy::Merge => Policy::Merge,
                };
                Ok(workspace.set(
                    branch,
                    &Record::Policy {
                        branch: branch.id,
                        policy,
                    },
                )?)
            }
            Command::Trial {
                name,
                number,
                trial,
            } => {
                let mut names = workspace.names_of(branch);
                names.push(name.as_bytes().into());
                Ok(workspace.trial_happened(&trial, names, BranchId(number))?)
            }
            Command::Note(note) => self.set_note(branch, note.as_bytes()),
            Command::Limit(change) => {
                let now = branch.state.read().meta.limits;
                let now = crate::proto::Limits {
                    bytes: now.bytes,
                    inodes: now.inodes,
                };
                let now = change.apply(now);
                let limits = Limits {
                    bytes: now.bytes,
                    inodes: now.inodes,
                };
                Ok(workspace.set(
                    branch,
                    &Record::Limits {
                        branch: branch.id,
                        limits,
                    },
                )?)
            }
        }
    }

    /// Frees what nothing reaches.
    pub(super) fn collect(&self) -> Result<(), BranchError> {
        let overlay = &self.0.overlay;
        let reclaimed = self.workspace().reclaim(&|| overlay.open_orphans())?;
        log::info!(
            "gave back {} bytes and {} blobs",
            reclaimed.bytes,
            reclaimed.blobs
        );
        Ok(())
    }

    /// Ends a branch; by rmdir the kernel drops the name itself.
    pub(super) fn abort(&self, branch: &Arc<Branch>, asked: Asked) -> Done {
        let effects = self.workspace().abort(branch)?;
        let bury = |dead| self.bury(dead, asked);
        self.bury_later(effects.dead.iter().filter_map(bury).collect());
        self.expire_at_once()
    }

    fn fork_child(
        &self,
        parent: &Arc<Branch>,
        name: &Name,
        cred: &Cred,
        written: WrittenBack,
    ) -> Done<Arc<Branch>> {
        written();
        self.check_owner(parent, cred)?;
        Ok(self.workspace().fork(parent, name, cred.uid, cred.gid)?)
    }

    fn restore(&self, parent: &Arc<Branch>, entry: &Name, name: &Name) -> Done {
        self.workspace().restore(parent, entry, name)?;
        let incarnation = self.0.overlay.root(parent).incarnation();
        let (dir, trash) = (
            Reserved::Branches.node(incarnation),
            Reserved::Trash.node(incarnation),
        );
        self.0.config.cache.inval_entry(trash, entry);
        self.0.config.cache.inval_entry(dir, name);
        self.0.drop_listing(parent);
        Ok(())
    }

    /// mkdir in `@branches`.
    pub(super) fn mkdir_branch(
        &self,
        cred: &Cred,
        dir: NodeId,
        name: &[u8],
        written: WrittenBack,
    ) -> OpResult<Entry> {
        let parent = self.0.branch_of(dir)?;
        let done = BranchName::new(name)
            .map_err(Refused::from)
            .and_then(|name| self.fork_child(&parent, &name.as_bytes().into(), cred, written));
        let child = self.noted(&parent, done)?;
        self.0.branch_entry(&child)
    }

    /// rmdir in `@branches`.
    pub(super) fn rmdir_branch(&self, cred: &Cred, dir: NodeId, name: &[u8]) -> OpResult<()> {
        let parent = self.0.branch_of(dir)?;
        let id = parent.state.read().children.get(name).copied();
        let branch = id.and_then(|id| self.workspace().branch(id));
        let branch = branch.ok_or(Errno(libc::ENOENT))?;
        let done = self.check_owner(&branch, cred).map_err(Refused::from);
        let done = done.and_then(|()| self.abort(&branch, Asked::ByRmdir));
        self.noted(&branch, done)
    }

    /// rmdir in `.trash`: gone for good.
    pub(super) fn rmdir_trash(&self, cred: &Cred, dir: NodeId, name: &[u8]) -> OpResult<()> {
        let parent = self.0.branch_of(dir)?;
        let id = parent.state.read().trash.get(name).copied();
        let branch = id.and_then(|id| self.workspace().branch(id));
        let branch = branch.ok_or(Errno(libc::ENOENT))?;
        let done = self.check_owner(&branch, cred).map_err(Refused::from);
        let done = done.and_then(|()| Ok(self.workspace().expire(&branch)?));
        self.noted(&parent, done)
    }

    /// rename within `@branches`, and from `.trash` to it.
    pub(super) fn rename_branch(
        &self,
        cred: &Cred,
        (dir, from_trash): (NodeId, bool),
        name: &[u8],
        new_dir: NodeId,
        new_name: &[u8],
    ) -> OpResult<()> {
        let parent = self.0.branch_of(dir)?;
        if self.0.branch_of(new_dir)?.id != parent.id {
            return Err(Errno(libc::EXDEV));
        }
        let done = BranchName::new(new_name)
            .map_err(Refused::from)
            .and_then(|new_name| {
                let new_name = Name::from(new_name.as_bytes());
                let id = {
                    let state = parent.state.read();
                    let names = if from_trash {
                        &state.trash
                    } else {
                        &state.children
                    };
                    names.get(name).copied()
                };
                let missing = || BranchError::NoSuchBranch { name: name.into() };
                let branch = id
                    .and_then(|id| self.workspace().branch(id))
                    .ok_or_else(missing)?;
                self.check_owner(&branch, cred)?;
                if !from_trash {
                    return Ok(self.workspace().rename(&branch, &new_name)?);
                }
                self.workspace().restore(&parent, &name.into(), &new_name)?;
                self.forget_later(new_dir, &new_name);
                Ok(())
            });
        self.noted(&parent, done)
    }

    /// After a rename has answered: the kernel moved a name that stands for another inode now.
    /// Until then that inode answers ESTALE, which makes the kernel look again.
    fn forget_later(&self, dir: NodeId, name: &Name) {
        // The thread keeps no workspace open that is unmounted meanwhile.
        let (cache, name) = (self.0.config.cache.clone(), name.clone());
        let forget = move || cache.inval_entry(dir, &name);
        if std::thread::Builder::new()
            .name("forget".into())
            .spawn(forget)
            .is_err()
        {
            log::warn!("the kernel may take a restored branch for an ended one for a while");
        }
    }
}

/// The name that a branch had, of its entry in the trash (`name~2`).
fn plain(entry: &Name) -> Name {
    let Some(tilde) = entry.iter().rposition(|&b| b == b'~') else {
        return entry.clone();
    };
    let number = &entry[tilde + 1..];
    match !number.is_empty() && number.iter().all(u8::is_ascii_digit) && tilde > 0 {
        true => entry[..tilde].into(),
        false => entry.clone(),
    }
}
