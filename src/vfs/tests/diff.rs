//! Whether a diff says everything: applied to the old tree it has to make the new one.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::paths;
use super::tree::{Fid, Tree};
use super::world::Checked;
use crate::branch::{PathChange, PathChangeKind};

fn below(path: &[u8], dir: &[u8]) -> bool {
    path == dir || (path.starts_with(dir) && path.get(dir.len()) == Some(&b'/'))
}

/// Applies `diff` to `old`; what it brings has the content that it has in `new`.
pub fn apply(old: &Tree, new: &Tree, diff: &[PathChange]) -> Checked {
    // Each path with the tree whose version of the file it shows.
    let mut shown: BTreeMap<Vec<u8>, (Fid, bool)> = paths(old)
        .into_iter()
        .map(|(path, file)| (path, (file, false)))
        .collect();
    let after = paths(new);
    let before = paths(old);
    let mut moved = Vec::new();
    let sources: Vec<(&Vec<u8>, Option<&Vec<u8>>)> = diff
        .iter()
        .filter_map(|change| match &change.kind {
            PathChangeKind::Renamed { from } => Some((from, Some(&change.path))),
            PathChangeKind::Deleted => Some((&change.path, None)),
            _ => None,
        })
        .collect();
    if let Some((source, _)) = sources
        .iter()
        .find(|(source, _)| !before.contains_key(*source))
    {
        return Err(format!("{} was not there", source.escape_ascii()));
    }
    for (path, file) in &before {
        let of = sources.iter().filter(|(source, _)| below(path, source));
        let Some((from, to)) = of.max_by_key(|(source, _)| source.len()) else {
            continue;
        };
        shown.remove(path);
        if let Some(to) = to {
            moved.push(([to, &path[from.len()..]].concat(), *file, to.len()));
        }
    }
    let hides = |c: &PathChange, path: &[u8]| {
        c.is_dir && below(path, &c.path) && matches!(c.kind, PathChangeKind::Modified)
            || below(path, &c.path) && matches!(c.kind, PathChangeKind::Type)
    };
    shown.retain(|path, _| !diff.iter().any(|c| hides(c, path)));
    for (path, file, arrived) in moved {
        // Inside a moved directory, too, another one may have taken a place.
        let hidden = |c: &PathChange| c.path.len() > arrived && hides(c, &path);
        if !diff.iter().any(hidden) {
            shown.insert(path, (file, false));
        }
    }
    // A file whose content changed is listed under one of its names.
    let mut listed = BTreeSet::new();
    for change in diff.iter().filter(|c| c.kind != PathChangeKind::Deleted) {
        let Some(file) = after.get(&change.path) else {
            return Err(format!("{} is not there", change.path.escape_ascii()));
        };
        shown.insert(change.path.clone(), (*file, true));
        listed.insert(*file);
        // Where another directory took the place of one, all that is in it did.
        if matches!(change.kind, PathChangeKind::Modified | PathChangeKind::Type) {
            let inner = after.iter().filter(|(path, _)| below(path, &change.path));
            shown.extend(inner.map(|(path, file)| (path.clone(), (*file, true))));
        }
    }
    for (path, file) in &after {
        let name = path.escape_ascii();
        let Some((was, is_new)) = shown.remove(path) else {
            return Err(format!("{name} is new and not listed"));
        };
        let same =
            is_new || listed.contains(file) || new.get(*file).same_but_for_times(old.get(was));
        if !same {
            return Err(format!("{name} changed and is not listed"));
        }
    }
    match shown.keys().next() {
        Some(path) => Err(format!("{} is gone and not listed", path.escape_ascii())),
        None => Ok(()),
    }
}
