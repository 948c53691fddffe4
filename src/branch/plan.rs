//! Planning a publish: which steps make the base look as main's view does.
//!
//! Pure planning over a view that nobody changes; what is new is staged on the way. The steps come
//! in four passes, so that every name is free before it is taken:
//!
//! 1. what the view hides or moves goes away, the deepest paths first (evicted or parked);
//! 2. what the view has at other names comes, directories before what is in them;
//! 3. files whose content changed in place are exchanged, then further hard links are made;
//! 4. attributes and times are set, directories last.
//!
//! An object of the base keeps its inode where only its name or attributes changed.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::diff::is_whole_origin;
use super::fill::Filling;
use super::resolve::{join, split};
use super::{BranchError, Workspace};
use crate::base::{Expect, Found, Plan, Shown, Staging, Stamp, Step, Want};
use crate::tree::{Dentry, FileId, Inode, Kind, View};

/// A blob that is a published file itself now.
pub(super) struct Linked {
    pub blob: u64,
    /// Its inode number, which is the file's too.
    pub ino: u64,
}

/// A plan, and what must hold for it.
pub(super) struct Planned {
    pub plan: Plan,
    pub expect: Vec<Expect>,
    pub linked: Vec<Linked>,
}

/// A name of the view with its base path and its path in the view.
struct Entry<'a> {
    dentry: &'a Dentry,
    base: Option<Vec<u8>>,
    path: Vec<u8>,
}

/// Where a directory is: in the base, unless it is new, and in the view.
type DirPaths = (Option<Vec<u8>>, Vec<u8>);

/// A name that the base has of a file and the view leaves alone.
struct Home {
    /// The base path of the directory that it is in.
    dir: Vec<u8>,
    /// Where the view has that directory.
    place: Vec<u8>,
    /// Where the view has the name.
    path: Vec<u8>,
}

/// What has been planned so far.
pub(super) struct Planner<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) view: &'a View,
    pub(super) epochs: [u64; 2],
    pub(super) staging: &'a Staging,
    pub(super) filling: Filling<'a>,
    expect: Vec<Expect>,
    pub(super) linked: Vec<Linked>,
    steps: Vec<Step>,
    /// Pass 3: a file's exchange may be planned while pass 2 is, but its directory must be there.
    exchanges: Vec<Step>,
    links: Vec<Step>,
    next: u32,
    /// Objects that were parked, by file: their slots and inodes.
    parked: HashMap<FileId, Vec<(u32, u64)>>,
    /// Base paths that pass 1 empties.
    emptied: HashSet<Vec<u8>>,
    /// Where each file is by pass 2, with its inode number.
    placed: HashMap<FileId, (Vec<u8>, u64)>,
    /// How many names of the view lead to each file.
    names: HashMap<FileId, usize>,
    /// Directories that the view has nothing of but whose entries are exchanged: by their path in
    /// the view, with what they are.
    disturbed: BTreeMap<Vec<u8>, Found>,
    /// Where the view has directories of the base, as far as that was asked.
    places: HashMap<Vec<u8>, Option<Vec<u8>>>,
    /// Base directories that `disturb` has looked at.
    looked_at: HashSet<Vec<u8>>,
}

impl Workspace {
    /// Plans and stages what makes the base look like `view`, main's view; what was
    /// written in `epochs` is main's alone.
    pub(super) fn plan(
        &self,
        view: &View,
        epochs: [u64; 2],
        keep_old: bool,
        staging: &Staging,
    ) -> Result<Planned, BranchError> {
        Filling::run(self, view, staging, |filling| {
            Planner::new(filling, epochs).run(keep_old)
        })
    }
}

impl<'a> Planner<'a> {
    fn new(filling: Filling<'a>, epochs: [u64; 2]) -> Planner<'a> {
        Planner {
            workspace: filling.workspace,
            view: filling.view,
            epochs,
            staging: filling.staging,
            filling,
            expect: Vec::new(),
            linked: Vec::new(),
            steps: Vec::new(),
            exchanges: Vec::new(),
            links: Vec::new(),
            next: 0,
            parked: HashMap::new(),
            emptied: HashSet::new(),
            placed: HashMap::new(),
            names: HashMap::new(),
            disturbed: BTreeMap::new(),
            places: HashMap::new(),
            looked_at: HashSet::new(),
        }
    }

    fn run(mut self, keep_old: bool) -> Result<Planned, BranchError> {
        let entries = self.entries()?;
        self.vacate(&entries)?;
        self.fill(&entries)?;
        self.in_place()?;
        let exchanges = std::mem::take(&mut self.exchanges);
        let links = std::mem::take(&mut self.links);
        self.steps.extend(exchanges.into_iter().chain(links));
        self.attributes()?;
        Ok(Planned {
            plan: Plan {
                id: self.staging.id(),
                keep_old,
                steps: self.steps,
            },
            expect: self.expect,
            linked: self.linked,
        })
    }

    pub(super) fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn below(&self, path: &[u8]) -> Result<Option<Found>, BranchError> {
        self.workspace.below(self.view, path)
    }

    /// The names that the view says something of, as far as they can be reached.
    fn entries(&mut self) -> Result<Vec<Entry<'a>>, BranchError> {
        let view = self.view;
        let mut entries = Vec::new();
        let mut dirs: HashMap<FileId, Option<DirPaths>> = HashMap::new();
        for (key, dentry) in view.dentries() {
            let dir = match dirs.get(&key.dir) {
                Some(dir) => dir.clone(),
                None => {
                    let dir = self.dir(key.dir)?;
                    dirs.insert(key.dir, dir.clone());
                    dir
                }
            };
            let Some((base, path)) = dir else { continue };
            let base = base.map(|base| join(&base, &key.name));
            if let Some((file, _)) = dentry.file {
                *self.names.entry(file).or_default() += 1;
            }
            entries.push(Entry {
                dentry,
                base,
                path: join(&path, &key.name),
            });
        }
        Ok(entries)
    }

    fn dir(&self, dir: FileId) -> Result<Option<DirPaths>, BranchError> {
        if dir == FileId::ROOT {
            return Ok(Some((Some(Vec::new()), Vec::new())));
        }
        let Some(inode) = self.view.inode(dir) else {
            return Ok(None);
        };
        let base = inode.origin.as_ref().map(|origin| origin.path.to_vec());
        Ok(self
            .workspace
            .path_of_file(self.view, dir)?
            .map(|path| (base, path)))
    }

    /// Pass 1: empties the base paths that the view hides.
    fn vacate(&mut self, entries: &[Entry<'a>]) -> Result<(), BranchError> {
        let mut hidden: Vec<(&Vec<u8>, u64)> = entries
            .iter()
            .filter_map(|entry| Some((entry.base.as_ref()?, entry.dentry.hides?)))
            .collect();
        hidden.sort_by_key(|(path, _)| std::cmp::Reverse(depth(path)));
        for (path, hides) in hidden {
            let found = self.below(path)?;
            let want = match found {
                Some(found) if found.stamp.0 != hides && found.attr.kind == Kind::Dir => {
                    Want::Tree(hides)
                }
                _ => Want::Stamp(Stamp(hides)),
            };
            self.expect.push(Expect {
                path: path.clone(),
                want,
            });
            let Some(found) = found else { continue };
            let ino = found.ident.ino;
            self.emptied.insert(path.clone());
            if self.is_wanted(&found) && self.keeps_inode(&found)? {
                self.park(path.clone(), &found);
            } else {
                if found.attr.kind == Kind::Dir {
                    self.empty_out(path)?;
                }
                let keep = self.number();
                self.steps.push(Step::Evict {
                    path: path.clone(),
                    ino,
                    keep,
                });
            }
        }
        Ok(())
    }

    /// Takes out of a directory that goes as a whole what does not go with it: what the view has at
    /// another place, with all that is in it, and further names of hard-linked files, since what is
    /// kept by itself does not count as a link of the file any more.
    fn empty_out(&mut self, dir: &[u8]) -> Result<(), BranchError> {
        let listing = self.workspace.base.list(self.view.base_version, dir)?;
        for name in listing.iter() {
            let path = join(dir, name.name);
            if self.emptied.contains(&path) {
                continue;
            }
            let Some(found) = self.below(&path)? else {
                continue;
            };
            let ino = found.ident.ino;
            if self.is_wanted(&found) && self.keeps_inode(&found)? {
                self.emptied.insert(path.clone());
                self.park(path, &found);
            } else if name.kind == Kind::Dir {
                self.empty_out(&path)?;
            } else if found.attr.nlink > 1 {
                let keep = self.number();
                self.emptied.insert(path.clone());
                self.steps.push(Step::Evict { path, ino, keep });
            }
        }
        Ok(())
    }

    /// Whether the view has more names of an object than were parked of it.
    fn is_wanted(&self, found: &Found) -> bool {
        let parked = self.parked.get(&found.fid).map_or(0, Vec::len);
        parked < self.names.get(&found.fid).copied().unwrap_or(0)
    }

    fn park(&mut self, path: Vec<u8>, found: &Found) {
        let (slot, ino) = (self.number(), found.ident.ino);
        self.steps.push(Step::Park { path, ino, slot });
        self.parked.entry(found.fid).or_default().push((slot, ino));
    }

    /// Whether the view still has this very object, at another name, with its content.
    fn keeps_inode(&self, found: &Found) -> Result<bool, BranchError> {
        let Some(inode) = self.view.inode(found.fid) else {
            return Ok(false);
        };
        let same = inode
            .origin
            .as_ref()
            .is_some_and(|o| o.ino == found.ident.ino);
        Ok(same && is_whole_origin(inode, found.attr.size))
    }

    /// Pass 2: puts directories, moved objects and new files where the view has them.
    fn fill(&mut self, entries: &[Entry<'a>]) -> Result<(), BranchError> {
        let mut named: Vec<&Entry<'_>> = entries
            .iter()
            .filter(|entry| entry.dentry.file.is_some())
            .collect();
        named.sort_by_key(|entry| depth(&entry.path));
        for entry in named {
            let Some((file, _)) = entry.dentry.file else {
                continue;
            };
            let Some(inode) = self.view.inode(file) else {
                continue;
            };
            let shown = Some(shown(file, inode));
            let path = entry.path.clone();
            if let Some((slot, ino)) = self.parked.get_mut(&file).and_then(Vec::pop) {
                self.steps.push(Step::Unpark {
                    slot,
                    path: path.clone(),
                    ino,
                    shown,
                });
                self.placed.entry(file).or_insert((path, ino));
            } else if let Some((from, ino)) = self.placed.get(&file).cloned() {
                self.links.push(Step::Link {
                    from,
                    to: path,
                    ino,
                    shown,
                });
            } else if let Some((from, ino)) = self.stays(inode)? {
                self.links.push(Step::Link {
                    from,
                    to: path,
                    ino,
                    shown,
                });
            } else {
                let ino = self.stage(inode, &entry.path, false)?;
                let slot = self.next;
                self.steps.push(Step::Place {
                    slot,
                    ino: ino.0,
                    path: path.clone(),
                    shown,
                });
                self.placed.insert(file, (path, ino.0));
            }
            if entry.dentry.hides.is_none() && entry.base.is_some() {
                let path = entry.base.clone().expect("it was just looked at");
                self.expect.push(Expect {
                    path,
                    want: Want::Absent,
                });
            }
        }
        Ok(())
    }

    /// Where a base file that gets a further name is, if it stays at its path: in the view, and
    /// with the inode that it has by the time links are made.
    fn stays(&mut self, inode: &'a Inode) -> Result<Option<(Vec<u8>, u64)>, BranchError> {
        let Some(origin) = &inode.origin else {
            return Ok(None);
        };
        if inode.is_dir() {
            return Ok(None);
        }
        let Some(found) = self.below(&origin.path)? else {
            return Ok(None);
        };
        let homes = self.homes(&found, &origin.path)?;
        let Some(home) = homes.into_iter().next() else {
            return Ok(None);
        };
        if is_whole_origin(inode, found.attr.size) {
            return Ok(Some((home.path, found.ident.ino)));
        }
        // Its content is exchanged at its home first: see `in_place`.
        let file = found.fid;
        self.exchange_at(file, inode, &found, &origin.path)?;
        Ok(self.placed.get(&file).cloned())
    }

    /// The paths, in the view, of the names that the base has of a file and the view leaves alone.
    fn homes(&mut self, found: &Found, known: &[u8]) -> Result<Vec<Home>, BranchError> {
        let mut paths = vec![known.to_vec()];
        if found.attr.nlink > 1 {
            paths = self.workspace.base.paths_of(found.ident.ino)?;
        }
        let mut homes = Vec::new();
        for path in paths {
            if self.emptied.contains(&path) {
                continue;
            }
            let (dir, name) = split(&path);
            if let Some(place) = self.place_of(dir)? {
                let (dir, path) = (dir.to_vec(), join(&place, name));
                homes.push(Home { dir, place, path });
            }
        }
        Ok(homes)
    }

    /// Where the view has a directory of the base.
    fn place_of(&mut self, dir: &[u8]) -> Result<Option<Vec<u8>>, BranchError> {
        if let Some(place) = self.places.get(dir) {
            return Ok(place.clone());
        }
        let place = self.workspace.place_of_base_dir(self.view, dir)?;
        self.places.insert(dir.to_vec(), place.clone());
        Ok(place)
    }

    /// Pass 3: files that keep their names and have other content.
    fn in_place(&mut self) -> Result<(), BranchError> {
        let view = self.view;
        for (file, inode) in view.inodes() {
            let Some(origin) = &inode.origin else {
                continue;
            };
            if inode.is_dir() || self.placed.contains_key(&file) {
                continue;
            }
            let stamp = Want::Stamp(Stamp(origin.stamp));
            self.expect.push(Expect {
                path: origin.path.to_vec(),
                want: stamp,
            });
            let Some(found) = self.below(&origin.path)? else {
                continue;
            };
            if is_whole_origin(inode, found.attr.size) {
                if let Some(home) = self.homes(&found, &origin.path)?.into_iter().next() {
                    self.placed.insert(file, (home.path, found.ident.ino));
                }
                continue;
            }
            self.exchange_at(file, inode, &found, &origin.path)?;
        }
        Ok(())
    }

    /// Exchanges a file at each of its names: the first by the new file, the others by links to it.
    fn exchange_at(
        &mut self,
        file: FileId,
        inode: &'a Inode,
        found: &Found,
        known: &[u8],
    ) -> Result<(), BranchError> {
        if self.placed.contains_key(&file) {
            return Ok(());
        }
        let homes = self.homes(found, known)?;
        for home in &homes {
            self.disturb(home)?;
        }
        let mut homes = homes.into_iter().map(|home| home.path);
        let Some(first) = homes.next() else {
            return Ok(());
        };
        let new = self.stage(inode, &first, true)?;
        let keep = self.next;
        let ino_old = found.ident.ino;
        let shown = Some(shown(file, inode));
        self.exchanges.push(Step::Exchange {
            ino_new: new.0,
            path: first.clone(),
            ino_old,
            keep,
            shown,
        });
        for other in homes {
            let keep = self.number();
            self.exchanges.push(Step::Evict {
                path: other.clone(),
                ino: ino_old,
                keep,
            });
            self.exchanges.push(Step::Link {
                from: first.clone(),
                to: other,
                ino: new.0,
                shown,
            });
        }
        self.placed.insert(file, (first, new.0));
        Ok(())
    }

    /// A name in a directory is exchanged, which moves the directory's times.
    fn disturb(&mut self, home: &Home) -> Result<(), BranchError> {
        if !self.looked_at.insert(home.dir.clone()) {
            return Ok(());
        }
        if let Some(dir) = self.below(&home.dir)?
            && self.view.inode(dir.fid).is_none()
        {
            self.disturbed.insert(home.place.clone(), dir);
        }
        Ok(())
    }

    /// Pass 4: attributes of what was not staged with them, directories after everything in them.
    fn attributes(&mut self) -> Result<(), BranchError> {
        let view = self.view;
        let mut dirs = BTreeMap::new();
        for (file, inode) in view.inodes() {
            if inode.is_dir() {
                let Some(path) = self.workspace.path_of_file(view, file)? else {
                    continue;
                };
                dirs.insert((std::cmp::Reverse(depth(&path)), path), (file, inode));
                continue;
            }
            let Some(origin) = &inode.origin else {
                continue;
            };
            let Some((path, ino)) = self.placed.get(&file).cloned() else {
                continue;
            };
            if ino == origin.ino {
                self.set_attr(file, inode, path, ino)?;
            }
        }
        for (path, found) in std::mem::take(&mut self.disturbed) {
            let Found { fid, attr, .. } = found;
            let shown = Some(Shown {
                fid,
                ctime: attr.ctime,
            });
            let (atime, mtime) = (attr.atime, attr.mtime);
            self.steps.push(Step::Times {
                path,
                atime,
                mtime,
                shown,
            });
        }
        for ((_, path), (file, inode)) in dirs {
            let ino = match (self.placed.get(&file), &inode.origin) {
                (Some((_, ino)), _) => *ino,
                (None, Some(origin)) => origin.ino,
                (None, None) if file == FileId::ROOT => 0,
                (None, None) => continue,
            };
            self.set_attr(file, inode, path, ino)?;
        }
        Ok(())
    }

    fn set_attr(
        &mut self,
        file: FileId,
        inode: &Inode,
        path: Vec<u8>,
        ino: u64,
    ) -> Result<(), BranchError> {
        let set = self.attr_set(inode)?;
        self.steps.push(Step::SetAttr {
            path,
            ino,
            set,
            shown: Some(shown(file, inode)),
        });
        Ok(())
    }
}

fn depth(path: &[u8]) -> usize {
    if path.is_empty() {
        0
    } else {
        1 + path.iter().filter(|&&b| b == b'/').count()
    }
}

fn shown(file: FileId, inode: &Inode) -> Shown {
    Shown {
        fid: file,
        ctime: inode.attr.ctime,
    }
}
