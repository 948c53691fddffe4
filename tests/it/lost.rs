//! A branch that lost, was committed or was aborted is dead at once: paths, descriptors, mappings.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::io::Errno;

use crate::harness::process::{Python, sh};
use crate::harness::{Branch, Tree, Workspace, assert_errno};

fn small_base(base: &Tree) {
    base.write("file", vec![b'x'; 100_000]);
    base.write("small", b"small");
    base.mkdir("dir/sub");
    base.write("dir/file", b"in dir");
}

/// The ways in which a branch ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Lost,
    Aborted,
    Removed,
    Committed,
}

const ENDS: [End; 4] = [End::Lost, End::Aborted, End::Removed, End::Committed];

impl End {
    fn happen(self, ws: &Workspace, branch: &Branch) {
        match self {
            End::Lost => {
                let winner = ws.fork("winner");
                winner.write("won", b"x");
                winner.commit();
            }
            End::Aborted => branch.abort(),
            End::Removed => fs::remove_dir(branch.root()).expect("rmdir of a branch"),
            End::Committed => branch.commit(),
        }
    }
}

/// Asserts that a path below a dead branch leads nowhere.
#[track_caller]
fn assert_gone(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(_) => panic!("{} is still there", path.display()),
        Err(e) => {
            let gone = [Errno::NOENT, Errno::STALE].map(|e| Some(e.raw_os_error()));
            assert!(gone.contains(&e.raw_os_error()), "{}: {e}", path.display());
        }
    }
}

#[test]
fn the_paths_of_an_ended_branch_lead_nowhere() {
    for end in ENDS {
        let ws = Workspace::with_base(small_base);
        let branch = ws.fork("b");
        branch.write("own", b"x");
        branch.fork("child").abort();
        // All of it is in the kernel's caches.
        for name in ["file", "small", "dir/file", "own"] {
            branch.read(name);
        }
        end.happen(&ws, &branch);
        for name in [
            "",
            "file",
            "own",
            "dir/sub",
            ".ctl",
            "@self/status",
            "@branches",
        ] {
            assert_gone(&branch.path(name));
        }
        assert_errno(fs::write(branch.path("new"), b"x"), Errno::NOENT);
        assert!(ws.main().children().is_empty(), "after {end:?}");
    }
}

/// "Its files answer ESTALE."
#[test]
fn its_files_answer_estale_once_a_branch_is_lost_or_has_ended() {
    for end in ENDS {
        let ws = Workspace::with_base(small_base);
        let branch = ws.fork("b");
        branch.write("own", b"mine");
        let held: Vec<_> = ["file", "own", "dir/file"]
            .map(|n| branch.open_rw(n))
            .into();
        let (dir, root) = (branch.open("dir"), branch.open(""));
        let mut buffer = [0; 4];
        for file in &held {
            file.read_exact_at(&mut buffer, 0)
                .expect("read while the branch lives");
        }
        held[0]
            .write_all_at(b"written", 10)
            .expect("write while the branch lives");
        end.happen(&ws, &branch);
        for file in &held {
            assert_errno(file.read_at(&mut buffer, 0), Errno::STALE);
            assert_errno(file.write_at(b"late", 0), Errno::STALE);
            assert_errno(file.metadata().map(|m| m.len()), Errno::STALE);
            assert_errno(file.set_len(0), Errno::STALE);
        }
        for listing in [dir, root] {
            assert_errno(listing.metadata().map(|m| m.len()), Errno::STALE);
            // Opening the directory anew through its descriptor is refused, or the first read is.
            let Ok(mut entries) = rustix::fs::Dir::read_from(&listing) else {
                continue;
            };
            assert!(
                entries.next().is_none_or(|e| e.is_err()),
                "listed after {end:?}"
            );
        }
    }
}

#[test]
fn a_descriptor_of_a_file_that_was_unlinked_in_the_branch_dies_with_it() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let held = branch.open_rw("file");
    branch.unlink("file");
    held.write_all_at(b"orphan", 0)
        .expect("write to an unlinked file");
    branch.abort();
    assert_errno(held.read_at(&mut [0; 4], 0), Errno::STALE);
}

/// "Its mmaps fault."
#[test]
fn its_mmaps_fault_once_a_branch_is_lost_or_has_ended() {
    let script = r#"
f = open(sys.argv[1], 'r+b')
m = mmap.mmap(f.fileno(), 100000)
total = sum(m[i] for i in range(0, 100000, 4096))
if sys.argv[2] == 'dirty': m[5000] = 7
say(f'mapped {total}')
wait()
total = sum(m[i] for i in range(0, 100000, 4096))
say(f'still there {total}')
"#;
    for end in ENDS {
        for dirty in ["clean", "dirty"] {
            let ws = Workspace::with_base(small_base);
            let branch = ws.fork("b");
            let path = branch.path("file");
            let mut python = Python::start(script, &[path.as_os_str(), dirty.as_ref()]);
            assert_eq!(python.hear(), "mapped 3000");
            end.happen(&ws, &branch);
            python.go();
            assert_eq!(python.hear(), "", "{end:?}, {dirty}");
            assert_eq!(python.end(), -7, "SIGBUS ends what touches a dead mapping");
        }
    }
}

#[test]
fn a_process_whose_current_folder_is_in_an_ended_branch_gets_estale() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let script = r#"
os.chdir(sys.argv[1])
say(open('file').read())
wait()
calls = [lambda: open('file'), lambda: os.listdir('.')]
calls += [lambda: open('new', 'w'), lambda: os.mkdir('d')]
for call in calls:
    try:
        call()
        say('worked')
    except OSError as e:
        say(errno.errorcode[e.errno])
"#;
    let mut python = Python::start(script, &[branch.path("dir")]);
    assert_eq!(python.hear(), "in dir");
    End::Lost.happen(&ws, &branch);
    python.go();
    let answers: Vec<String> = (0..4).map(|_| python.hear()).collect();
    assert!(
        answers.iter().all(|a| a == "ESTALE" || a == "ENOENT"),
        "{answers:?}"
    );
    assert_eq!(python.end(), 0);
}

/// "Its commit is refused."
#[test]
fn its_commit_is_refused_with_estale_once_a_branch_is_lost_and_so_is_its_abort() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let controls: Vec<_> = [".ctl", ".commit", ".abort"]
        .map(|n| branch.open_rw(n))
        .into();
    End::Lost.happen(&ws, &branch);
    for (mut control, text) in controls.into_iter().zip(["commit\n", "x\n", "x\n"]) {
        assert_errno(control.write(text.as_bytes()), Errno::STALE);
    }
    ws.main().check("won", b"x");
}

#[test]
fn the_descendants_of_a_lost_branch_are_lost_with_it() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let child = branch.fork("child");
    let grandchild = child.fork("grandchild");
    let mut held = grandchild.open("file");
    let control = child.open_rw(".ctl");
    End::Lost.happen(&ws, &branch);
    assert_errno(held.read(&mut [0; 4]), Errno::STALE);
    assert_errno((&control).write(b"commit\n"), Errno::STALE);
    for dead in [&branch, &child, &grandchild] {
        assert_gone(dead.root());
    }
}

#[test]
fn siblings_of_another_level_go_on() {
    let ws = Workspace::with_base(small_base);
    let (a, b) = (ws.fork("a"), ws.fork("b"));
    let (one, two) = (a.fork("one"), a.fork("two"));
    let nephew = b.fork("nephew");
    one.write("small", b"one");
    one.commit();
    a.check("small", b"one");
    assert_gone(two.root());
    nephew.check("small", b"small");
    nephew.write("small", b"nephew");
    nephew.commit();
    b.check("small", b"nephew");
}

#[test]
fn a_branch_of_the_same_name_is_not_seen_through_old_descriptors() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let held = branch.open_rw("small");
    branch.abort();
    let again = ws.fork("b");
    again.write("small", b"again");
    assert_errno(held.read_at(&mut [0; 4], 0), Errno::STALE);
    assert_errno(held.write_at(b"ghost", 0), Errno::STALE);
    again.check("small", b"again");
}

#[test]
fn a_writer_that_goes_on_through_a_commit_is_stopped_and_leaves_no_trace() {
    let ws = Workspace::with_base(small_base);
    let (winner, loser) = (ws.fork("winner"), ws.fork("loser"));
    winner.write("small", b"won");
    let script = r#"
f = open(sys.argv[1], 'r+b', buffering=0)
say('ready')
n = 0
while True:
    try:
        f.seek(0); f.write(b'lost!'); n += 1
    except OSError as e:
        say(errno.errorcode[e.errno]); break
"#;
    let mut python = Python::start(script, &[loser.path("small")]);
    assert_eq!(python.hear(), "ready");
    winner.commit();
    assert_eq!(python.hear(), "ESTALE");
    assert_eq!(python.end(), 0);
    ws.main().check("small", b"won");
    ws.unmount();
    Tree::at(ws.base()).check("small", b"won");
}

/// "Nothing is lost by accident: aborted and lost branches stay recoverable under
/// `@branches/.trash/NAME` (read-only)."
#[test]
fn aborted_and_lost_branches_stay_recoverable_in_the_trash_read_only() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let (aborted, lost) = (main.fork("aborted"), main.fork("lost"));
    aborted.write("small", b"aborted work");
    lost.write("small", b"lost work");
    lost.mkdir("made").write("file", b"x");
    aborted.abort();
    End::Lost.happen(&ws, &lost);
    assert!(
        main.names("@branches").is_empty(),
        ".trash is reachable, not listed"
    );
    assert_eq!(main.names("@branches/.trash"), ["aborted", "lost"]);
    main.check("@branches/.trash/aborted/small", b"aborted work");
    main.check("@branches/.trash/lost/made/file", b"x");
    let entry = Tree::at(main.path("@branches/.trash/lost"));
    let refused = |result: io::Result<()>| {
        let errno = result.expect_err("the trash was written").raw_os_error();
        let read_only = [Errno::ROFS, Errno::PERM, Errno::ACCESS].map(|e| Some(e.raw_os_error()));
        assert!(read_only.contains(&errno), "{errno:?}");
    };
    refused(fs::write(entry.path("small"), b"x"));
    refused(fs::write(entry.path("new"), b"x"));
    refused(fs::create_dir(entry.path("new")));
    refused(fs::remove_file(entry.path("small")));
    refused(fs::rename(entry.path("small"), entry.path("big")));
    entry.check("small", b"lost work");
}

/// "`mv` back to restore."
#[test]
fn mv_back_restores_aborted_and_lost_branches() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    let (aborted, lost) = (main.fork("aborted"), main.fork("lost"));
    aborted.write("small", b"aborted work");
    lost.write("small", b"lost work");
    aborted.abort();
    End::Lost.happen(&ws, &lost);
    ws.kill_and_remount();
    main.rename("@branches/.trash/lost", "@branches/lost");
    main.rename("@branches/.trash/aborted", "@branches/under-a-new-name");
    assert_eq!(main.children(), ["lost", "under-a-new-name"]);
    let restored = main.child("under-a-new-name");
    restored.check("small", b"aborted work");
    restored.write("small", b"work goes on");
    restored.check("file", vec![b'x'; 100_000]);
    main.child("lost").check("small", b"lost work");
    assert!(main.names("@branches/.trash").is_empty());
    ws.remount();
    ws.main()
        .child("under-a-new-name")
        .check("small", b"work goes on");
}

#[test]
fn two_ended_branches_of_one_name_are_both_in_the_trash() {
    let ws = Workspace::with_base(small_base);
    let main = ws.main();
    for text in ["first", "second"] {
        let branch = main.fork("b");
        branch.write("small", text);
        branch.abort();
    }
    let entries = main.names("@branches/.trash");
    assert_eq!(entries.len(), 2, "{entries:?}");
    let mut texts: Vec<String> = entries
        .iter()
        .map(|e| main.text(format!("@branches/.trash/{e}/small")))
        .collect();
    texts.sort();
    assert_eq!(texts, ["first", "second"]);
    main.ctl(&format!("restore {} as back", entries[1]))
        .expect("restore by .ctl");
    assert!(main.child("back").exists("small"));
}

#[test]
fn a_committed_branch_is_not_in_the_trash() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    branch.write("small", b"x");
    branch.commit();
    assert!(ws.main().names("@branches/.trash").is_empty());
}

#[test]
fn with_a_trash_of_no_time_an_aborted_branch_is_gone() {
    let ws = Workspace::build()
        .base(small_base)
        .option("trash=0")
        .mount();
    let branch = ws.fork("b");
    branch.write("small", b"x");
    branch.abort();
    assert!(ws.main().names("@branches/.trash").is_empty());
    ws.unmount();
    ws.fsck();
}

#[test]
fn rm_of_a_branch_asks_for_rmdir_and_takes_one() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    branch.write("own", b"x");
    sh(ws.base(), "rmdir @branches/b", &[""; 0]).ok();
    assert_gone(branch.root());
    let outer = ws.fork("outer");
    outer.fork("inner");
    assert_errno(fs::remove_dir(outer.root()), Errno::NOTEMPTY);
}

/// "... until they expire or space is needed."
#[test]
fn aborted_and_lost_branches_stay_until_space_is_needed() {
    let ws = Workspace::build().in_memory("64m").mount();
    let lost = ws.fork("lost");
    lost.write("big", vec![1; 24 << 20]);
    lost.abort();
    let branch = ws.fork("b");
    let fill = || std::fs::write(branch.path("big"), vec![2; 36 << 20]);
    assert!(fill().is_err(), "the trash holds the space");
    let start = std::time::Instant::now();
    while fill().is_err() {
        assert!(
            start.elapsed().as_secs() < 60,
            "the trash goes on holding the space"
        );
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(ws.main().names("@branches/.trash").is_empty());
}
