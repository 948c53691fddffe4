//! What the kernel keeps of files, and that nobody sees what it should not have kept.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use crate::harness::mapping::map_shared;
use crate::harness::{Branch, Workspace, read_rest};

const MIB: usize = 1 << 20;

/// The first bytes of a file, by one read(2) that does not come to its end.
fn start(branch: &Branch, name: &str, bytes: usize) -> String {
    let mut start = vec![0; bytes];
    let file = branch.open(name);
    file.read_exact_at(&mut start, 0).expect("it is that long");
    String::from_utf8(start).expect("it is text")
}

#[test]
fn what_was_written_is_read_from_the_page_cache_after_a_stat_and_between_writes() {
    let ws = Workspace::new();
    let main = ws.main();
    let file = {
        main.write("file", vec![1; 8 * MIB]);
        main.open_rw("file")
    };
    let mut block = [0; 4096];
    // The first request for the metrics is not in the figures that it gives.
    let before = main.requests("read");
    let metrics = main.requests("read") - before;
    let before = main.requests("read");
    for number in 0..100_u64 {
        let at = (number * 17 % 2048) * 4096;
        file.write_all_at(&[number as u8; 4096], at).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 8 * MIB as u64);
        file.read_exact_at(&mut block, at).unwrap();
        assert_eq!(block, [number as u8; 4096]);
        file.read_exact_at(&mut block, (at + 4096) % (8 * MIB as u64))
            .unwrap();
    }
    let reads = main.requests("read") - before - metrics;
    assert!(reads <= 10, "{reads} READs of what the kernel had written");
}

#[test]
fn a_reserved_file_shows_what_is_so_now_though_its_text_is_as_long_as_before() {
    let ws = Workspace::new();
    let branch = ws.fork("b");
    let mut held = branch.open("@self/note");
    for number in 100..200 {
        let note = format!("note {number}");
        branch.echo(&note, "@self/note").unwrap();
        assert_eq!(start(&branch, "@self/note", 8), note);
        assert_eq!(branch.text("@self/note").trim_end(), note);
        use std::io::Seek;
        held.rewind().unwrap();
        let mut whole = String::new();
        held.read_to_string(&mut whole).unwrap();
        assert_eq!(whole.trim_end(), note);
    }
}

#[test]
fn what_was_written_into_a_reserved_file_is_not_what_is_read_from_it() {
    let ws = Workspace::new();
    let branch = ws.fork("b");
    let mut held = branch.open_rw(".ctl");
    for number in 100..120 {
        let before = read_rest(&mut held);
        assert!(before.starts_with(b"branch main/b\n"));
        held.write_all_at(format!("note {number}\n").as_bytes(), 0)
            .unwrap();
        use std::io::Seek;
        held.rewind().unwrap();
        let text = String::from_utf8(read_rest(&mut held)).unwrap();
        assert!(text.starts_with("branch main/b\n"), "{text}");
        assert!(text.contains(&format!("note {number}\n")), "{text}");
        assert!(start(&branch, ".ctl", 14).starts_with("branch main/b\n"));
        held.rewind().unwrap();
    }
}

#[test]
fn whoever_had_the_parents_file_cached_or_mapped_sees_the_new_content_after_the_commit() {
    let ws = Workspace::with_base(|base| base.write("file", b"round 0 of them"));
    let main = ws.main();
    for round in 1..8 {
        let old = format!("round {} of them", round - 1).into_bytes();
        let new = format!("round {round} of them").into_bytes();
        let mut held = main.open_rw("file");
        let map = map_shared(&held, 0, old.len()).unwrap();
        main.check("file", &old);
        assert_eq!(map[..], old[..]);
        let branch = main.fork("b");
        branch.check("file", &old);
        branch.write("file", &new);
        main.check("file", &old);
        branch.commit();
        main.check("file", &new);
        let now = main.open("file");
        let now = map_shared(&now, 0, new.len());
        assert!(now.is_err(), "it was opened to read only");
        let now = map_shared(&main.open_rw("file"), 0, new.len()).unwrap();
        assert_eq!(now[..], new[..]);
        // Commit replaces, it does not overwrite.
        assert_eq!((read_rest(&mut held), &map[..]), (old.clone(), &old[..]));
        assert_eq!(main.stat("file").len(), new.len() as u64);
    }
}

#[test]
fn a_listing_of_the_trash_shows_who_came_and_went_since_the_last_one() {
    let ws = Workspace::new();
    let main = ws.main();
    for number in 0..10 {
        let name = format!("b{number}");
        assert!(main.names("@branches/.trash").is_empty());
        main.fork(&name).abort();
        assert_eq!(main.names("@branches/.trash"), [name.as_str()]);
        assert!(main.names("@branches").is_empty());
        main.rmdir(format!("@branches/.trash/{name}"));
    }
}

/// A look at a reserved file waits for the pages of it that are in use, and so for a control write
/// to the same file; it holds nothing that this one needs.
#[test]
fn looks_at_reserved_files_and_writes_to_them_do_not_wait_for_each_other_in_a_ring() {
    let ws = Workspace::build().option("policy=merge").mount();
    let main = ws.main();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (main, done) = (&main, &done);
        for name in [".ctl", "@self/status", "@branches/held/.ctl"] {
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let mut text = String::new();
                    // The branch comes and goes.
                    if let Ok(mut file) = File::open(main.path(name)) {
                        let _ = file.read_to_string(&mut text);
                    }
                }
            });
        }
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                scope.spawn(move || {
                    for round in 0..15 {
                        let branch = match writer {
                            0 => main.fork("held"),
                            _ => main.fork(format!("w{writer}-{round}")),
                        };
                        branch.write(format!("made-{writer}-{round}"), b"x");
                        match round % 2 {
                            0 => branch.commit(),
                            _ => branch.abort(),
                        }
                        main.ctl("publish").expect("nothing is in its way");
                    }
                })
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "a writer failed");
    });
    ws.unmount();
    ws.fsck();
}
