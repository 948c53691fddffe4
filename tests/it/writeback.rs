//! `-o writeback`: writes wait in the kernel's page cache, and whatever a branch promises holds.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::io::Errno;

use crate::harness::process::run;
use crate::harness::snapshot;
use crate::harness::{Tree, Workspace, assert_errno};

fn workspace() -> Workspace {
    let fill = |base: &Tree| {
        base.write("file", b"of the base");
        base.write("large", vec![7; 3 << 20]);
    };
    Workspace::build().base(fill).option("writeback").mount()
}

#[test]
fn small_writes_are_gathered_in_the_page_cache() {
    let ws = workspace();
    let branch = ws.fork("b");
    let mut file = branch.open_rw("new");
    let before = ws.main().requests("write");
    for number in 0..20_000_u32 {
        file.write_all(&number.to_le_bytes()).expect("write");
    }
    drop(file);
    let writes = ws.main().requests("write") - before;
    assert!(writes < 100, "{writes} requests for 20,000 writes");
    let content: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
    branch.check("new", content);
}

#[test]
fn a_fork_holds_every_write_that_returned_before_it_though_nobody_closed_the_file() {
    let ws = workspace();
    let parent = ws.fork("parent");
    let large = parent.open_rw("large");
    let files: Vec<File> = (0..50)
        .map(|n| parent.open_rw(format!("file{n}")))
        .collect();
    for round in 1..=20_u8 {
        large
            .write_all_at(&vec![round; 1 << 20], u64::from(round) << 16)
            .expect("pwrite");
        for file in &files {
            file.write_all_at(&[round; 100], 100 * u64::from(round))
                .expect("pwrite");
        }
        let child = parent.fork(format!("child{round}"));
        snapshot::assert_same(
            &snapshot::of(child.root()),
            &snapshot::of(parent.root()),
            "the fork and its parent",
        );
        let block = child.read("large");
        let at = usize::from(round) << 16;
        assert!(block[at..at + (1 << 20)].iter().all(|b| *b == round));
        for number in 0..50 {
            let content = child.read(format!("file{number}"));
            assert_eq!(content.len(), 100 * usize::from(round) + 100);
            assert!(content.ends_with(&[round; 100]));
        }
    }
}

#[test]
fn a_fork_holds_every_write_though_there_are_more_than_the_kernel_sends_at_a_time() {
    let ws = workspace();
    let parent = ws.fork("parent");
    let file = parent.open_rw("sparse");
    let blocks = 40_000_u32;
    // No two are neighbours, so each is a request.
    for number in 0..blocks {
        let block = number.to_le_bytes().repeat(1024);
        file.write_all_at(&block, u64::from(number) * 8192)
            .expect("pwrite");
    }
    let copy = parent.fork("child").open("sparse");
    let mut block = [0; 4096];
    for number in 0..blocks {
        copy.read_exact_at(&mut block, u64::from(number) * 8192)
            .expect("pread");
        assert!(
            block == *number.to_le_bytes().repeat(1024),
            "block {number}"
        );
    }
}

#[test]
fn a_commit_holds_every_write_that_returned_before_it_though_nobody_closed_the_file() {
    let ws = workspace();
    let branch = ws.fork("b");
    let (old, new) = (branch.open_rw("large"), branch.open_rw("new"));
    old.write_all_at(b"changed", 1 << 20).expect("pwrite");
    new.write_all_at(b"new", 0).expect("pwrite");
    branch.commit();
    let main = ws.main();
    let mut content = vec![7; 3 << 20];
    content[1 << 20..][..7].copy_from_slice(b"changed");
    main.check("large", &content);
    main.check("new", b"new");
    ws.below().check("large", &content);
    assert_errno(old.write_all_at(b"late", 0), Errno::STALE);
    main.check("large", &content);
}

#[test]
fn a_write_into_a_branch_that_has_lost_is_refused_and_reaches_nobody() {
    let ws = workspace();
    let (winner, loser) = (ws.fork("winner"), ws.fork("loser"));
    let file = loser.open_rw("file");
    file.write_all_at(b"lost work", 0).expect("pwrite");
    winner.write("file", b"won");
    winner.commit();
    assert_errno(file.write_all_at(b"more", 0), Errno::STALE);
    drop(file);
    assert_errno(loser.try_commit(), Errno::NOENT);
    ws.main().check("file", b"won");
    // What waited when it was lost is what the trash shows.
    let kept = ws.main().child(".trash/loser");
    assert_eq!(kept.text("file"), "lost workse");
}

#[test]
fn both_sides_of_a_conflict_are_seen_though_nobody_closed_the_files() {
    let ws = workspace();
    let branch = ws.fork("b");
    let (here, there) = (branch.open_rw("file"), ws.main().open_rw("file"));
    here.write_all_at(b"branch", 0).expect("pwrite");
    there.write_all_at(b"main", 0).expect("pwrite");
    assert_errno(branch.try_commit(), Errno::BUSY);
    ws.main().check("file", b"mainhe base");
    branch.check("file", b"branch base");
}

#[test]
fn control_files_answer_at_the_write_and_show_what_is_so_now() {
    let ws = workspace();
    let main = ws.main();
    assert_errno(main.ctl("nonsense"), Errno::INVAL);
    let branch = ws.fork("b");
    for number in 0..50 {
        let note = "n".repeat(1 + number * 7 % 40);
        branch.echo(&note, "@self/note").expect("a note");
        assert_eq!(branch.text("@self/note").trim_end(), note);
        assert_eq!(branch.status()["note"], note.as_str());
        assert_eq!(branch.ctl_lines()["note"], note);
    }
    let status = run(branch.root(), "cat", &["@self/status"]).ok().out;
    let length = run(branch.root(), "wc", &["-c", "@self/status"]).ok().out;
    let length: usize = length.split_whitespace().next().unwrap().parse().unwrap();
    assert!(length >= status.trim_end().len(), "{length}: {status}");
    branch.abort();
    assert!(main.about("log").contains("abort main/b"));
}

#[test]
fn what_was_closed_or_synced_survives_a_kill_with_its_times() {
    let ws = workspace();
    let branch = ws.fork("b");
    branch.write("closed", b"closed");
    branch.append("file", b" and more");
    let open = branch.open_rw("open");
    open.write_all_at(b"synced", 0).expect("pwrite");
    open.sync_all().expect("fsync");
    branch.utimes("large", 1_000_000_000, 5);
    branch.open("large").sync_all().expect("fsync");
    let times = |name| {
        let stat = branch.stat(name);
        (stat.mtime(), stat.mtime_nsec(), stat.len())
    };
    let names = ["closed", "file", "open", "large"];
    let before = names.map(times);
    ws.kill_and_remount();
    assert_eq!(names.map(times), before);
    branch.check("closed", b"closed");
    branch.check("file", b"of the base and more");
    branch.check("open", b"synced");
    ws.unmount();
    ws.fsck();
}

#[test]
fn times_and_sizes_are_the_same_after_a_remount() {
    let ws = workspace();
    let branch = ws.fork("b");
    for number in 0..200 {
        let name = format!("file{number}");
        branch.write(&name, vec![1; number * 50]);
        if number % 3 == 0 {
            branch.append(&name, b"more");
        }
        if number % 5 == 0 {
            branch.open_rw(&name).set_len(10).expect("truncate");
        }
    }
    let before = snapshot::of(branch.root());
    ws.remount();
    snapshot::assert_same(&snapshot::of(branch.root()), &before, "after a remount");
}

#[test]
fn a_write_that_a_limit_refuses_is_told_by_fsync_and_nothing_before_it_is_lost() {
    let ws = workspace();
    let branch = ws.fork("b");
    branch.write("before", vec![1; 100_000]);
    branch.echo("bytes 1M", "@self/limits").expect("a limit");
    let file = branch.open_rw("after");
    file.write_all_at(&vec![2; 4 << 20], 0)
        .expect("the page cache takes it");
    assert_errno(file.sync_all(), Errno::DQUOT);
    branch.check("before", vec![1; 100_000]);
}

#[test]
fn holes_are_found_and_nothing_that_waits_is_taken_for_one() {
    let ws = workspace();
    let file = ws.fork("b").open_rw("sparse");
    file.set_len(1 << 20).expect("truncate");
    file.write_all_at(b"waits", 512 << 10).expect("pwrite");
    use rustix::fs::SeekFrom;
    let data = rustix::fs::seek(&file, SeekFrom::Data(0)).expect("data");
    assert!((1..=512 << 10).contains(&data), "{data}");
    let hole = rustix::fs::seek(&file, SeekFrom::Hole(data)).expect("a hole");
    assert!(((512 << 10) + 5..1 << 20).contains(&hole), "{hole}");
}

#[test]
fn databases_go_on_in_a_branch_that_is_forked_while_they_write() {
    let ws = workspace();
    let branch = ws.fork("b");
    let sql = |dir: &Path, sql: &str| run(dir, "sqlite3", &["data.db", sql]).ok().out;
    sql(
        branch.root(),
        "PRAGMA journal_mode=WAL; CREATE TABLE t (n INTEGER, s TEXT);",
    );
    for round in 1..=10 {
        let insert = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n < 500) \
                      INSERT INTO t SELECT n, hex(randomblob(50)) FROM c;";
        sql(branch.root(), insert);
        let child = branch.fork(format!("c{round}"));
        let said = sql(
            child.root(),
            "PRAGMA integrity_check; SELECT count(*) FROM t;",
        );
        assert_eq!(said, format!("ok\n{}\n", round * 500));
    }
}

#[test]
fn it_is_refused_where_others_may_change_the_base() {
    let ws = Workspace::build()
        .elsewhere()
        .option("writeback")
        .unmounted();
    let refused = ws.try_mount().fails();
    assert!(
        refused.err.contains("-o writeback is for a mount in place"),
        "{}",
        refused.err
    );
}

#[test]
fn a_mount_says_whether_it_has_it_and_a_remount_cannot_change_that() {
    let ws = workspace();
    let config = ws.main().about("config");
    assert!(config.contains("\nwriteback true\n"), "{config}");
    let base = ws.base().to_str().expect("a path in ASCII");
    let remount = |options: &str| ws.branchfs(&["mount", base, "-o", options]);
    remount("remount,writeback,noatime").ok();
    ws.unmount();
    ws.branchfs(&["mount", base]).ok();
    let refused = remount("remount,writeback").fails();
    assert!(refused.err.contains("writeback"), "{}", refused.err);
}

#[test]
fn tail_follows_the_events() {
    let ws = workspace();
    let events = ws.main().path("@self/events");
    let mut tail = super::control::Tail::follow(&events);
    for number in 0..3 {
        let branch = ws.fork(&format!("b{number}"));
        let event = tail.wait_for("fork");
        assert_eq!(event["branch"], format!("main/b{number}").as_str());
        branch.abort();
        tail.wait_for("abort");
    }
}

#[test]
fn a_mapping_and_writes_see_each_other() {
    let ws = workspace();
    let branch = ws.fork("b");
    let file = branch.open_rw("large");
    let mut map = crate::harness::mapping::map_shared(&file, 0, 1 << 20).expect("mmap");
    file.write_all_at(b"written", 5000).expect("pwrite");
    assert_eq!(&map[5000..5007], b"written");
    map[9000..9006].copy_from_slice(b"mapped");
    let mut bytes = [0; 6];
    file.read_exact_at(&mut bytes, 9000).expect("pread");
    assert_eq!(&bytes, b"mapped");
    let child = branch.fork("child");
    let content = child.read("large");
    assert_eq!(
        (&content[5000..5007], &content[9000..9006]),
        (&b"written"[..], &b"mapped"[..])
    );
    let gone = File::open(child.path("nothing")).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}
