//! What the layers below the kernel cost by themselves: no FUSE, and no system calls but the
//! store's own. Run by `cargo bench --package branchfs-benches`.

use std::fs::File;
use std::hint::black_box;

use branchfs::store::{Store, StoreOptions};
use branchfs::tree::{
    Change, Dentry, DentryKey, DentryRef, Extent, ExtentMap, FileId, Kind, Source, View, name_hash,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const KEY: [u8; 16] = [7; 16];

fn key(number: u32) -> DentryKey {
    let name = format!("file{number}").into_bytes();
    DentryKey {
        dir: FileId(number / 500 + 2),
        hash: name_hash(&KEY, &name),
        name: name.into(),
    }
}

fn entered(number: u32) -> Change {
    let file = Some((FileId(FileId::FIRST_NEW + number), Kind::File));
    let dentry = Dentry { file, hides: None };
    Change::Dentry {
        key: key(number),
        dentry,
    }
}

fn view_of(names: u32) -> View {
    let mut view = View::on(0);
    for number in 0..names {
        view.apply(&entered(number));
    }
    view
}

/// A lookup is one probe of the view, a fork is a clone of it.
fn views(c: &mut Criterion) {
    for names in [100, 100_000] {
        let view = view_of(names);
        let there = key(names / 2);
        c.bench_function(&format!("view: lookup among {names} names"), |b| {
            b.iter(|| view.dentry(black_box(there.by_ref())));
        });
        let absent = DentryRef {
            name: b"absent",
            ..there.by_ref()
        };
        c.bench_function(&format!("view: lookup of nothing among {names}"), |b| {
            b.iter(|| view.dentry(black_box(absent)));
        });
        c.bench_function(&format!("view: fork of {names} names"), |b| {
            b.iter(|| view.clone());
        });
        let change = entered(names + 1);
        c.bench_function(&format!("view: first name after a fork of {names}"), |b| {
            b.iter_batched(
                || view.clone(),
                |mut forked| {
                    forked.apply(&change);
                    forked
                },
                BatchSize::SmallInput,
            );
        });
    }
}

fn extent(off: u64) -> Extent {
    Extent {
        off,
        len: 4096,
        epoch: 1,
        source: Source::Blob { id: 9, at: off },
    }
}

/// What a random write does to a large file's extents.
fn extents(c: &mut Criterion) {
    let mut scattered = ExtentMap::new();
    for number in 0..10_000 {
        scattered.replace(extent(number * 8192));
    }
    c.bench_function("extents: find one of 10,000", |b| {
        b.iter(|| scattered.at(black_box(40_960_000)).is_some());
    });
    c.bench_function("extents: write between 10,000", |b| {
        b.iter_batched(
            || scattered.clone(),
            |mut map| {
                map.replace(extent(40_964_096));
                map
            },
            BatchSize::SmallInput,
        );
    });
}

/// The journal and the data segments.
fn store(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let fd = File::open(dir.path()).expect("open it").into();
    let opened = Store::open(fd, &StoreOptions::default()).expect("a new store");
    let record = [3; 120];
    c.bench_function("journal: append 120 bytes", |b| {
        b.iter(|| opened.store.append(&record).expect("room"));
    });
    let content = [5; 2048];
    c.bench_function("segments: store 2 KiB", |b| {
        b.iter(|| opened.store.seg_append(&content, 2048).expect("room"));
    });
    let at = opened.store.seg_append(&content, 2048).expect("room");
    let mut read = [0; 2048];
    c.bench_function("segments: read 2 KiB", |b| {
        b.iter(|| opened.store.seg_read(at, &mut read).expect("it is there"));
    });
}

criterion_group!(layers, views, extents, store);
criterion_main!(layers);
