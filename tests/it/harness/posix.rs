//! One body, run against a plain directory, main, and a branch.
//!
//! The plain directory proves the test itself. In main, what the body left is compared with what is
//! in the base after the unmount; in a branch, main must not have changed, and after a commit must
//! be what the branch was. So every POSIX test is also one of isolation, commit and publish.

use super::{Tree, Workspace, run_dir, snapshot};

/// What a test does: fill the directory, then the part that is tested.
#[derive(Clone, Copy)]
pub struct Posix {
    /// Done before there is a mount, so its files are the base's.
    pub given: fn(&Tree),
    /// Done in the directory under test.
    pub then: fn(&Tree),
}

impl Posix {
    /// Runs in a directory without branchfs.
    pub fn on_a_plain_directory(self) {
        let path = run_dir::new_directory("plain");
        let dir = Tree::at(&path).mkdir("base");
        (self.given)(&dir);
        (self.then)(&dir);
        std::fs::remove_dir_all(path).expect("remove the plain directory");
    }

    /// Runs in main, then looks at the base.
    pub fn in_main(self) {
        let ws = Workspace::build().base(self.given).mount();
        (self.then)(&ws.main());
        let shown = snapshot::of(ws.main().root());
        ws.unmount();
        snapshot::assert_same(
            &shown,
            &snapshot::of(ws.base()),
            "main and the base after umount",
        );
        ws.fsck();
    }

    /// Runs in a branch, then commits it.
    pub fn in_a_branch(self) {
        let ws = Workspace::build().base(self.given).mount();
        let main = ws.main();
        let before = snapshot::of(main.root());
        let branch = main.fork("b");
        (self.then)(&branch);
        snapshot::assert_same(
            &before,
            &snapshot::of(main.root()),
            "main while a branch changed",
        );
        let wanted = snapshot::of(branch.root());
        branch.commit();
        snapshot::assert_same(
            &wanted,
            &snapshot::of(main.root()),
            "the branch, main after commit",
        );
        ws.unmount();
        snapshot::assert_same(
            &wanted,
            &snapshot::of(ws.base()),
            "the branch, the base after umount",
        );
        ws.fsck();
    }
}

/// Declares tests that hold of any POSIX filesystem, each run in three places.
///
/// `name(dir) given { .. } then { .. }`, where `given` may be left out.
macro_rules! posix {
    ($($name:ident($dir:ident) $(given $given:block)? then $then:block)*) => { $(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            fn given($dir: &Tree) { let _ = $dir; $($given)? }
            fn then($dir: &Tree) $then
            const TEST: crate::harness::posix::Posix = crate::harness::posix::Posix { given, then };

            #[test]
            fn on_a_plain_directory() { TEST.on_a_plain_directory(); }
            #[test]
            fn in_main() { TEST.in_main(); }
            #[test]
            fn in_a_branch() { TEST.in_a_branch(); }
        }
    )* };
}
pub(crate) use posix;
