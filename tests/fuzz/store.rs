//! The files of a store, damaged: journal, checkpoints, superblock and the note of the last use.
//!
//! What holds: an open gives an error, or records that are a prefix of those that were written: no
//! record is changed, invented, reordered or left out of the middle. A rescue may leave some out.
//! A store that was opened takes new records, and has them after the next open. Half of the time
//! every checksum is made to match the damage: then nothing holds but that there is no panic, no
//! hang, no unbounded memory.

use std::path::Path;

use branchfs::store::{Opened, Record, Source, Store, StoreError, StoreOptions, verify};

use crate::driver::{Cases, Target};
use crate::files::{self, Files};
use crate::random::Random;

/// Damaged files of a store.
pub const TARGET: Target = Target {
    name: "store",
    cases: 2000,
    prepare,
};

fn options(boot: u8) -> StoreOptions {
    StoreOptions {
        journal_segment_bytes: 4096,
        data_segment_bytes: 128 << 10,
        boot_id: Some([boot; 16]),
        ..StoreOptions::default()
    }
}

fn payload(n: u64) -> Vec<u8> {
    let mut payload = n.to_le_bytes().to_vec();
    payload.resize(8 + (n as usize * 13) % 90, n as u8);
    payload
}

fn append(store: &Store, numbers: std::ops::Range<u64>) {
    for n in numbers {
        store.append(&payload(n)).expect("append");
    }
}

fn checkpoint(store: &Store, up_to: u64) {
    let mut writer = store.begin_checkpoint().expect("begin a checkpoint");
    for n in 0..up_to {
        writer.put(&payload(n)).expect("put");
    }
    writer.finish().expect("finish a checkpoint");
}

/// A store after each of several lives.
fn lives(root: &Path) -> Vec<Files> {
    let open = || {
        Store::open(files::open(root), &options(1))
            .expect("open")
            .store
    };
    let mut lives = Vec::new();
    let store = open();
    append(&store, 0..40);
    store.barrier().expect("barrier");
    append(&store, 40..70);
    lives.push(files::read(root));
    append(&store, 70..200);
    drop(store);
    lives.push(files::read(root));
    let store = open();
    checkpoint(&store, 200);
    append(&store, 200..260);
    lives.push(files::read(root));
    checkpoint(&store, 260);
    store.barrier().expect("barrier");
    append(&store, 260..300);
    lives.push(files::read(root));
    store.close().expect("close");
    lives.push(files::read(root));
    lives
}

fn prepare(corpus: &Path) -> Cases {
    let lives = lives(corpus);
    Box::new(move |seed, dir| {
        let mut random = Random::new(seed);
        let mut files = random.pick(&lives).clone();
        let before = files.clone();
        for _ in 0..1 + random.below(4) {
            files::damage(&mut files, &mut random);
        }
        let sealed = random.once_in(2);
        if sealed {
            files::seal(&mut files);
        }
        files::write(dir, &files);
        let boot = 1 + random.below(2) as u8;
        // Its findings are an open's; here it is to come to an end.
        let _ = verify(files::open(dir)).map(|report| report.records.map(Iterator::count));
        let anything = sealed || files.get("superblock") != before.get("superblock");
        rescue(dir, boot, anything);
        check(dir, boot, anything);
    })
}

/// Reads what is left of the store in `dir`: some of what was written, in its order.
fn rescue(dir: &Path, boot: u8, anything: bool) {
    let options = StoreOptions {
        read_only: true,
        rescue: true,
        ..options(boot)
    };
    let Ok(Opened { recovery, .. }) = Store::open(files::open(dir), &options) else {
        return;
    };
    let records: Vec<_> = recovery.records.filter_map(Result::ok).collect();
    if anything {
        return;
    }
    let number = |payload: &[u8]| u64::from_le_bytes(payload[..8].try_into().expect("8 bytes"));
    let numbers: Vec<u64> = records.iter().map(|r| number(&r.payload)).collect();
    let whole = |(record, n): (&Record, &u64)| record.payload == payload(*n);
    assert!(
        records.iter().zip(&numbers).all(whole),
        "a record is another one"
    );
    assert!(
        numbers.is_sorted_by(|a, b| a < b),
        "not in the order written: {numbers:?}"
    );
}

/// What has to hold of the store in `dir`.
fn check(dir: &Path, boot: u8, anything: bool) {
    let Ok(Opened {
        store, recovery, ..
    }) = Store::open(files::open(dir), &options(boot))
    else {
        return;
    };
    let records: Result<Vec<_>, StoreError> = recovery.records.collect();
    if anything {
        // Numbers are made up then, and there may be none left.
        return;
    }
    let records = records.expect("an open reads all records before it succeeds");
    for (n, record) in records.iter().enumerate() {
        assert!(
            record.payload == payload(n as u64),
            "record {n} is another one"
        );
    }
    let last = records
        .iter()
        .rposition(|record| record.source == Source::Checkpoint);
    assert!(
        records[..last.map_or(0, |last| last + 1)]
            .iter()
            .all(|r| r.source == Source::Checkpoint),
        "a checkpoint comes first"
    );
    let count = records.len() as u64;
    append(&store, count..count + 3);
    store.barrier().expect("barrier");
    drop(store);
    let again = Store::open(files::open(dir), &options(boot)).expect("open what was opened before");
    let records: Vec<_> = again
        .recovery
        .records
        .map(|r| r.expect("a record").payload)
        .collect();
    let wanted: Vec<_> = (0..count + 3).map(payload).collect();
    assert!(records == wanted, "what was appended afterwards is there");
}
