//! What must hold of a disk that a crash left.
//!
//! - The workspace opens, and everything in it can be read.
//! - It is as it was after one of the operations, none older than the last that was durable; after
//!   a kill, none older than the last that was acknowledged. Bytes that were written over later may
//!   be the later ones.
//! - The base is as it was after one of them: no publish is half there.
//! - After an unmount the base is what main showed, and the store checks.
//! - When every branch is gone, so is everything that the store held of them.

use super::random::Random;
use super::scan::{BaseTree, Scan, as_base, base_difference, read_base};
use super::tape::Loss;
use super::world::{Moment, World};
use crate::vfs::ops::Ops;

type Checked<T = ()> = Result<T, String>;

/// The first difference of a scan from what it is to be, but for what files hold.
fn difference(got: &Scan, wanted: &Scan) -> Option<String> {
    let ids = |scan: &Scan| scan.branches.keys().copied().collect::<Vec<_>>();
    if ids(got) != ids(wanted) {
        return Some(format!(
            "branches {:?} are to be {:?}",
            ids(got),
            ids(wanted)
        ));
    }
    for (id, branch) in &got.branches {
        let other = &wanted.branches[id];
        if branch.meta != other.meta {
            return Some(format!(
                "branch {id} {} is to be {}",
                branch.meta, other.meta
            ));
        }
        let paths = branch.files.keys().chain(other.files.keys());
        for path in paths {
            let (got, wanted) = (branch.files.get(path), other.files.get(path));
            if got != wanted {
                let path = path.escape_ascii();
                return Some(format!("branch {id} {path}: {got:?} is to be {wanted:?}"));
            }
        }
    }
    None
}

/// Whether every byte is one that the file held at its place at one of the moments.
fn contents(got: &Scan, at: &Scan, later: &[Moment]) -> Checked {
    for (key, bytes) in &got.contents {
        let wanted = &at.contents[key];
        if bytes == wanted {
            continue;
        }
        let versions: Vec<_> = later
            .iter()
            .filter_map(|m| m.scan.contents.get(key))
            .collect();
        for (offset, byte) in bytes.iter().enumerate() {
            let held = |version: &&std::sync::Arc<Vec<u8>>| version.get(offset) == Some(byte);
            if !held(&wanted) && !versions.iter().any(held) {
                return Err(format!(
                    "byte {offset} of file {:x} in branch {} is {byte:#x}, which it never was",
                    key.1, key.0
                ));
            }
        }
    }
    Ok(())
}

/// Which of the moments a scan shows.
pub fn shown(got: &Scan, moments: &[Moment]) -> Checked<usize> {
    let mut nearest = String::new();
    for (index, moment) in moments.iter().enumerate().rev() {
        let found = match difference(got, &moment.scan) {
            None => contents(got, &moment.scan, &moments[index..]).err(),
            found => found,
        };
        match found {
            None => return Ok(index),
            Some(text) => nearest += &format!("\n  not after {:?}: {text:.400}", moment.what),
        }
    }
    Err(format!(
        "shows what was at none of {} moments:{nearest}",
        moments.len()
    ))
}

fn base_shown(got: &BaseTree, moments: &[Moment]) -> Checked {
    let mut nearest = String::new();
    for moment in moments.iter().rev() {
        // A publish that was refused for an error may be finished by the next mount.
        if base_difference(got, &as_base(&moment.scan)).is_none() {
            return Ok(());
        }
        match base_difference(got, &moment.base) {
            None => return Ok(()),
            Some(text) => nearest += &format!("\n  not after {:?}: {text}", moment.what),
        }
    }
    Err(format!("the base is as it never was:{nearest}"))
}

impl World {
    /// Opens what a crash left and checks it against the moments that it may show.
    pub fn recover(&mut self, moments: &[Moment]) -> Checked {
        self.mount().map_err(|e| format!("does not open: {e}"))?;
        let scan = Scan::of(self.vfs())?;
        shown(&scan, moments)?;
        base_shown(&read_base(&self.base()), moments)
    }

    /// Unmounts, and checks the base and the store.
    pub fn check_unmount(&mut self) -> Checked {
        let main = as_base(&Scan::of(self.vfs())?);
        self.vfs().unmounted();
        self.vfs = None;
        if let Some(text) = base_difference(&read_base(&self.base()), &main) {
            return Err(format!("after unmounting the base is not main: {text}"));
        }
        let store = std::fs::File::open(self.base().join(".branchfs")).expect("a store");
        let verified = crate::branch::verify_store(store.into()).map_err(|e| e.to_string())?;
        match verified.findings.first() {
            None => Ok(()),
            Some(finding) => Err(format!("fsck: {}: {}", finding.place, finding.what)),
        }
    }

    /// Ends every branch and checks that nothing stays.
    pub fn check_leaks(&mut self) -> Checked {
        self.mount()
            .map_err(|e| format!("does not open again: {e}"))?;
        let workspace = self.vfs().workspace().clone();
        let fail = |e: crate::branch::BranchError| format!("ending every branch: {e}");
        for branch in workspace.branches().iter().skip(1).rev() {
            if branch.is_live() {
                workspace.abort(branch).map_err(fail)?;
            }
        }
        for branch in workspace.branches().iter().skip(1).rev() {
            workspace.expire(branch).map_err(fail)?;
        }
        self.vfs().unmounted();
        drop(workspace);
        self.vfs = None;
        self.mount()
            .map_err(|e| format!("does not open once more: {e}"))?;
        self.vfs().collect().map_err(fail)?;
        let store = &self.vfs().workspace().store;
        store.barrier().map_err(|e| e.to_string())?;
        store.reclaim();
        let at = self.base().join(".branchfs");
        for dir in ["old", "stage"] {
            let names = at.join(dir).read_dir().expect("a directory of the store");
            if let Some(name) = names.flatten().next() {
                return Err(format!("{dir}/{:?} stays", name.file_name()));
            }
        }
        for shard in at.join("blob").read_dir().expect("the blobs").flatten() {
            if let Some(blob) = shard.path().read_dir().expect("a shard").flatten().next() {
                return Err(format!("blob {:?} stays", blob.path()));
            }
        }
        let usage = store.usage().map_err(|e| e.to_string())?;
        match usage.segment_bytes <= 64 << 10 {
            true => Ok(()),
            false => Err(format!("{} bytes of segments stay", usage.segment_bytes)),
        }
    }

    /// Cuts the power after `at` changes and checks what is left. `whole` also unmounts and looks
    /// for leaks.
    pub fn check_cut(&self, at: usize, loss: Loss, random: &mut Random, whole: bool) -> Checked {
        // The operation under way may be done, and everything acknowledged before it is.
        let acknowledged = self
            .moments
            .iter()
            .rposition(|m| m.changes <= at)
            .unwrap_or(0);
        let last = (acknowledged + 1).min(self.moments.len() - 1);
        let first = match loss {
            Loss::Kill => acknowledged,
            _ => self.moments[acknowledged].floor,
        };
        let state = self.tape.cut(at, loss, random);
        let mut left = self.after(state, loss != Loss::Kill);
        let moments = &self.moments[first..=last];
        let checked = left.recover(moments).and_then(|()| match whole {
            true => left.check_unmount().and_then(|()| left.check_leaks()),
            false => Ok(()),
        });
        checked.map_err(|text| {
            let tail = self.tape.tail(at);
            format!("{loss:?} after {at} changes: {text}\nthe last changes: {tail}")
        })
    }
}
