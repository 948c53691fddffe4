//! A store in doubt: a request panicked, or stood still, and what is in memory may be half done.

use super::calls::{find, make, read, write};
use super::world::World;
use crate::vfs::ops::{Errno, Ops, Outcome};

#[test]
fn a_store_in_doubt_is_read_and_never_written_and_a_remount_ends_the_doubt() {
    let mut world = World::new(true);
    let vfs = world.vfs();
    make(&vfs, "acknowledged").expect("a file is made");
    write(&vfs, "acknowledged", "before").expect("and written");
    vfs.doubt("a request panicked");

    let refused = Err(Errno(libc::EROFS));
    assert_eq!(write(&vfs, "acknowledged", "after!"), refused);
    assert_eq!(write(&vfs, ".ctl", "fork b\n"), refused);
    assert_eq!(make(&vfs, "late"), refused.map(drop));
    let synced = vfs.fsync(find(&vfs, "acknowledged"), false);
    assert_eq!(synced.and_then(Outcome::wait), refused.map(drop));

    assert_eq!(read(&vfs, "acknowledged"), "before");
    let status = read(&vfs, "@self/status");
    assert!(
        status.contains(r#""read_only":"a request panicked""#),
        "{status}"
    );
    let metrics = read(&vfs, "@self/metrics");
    assert!(
        metrics
            .lines()
            .any(|line| line == "branchfs_store_poisoned 1"),
        "{metrics}"
    );

    // The end of the mount publishes nothing out of memory that may be half done.
    vfs.unmounted();
    drop(vfs);
    assert!(!world.base().join("acknowledged").exists());
    world.kill();
    world.mount();
    let vfs = world.vfs();
    assert_eq!(read(&vfs, "acknowledged"), "before");
    write(&vfs, "acknowledged", "after!").expect("the doubt is over");
}
