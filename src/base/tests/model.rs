//! Random publishes against a plain model: every version that was ever current reads back exactly
//! as it read then, through errors, crashes and restarts.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// One operation of a plan; the numbers pick among what there is.
#[derive(Clone, Debug)]
enum Op {
    New { dir: usize, name: u8, kind: u8 },
    Replace { path: usize, kind: u8 },
    Remove { path: usize },
    Move { path: usize, dir: usize, name: u8 },
    Swap { a: usize, b: usize },
    Link { path: usize, dir: usize, name: u8 },
    Chmod { path: usize, mode: u32 },
    Times { path: usize, sec: i64 },
}

fn op() -> impl Strategy<Value = Op> {
    let (n, name) = (any::<usize>(), 0..5u8);
    prop_oneof![
        4 => (n, name.clone(), any::<u8>())
            .prop_map(|(dir, name, kind)| Op::New { dir, name, kind }),
        3 => (n, any::<u8>()).prop_map(|(path, kind)| Op::Replace { path, kind }),
        3 => n.prop_map(|path| Op::Remove { path }),
        4 => (n, n, name.clone()).prop_map(|(path, dir, name)| Op::Move { path, dir, name }),
        2 => (n, n).prop_map(|(a, b)| Op::Swap { a, b }),
        1 => (n, n, name).prop_map(|(path, dir, name)| Op::Link { path, dir, name }),
        2 => (n, 0..0o1000u32).prop_map(|(path, mode)| Op::Chmod { path, mode }),
        1 => (n, 0..1_000_000i64).prop_map(|(path, sec)| Op::Times { path, sec }),
    ]
}

#[derive(Clone, Debug)]
struct Publish {
    ops: Vec<Op>,
    /// Stop after this many steps and start again with nothing in memory.
    crash: Option<usize>,
    /// End the versions before this many.
    trim: Option<u64>,
}

fn publish() -> impl Strategy<Value = Publish> {
    let ops = prop::collection::vec(op(), 1..8);
    let (crash, trim) = (
        prop::option::of(0..20usize),
        prop::option::weighted(0.2, 0..4u64),
    );
    (ops, crash, trim).prop_map(|(ops, crash, trim)| Publish { ops, crash, trim })
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Object {
    ino: u64,
    kind: Kind,
    content: Vec<u8>,
    mode: u32,
}

/// The tree as the operations should leave it, by path; the root is not in it.
#[derive(Clone, Default)]
struct Model {
    tree: BTreeMap<Vec<u8>, Object>,
    /// Objects that this plan has made: it does not move or remove them again.
    fresh: HashSet<u64>,
    slots: u32,
}

impl Model {
    fn pick(&self, n: usize, fits: impl Fn(&Object) -> bool) -> Option<Vec<u8>> {
        let fitting: Vec<_> = self
            .tree
            .iter()
            .filter(|(_, object)| fits(object))
            .collect();
        (!fitting.is_empty()).then(|| fitting[n % fitting.len()].0.clone())
    }

    fn settled(&self, n: usize) -> Option<Vec<u8>> {
        self.pick(n, |object| !self.fresh.contains(&object.ino))
    }

    fn vacant(&self, dir: usize, name: u8) -> Option<Vec<u8>> {
        let dirs = self
            .tree
            .iter()
            .filter(|(_, object)| object.kind == Kind::Dir);
        let mut dirs: Vec<&[u8]> = dirs.map(|(path, _)| path.as_slice()).collect();
        dirs.push(b"");
        let path = path::join(dirs[dir % dirs.len()], &[b'a' + name]);
        (!self.tree.contains_key(&path)).then_some(path)
    }

    fn take(&mut self, at: &[u8]) -> Vec<(Vec<u8>, Object)> {
        let within: Vec<Vec<u8>> = self
            .tree
            .keys()
            .filter(|path| path::is_within(path, at))
            .cloned()
            .collect();
        let take = |path: Vec<u8>| {
            let object = self.tree.remove(&path).unwrap();
            let rest = path[at.len()..].strip_prefix(b"/").unwrap_or_default();
            (rest.to_vec(), object)
        };
        within.into_iter().map(take).collect()
    }

    fn put(&mut self, at: &[u8], objects: Vec<(Vec<u8>, Object)>) {
        let place = |(rest, object): (Vec<u8>, _)| (path::join(at, &rest), object);
        self.tree.extend(objects.into_iter().map(place));
    }

    /// What may go. Not a directory with a file that has names elsewhere: those show one link too
    /// many until the directory is purged, as the layer's documentation says.
    fn removable(&self, n: usize) -> Option<Vec<u8>> {
        let top = self.settled(n)?;
        let links = |ino| {
            self.tree
                .values()
                .filter(|object| object.ino == ino)
                .count()
        };
        let mut below = self.tree.iter().filter(|(path, object)| {
            path::is_within(path, &top) && **path != top && links(object.ino) > 1
        });
        below.next().is_none().then_some(top)
    }

    fn slot(&mut self) -> u32 {
        self.slots += 1;
        self.slots
    }

    /// Stages an object and gives the step that puts it in place.
    fn stage(
        &mut self,
        staging: &mut Staging,
        (path, replaces): (&[u8], bool),
        kind: u8,
    ) -> (u32, Object) {
        let number = self.slot();
        let slot = Slot {
            number,
            replaces,
            path,
        };
        let content = format!("{}:{number}", staging.id()).into_bytes();
        let object = match kind % 4 {
            0 => {
                let set = attrs(0o755);
                let ino = staging.dir(slot, &set).unwrap().0;
                Object {
                    ino,
                    kind: Kind::Dir,
                    content: vec![],
                    mode: 0o755,
                }
            }
            1 => {
                let ino = staging.symlink(slot, &attrs(0o777), &content).unwrap().0;
                Object {
                    ino,
                    kind: Kind::Symlink,
                    content,
                    mode: 0o777,
                }
            }
            _ => {
                let ino = super::stage_for(
                    staging,
                    number,
                    std::str::from_utf8(&content).unwrap(),
                    replaces,
                );
                Object {
                    ino,
                    kind: Kind::File,
                    content,
                    mode: 0o644,
                }
            }
        };
        self.fresh.insert(object.ino);
        (number, object)
    }

    /// Does one operation here and as steps, if it makes sense.
    fn run(&mut self, staging: &mut Staging, op: &Op, steps: &mut Vec<Step>) -> Option<()> {
        match *op {
            Op::New { dir, name, kind } => {
                let path = self.vacant(dir, name)?;
                let (slot, object) = self.stage(staging, (&path, false), kind);
                let (ino, at) = (object.ino, path.clone());
                steps.push(Step::Place {
                    slot,
                    ino,
                    path: at,
                    shown: None,
                });
                self.tree.insert(path, object);
            }
            Op::Replace { path, kind } => {
                let path = self.removable(path)?;
                let ino_old = self.tree[&path].ino;
                self.take(&path);
                let (slot, object) = self.stage(staging, (&path, true), kind);
                let (ino_new, keep, at) = (object.ino, slot, path.clone());
                let shown = None;
                steps.push(Step::Exchange {
                    ino_new,
                    path: at,
                    ino_old,
                    keep,
                    shown,
                });
                self.tree.insert(path, object);
            }
            Op::Remove { path } => {
                let path = self.removable(path)?;
                let (ino, keep) = (self.tree[&path].ino, self.slot());
                self.take(&path);
                steps.push(Step::Evict { path, ino, keep });
            }
            Op::Move { path, dir, name } => {
                let (from, to) = (self.settled(path)?, self.vacant(dir, name)?);
                if path::is_within(&to, &from) {
                    return None;
                }
                let ino = self.tree[&from].ino;
                let objects = self.take(&from);
                self.put(&to, objects);
                steps.push(Step::Move {
                    from,
                    to,
                    ino,
                    shown: None,
                });
            }
            Op::Swap { a, b } => return self.swap(self.settled(a)?, self.settled(b)?, steps),
            Op::Link { path, dir, name } => self.link(path, dir, name, steps)?,
            Op::Chmod { path, mode } => self.chmod(path, mode, steps)?,
            Op::Times { path, sec } => {
                let path = self.pick(path, |object| object.kind == Kind::Dir)?;
                let time = Time { sec, nsec: 1 };
                steps.push(Step::Times {
                    path,
                    atime: time,
                    mtime: time,
                    shown: None,
                });
            }
        }
        Some(())
    }

    fn swap(&mut self, a: Vec<u8>, b: Vec<u8>, steps: &mut Vec<Step>) -> Option<()> {
        if path::is_within(&a, &b) || path::is_within(&b, &a) {
            return None;
        }
        let (ino_a, ino_b) = (self.tree[&a].ino, self.tree[&b].ino);
        let (at_a, at_b) = (self.take(&a), self.take(&b));
        self.put(&a, at_b);
        self.put(&b, at_a);
        let slot = self.slot();
        steps.push(Step::Park {
            path: a.clone(),
            ino: ino_a,
            slot,
        });
        steps.push(Step::Move {
            from: b.clone(),
            to: a,
            ino: ino_b,
            shown: None,
        });
        steps.push(Step::Unpark {
            slot,
            path: b,
            ino: ino_a,
            shown: None,
        });
        Some(())
    }

    fn link(&mut self, path: usize, dir: usize, name: u8, steps: &mut Vec<Step>) -> Option<()> {
        let from = self.pick(path, |object| object.kind == Kind::File)?;
        let to = self.vacant(dir, name)?;
        let (object, at) = (self.tree[&from].clone(), to.clone());
        steps.push(Step::Link {
            from,
            to: at,
            ino: object.ino,
            shown: None,
        });
        self.tree.insert(to, object);
        Some(())
    }

    fn chmod(&mut self, path: usize, mode: u32, steps: &mut Vec<Step>) -> Option<()> {
        let path = self.pick(path, |object| object.kind != Kind::Symlink)?;
        let ino = self.tree[&path].ino;
        let xattr = (b"user.mode".to_vec(), mode.to_string().into_bytes());
        let set = AttrSet {
            set: vec![xattr],
            ..attrs(mode)
        };
        steps.push(Step::SetAttr {
            path,
            ino,
            set,
            shown: None,
        });
        let linked = self.tree.values_mut().filter(|object| object.ino == ino);
        linked.for_each(|object| object.mode = mode);
        Some(())
    }

    /// What the current version must show.
    fn check(&self, seen: &BTreeMap<Vec<u8>, Seen>) {
        let shape = |(path, seen): (&Vec<u8>, &Seen)| {
            let Found { ident, attr, .. } = seen.found;
            let (kind, content, mode) = (attr.kind, seen.content.clone(), attr.mode);
            (
                path.clone(),
                Object {
                    ino: ident.ino,
                    kind,
                    content,
                    mode,
                },
            )
        };
        let seen: BTreeMap<_, _> = seen
            .iter()
            .filter(|(path, _)| !path.is_empty())
            .map(shape)
            .collect();
        assert_eq!(seen, self.tree);
    }
}

/// Every version must read as it read when it was the newest.
fn check_versions(world: &World, seen: &BTreeMap<Version, BTreeMap<Vec<u8>, Seen>>, when: &str) {
    for (version, seen) in seen {
        let now = world.see(*version);
        let differ = |(path, _): &(&Vec<u8>, &Seen)| now.get(*path) != seen.get(*path);
        let differing = now.iter().chain(seen).find(differ);
        if let Some((path, _)) = differing {
            let path_shown = path.escape_ascii();
            panic!(
                "version {version}, {when}: {path_shown} was {:#?} and is {:#?}",
                seen.get(path),
                now.get(path)
            );
        }
    }
}

fn run(publishes: &[Publish]) {
    let mut world = World::new(&[]);
    let mut model = Model::default();
    let mut seen = BTreeMap::from([(0, world.see(0))]);
    for publish in publishes {
        model.fresh.clear();
        let sealed = world.seal(true, |_, staging| {
            let mut steps = Vec::new();
            for op in &publish.ops {
                model.run(staging, op, &mut steps);
            }
            steps
        });
        let version = sealed.version;
        if let Some(crash) = publish.crash {
            world
                .base
                .apply_partly(&sealed, crash.min(sealed.plan.steps.len()));
            check_versions(&world, &seen, "half done");
            world.reopen();
            let sealed = world.base.read_plan(sealed.plan.id).unwrap().unwrap();
            world.base.redo(&sealed, |_| ()).unwrap();
        } else {
            world.base.apply(&sealed, |_| ()).unwrap();
        }
        world.base.finish(&sealed).unwrap();
        let now = world.see(version);
        model.check(&now);
        seen.insert(version, now);
        if let Some(back) = publish.trim {
            let oldest = version.saturating_sub(back);
            world.base.trim(Some(oldest));
            while world.base.purge(2).unwrap() {}
            seen.retain(|version, _| *version >= oldest);
        }
        check_versions(&world, &seen, "published");
    }
    world.reopen();
    check_versions(&world, &seen, "after a restart");
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 200,
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_version_reads_back_exactly(publishes in prop::collection::vec(publish(), 1..10)) {
        run(&publishes);
    }
}
