//! What happens around a mount: disks that fill up or fail, files that go away, signals, damage.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::harness::process::{finish, limited, sh};
use crate::harness::{Branch, Tree, Workspace, assert_errno, mounts, run_dir};

fn small_base(base: &Tree) {
    base.write("file", b"base");
    base.mkdir("dir").write("file", b"in dir");
    base.write("large", vec![b'l'; 300_000]);
}

/// Whether `what` comes true within a minute.
fn soon(mut what: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if what() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

/// Writes files of 512 KiB until there is no more room. Returns how many are whole.
fn fill(branch: &Branch) -> usize {
    for i in 0.. {
        let written = fs::File::create(branch.path(format!("fill{i}")))
            .and_then(|mut file| file.write_all(&vec![i as u8; 512 << 10]));
        if let Err(error) = written {
            assert_eq!(
                error.raw_os_error(),
                Some(Errno::NOSPC.raw_os_error()),
                "{error}"
            );
            return i;
        }
    }
    unreachable!("a disk without end")
}

/// "ENOSPC: the store is full: nothing already written is lost."
#[test]
fn a_full_disk_loses_nothing_survives_a_kill_and_goes_on_once_there_is_space() {
    let ws = Workspace::build().on_image(96).base(small_base).mount();
    let (kept, fat) = (ws.fork("kept"), ws.fork("fat"));
    kept.write("small", b"acknowledged");
    kept.write("wide", vec![5; 2 << 20]);
    let whole = fill(&fat);
    assert!(whole > 10, "only {whole} files fit");
    let check = |when: &str| {
        kept.check("small", b"acknowledged");
        kept.check("wide", vec![5; 2 << 20]);
        kept.check("large", vec![b'l'; 300_000]);
        for i in 0..whole {
            let content = fat.read(format!("fill{i}"));
            assert!(content == vec![i as u8; 512 << 10], "fill{i} {when}");
        }
    };
    check("on a full disk");
    assert_errno(fs::write(fat.path("more"), vec![1; 1 << 20]), Errno::NOSPC);
    ws.kill_and_remount();
    check("after a kill on a full disk");
    // An abort needs no space; its branch goes from the trash for what is wanted next.
    fat.abort();
    assert!(
        soon(|| fs::write(kept.path("after"), vec![6; 4 << 20]).is_ok()),
        "there is still no space"
    );
    kept.commit();
    ws.main().check("after", vec![6; 4 << 20]);
    ws.unmount();
    ws.fsck();
    Tree::at(ws.base()).check("small", b"acknowledged");
}

#[test]
fn a_commit_that_the_disk_has_no_room_for_changes_nothing_and_works_later() {
    let ws = Workspace::build().on_image(96).base(small_base).mount();
    let (work, fat) = (ws.fork("work"), ws.fork("fat"));
    // Small files are packed in the store, so a publish has to make each of them anew.
    (0..400).for_each(|i| work.write(format!("dir/n{i}"), vec![b'x'; 20_000]));
    fill(&fat);
    ws.below().check("dir/file", b"in dir");
    if work.try_commit().is_err() {
        let named: usize = ws.below().names("dir").len();
        assert!(named == 1 || named == 401, "{named} names: half a publish");
    }
    ws.kill_and_remount();
    // Where the commit was decided and only its publish had no room, the others have lost.
    if ws.main().children().contains(&"fat".to_owned()) {
        fat.abort();
    }
    fs::remove_dir(ws.main().path("@branches/.trash/fat")).expect("empty the trash");
    ws.main().ctl("gc").expect("gc");
    let landed = || ws.main().exists("dir/n0");
    assert!(
        soon(|| landed() || work.try_commit().is_ok()),
        "the commit is still refused"
    );
    assert!(
        soon(|| ws.main().ctl("publish").is_ok()),
        "{}",
        ws.main().last_error()
    );
    for i in 0..400 {
        ws.below().check(format!("dir/n{i}"), vec![b'x'; 20_000]);
    }
    ws.unmount();
    ws.fsck();
}

#[test]
fn a_disk_that_turns_read_only_is_read_and_hangs_nobody() {
    let ws = Workspace::build().on_image(64).base(small_base).mount();
    let branch = ws.fork("b");
    branch.write("file", b"durable");
    branch.open("file").sync_all().expect("fsync");
    let device = mounts::all()
        .into_iter()
        .find(|m| m.target == ws.base() && m.kind == "ext4");
    let device = PathBuf::from(device.expect("the image is mounted").source);
    let name = device
        .file_name()
        .expect("a device")
        .to_str()
        .expect("ASCII");
    // What ext4 does when it finds itself damaged: errors=remount-ro.
    fs::write(
        format!("/sys/fs/ext4/{name}/trigger_fs_error"),
        b"a test of branchfs",
    )
    .expect("turn the disk read-only");
    branch.check("file", b"durable");
    branch.check("large", vec![b'l'; 300_000]);
    let refused = fs::write(branch.path("new"), vec![1; 1 << 20])
        .and_then(|()| branch.open("new").sync_all())
        .expect_err("the disk takes nothing");
    let errno = refused.raw_os_error();
    assert!(
        [libc::EROFS, libc::EIO].map(Some).contains(&errno),
        "{refused}"
    );
    assert!(branch.try_commit().is_err(), "nothing can be durable");
    let status = ws.main().status();
    assert!(status["read_only"].is_string(), "{status}");
    assert_errno(ws.main().try_fork("late"), Errno::ROFS);
    ws.main().check("large", vec![b'l'; 300_000]);
    let daemon = ws.daemon();
    ws.signal("TERM");
    assert!(daemon.ended_within(60), "the daemon goes on");
    assert!(mounts::at(ws.base()).is_none_or(|m| m.kind == "ext4"));
    // Repaired, it holds all that was durable. Whether the commit that got an error is in force is
    // open; that the work is there is not.
    let repair = ws.scratch();
    repair.mkdir("disk");
    let script = "cp \"$1\" image && { e2fsck -fy image >&2; [ $? -le 1 ]; } && \
        mount -o loop image disk && \"$2\" mount disk && cd disk && \
        cat @branches/b/file 2>/dev/null || cat file; \
        mkdir @branches/next && echo again >@branches/next/file && \
        echo commit >@branches/next/.ctl && cat file && \
        cd .. && \"$2\" umount disk && cat disk/file && umount disk";
    let image = ws.base().with_file_name("image");
    let done = sh(repair.root(), script, &[image.as_path(), run_dir::binary()]).ok();
    assert_eq!(done.out, "durableagain\nagain\n");
}

#[test]
fn a_base_that_is_removed_under_the_mount_leaves_branches_with_what_is_their_own() {
    let ws = Workspace::build()
        .base(small_base)
        .elsewhere()
        .store_outside()
        .mount();
    let branch = ws.fork("b");
    branch.write("file", b"mine");
    branch.write("new", b"new");
    for entry in fs::read_dir(ws.base()).expect("list the base") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => fs::remove_dir_all(path).expect("remove"),
            false => fs::remove_file(path).expect("remove"),
        }
    }
    branch.check("file", b"mine");
    branch.check("new", b"new");
    assert!(
        fs::read(branch.path("large")).is_err(),
        "there is none any more"
    );
    branch.append("new", b" and more");
    assert_errno(branch.try_commit(), Errno::BUSY);
    let said = branch.last_error();
    assert!(said.contains("file"), "{said}");
    assert!(!ws.below().exists("file"), "what was removed stays removed");
    assert!(!ws.below().exists("new"), "half a commit");
    branch.check("new", b"new and more");
    // What has nothing to do with it lands.
    let other = ws.fork("other");
    other.write("others", b"others");
    branch.abort();
    other.commit();
    ws.below().check("others", b"others");
    ws.unmount();
    ws.fsck();
}

#[test]
fn a_base_file_deleted_behind_the_mount_is_named_and_not_brought_back_by_a_commit() {
    let ws = Workspace::build().base(small_base).elsewhere().mount();
    let branch = ws.fork("b");
    branch.append("dir/file", b" and branch");
    branch.write("other", b"other");
    ws.below().unlink("dir/file");
    assert_errno(branch.try_commit(), Errno::BUSY);
    let said = branch.last_error();
    assert!(said.contains("dir/file"), "{said}");
    assert!(!ws.below().exists("dir/file") && !ws.below().exists("other"));
    branch.check("other", b"other");
}

/// `branchfs mount` under a limit of open files that also binds the daemon.
fn mount_with_descriptors(ws: &Workspace, count: u32) {
    let mut mount = limited("prlimit");
    mount
        .arg(format!("--nofile={count}:{count}"))
        .arg(run_dir::binary())
        .args(ws.mount_args());
    finish(mount).ok();
}

#[test]
fn five_hundred_descriptors_are_enough_for_any_number_of_files() {
    let ws = Workspace::build().base(small_base).unmounted();
    mount_with_descriptors(&ws, 512);
    let branch = ws.fork("b");
    const FILES: usize = 400;
    let content = |i: usize| vec![i as u8; 66_000 + i];
    (0..FILES).for_each(|i| branch.write(format!("n{i}"), content(i)));
    branch.open("n0").sync_all().expect("fsync");
    (0..FILES).for_each(|i| branch.check(format!("n{i}"), content(i)));
    branch.commit();
    (0..FILES).for_each(|i| ws.below().check(format!("n{i}"), content(i)));
    ws.kill();
    mount_with_descriptors(&ws, 512);
    (0..FILES).for_each(|i| ws.main().check(format!("n{i}"), content(i)));
    ws.unmount();
    ws.fsck();
}

#[test]
fn what_needs_more_descriptors_than_there_are_fails_and_loses_nothing() {
    let ws = Workspace::build().base(small_base).unmounted();
    mount_with_descriptors(&ws, 64);
    let branch = ws.fork("b");
    let content = |i: usize| vec![i as u8; 66_000 + i];
    let write = |i: &usize| fs::write(branch.path(format!("n{i}")), content(*i));
    let (written, refused): (Vec<usize>, Vec<usize>) = (0..150).partition(|i| write(i).is_ok());
    assert!(!written.is_empty() && !refused.is_empty(), "{written:?}");
    let small = (0..100).filter(|i| fs::write(branch.path(format!("s{i}")), b"small").is_ok());
    let small: Vec<usize> = small.collect();
    ws.kill_and_remount();
    for i in written {
        branch.check(format!("n{i}"), content(i));
    }
    small
        .iter()
        .for_each(|i| branch.check(format!("s{i}"), b"small"));
    branch.write("n0", b"again");
    ws.unmount();
    ws.fsck();
}

/// The files of a store directory, newest last.
fn files(store: &Path, dir: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.join(dir)).expect("list a directory of the store");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files
}

fn flip(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path);
    let file = file.unwrap_or_else(|e| panic!("open {}: {e}", path.display()));
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read a byte");
    file.write_all_at(&[byte[0] ^ 0x10], at)
        .expect("flip a bit");
}

/// That fsck and mount say what is wrong with `file`.
#[track_caller]
fn check_named(ws: &Workspace, file: &Path) {
    let name = file.strip_prefix(ws.store()).expect("a file of the store");
    let name = name.to_str().expect("ASCII");
    let store = ws.store();
    let store = store.to_str().expect("ASCII");
    let checked = ws.branchfs(&["fsck", store]).fails();
    let said = checked.out + &checked.err;
    assert!(said.contains(name), "fsck does not name {name}: {said}");
    let mounted = ws.try_mount().fails();
    assert!(
        mounted.err.contains(name),
        "mount does not name {name}: {}",
        mounted.err
    );
    assert!(
        mounts::at(ws.base()).is_none(),
        "it is mounted all the same"
    );
    // The base is an ordinary directory with all that was published.
    Tree::at(ws.base()).check("file", b"published");
}

#[test]
fn a_flipped_bit_in_the_journal_or_superblock_is_named_and_the_base_stays_readable() {
    let ws = Workspace::with_base(small_base);
    let first = ws.fork("first");
    first.write("file", b"published");
    first.commit();
    let branch = ws.fork("b");
    (0..100).for_each(|i| branch.write(format!("n{i}"), b"content"));
    branch.open("n0").sync_all().expect("fsync");
    ws.kill();
    ws.branchfs(&["umount", ws.base().to_str().expect("ASCII")])
        .ok();
    let journal = files(&ws.store(), "journal");
    let journal = journal.last().expect("a journal segment");
    flip(journal, 3000);
    check_named(&ws, journal);
    flip(journal, 3000);
    let superblock = ws.store().join("superblock");
    flip(&superblock, 20);
    check_named(&ws, &superblock);
    flip(&superblock, 20);
    ws.mount();
    (0..100).for_each(|i| branch.check(format!("n{i}"), b"content"));
}

#[test]
fn of_a_damaged_store_rescue_shows_all_the_rest() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let text = |i: usize| format!("content {i}");
    (0..100).for_each(|i| branch.write(format!("n{i}"), text(i)));
    branch.write("file", b"changed");
    branch.open("n0").sync_all().expect("fsync");
    ws.kill();
    let base = ws.base().to_str().expect("ASCII");
    ws.branchfs(&["umount", base]).ok();
    let journal = files(&ws.store(), "journal");
    let journal = journal.last().expect("a journal segment");
    flip(journal, 3000);
    let refused = ws.try_mount().fails();
    assert!(refused.err.contains("-o rescue"), "{}", refused.err);

    ws.branchfs(&["mount", base, "-o", "rescue"]).ok();
    let whole = (0..100).filter(|i| {
        let path = branch.path(format!("n{i}"));
        fs::read(path).is_ok_and(|bytes| bytes == text(*i).as_bytes())
    });
    // One record is of one file.
    let whole = whole.count();
    assert!(whole >= 99, "{whole} of 100 files are left");
    branch.check("file", b"changed");
    let refused = fs::write(branch.path("more"), b"").expect_err("it is read-only");
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    let status = ws.branchfs(&["status", "-w", base]).ok().out;
    let name = journal.file_name().and_then(|name| name.to_str());
    assert!(status.contains(name.expect("ASCII")), "{status}");
    let remount = ["mount", base, "-o", "remount,rw"];
    assert_eq!(ws.branchfs(&remount).fails().code, 1);
    ws.branchfs(&["umount", base]).ok();

    // Nothing was changed: with the bit back, all is there.
    flip(journal, 3000);
    ws.mount();
    (0..100).for_each(|i| branch.check(format!("n{i}"), text(i)));
    branch.check("file", b"changed");
}

#[test]
fn a_flipped_bit_in_a_checkpoint_is_named_and_nothing_is_lost() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    (0..100).for_each(|i| branch.write(format!("n{i}"), format!("{i}")));
    // An unmount writes a checkpoint; the journal before it is kept until the next one.
    ws.remount();
    branch.write("late", b"late");
    ws.unmount();
    let checkpoint = files(&ws.store(), "checkpoint");
    let checkpoint = checkpoint.last().expect("a checkpoint");
    flip(checkpoint, 600);
    let name = checkpoint
        .file_name()
        .expect("a name")
        .to_str()
        .expect("ASCII");
    let store = ws.store();
    let checked = ws
        .branchfs(&["fsck", store.to_str().expect("ASCII")])
        .fails();
    let said = checked.out + &checked.err;
    assert!(said.contains(name), "fsck does not name {name}: {said}");
    let mounted = ws.try_mount();
    assert_eq!(mounted.code, 0, "{}", mounted.err);
    branch.check("late", b"late");
    (0..100).for_each(|i| branch.check(format!("n{i}"), format!("{i}")));
    ws.remount();
    branch.check("late", b"late");
    ws.unmount();
    ws.fsck();
}

/// Signals while a large publish runs: the base is wholly before it or wholly after it.
fn stopped_during_publish(signal: &str, wait: Duration) {
    const FILES: usize = 1500;
    let ws = Workspace::with_base(|base| {
        (0..10).for_each(|i| drop(base.mkdir(format!("d{i}"))));
        (0..FILES).for_each(|i| base.write(format!("d{}/f{i}", i % 10), b"old"));
    });
    let branch = ws.fork("b");
    (0..FILES).for_each(|i| branch.write(format!("d{}/f{i}", i % 10), format!("new {i}")));
    let daemon = ws.daemon();
    let acknowledged = std::thread::scope(|scope| {
        let committer = scope.spawn(|| branch.try_commit());
        std::thread::sleep(wait);
        ws.signal(signal);
        assert!(daemon.ended_within(100), "{signal}: the daemon goes on");
        committer.join().expect("the committer").is_ok()
    });
    assert!(mounts::at(ws.base()).is_none(), "the mount stays behind");
    let landed = |tree: &Tree| {
        let text = |i: usize| tree.text(format!("d{}/f{i}", i % 10));
        let new = (0..FILES)
            .filter(|&i| text(i) == format!("new {i}"))
            .count();
        let old = (0..FILES).filter(|&i| text(i) == "old").count();
        assert!(
            new == FILES || old == FILES,
            "{signal}: {new} new and {old} old files"
        );
        new == FILES
    };
    ws.mount();
    let main = landed(&ws.main());
    assert!(main || !acknowledged, "an acknowledged commit is gone");
    assert_eq!(main, landed(&ws.below()), "the base is not what main shows");
    if !main {
        branch.check("d0/f0", b"new 0");
        branch.commit();
        assert!(landed(&ws.below()));
    }
    ws.unmount();
    ws.fsck();
}

#[test]
fn a_signal_during_a_publish_leaves_the_base_wholly_before_or_after() {
    for (signal, millis) in [("TERM", 0), ("INT", 40), ("TERM", 150), ("INT", 400)] {
        stopped_during_publish(signal, Duration::from_millis(millis));
    }
}

#[test]
fn sigint_publishes_and_unmounts_as_sigterm_does() {
    let ws = Workspace::with_base(small_base);
    ws.main().write("file", b"written");
    let daemon = ws.daemon();
    ws.signal("INT");
    assert!(daemon.ended_within(60), "the daemon goes on");
    assert!(mounts::at(ws.base()).is_none(), "the mount stays behind");
    Tree::at(ws.base()).check("file", b"written");
    ws.fsck();
}

/// What an operation on a dead mount must not do is hang; any error will do.
#[test]
fn a_dead_daemon_answers_with_an_error_at_once() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    let held = branch.open_rw("file");
    ws.kill();
    let dead = |done: io::Result<()>| {
        let errno = done.expect_err("nobody serves it").raw_os_error();
        assert_eq!(errno, Some(libc::ENOTCONN));
    };
    dead(held.write_all_at(b"x", 0));
    dead(fs::write(branch.path("new"), b"x"));
    dead(fs::metadata(branch.path("never-asked-for")).map(drop));
    drop(held);
    ws.mount();
    branch.check("file", b"base");
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_as_it_is() {
    let ws = Workspace::with_base(small_base);
    let branch = ws.fork("b");
    branch.write("file", b"kept");
    ws.unmount();
    let superblock = ws.store().join("superblock");
    let known = fs::read(&superblock).expect("read the superblock");
    // branchfs-store(5): the format version is at byte 8.
    let mut newer = known.clone();
    newer[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    fs::write(&superblock, &newer).expect("write it");
    let refused = ws.try_mount().fails();
    assert!(refused.err.contains("newer program"), "{}", refused.err);
    let store = ws.store();
    let store = store.to_str().expect("ASCII");
    for verb in ["fsck", "gc"] {
        let refused = ws.branchfs(&[verb, store]).fails();
        let said = refused.out + &refused.err;
        assert!(said.contains("newer program"), "{verb}: {said}");
    }
    assert_eq!(fs::read(&superblock).expect("read it again"), newer);
    fs::write(&superblock, &known).expect("write it back");
    ws.mount();
    branch.check("file", b"kept");
}
