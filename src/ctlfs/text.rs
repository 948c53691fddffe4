//! What the reserved files say.
//!
//! A text is made anew each time it is asked for, from the branch as it is then; the caller keeps
//! it as long as one reader needs it to stay the same.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use super::Reserved;
use crate::branch::{
    Branch, BranchError, End, Happened, Names, PathChange, PathChangeKind, PublishMode, State,
    What, Workspace,
};
use crate::overlay::{FsResult, Overlay};
use crate::proto::{
    Action, BranchName, BranchPath, Change, ChangeCounts, ChangeKind, Conflict, ConflictKind,
    ErrnoText, Event, EventKind, Limits, Policy, Preview, Status, Text, Timestamp, TreeNode, Trial,
    Usage, Verdict,
};
use crate::tree::{BranchId, View};

/// Makes the texts of one workspace.
pub struct Texts<'a> {
    /// The files.
    pub overlay: &'a Overlay,
    /// What the mount counts, as Prometheus text.
    pub counters: &'a dyn Fn() -> String,
    /// The errno that a refusal is answered with.
    pub errno: fn(&BranchError) -> i32,
    /// Lines of `@self/config`.
    pub config: &'a str,
}

/// The path of a branch for people.
fn path_of(names: &Names) -> BranchPath {
    // Names are validated when a branch gets one; one that is not would be shown as its parent.
    names
        .iter()
        .filter_map(|name| BranchName::new(name).ok())
        .fold(BranchPath::MAIN, |path, name| path.child(name))
}

impl Texts<'_> {
    fn workspace(&self) -> &Workspace {
        &self.overlay.workspace
    }

    /// The text of a reserved file of `branch`.
    pub fn render(&self, branch: &Arc<Branch>, file: Reserved) -> FsResult<Vec<u8>> {
        Ok(match file {
            Reserved::Ctl => self.status(branch, false)?.ctl_lines().into_bytes(),
            Reserved::Status => {
                let mut json = self.status(branch, true)?.to_json();
                json.push('\n');
                json.into_bytes()
            }
            Reserved::Commit => self.commit_preview(branch)?.to_string().into_bytes(),
            Reserved::Abort => self.abort_preview(branch)?.to_string().into_bytes(),
            Reserved::Diff => lines(&self.changes(branch)?),
            Reserved::Patch => self.patch(branch)?,
            Reserved::Conflicts => lines(&self.conflicts(branch)?),
            Reserved::Log => {
                let of_branch = |event: &Happened| event.number == branch.id || is_main(branch);
                lines(&self.events(of_branch))
            }
            Reserved::Events => {
                let of_branch = |event: &Happened| event.number == branch.id || is_main(branch);
                let mut text = String::new();
                for event in self.events(of_branch) {
                    text.push_str(&event.to_json());
                    text.push('\n');
                }
                text.into_bytes()
            }
            Reserved::Limits => self.limits(branch).to_string().into_bytes(),
            Reserved::Note => {
                let mut note = branch.state.read().meta.note.to_vec();
                if !note.is_empty() {
                    note.push(b'\n');
                }
                note
            }
            Reserved::Tree => self.tree(branch)?.to_string().into_bytes(),
            Reserved::Metrics => {
                let mut text = super::gauges::gauges(self.overlay);
                text.push_str(&(self.counters)());
                text.into_bytes()
            }
            Reserved::Config => self.config.as_bytes().to_vec(),
            Reserved::Branches | Reserved::Trash | Reserved::SelfDir => Vec::new(),
        })
    }

    fn limits(&self, branch: &Branch) -> Limits {
        let limits = branch.state.read().meta.limits;
        Limits {
            bytes: limits.bytes,
            inodes: limits.inodes,
        }
    }

    /// What a branch says of itself; with the counts of its changes where `counted`.
    pub fn status(&self, branch: &Arc<Branch>, counted: bool) -> FsResult<Status> {
        let path = path_of(&self.workspace().names_of(branch));
        let changed = match counted {
            true => Some(self.counts(branch)?),
            false => None,
        };
        let [undo, redo] = self
            .workspace()
            .last_entries(branch)
            .map(|entry| entry.map(|e| Text(e.to_vec())));
        let state = branch.state.read();
        let meta = &state.meta;
        let trash_secs = i64::try_from(self.workspace().options.trash.as_secs());
        let expires = state.ended.map(|ended| {
            let mut time = ended.time;
            time.sec = time.sec.saturating_add(trash_secs.unwrap_or(i64::MAX));
            Timestamp::new(time)
        });
        Ok(Status {
            name: Text(path.name().to_vec()),
            parent: path.parent(),
            branch: path,
            number: branch.id.0,
            state: shown_state(&state),
            policy: match meta.policy {
                crate::branch::Policy::FirstWinner => Policy::FirstWinner,
                crate::branch::Policy::Merge => Policy::Merge,
            },
            generation: meta.generation,
            fork_generation: meta.fork_generation,
            children: state.children.len() as u64,
            changed,
            usage: Usage {
                bytes: state.usage.bytes.max(0) as u64,
                inodes: state.usage.inodes.max(0) as u64,
            },
            limits: Limits {
                bytes: meta.limits.bytes,
                inodes: meta.limits.inodes,
            },
            created: Timestamp::new(meta.created),
            expires,
            last_error: state
                .last_error
                .as_ref()
                .map(|(_, sentence)| sentence.clone()),
            last_errno: state
                .last_error
                .as_ref()
                .map(|(errno, _)| ErrnoText(*errno)),
            read_only: self
                .workspace()
                .store
                .poisoned()
                .map(|cause| cause.to_string()),
            publish_error: match is_main(branch) {
                true => self.workspace().publish_error(),
                false => None,
            },
            note: String::from_utf8_lossy(&meta.note).into_owned(),
            undo,
            redo,
        })
    }

    fn views(&self, branch: &Branch) -> (View, View) {
        let state = branch.state.read();
        (state.fork_view.clone(), state.view.clone())
    }

    /// What `branch` changed; of main, what it has that the base does not.
    fn path_changes(&self, branch: &Branch) -> FsResult<Vec<PathChange>> {
        let (fork_view, view) = self.views(branch);
        Ok(self.workspace().diff(&fork_view, &view)?)
    }

    fn changes(&self, branch: &Branch) -> FsResult<Vec<Change>> {
        Ok(self
            .path_changes(branch)?
            .into_iter()
            .map(shown_change)
            .collect())
    }

    fn counts(&self, branch: &Branch) -> FsResult<ChangeCounts> {
        let mut counts = ChangeCounts::default();
        for change in self.path_changes(branch)? {
            let count = match change.kind {
                PathChangeKind::Added => &mut counts.added,
                PathChangeKind::Modified | PathChangeKind::Attributes => &mut counts.modified,
                PathChangeKind::Deleted => &mut counts.deleted,
                PathChangeKind::Renamed { .. } => &mut counts.renamed,
                PathChangeKind::Type => &mut counts.type_changed,
            };
            *count += 1;
        }
        Ok(counts)
    }

    fn patch(&self, branch: &Branch) -> FsResult<Vec<u8>> {
        let (old, new) = self.views(branch);
        super::patch::patch(self.overlay, &old, &new)
    }

    fn commit_preview(&self, branch: &Arc<Branch>) -> FsResult<Preview> {
        let branch_path = path_of(&self.workspace().names_of(branch));
        if is_main(branch) {
            return Ok(Preview {
                action: Action::Publish,
                branch: branch_path,
                verdict: Verdict::Accepted,
                conflicts: Vec::new(),
                changes: self.changes(branch)?,
            });
        }
        if branch.state.read().ended.is_some() {
            return self.ended_preview(branch, Action::Commit);
        }
        let preview = self.workspace().preview(branch)?;
        let parent = branch_path.parent().unwrap_or(BranchPath::MAIN);
        let conflict = |path| Conflict {
            kind: ConflictKind::Conflict,
            branch: parent.clone(),
            path: Text(path),
        };
        Ok(Preview {
            action: Action::Commit,
            branch: branch_path,
            verdict: match &preview.refusal {
                None => Verdict::Accepted,
                Some(error) => self.refused(error),
            },
            conflicts: preview.conflicts.into_iter().map(conflict).collect(),
            changes: preview.changes.into_iter().map(shown_change).collect(),
        })
    }

    fn refused(&self, error: &BranchError) -> Verdict {
        Verdict::Refused {
            errno: ErrnoText((self.errno)(error)),
            reason: error.to_string(),
        }
    }

    fn ended_preview(&self, branch: &Arc<Branch>, action: Action) -> FsResult<Preview> {
        let name = branch.state.read().meta.name.clone();
        Ok(Preview {
            action,
            branch: path_of(&self.workspace().names_of(branch)),
            verdict: self.refused(&BranchError::Ended { name }),
            conflicts: Vec::new(),
            changes: self.changes(branch)?,
        })
    }

    fn abort_preview(&self, branch: &Arc<Branch>) -> FsResult<Preview> {
        if branch.state.read().ended.is_some() {
            return self.ended_preview(branch, Action::Abort);
        }
        let verdict = {
            let state = branch.state.read();
            let name = state.meta.name.clone();
            let children: Vec<_> = state.children.keys().map(|name| name.to_vec()).collect();
            if is_main(branch) {
                self.refused(&BranchError::MainStays { what: "aborted" })
            } else if children.is_empty() {
                Verdict::Accepted
            } else {
                self.refused(&BranchError::HasChildren { name, children })
            }
        };
        Ok(Preview {
            action: Action::Abort,
            branch: path_of(&self.workspace().names_of(branch)),
            verdict,
            conflicts: Vec::new(),
            changes: self.changes(branch)?,
        })
    }

    /// Hard conflicts with the parent, then overlap with the other live branches.
    fn conflicts(&self, branch: &Arc<Branch>) -> FsResult<Vec<Conflict>> {
        let workspace = self.workspace();
        let mut conflicts = Vec::new();
        if !is_main(branch) && branch.is_live() {
            let parent = path_of(&workspace.names_of(branch)).parent();
            for path in workspace.preview(branch)?.conflicts {
                let branch = parent.clone().unwrap_or(BranchPath::MAIN);
                let path = Text(path);
                conflicts.push(Conflict {
                    kind: ConflictKind::Conflict,
                    branch,
                    path,
                });
            }
        }
        let touched = |branch: &Branch| -> FsResult<Vec<Vec<u8>>> {
            let mut paths = Vec::new();
            for change in self.path_changes(branch)? {
                if let PathChangeKind::Renamed { from } = change.kind {
                    paths.push(from);
                }
                paths.push(change.path);
            }
            Ok(paths)
        };
        let own: HashSet<Vec<u8>> = touched(branch)?.into_iter().collect();
        if own.is_empty() {
            return Ok(conflicts);
        }
        let parent = branch.state.read().meta.parent;
        for other in workspace.branches() {
            let related = other.id == branch.id || Some(other.id) == parent || is_main(&other);
            if related || !other.is_live() {
                continue;
            }
            let path = path_of(&workspace.names_of(&other));
            for shared in touched(&other)?
                .into_iter()
                .filter(|path| own.contains(path))
            {
                conflicts.push(Conflict {
                    kind: ConflictKind::Overlap,
                    branch: path.clone(),
                    path: Text(shared),
                });
            }
        }
        Ok(conflicts)
    }

    fn events(&self, wanted: impl Fn(&Happened) -> bool) -> Vec<Event> {
        self.workspace().history.read(|events| {
            events
                .iter()
                .filter(|event| wanted(event))
                .filter_map(shown_event)
                .collect()
        })
    }

    fn tree(&self, branch: &Arc<Branch>) -> FsResult<TreeNode> {
        let children: Vec<BranchId> = branch.state.read().children.values().copied().collect();
        let mut nodes = Vec::new();
        for child in children
            .into_iter()
            .filter_map(|id| self.workspace().branch(id))
        {
            nodes.push(self.tree(&child)?);
        }
        Ok(TreeNode {
            status: self.status(branch, true)?,
            children: nodes,
        })
    }
}

/// The lines of `@self/config`; `switches` are the options that are on or off.
pub fn config(
    workspace: &Workspace,
    base: &str,
    store: &str,
    mount: &str,
    switches: &[(&str, bool)],
) -> String {
    let options = &workspace.options;
    let publish = match options.publish {
        PublishMode::Sync => "sync",
        PublishMode::Async => "async",
        PublishMode::Manual => "manual",
    };
    let main = workspace.main().state.read().meta.policy;
    let policy = match main {
        crate::branch::Policy::FirstWinner => Policy::FirstWinner,
        crate::branch::Policy::Merge => Policy::Merge,
    };
    let limit = |limit: Option<u64>| limit.map_or("none".to_owned(), |limit| limit.to_string());
    let maxima = &options.maxima;
    let switches: String = (switches.iter())
        .map(|(name, on)| format!("{name} {on}\n"))
        .collect();
    format!(
        "base {base}\nstore {store}\nmountpoint {mount}\npolicy {policy}\npublish {publish}\n\
         trash {}s\nmax_bytes {}\nmax_branches {}\nmax_depth {}\n\
         read_only {}\n{switches}pid {}\nversion {}\n",
        options.trash.as_secs(),
        limit(maxima.bytes),
        limit(maxima.branches),
        maxima.depth,
        options.read_only,
        std::process::id(),
        env!("CARGO_PKG_VERSION"),
    )
}

fn is_main(branch: &Branch) -> bool {
    branch.id == BranchId::MAIN
}

fn shown_state(state: &State) -> crate::proto::State {
    match state.ended.map(|ended| ended.end) {
        None => crate::proto::State::Open,
        Some(End::Lost) => crate::proto::State::Lost,
        Some(End::Aborted) => crate::proto::State::Aborted,
        Some(End::Committed) => crate::proto::State::Committed,
        Some(End::Undone) => crate::proto::State::Undone,
    }
}

fn shown_change(change: PathChange) -> Change {
    let path = match change.path.is_empty() {
        true => b".".to_vec(),
        false => change.path,
    };
    Change {
        kind: match change.kind {
            PathChangeKind::Added => ChangeKind::Added,
            PathChangeKind::Modified => ChangeKind::Modified,
            PathChangeKind::Attributes => ChangeKind::Attributes,
            PathChangeKind::Deleted => ChangeKind::Deleted,
            PathChangeKind::Renamed { from } => ChangeKind::Renamed { from: Text(from) },
            PathChangeKind::Type => ChangeKind::TypeChanged,
        },
        path: Text(path),
        dir: change.is_dir,
    }
}

/// None of a trial's step that this version cannot read.
fn shown_event(event: &Happened) -> Option<Event> {
    let branch = path_of(&event.branch);
    Some(Event {
        seq: event.seq,
        time: Timestamp::new(event.time),
        kind: match &event.what {
            What::Fork => EventKind::Fork,
            What::Commit { generation, paths } => EventKind::Commit {
                generation: *generation,
                paths: *paths,
            },
            What::Abort => EventKind::Abort,
            What::Lost { winner } => EventKind::Lost {
                winner: path_of(winner),
            },
            What::Rename { from } => EventKind::Rename {
                from: path_of(from),
            },
            What::Restore => EventKind::Restore,
            What::Undo { paths } => EventKind::Undo { paths: *paths },
            What::Redo { paths } => EventKind::Redo { paths: *paths },
            What::Expire => EventKind::Expire,
            What::Trial(json) => EventKind::Trial(Box::new(Trial::parse(json.as_bytes()).ok()?)),
            What::Publish { version, paths } => EventKind::Publish {
                version: *version,
                paths: *paths,
            },
            What::Conflict { paths } => EventKind::Conflict {
                errno: ErrnoText(libc::EBUSY),
                paths: paths.iter().cloned().map(Text).collect(),
            },
        },
        parent: branch.parent(),
        number: event.number.0,
        branch,
    })
}

fn lines<T: std::fmt::Display>(items: &[T]) -> Vec<u8> {
    let mut text = String::new();
    for item in items {
        let _ = writeln!(text, "{item}");
    }
    text.into_bytes()
}
