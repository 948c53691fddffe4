//! `@self/patch` and `@self/diff` after random work: git apply makes of the base what the branch
//! has.

use std::collections::BTreeMap;
use std::fs;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::harness::process::{git, run};
use crate::harness::{Branch, Tree, Workspace, snapshot};

/// Names are few, so that what is moved away or removed soon has a successor.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn base(base: &Tree) {
    for outer in NAMES {
        let dir = base.mkdir(format!("{outer}/b"));
        dir.write("c", format!("in {outer}/b\n"));
        for name in ["a", "d"] {
            base.write(
                format!("{outer}/{name}"),
                format!("{outer} {name}\nsecond\n"),
            );
        }
        base.symlink(outer, format!("{outer}/e"));
    }
    base.write("file", b"file\n");
    git(base.root(), &["init", "-q"]);
    git(base.root(), &["add", "."]);
    git(base.root(), &["commit", "-qm", "base"]);
}

/// Numbers that look random and are the same in every run (Knuth's MMIX generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn path(&mut self) -> String {
        let depth = 1 + self.below(3);
        let names: Vec<&str> = (0..depth)
            .map(|_| NAMES[self.below(NAMES.len() as u64) as usize])
            .collect();
        names.join("/")
    }
}

/// Does one thing, which may be impossible and then is left out; the return value says what.
fn step(branch: &Branch, numbers: &mut Numbers) -> String {
    let (one, other) = (numbers.path(), numbers.path());
    let (from, to) = (branch.path(&one), branch.path(&other));
    let kind = numbers.below(9);
    let (what, done) = match kind {
        0 | 1 => ("mv -T", fs::rename(from, to)),
        2 => (
            "exchange",
            renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE).map_err(Into::into),
        ),
        3 => ("rm", fs::remove_file(from)),
        4 => ("rm -r", fs::remove_dir_all(from)),
        5 => ("mkdir", fs::create_dir(from)),
        6 => ("ln -s", std::os::unix::fs::symlink("x", from)),
        _ => {
            let text = format!("{one}\nwritten {}\n", numbers.below(1000));
            ("write", fs::write(from, text))
        }
    };
    match done {
        Ok(()) => format!("{what} {one} {other}\n"),
        Err(_) => String::new(),
    }
}

/// What git knows of a tree: files and links with their content.
fn known_to_git(tree: &Tree) -> BTreeMap<Vec<u8>, (String, u64)> {
    snapshot::of(tree.root())
        .into_iter()
        .filter(|(path, seen)| {
            !path.starts_with(b".git") && seen.kind != rustix::fs::FileType::Directory
        })
        .map(|(path, seen)| (path, (format!("{:?}", seen.kind), seen.content)))
        .collect()
}

#[test]
fn the_patch_of_any_work_makes_of_the_base_what_the_branch_has() {
    let ws = Workspace::build().base(base).seconds(240).mount();
    let scratch = ws.scratch();
    for seed in 0..32 {
        let branch = ws.fork(&format!("b{seed}"));
        let mut numbers = Numbers(seed);
        let steps: String = (0..3 + seed % 20)
            .map(|_| step(&branch, &mut numbers))
            .collect();
        let patch = branch.read("@self/patch");
        scratch.write("patch", &patch);
        let from = ws.base().to_str().expect("ASCII");
        git(scratch.root(), &["clone", "-q", from, "clone"]);
        let clone = scratch.sub("clone");
        if !patch.is_empty() {
            let done = run(clone.root(), "git", &["apply", "../patch"]);
            assert_eq!(
                done.code,
                0,
                "seed {seed}: {}{steps}{}{}",
                done.err,
                branch.about("diff"),
                branch.about("patch")
            );
        }
        let (wanted, got) = (known_to_git(&branch), known_to_git(&clone));
        assert!(
            wanted == got,
            "seed {seed}:\n{steps}{}{}wanted {wanted:?}\ngot {got:?}",
            branch.about("diff"),
            branch.about("patch")
        );
        scratch.remove_all("clone");
    }
}

/// What moved is said to have moved, also where its old name has a new owner; a file that was
/// written anew under the same name, as editors do, is a modified one.
#[test]
fn a_moved_files_old_name_may_be_reused() {
    let ws = Workspace::with_base(base);
    let check = |work: &str, expect: &str| {
        let branch = ws.fork("b");
        crate::harness::process::sh(branch.root(), work, &[""; 0]).ok();
        assert_eq!(branch.about("diff"), expect, "{work}");
        branch.abort();
    };
    check("mv file g; mkdir file", "A file/\nR file -> g\n");
    check("mv a z; echo x >a", "A a\nR a/ -> z/\n");
    check("mv a z; mkdir a; echo x >a/n", "A a/\nA a/n\nR a/ -> z/\n");
    check("mv a z; mv b a; mv z b", "R b/ -> a/\nR a/ -> b/\n");
    check("rm -r a; mv b a", "D a/\nR b/ -> a/\n");
    check("rm -r a; mkdir a", "M a/\n");
    check("rm -r a; echo x >a", "T a\n");
    check("mv file file~; echo new >file", "M file\nA file~\n");
    check("echo new >t; mv t file", "M file\n");
}
