//! Commit: what DESIGN says of it, a sentence a test.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::harness::{Tree, Workspace, assert_errno, read_rest, snapshot};

fn small_base(base: &Tree) {
    base.write("file", b"base");
    base.write("other", b"other");
    base.mkdir("dir/sub");
    base.write("dir/file", b"in dir");
}

/// "Commit publishes the branch's changes into its immediate parent as one atomic step."
#[test]
fn commit_publishes_the_branchs_changes_into_its_immediate_parent_as_one_atomic_step() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    branch.write("file", b"changed");
    branch.write("new", b"new");
    branch.unlink("other");
    branch.rename("dir", "moved");
    branch.mkdir("empty");
    branch.symlink("file", "link");
    let wanted = snapshot::of(branch.root());
    branch.commit();
    snapshot::assert_same(
        &wanted,
        &snapshot::of(ws.main().root()),
        "the branch and main",
    );
    // With publish=sync the base has it before the write returned.
    snapshot::assert_same(
        &wanted,
        &snapshot::of(ws.below().root()),
        "the branch and the base",
    );
    assert!(ws.main().children().is_empty());
}

#[test]
fn every_way_of_writing_the_control_files_commits_or_aborts() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    for (round, (file, text)) in [(".ctl", "commit"), (".commit", ""), (".commit", "anything")]
        .into_iter()
        .enumerate()
    {
        let branch = main.fork("b");
        branch.write("file", format!("round {round}"));
        branch
            .echo(text, file)
            .unwrap_or_else(|e| panic!("echo {text} > {file}: {e}"));
        main.check("file", format!("round {round}"));
    }
    for (file, text) in [(".ctl", "abort"), (".abort", ""), (".abort", "whatever")] {
        let branch = main.fork("b");
        branch.write("file", b"discarded");
        branch
            .echo(text, file)
            .unwrap_or_else(|e| panic!("echo {text} > {file}: {e}"));
        main.check("file", b"round 2");
    }
    main.fork("b").write("file", b"discarded");
    main.rmdir("@branches/b");
    main.check("file", b"round 2");
    assert!(main.children().is_empty());
}

#[test]
fn the_shell_commits_with_echo_and_is_told_of_refusals() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let echo = "echo commit >\"$1/.ctl\"";
    branch.fork("child");
    let refused = crate::harness::process::sh(ws.base(), echo, &[branch.root()]).fails();
    assert!(
        refused.err.contains("Directory not empty"),
        "{}",
        refused.err
    );
    branch.child("child").abort();
    crate::harness::process::sh(ws.base(), echo, &[branch.root()]).ok();
}

#[test]
fn a_nested_commit_lands_in_the_parent_and_not_in_the_base() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let outer = main.fork("outer");
    let inner = outer.fork("inner");
    inner.write("file", b"inner");
    inner.mkdir("made").write("file", b"x");
    inner.commit();
    outer.check("file", b"inner");
    main.check("file", b"base");
    ws.below().check("file", b"base");
    assert!(!main.exists("made") && outer.exists("made/file"));
    outer.commit();
    main.check("file", b"inner");
    ws.below().check("made/file", b"x");
}

/// "Only a branch without live children commits."
#[test]
fn only_a_branch_without_live_children_commits() {
    let ws = Workspace::with_base(small_base);
    let outer = ws.fork("outer");
    outer.write("file", b"outer");
    let inner = outer.fork("inner");
    assert_errno(outer.try_commit(), Errno::NOTEMPTY);
    ws.main().check("file", b"base");
    outer.check("file", b"outer");
    inner.check("file", b"outer");
    inner.abort();
    outer.commit();
    ws.main().check("file", b"outer");
}

/// "Success advances it, and every sibling forked before it is lost at that moment."
#[test]
fn success_advances_the_generation_and_every_sibling_forked_before_it_is_lost_at_that_moment() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let (a, b, c) = (main.fork("a"), main.fork("b"), main.fork("c"));
    b.write("file", b"b");
    a.write("file", b"a");
    c.write("unrelated", b"c");
    let (a_ctl, c_ctl) = (a.open_rw(".ctl"), c.open_rw(".ctl"));
    b.commit();
    for mut ctl in [a_ctl, c_ctl] {
        assert_errno(std::io::Write::write(&mut ctl, b"commit\n"), Errno::STALE);
    }
    main.check("file", b"b");
    assert!(!main.exists("unrelated"));
    assert!(main.children().is_empty());
    let later = main.fork("later");
    later.write("file", b"later");
    later.commit();
    main.check("file", b"later");
}

#[test]
fn of_branches_that_commit_at_once_exactly_one_wins() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    for round in 0..10 {
        let branches: Vec<_> = (0..6).map(|i| main.fork(format!("b{i}"))).collect();
        for (i, branch) in branches.iter().enumerate() {
            branch.write("file", format!("{round} {i}"));
            branch.write(format!("by{i}"), b"");
        }
        let controls: Vec<_> = branches.iter().map(|b| b.open_rw(".ctl")).collect();
        let winners: Vec<usize> = std::thread::scope(|scope| {
            let commit = |mut ctl| std::io::Write::write(&mut ctl, b"commit\n");
            let threads: Vec<_> = controls
                .into_iter()
                .map(|ctl| scope.spawn(move || commit(ctl)))
                .collect();
            let results = threads
                .into_iter()
                .map(|t| t.join().expect("a thread"))
                .enumerate();
            let won = results.filter_map(|(i, result)| match result {
                Ok(_) => Some(i),
                Err(e) => {
                    assert_eq!(e.raw_os_error(), Some(Errno::STALE.raw_os_error()), "{e}");
                    None
                }
            });
            won.collect()
        });
        let [winner] = winners[..] else {
            panic!("{winners:?} won in round {round}")
        };
        main.check("file", format!("{round} {winner}"));
        for i in 0..6 {
            assert_eq!(main.exists(format!("by{i}")), i == winner);
        }
        main.unlink(format!("by{winner}"));
    }
}

/// "If both sides changed the same path since the fork, commit is refused with EBUSY and
/// nothing changes on either side."
#[test]
fn if_both_sides_changed_the_same_path_commit_is_refused_with_ebusy_and_nothing_changes_on_either()
{
    type Change = fn(&Tree);
    let cases: [(&str, Change, Change); 8] = [
        (
            "content",
            |p| p.write("file", b"parent"),
            |b| b.write("file", b"branch"),
        ),
        (
            "attributes",
            |p| p.chmod("file", 0o600),
            |b| b.write("file", b"branch"),
        ),
        (
            "deleted above",
            |p| p.unlink("file"),
            |b| b.write("file", b"branch"),
        ),
        (
            "deleted below",
            |p| p.write("file", b"parent"),
            |b| b.unlink("file"),
        ),
        (
            "both made",
            |p| p.write("new", b"parent"),
            |b| b.write("new", b"branch"),
        ),
        (
            "moved above",
            |p| p.rename("file", "x"),
            |b| b.write("file", b"branch"),
        ),
        (
            "other type",
            |p| p.write("new", b"parent"),
            |b| drop(b.mkdir("new")),
        ),
        (
            "directory gone",
            |p| p.remove_all("dir"),
            |b| b.write("dir/new", b"branch"),
        ),
    ];
    for (what, parent, below) in cases {
        let ws = Workspace::with_base(small_base);
        let main = ws.main();
        let branch = main.fork("b");
        below(&branch);
        parent(&main);
        let (above, own) = (snapshot::of(main.root()), snapshot::of(branch.root()));
        match branch.try_commit() {
            Err(e) if e.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {}
            other => panic!("{what}: the commit gave {other:?}"),
        }
        snapshot::assert_same(
            &above,
            &snapshot::of(main.root()),
            &format!("{what}: the parent"),
        );
        snapshot::assert_same(
            &own,
            &snapshot::of(branch.root()),
            &format!("{what}: the branch"),
        );
    }
}

/// "Changes written directly into the parent after the fork are not overwritten."
#[test]
fn changes_written_directly_into_the_parent_after_the_fork_are_not_overwritten() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let branch = main.fork("b");
    branch.write("file", b"branch");
    branch.write("dir/from-branch", b"x");
    main.write("other", b"parent");
    main.write("dir/from-parent", b"x");
    branch.commit();
    main.check("file", b"branch");
    main.check("other", b"parent");
    assert_eq!(
        main.names("dir"),
        ["file", "from-branch", "from-parent", "sub"]
    );
}

/// "Policy merge (per mount or per branch): siblings survive a commit; the check is per path
/// only."
#[test]
fn policy_merge_per_mount_or_per_branch_siblings_survive_a_commit_the_check_is_per_path_only() {
    let by_option = Workspace::build()
        .base(small_base)
        .option("policy=merge")
        .mount();
    let by_command = Workspace::with_base(small_base);
    by_command.main().ctl("policy merge").expect("policy merge");
    // Of a branch, while the mount's policy is the other one.
    let in_branch = Workspace::with_base(small_base);
    let outer = in_branch.fork("outer");
    outer.ctl("policy merge").expect("policy merge");
    for main in [by_option.main(), by_command.main(), outer] {
        let (a, b, c) = (main.fork("a"), main.fork("b"), main.fork("c"));
        a.write("file", b"a");
        b.write("other", b"b");
        c.write("file", b"c");
        a.commit();
        assert_eq!(main.children(), ["b", "c"]);
        b.check("file", b"base");
        b.commit();
        main.check("file", b"a");
        main.check("other", b"b");
        assert_errno(c.try_commit(), Errno::BUSY);
        c.check("file", b"c");
        main.check("file", b"a");
        c.abort();
    }
}

/// "A process that held the parent's old file open keeps reading the old content."
#[test]
fn a_process_that_held_the_parents_old_file_open_keeps_reading_the_old_content() {
    let ws = Workspace::with_base(|base| base.write("file", vec![b'o'; 100_000]));
    let main = ws.main();
    let branch = main.fork("b");
    branch.write("file", vec![b'n'; 50_000]);
    let mut held = main.open("file");
    let mut head = [0; 10];
    std::io::Read::read_exact(&mut held, &mut head).expect("read");
    branch.commit();
    assert_eq!(read_rest(&mut held), vec![b'o'; 99_990]);
    main.check("file", vec![b'n'; 50_000]);
}

/// "... and a reader of the mount never sees half of it."
#[test]
fn a_reader_of_the_mount_never_sees_half_of_a_commit_nor_an_old_state_after_a_new_one() {
    let ws = Workspace::with_base(|base| {
        (0..8).for_each(|i| base.write(format!("f{i}"), b"000"));
    });
    let main = ws.main();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut rounds = 0;
                    while !done.load(Ordering::Relaxed) {
                        // In this order a later file is at least as new as an earlier one.
                        let seen: Vec<String> =
                            (0..8).map(|i| main.text(format!("f{i}"))).collect();
                        assert!(seen.is_sorted(), "read one after the other: {seen:?}");
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        for round in 1..=40 {
            let branch = main.fork("b");
            (0..8).for_each(|i| branch.write(format!("f{i}"), format!("{round:03}")));
            branch.commit();
            main.check("f0", format!("{round:03}"));
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            let rounds: u32 = reader.join().expect("a reader");
            assert!(rounds > 0);
        }
    });
}

#[test]
fn an_unchanged_branch_commits_and_changes_nothing() {
    let ws = Workspace::with_base(small_base);
    let before = snapshot::of(ws.main().root());
    ws.fork("b").commit();
    snapshot::assert_same(&before, &snapshot::of(ws.main().root()), "main");
}

#[test]
fn directories_that_a_commit_moves_are_reached_at_their_new_places() {
    let ws = Workspace::with_base(|base| {
        for name in ["a", "b", "c"] {
            base.mkdir(name);
            base.write(format!("{name}/file"), name.as_bytes());
        }
    });
    let main = ws.main();
    // The kernel knows all of them in main.
    snapshot::of(main.root());
    let branch = main.fork("b");
    let (a, b) = (branch.path("a"), branch.path("b"));
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).expect("exchange");
    branch.rename("c", "a/c");
    branch.commit();
    main.check("a/file", b"b");
    main.check("b/file", b"a");
    main.check("a/c/file", b"c");
    let (above, below) = (snapshot::of(main.root()), snapshot::of(ws.below().root()));
    snapshot::assert_same(&above, &below, "main and the base");
}

#[test]
fn a_branch_forked_before_a_publish_commits_what_it_made_of_the_published_files() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    main.write("file", b"mains own");
    main.write("new", b"new in main");
    main.mkdir("made");
    let branch = main.fork("b");
    branch.append("file", b" and the branchs");
    branch.append("new", b" and the branchs");
    branch.write("made/inside", b"x");
    main.ctl("publish").expect("publish");
    branch.commit();
    main.check("file", b"mains own and the branchs");
    main.check("new", b"new in main and the branchs");
    main.check("made/inside", b"x");
    ws.below().check("file", b"mains own and the branchs");
    ws.below().check("new", b"new in main and the branchs");
    ws.below().check("made/inside", b"x");
}

#[test]
fn a_directory_time_that_the_branch_set_back_is_committed_and_the_parents_own_stays() {
    let mtime = |tree: &Tree, name: &str| {
        use std::os::unix::fs::MetadataExt;
        tree.stat(name).mtime()
    };
    let ws = Workspace::build()
        .base(|base| {
            for dir in ["mine", "theirs", "both"] {
                base.mkdir(dir);
                base.utimes(dir, 1_200_000_000, 0);
            }
        })
        .option("policy=merge")
        .mount();
    let main = ws.main();
    let branch = ws.fork("b");
    branch.utimes("mine", 1_100_000_000, 0);
    main.utimes("theirs", 1_000_000_000, 0);
    branch.utimes("both", 1_100_000_000, 0);
    main.utimes("both", 1_150_000_000, 0);
    branch.commit();
    assert_eq!(mtime(&main, "mine"), 1_100_000_000);
    assert_eq!(mtime(&main, "theirs"), 1_000_000_000);
    assert_eq!(mtime(&main, "both"), 1_150_000_000);
}

#[test]
fn a_file_that_gets_its_first_name_again_in_a_new_directory_is_no_conflict() {
    let ws = Workspace::with_base(|base| {
        base.write("d", b"linked");
        base.mkdir("a");
    });
    let main = ws.main();
    main.rename("d", "e");
    main.link("e", "c");
    let branch = main.fork("k");
    branch.mkdir("new");
    renameat_with(
        CWD,
        branch.path("new"),
        CWD,
        branch.path("a"),
        RenameFlags::EXCHANGE,
    )
    .expect("exchange");
    ws.remount();
    branch.rename("c", "a/d");
    branch.commit();
    main.check("a/d", b"linked");
    main.check("e", b"linked");
}
