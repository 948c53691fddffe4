//! main and the base: the sentences of the semantics on publishing, a test each.

use std::io::Write;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::harness::{Tree, Workspace, assert_errno, snapshot};

fn small_base(base: &Tree) {
    base.write("file", b"base");
    base.write("other", b"other");
    base.mkdir("dir");
    base.write("dir/file", b"in dir");
}

/// Waits until the base below the mount has `content` in `name`.
#[track_caller]
fn wait_for(below: &Tree, name: &str, content: &[u8]) {
    let start = Instant::now();
    while below.read(name) != content {
        assert!(start.elapsed() < Duration::from_secs(60), "not published");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// "main is a branch whose lower layer is the base directory."
#[test]
fn main_is_a_branch_whose_lower_layer_is_the_base_directory() {
    let ws = Workspace::build()
        .base(small_base)
        .option("publish=manual")
        .mount();
    let (main, before) = (ws.main(), snapshot::of(ws.below().root()));
    snapshot::assert_same(&before, &snapshot::of(main.root()), "the base and main");
    main.write("file", b"main");
    main.unlink("other");
    main.mkdir("made");
    assert_eq!(
        main.diff(),
        [('M', "file"), ('A', "made/"), ('D', "other")].map(|(c, p)| (c, p.to_owned()))
    );
    snapshot::assert_same(&before, &snapshot::of(ws.below().root()), "the base");
    main.ctl("publish").expect("publish");
    assert_eq!(main.diff(), []);
    let (above, below) = (snapshot::of(main.root()), snapshot::of(ws.below().root()));
    snapshot::assert_same(&above, &below, "main and the base");
}

/// "Publishing moves main's changes down into the base: at every commit into main before the write
/// returns (`-o publish=sync`, the default)."
#[test]
fn publishing_moves_mains_changes_into_the_base_at_every_commit_before_the_write_returns() {
    let ws = Workspace::with_base(small_base);
    for round in 0..10 {
        // What was written into main itself goes with it.
        ws.main().write("other", format!("main {round}"));
        let branch = ws.fork("b");
        branch.write("file", format!("branch {round}"));
        branch.commit();
        ws.below().check("file", format!("branch {round}"));
        ws.below().check("other", format!("main {round}"));
    }
}

/// "`async` exists": the commit returns before, and the base follows.
#[test]
fn with_publish_async_the_base_follows_a_commit() {
    let ws = Workspace::build()
        .base(small_base)
        .option("publish=async")
        .mount();
    let branch = ws.fork("b");
    branch.write("file", b"committed");
    branch.commit();
    ws.main().check("file", b"committed");
    wait_for(&ws.below(), "file", b"committed");
}

/// "... on `echo publish > .ctl`"
#[test]
fn publishing_happens_on_echo_publish_to_ctl() {
    let ws = Workspace::build()
        .base(small_base)
        .option("publish=manual")
        .mount();
    ws.main().write("file", b"main");
    ws.below().check("file", b"base");
    let echo = "echo publish >.ctl";
    crate::harness::process::sh(ws.base(), echo, &[""; 0]).ok();
    ws.below().check("file", b"main");
    // Only main has a base below it.
    let branch = ws.fork("b");
    assert_errno(branch.ctl("publish"), Errno::INVAL);
}

/// "... and in the background when idle."
#[test]
fn publishing_happens_in_the_background_when_idle() {
    let ws = Workspace::with_base(small_base);
    ws.main().write("file", b"written into main");
    wait_for(&ws.below(), "file", b"written into main");
    ws.main().unlink("file");
    let start = Instant::now();
    while ws.below().exists("file") {
        assert!(start.elapsed() < Duration::from_secs(60), "not published");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const PARTS: usize = 40;

fn parts(tree: &Tree) -> Vec<String> {
    (0..PARTS).map(|i| tree.text(format!("part{i}"))).collect()
}

/// "A publish interrupted anywhere is finished by the next mount."
#[test]
fn a_publish_interrupted_anywhere_is_finished_by_the_next_mount() {
    let ws = Workspace::build()
        .base(|base| (0..PARTS).for_each(|i| base.write(format!("part{i}"), b"base")))
        .option("publish=manual")
        .seconds(240)
        .mount();
    for round in 0..12 {
        let main = ws.main();
        let text = format!("round {round}");
        (0..PARTS).for_each(|i| main.write(format!("part{i}"), &text));
        let before = parts(&ws.below());
        let mut control = main.open_rw(".ctl");
        let acknowledged = std::thread::scope(|scope| {
            let publisher = scope.spawn(move || control.write(b"publish\n").is_ok());
            // The delays are spread over what a publish takes, whatever the machine.
            (0..round * 150_000).for_each(|_| std::hint::spin_loop());
            ws.kill();
            publisher.join().expect("the publisher")
        });
        ws.mount();
        assert_eq!(parts(&ws.main()), vec![text.clone(); PARTS], "main");
        let after = parts(&ws.below());
        let done = after == vec![text; PARTS];
        assert!(done || after == before, "torn in round {round}: {after:?}");
        assert!(done || !acknowledged, "an acknowledged publish is gone");
    }
    ws.unmount();
    ws.fsck();
}

/// "A file of the base that somebody changed behind the mount since it was copied up is never
/// overwritten: the publish or commit is refused and names it."
#[test]
fn a_base_file_changed_behind_the_mount_since_its_copy_up_is_never_overwritten_by_a_publish() {
    let ws = Workspace::build()
        .base(small_base)
        .option("publish=manual")
        .mount();
    let main = ws.main();
    main.append("file", b" and main");
    main.write("other", b"main");
    ws.below().write("file", b"behind the mount");
    assert_errno(main.ctl("publish"), Errno::BUSY);
    let said = main.last_error();
    assert!(said.contains("file"), "{said}");
    // Nothing of it is published, and main keeps what it has.
    ws.below().check("file", b"behind the mount");
    ws.below().check("other", b"other");
    main.check("other", b"main");
    let log = main.about("log");
    assert!(log.contains("conflict main, EBUSY file"), "{log}");
}
