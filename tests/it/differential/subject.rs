//! What the plain directory is compared with: a branch, or, to prove the test itself, another plain
//! directory, with or without a fault.

use std::path::{Path, PathBuf};

use super::op::Op;
use super::random::Random;
use crate::harness::snapshot::{self, Snapshot};
use crate::harness::{Branch, Tree, Workspace, run_dir};

/// What happens between two batches of operations, while no file is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Unmount and mount.
    Remount,
    /// SIGKILL of the daemon, and mount.
    Kill,
    /// Fork a child and go on in it.
    Fork,
    /// Commit a child into its parent, where there is one, and go on in the parent.
    Commit,
}

/// A tree that must behave as a plain directory does.
pub trait Subject: Sync {
    /// The tree.
    fn root(&self) -> PathBuf;
    /// Called after each operation.
    fn after(&self, _op: &Op) {}
    /// What happens between batches.
    fn interrupt(&mut self, _what: Break) -> Result<(), String> {
        Ok(())
    }
    /// Ends it, checking that `plain` is what remains.
    fn finish(self: Box<Self>, _plain: &Snapshot) -> Result<(), String> {
        Ok(())
    }
}

/// Makes a subject whose tree was filled from a seed.
pub type Make<'a> = dyn Fn(u64) -> Box<dyn Subject> + Sync + 'a;

/// A plain directory, removed when dropped.
pub struct Plain {
    directory: PathBuf,
    tree: Tree,
}

impl Plain {
    /// A plain directory, filled from `seed`.
    pub fn new(seed: u64) -> Plain {
        let directory = run_dir::new_directory("plain");
        let tree = Tree::at(&directory).mkdir("tree");
        fill(&tree, seed);
        Plain { directory, tree }
    }
}

impl Subject for Plain {
    fn root(&self) -> PathBuf {
        self.tree.root().to_owned()
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        // What is left over goes with the directory of the run.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A plain directory with a fault: `fault` is called with the tree after each operation.
pub struct Faulty {
    /// The directory.
    pub plain: Plain,
    /// What goes wrong.
    pub fault: fn(&Path, &Op),
}

impl Subject for Faulty {
    fn root(&self) -> PathBuf {
        self.plain.root()
    }

    fn after(&self, op: &Op) {
        (self.fault)(&self.plain.root(), op);
    }
}

/// A branch of a mounted workspace, and the branches that it was forked from.
pub struct Mounted {
    ws: Workspace,
    /// From main down, with what each looked like when the next was forked.
    parents: Vec<(Branch, Snapshot)>,
    branch: Branch,
}

impl Mounted {
    /// A workspace whose base was filled from `seed`, and a branch of it.
    pub fn new(seed: u64, seconds: u64) -> Mounted {
        let ws = Workspace::build()
            .base(|base| fill(base, seed))
            // What the trash needs of the base counts as links of it, see README.
            .option("trash=0")
            .option(&std::env::var("BRANCHFS_DIFFERENTIAL_OPTIONS").unwrap_or_default())
            .seconds(seconds)
            .mount();
        let branch = ws.main();
        let mut mounted = Mounted {
            ws,
            parents: Vec::new(),
            branch,
        };
        // Every other seed works in main itself at first.
        if seed % 2 == 1 {
            mounted.fork().expect("fork a new workspace");
        }
        mounted
    }

    fn fork(&mut self) -> Result<(), String> {
        let snapshot = look(self.branch.root())?;
        let child = self
            .branch
            .try_fork("child")
            .map_err(|e| format!("fork: {e}"))?;
        same(
            &snapshot,
            &look(child.root())?,
            "a branch and its fresh fork",
        )?;
        self.parents
            .push((std::mem::replace(&mut self.branch, child), snapshot));
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        let Some((parent, before)) = self.parents.pop() else {
            return Ok(());
        };
        same(
            &before,
            &look(parent.root())?,
            "a parent at the fork and after its child's work",
        )?;
        let wanted = look(self.branch.root())?;
        self.branch
            .try_commit()
            .map_err(|e| format!("commit: {e}"))?;
        same(
            &wanted,
            &look(parent.root())?,
            "a branch and its parent after the commit",
        )?;
        self.branch = parent;
        Ok(())
    }
}

impl Subject for Mounted {
    fn root(&self) -> PathBuf {
        self.branch.root().to_owned()
    }

    fn interrupt(&mut self, what: Break) -> Result<(), String> {
        match what {
            Break::Remount => self.ws.remount(),
            Break::Kill => self.ws.kill_and_remount(),
            Break::Fork => return self.fork(),
            Break::Commit => return self.commit(),
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, plain: &Snapshot) -> Result<(), String> {
        while !self.parents.is_empty() {
            self.commit()?;
        }
        self.ws.unmount();
        same(
            plain,
            &look(self.ws.base())?,
            "the plain directory and the base after umount",
        )?;
        self.ws.fsck();
        Ok(())
    }
}

/// [`snapshot::take`] with its error as text.
pub fn look(root: &Path) -> Result<Snapshot, String> {
    snapshot::take(root).map_err(|e| format!("look at {}: {e}", root.display()))
}

/// The differences of two trees as one error.
pub fn same(left: &Snapshot, right: &Snapshot, what: &str) -> Result<(), String> {
    let mut lines = snapshot::differences(left, right);
    lines.extend(order_of_times(left, right));
    if lines.is_empty() {
        Ok(())
    } else {
        Err(format!("{what} differ:\n  {}", lines.join("\n  ")))
    }
}

/// Times before this one were set by `utimensat`, and must be exactly the same.
const CHOSEN_BEFORE: i128 = 1_500_000_000 * 1_000_000_000;
/// How far apart two times must be to tell an order: a clock of the kernel ticks every 4 to 10 ms.
const SLACK: i128 = 20_000_000;

/// What is older on the left must not be younger on the right.
fn order_of_times(left: &Snapshot, right: &Snapshot) -> Vec<String> {
    let pairs = left
        .iter()
        .filter_map(|(p, l)| right.get(p).map(|r| (p, l.mtime, r.mtime)));
    let mut by_left: Vec<_> = pairs.collect();
    by_left.sort_by_key(|(_, l, _)| *l);
    // Of the files that are older on the left than the one looked at, beyond doubt.
    let (mut older, mut youngest) = (0, i128::MIN);
    let mut lines = Vec::new();
    for (path, l, r) in &by_left {
        while by_left[older].1 + SLACK < *l {
            youngest = youngest.max(by_left[older].2);
            older += 1;
        }
        let name = path.escape_ascii();
        if *l < CHOSEN_BEFORE && l != r {
            lines.push(format!("{name}: mtime was set to {l}, and is {r}"));
        } else if r + SLACK < youngest {
            lines.push(format!(
                "{name}: changed after another file, but its mtime is older"
            ));
        }
    }
    lines
}

/// The number of threads that the trees are filled for.
pub const THREADS: usize = 3;

/// The top directory that all threads work in; each has another one of its own.
pub const SHARED: &str = "shared";

fn tops() -> impl Iterator<Item = String> {
    (0..THREADS)
        .map(|t| format!("t{t}"))
        .chain([SHARED.to_owned()])
}

/// Fills a tree: the same seed gives the same tree, times included.
pub fn fill(tree: &Tree, seed: u64) {
    let mut random = Random::new(seed ^ 0xba5e);
    let mut made: Vec<String> = Vec::new();
    for top in tops() {
        made.push(top.clone());
        tree.mkdir(&top);
        for dir in ["a", "b", "a/a", "a/b", "b/c"] {
            made.push(format!("{top}/{dir}"));
            tree.mkdir(format!("{top}/{dir}"));
        }
        let mut old: Option<String> = None;
        for file in [
            "c", "d", "a/c", "a/d", "a/a/a", "a/b/e", "b/a", "b/b", "b/c/d",
        ] {
            let path = format!("{top}/{file}");
            match (random.below(7), &old) {
                (0, Some(old)) => tree.link(old, &path),
                (1, _) => tree.symlink("../b", &path),
                (2, _) => {
                    let file = tree.open_rw(&path);
                    let bytes = [random.next() as u8; 9000];
                    let at = random.below(3 << 20);
                    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, at).expect("write");
                }
                _ => {
                    let len = random.pick(&[0, 10, 3000, 4096, 70_000, 300_000]);
                    let first = random.next() as u8;
                    let bytes: Vec<u8> = (0..len)
                        .map(|i| first.wrapping_add((i / 512) as u8))
                        .collect();
                    tree.write(&path, bytes);
                    tree.chmod(&path, random.pick(&[0o644, 0o600, 0o755, 0o4755]));
                    if random.once_in(3) {
                        tree.set_xattr(&path, "user.a", b"from the base");
                    }
                    old = Some(path.clone());
                }
            }
            made.push(path);
        }
    }
    // The deepest names first, so that a directory's time is set after its last change.
    made.sort_by_key(|path| std::cmp::Reverse(path.matches('/').count()));
    for path in made {
        tree.utimes(
            &path,
            1_000_000_000 + random.below(400_000_000) as i64,
            123_456_789,
        );
    }
}
