//! Checking a store offline: do its records make sense, and is everything there that they name?

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use super::recover::Replay;
use super::{BranchError, Record};
use crate::store::{self, Report};
use crate::tree::{Content, Source, View};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where: a file of the store and an offset, or a branch and a file.
    pub place: String,
    /// What.
    pub what: String,
}

/// What a check of a store found.
#[derive(Debug, Default)]
pub struct Verified {
    /// What is wrong; empty for a sound store.
    pub findings: Vec<Finding>,
    /// Branches, live and in the trash, main included.
    pub branches: usize,
    /// Records read.
    pub records: usize,
    /// Files that the views hold.
    pub files: usize,
}

/// Checks the store in `dir`, which nobody may have open. Fails where it cannot be read at all.
pub fn verify_store(dir: OwnedFd) -> Result<Verified, BranchError> {
    let mut report = store::verify(dir)?;
    let mut verified = Verified::default();
    for problem in &report.problems {
        verified.findings.push(Finding {
            place: format!("{} at byte {}", problem.file, problem.offset),
            what: problem.damage.to_string(),
        });
    }
    let mut replay = Replay::new();
    for record in report.records.take().into_iter().flatten() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let what = error.to_string();
                verified.findings.push(Finding {
                    place: "the records".to_owned(),
                    what,
                });
                break;
            }
        };
        verified.records += 1;
        let lsn = record.lsn.0;
        let read = Record::decode(&record.payload)
            .map_err(|source| BranchError::BadRecord { lsn, source })
            .and_then(|record| replay.record(lsn, record));
        if let Err(error) = read {
            let place = format!("record {lsn}");
            verified.findings.push(Finding {
                place,
                what: error.to_string(),
            });
        }
    }
    let stored = Stored::of(&report);
    let mut last = View::default();
    for branch in replay.table.all() {
        let state = branch.state.read();
        verified.branches += 1;
        let place = format!(
            "branch {} ({})",
            branch.id.0,
            state.meta.name.escape_ascii()
        );
        // What the parent of a commit was after it is not kept in the store.
        let fork_view = (!state.is_commit()).then_some(&state.fork_view);
        if let Some(fork_view) = fork_view {
            check_view(&last, fork_view, &stored, &place, &mut verified);
        }
        let from = fork_view.unwrap_or(&last);
        check_view(from, &state.view, &stored, &place, &mut verified);
        last = state.view.clone();
    }
    Ok(verified)
}

/// What the store has of content.
struct Stored {
    blobs: std::collections::HashMap<u64, u64>,
    segments: Vec<(u64, u64)>,
}

impl Stored {
    fn of(report: &Report) -> Stored {
        Stored {
            blobs: report
                .blobs
                .iter()
                .map(|blob| (blob.id.0, blob.len_bytes))
                .collect(),
            segments: report
                .segments
                .iter()
                .map(|s| (s.start.0, s.len_bytes))
                .collect(),
        }
    }

    fn has_segment(&self, at: u64, len: u64) -> bool {
        let mut at = at;
        let end = at + len;
        while at < end {
            let holds = |(start, len): &&(u64, u64)| (*start..start + len).contains(&at);
            match self.segments.iter().find(holds) {
                Some((start, len)) => at = start + len,
                None => return false,
            }
        }
        true
    }
}

/// Checks what `view` has and `from`, which was checked already, has not.
fn check_view(from: &View, view: &View, stored: &Stored, place: &str, verified: &mut Verified) {
    let mut find = |what: String| {
        verified.findings.push(Finding {
            place: place.to_owned(),
            what,
        });
    };
    let mut seen = HashSet::new();
    for (key, _, dentry) in from.diff_dentries(view) {
        let Some(dentry) = dentry else { continue };
        let name = key.name.escape_ascii();
        match dentry.file {
            Some((file, kind)) => match view.inode(file) {
                None => find(format!("{name:?} names {file:?}, which has no inode")),
                Some(inode) if inode.attr.kind != kind => {
                    find(format!(
                        "{name:?} says {kind:?}, its inode {:?}",
                        inode.attr.kind
                    ));
                }
                Some(_) => {}
            },
            None if dentry.hides.is_none() => find(format!("the whiteout {name:?} hides nothing")),
            None => {}
        }
    }
    for (file, _, inode) in from.diff_inodes(view) {
        let Some(inode) = inode else { continue };
        seen.insert(file);
        let Content::File(extents) = &inode.content else {
            continue;
        };
        for extent in extents.iter() {
            let missing = match extent.source {
                Source::Base { .. } => None,
                Source::Segment { at, .. } if stored.has_segment(at, extent.len) => None,
                Source::Segment { at, .. } => Some(format!("segment bytes at {at}")),
                Source::Blob { id, at } => match stored.blobs.get(&id) {
                    Some(len) if at + extent.len <= *len => None,
                    Some(len) => Some(format!("blob {id:x} beyond its {len} bytes")),
                    None => Some(format!("blob {id:x}")),
                },
            };
            if let Some(missing) = missing {
                let name = inode.name.escape_ascii();
                find(format!(
                    "{file:?} ({name}) needs {missing}, which is not there"
                ));
            }
        }
    }
    verified.files += seen.len();
}
