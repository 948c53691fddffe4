//! Publishing, second part: does the base still look as the plan takes it to look?
//!
//! Reads only. A publish that would overwrite or remove what somebody changed behind the mount is
//! refused as a whole, naming every such path, while nothing has been touched.

use std::collections::HashMap;

use crate::tree::Kind;

use super::plan::Plan;
use super::simulate::{Operand, Origin, Simulation, operands};
use super::{Base, BaseError, Found, Layout, Stamp};

/// What must be at a path before a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The path, in the base as it is now.
    pub path: Vec<u8>,
    /// What is wanted there.
    pub want: Want,
}

/// What [`Expect`] wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing.
    Absent,
    /// The object that had this stamp, unchanged.
    Stamp(Stamp),
    /// A directory that had this [`super::tree_stamp()`]: wanted of one that is removed with its
    /// content, so that what somebody added or edited does not go with it.
    Tree(u64),
}

/// A path of the base that is not as a plan needs it.
#[derive(Debug)]
pub struct Conflict {
    /// The path.
    pub path: Vec<u8>,
    /// What is wrong.
    pub what: What,
}

/// What is wrong with a path.
#[derive(Debug)]
pub enum What {
    /// Another object is there, or it has other content or attributes.
    Changed,
    /// It is gone.
    Missing,
    /// Something is where nothing should be.
    Exists,
    /// It is no directory, and something should go into it.
    NotDir,
    /// It holds the store, which cannot be moved.
    HoldsStore,
    /// It could not be looked at.
    Unreadable(BaseError),
}

/// What a check has seen of the base, for [`Base::seal`] to go by: whatever changes afterwards is
/// found before the first step, see [`Base::apply`].
#[derive(Debug, Default)]
pub struct Seen(pub(super) HashMap<Vec<u8>, Option<Found>>);

/// Looks paths up once.
struct Now<'a> {
    base: &'a Base,
    layout: &'a Layout,
    found: HashMap<Vec<u8>, Option<Found>>,
    conflicts: Vec<Conflict>,
}

impl Now<'_> {
    fn conflict(&mut self, path: &[u8], what: What) {
        self.conflicts.push(Conflict {
            path: path.to_vec(),
            what,
        });
    }

    /// What is at a path; `None` where that could not be told, which is then a conflict.
    fn at(&mut self, path: &[u8]) -> Option<Option<Found>> {
        if let Some(found) = self.found.get(path) {
            return Some(*found);
        }
        match self.base.lookup_in(self.layout, self.layout.version, path) {
            Ok(found) => {
                self.found.insert(path.to_vec(), found);
                Some(found)
            }
            Err(error) => {
                self.conflict(path, What::Unreadable(error));
                None
            }
        }
    }

    fn expect(&mut self, expect: &Expect) {
        let path = expect.path.as_slice();
        let Some(found) = self.at(path) else { return };
        match (expect.want, found) {
            (Want::Absent, None) => {}
            (Want::Absent, Some(_)) => self.conflict(path, What::Exists),
            (Want::Stamp(_) | Want::Tree(_), None) => self.conflict(path, What::Missing),
            (Want::Stamp(stamp), Some(found)) if found.stamp == stamp => {}
            (Want::Stamp(_), Some(_)) => self.conflict(path, What::Changed),
            (Want::Tree(stamp), Some(_)) => {
                // The cache is not asked: it may be trusted for a second longer than this needs.
                let version = self.layout.version;
                match self.base.tree_stamp_in(self.layout, version, path) {
                    Ok(now) if now == stamp => {}
                    Ok(_) => self.conflict(path, What::Changed),
                    Err(error) => self.conflict(path, What::Unreadable(error)),
                }
            }
        }
    }

    fn operand(&mut self, simulation: &Simulation, operand: Operand<'_>) {
        let (Operand::Object { path, .. }
        | Operand::Vacant { path }
        | Operand::Entries { dir: path }) = operand;
        if let Err(error) = super::path::check(path) {
            return self.conflict(path, What::Unreadable(error));
        }
        let origin = match simulation.origin(path) {
            Origin::Base(origin) => origin,
            Origin::Staged => match operand {
                Operand::Vacant { .. } => return self.conflict(path, What::Exists),
                _ => return,
            },
            Origin::Absent => match operand {
                Operand::Vacant { .. } => return,
                _ => return self.conflict(path, What::Missing),
            },
        };
        if matches!(operand, Operand::Object { leaves: true, .. })
            && self.base.reach.holds_store(&origin)
        {
            return self.conflict(path, What::HoldsStore);
        }
        let Some(found) = self.at(&origin) else {
            return;
        };
        match (operand, found) {
            (Operand::Vacant { .. }, None) => {}
            (Operand::Vacant { .. }, Some(_)) => self.conflict(path, What::Exists),
            (_, None) => self.conflict(path, What::Missing),
            (Operand::Object { ino: Some(ino), .. }, Some(found)) if found.ident.ino != ino => {
                self.conflict(path, What::Changed);
            }
            (Operand::Entries { .. }, Some(found)) if found.attr.kind != Kind::Dir => {
                self.conflict(path, What::NotDir);
            }
            _ => {}
        }
    }
}

impl Base {
    /// Whether `plan` can be carried out on the base as it is, and `expect` holds. The conflicts
    /// are all that there are, sorted by path.
    pub fn check(&self, plan: &Plan, expect: &[Expect]) -> Result<Seen, Vec<Conflict>> {
        // What others changed a moment ago must be seen, so no directory is taken from the cache.
        self.reach.forget();
        let layout = self.layout.read();
        let found = HashMap::new();
        let mut now = Now {
            base: self,
            layout: &layout,
            found,
            conflicts: Vec::new(),
        };
        expect.iter().for_each(|expect| now.expect(expect));
        let mut simulation = Simulation::default();
        for step in &plan.steps {
            for operand in operands(step) {
                now.operand(&simulation, operand);
            }
            simulation.advance(step);
        }
        let mut conflicts = now.conflicts;
        conflicts.sort_by(|a, b| a.path.cmp(&b.path));
        conflicts.dedup_by(|a, b| a.path == b.path);
        if conflicts.is_empty() {
            Ok(Seen(now.found))
        } else {
            Err(conflicts)
        }
    }
}
