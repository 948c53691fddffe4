//! Which files a patch is about: a diff, whose changes may be of whole directories, as files.
//!
//! git knows files and links only, and a patch names each old path and each new one once. So what
//! the changes touch on either side is spread out into files first, and then paired: a file that
//! was moved (by itself, or with the nearest directory that was) with where it is now, one that is
//! at the same path before and after with itself. What is left on the old side is gone, on the new
//! side new.

use std::collections::{BTreeMap, BTreeSet};

use crate::branch::{PathChange, PathChangeKind};
use crate::overlay::{FsResult, Overlay};
use crate::tree::View;

/// One file of a patch, by its path before and after; at least one of them is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchFile {
    /// Its path in the old tree; `None` for a new file.
    pub old: Option<Vec<u8>>,
    /// Its path in the new tree; `None` for one that is gone.
    pub new: Option<Vec<u8>>,
}

/// The files on one side of the changes.
struct Side<'a> {
    overlay: &'a Overlay,
    view: &'a View,
    files: BTreeSet<Vec<u8>>,
    /// Directories whose files are in already.
    spread: Vec<Vec<u8>>,
}

impl Side<'_> {
    /// Adds the file at `path`, or every file below it.
    fn add(&mut self, path: &[u8]) -> FsResult<()> {
        if !self.spread.iter().any(|dir| is_below(path, dir)) {
            let files = self.overlay.files_below(self.view, path)?;
            if files.first().is_some_and(|file| file != path) {
                self.spread.push(path.to_vec());
            }
            self.files.extend(files);
        }
        Ok(())
    }
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// The files of the patch from `old` to `new`, whose difference is `changes`; what is gone first,
/// each part sorted by path.
pub fn patch_files(
    overlay: &Overlay,
    (old, new): (&View, &View),
    changes: &[PathChange],
) -> FsResult<Vec<PatchFile>> {
    let side = |view| Side {
        overlay,
        view,
        files: BTreeSet::new(),
        spread: Vec::new(),
    };
    let (mut before, mut after) = (side(old), side(new));
    let mut moves: Vec<(&[u8], &[u8])> = Vec::new();
    for PathChange { path, kind, is_dir } in changes {
        match kind {
            PathChangeKind::Attributes if *is_dir => {}
            PathChangeKind::Added => after.add(path)?,
            PathChangeKind::Deleted => before.add(path)?,
            PathChangeKind::Renamed { from } => {
                before.add(from)?;
                after.add(path)?;
                moves.push((from, path));
            }
            PathChangeKind::Modified | PathChangeKind::Attributes | PathChangeKind::Type => {
                before.add(path)?;
                after.add(path)?;
            }
        }
    }
    // The nearest directory comes first, and a file that was moved by itself before all of them.
    moves.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
    Ok(pair(before.files, after.files, &moves))
}

/// Pairs the files of both sides. Of `moves`, the first that fits a file holds.
fn pair(
    mut before: BTreeSet<Vec<u8>>,
    mut after: BTreeSet<Vec<u8>>,
    moves: &[(&[u8], &[u8])],
) -> Vec<PatchFile> {
    let mut pairs = BTreeMap::new();
    for old in &before {
        let place = |(from, to): &(&[u8], &[u8])| {
            let rest = old.strip_prefix(*from)?;
            (rest.is_empty() || rest[0] == b'/').then(|| [*to, rest].concat())
        };
        let place = moves.iter().find_map(place);
        if let Some(new) = place.filter(|new| after.remove(new)) {
            pairs.insert(new, old.clone());
        }
    }
    for old in pairs.values() {
        before.remove(old);
    }
    for path in before.intersection(&after) {
        pairs.insert(path.clone(), path.clone());
    }
    let gone = before.into_iter().filter(|old| !after.contains(old));
    let gone = gone.map(|old| PatchFile {
        old: Some(old),
        new: None,
    });
    let mut files: Vec<PatchFile> = gone.collect();
    after.extend(pairs.keys().cloned());
    files.extend(after.into_iter().map(|new| PatchFile {
        old: pairs.remove(&new),
        new: Some(new),
    }));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &[&str], after: &[&str], moves: &[(&str, &str)], expect: &str) {
        let set = |paths: &[&str]| paths.iter().map(|p| p.as_bytes().to_vec()).collect();
        let moves: Vec<_> = moves
            .iter()
            .map(|(from, to)| (from.as_bytes(), to.as_bytes()))
            .collect();
        let text = |path: Option<Vec<u8>>| {
            let path = path.unwrap_or_else(|| b"-".to_vec());
            String::from_utf8(path).expect("UTF-8")
        };
        let shown: Vec<String> = pair(set(before), set(after), &moves)
            .into_iter()
            .map(|file| format!("{}>{}", text(file.old), text(file.new)))
            .collect();
        assert_eq!(shown.join(" "), expect);
    }

    #[test]
    fn a_moved_file_whose_name_is_taken_is_moved_and_its_successor_is_new() {
        check(&["f"], &["f", "g"], &[("f", "g")], "->f f>g");
        check(&["f"], &["f/x", "g"], &[("f", "g")], "->f/x f>g");
    }

    #[test]
    fn files_and_directories_that_changed_places_are_moves() {
        check(
            &["a", "b"],
            &["a", "b"],
            &[("a", "b"), ("b", "a")],
            "b>a a>b",
        );
        let (before, after) = (["a/x", "b/y"], ["a/y", "b/x"]);
        check(
            &before,
            &after,
            &[("a", "b"), ("b", "a")],
            "b/y>a/y a/x>b/x",
        );
    }

    #[test]
    fn a_file_that_left_a_moved_directory_is_not_looked_for_in_it() {
        let moves = [("d/x", "y"), ("d", "e")];
        check(
            &["d/x", "d/z"],
            &["e/x", "e/z", "y"],
            &moves,
            "->e/x d/z>e/z d/x>y",
        );
    }

    #[test]
    fn what_is_gone_comes_first_and_what_stays_is_itself() {
        check(&["a", "b"], &["a", "c"], &[], "b>- a>a ->c");
    }
}
