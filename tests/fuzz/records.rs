//! Records that check and say nonsense: the payloads of a real workspace, changed, left out,
//! repeated, in another order, in files whose every checksum is right.
//!
//! No program of ours writes these, so nothing is promised of what they show but that opening,
//! checking, looking and changing come to an end, without a panic.

use std::path::Path;

use branchfs::branch::verify_store;
use branchfs::store::{Source, Store};
use branchfs::tree::NodeId;
use branchfs::vfs::ops::{Cred, Lookup, Ops, Outcome, Sink};

use crate::driver::{Cases, Target};
use crate::files;
use crate::mounted::{Mounted, ROOT, fill, open, store_options};
use crate::random::Random;

/// Records that check and say nonsense.
pub const TARGET: Target = Target {
    name: "records",
    cases: 120,
    prepare,
};

const CRED: Cred = Cred {
    uid: 0,
    gid: 0,
    pid: 1,
};
/// Nodes that a look takes in: directories may be made to contain themselves.
const LOOKS: usize = 300;

type Payloads = Vec<(Source, Vec<u8>)>;

fn prepare(corpus: &Path) -> Cases {
    let worlds: Vec<Payloads> = (0..12)
        .map(|seed| world(&corpus.join(seed.to_string()), seed))
        .collect();
    Box::new(move |seed, dir| {
        let mut random = Random::new(seed);
        let mut payloads = random.pick(&worlds).clone();
        let others = random.pick(&worlds).clone();
        for _ in 0..1 + random.below(4) {
            damage(&mut payloads, &others, &mut random);
        }
        std::fs::create_dir(dir.join("base")).expect("mkdir");
        std::fs::create_dir(dir.join("store")).expect("mkdir");
        fill(&dir.join("base"));
        write(&dir.join("store"), &payloads);
        let check = || verify_store(files::open(&dir.join("store"))).map(|found| found.findings);
        let _ = check();
        if let Ok(workspace) = open(dir, &mut random) {
            let mounted = Mounted::of(dir, workspace, &mut random);
            look(&mounted, &mut random);
            mounted.vfs.unmounted();
        }
        let _ = check();
    })
}

/// The records of a workspace in which all kinds of things have happened.
fn world(dir: &Path, seed: u64) -> Payloads {
    std::fs::create_dir(dir).expect("mkdir");
    let mut random = Random::new(seed);
    let mounted = loop {
        let mounted = Mounted::new(dir, &mut random);
        if !mounted.vfs.workspace().options.read_only {
            break mounted;
        }
        drop(mounted);
        std::fs::remove_dir_all(dir).expect("remove");
        std::fs::create_dir(dir).expect("mkdir");
    };
    for step in 0..40 {
        change(&mounted, &mut random);
        if step == 25 && random.once_in(2) {
            mounted.vfs.workspace().checkpoint().expect("a checkpoint");
        }
    }
    // A kill, so that nothing is tidied up.
    drop(mounted);
    let opened = Store::open(files::open(&dir.join("store")), &store_options());
    let records = opened.expect("open").recovery.records;
    records
        .map(|record| record.expect("a record"))
        .map(|r| (r.source, r.payload))
        .collect()
}

/// Something that a user does.
fn change(mounted: &Mounted, random: &mut Random) {
    let vfs = &mounted.vfs;
    let mut at = NodeId(ROOT);
    while random.once_in(2) {
        let child = *random.pick(&[&b"a"[..], b"b"]);
        at = mounted
            .walk(&CRED, at, &[b"@branches", child])
            .unwrap_or(at);
    }
    let dir = mounted.walk(&CRED, at, &[b"d"]).unwrap_or(at);
    let name = *random.pick(&[&b"f"[..], b"g", b"new", b"e", b"hard", b"link"]);
    let other = *random.pick(&[&b"f"[..], b"g", b"new", b"other"]);
    let file = mounted.walk(&CRED, dir, &[name]);
    // What is refused is no part of the corpus.
    match (random.below(10), file) {
        (0..=2, Some(file)) => {
            let data = vec![7; random.below(200_000)];
            let offset = random.below(400_000) as u64;
            let _ = vfs
                .write(&CRED, file, offset, &data, false, false)
                .and_then(Outcome::wait);
        }
        (3, _) => {
            let _ = vfs.mknod(&CRED, dir, name, 0o100_644, 0o22, 0);
        }
        (4, _) => {
            let _ = vfs
                .rename(&CRED, dir, name, at, other, 0)
                .and_then(Outcome::wait);
        }
        (5, _) => {
            let _ = vfs.unlink(&CRED, dir, name);
        }
        (6, Some(file)) => {
            let _ = vfs.setxattr(&CRED, file, b"user.a", b"value", 0);
        }
        (7, _) => {
            let Some(branches) = mounted.walk(&CRED, at, &[b"@branches"]) else {
                return;
            };
            let name = *random.pick(&[&b"a"[..], b"b"]);
            let _ = vfs
                .mkdir(&CRED, branches, name, 0o755, 0)
                .and_then(Outcome::wait);
        }
        (8, _) if random.once_in(2) => {
            let Some(control) = mounted.walk(&CRED, at, &[b".ctl"]) else {
                return;
            };
            let commands = [
                &b"commit"[..],
                b"abort",
                b"limit bytes=100000000",
                b"note x",
                b"policy merge",
            ];
            let command = random.pick(&commands);
            let _ = vfs
                .write(&CRED, control, 0, command, false, false)
                .and_then(Outcome::wait);
        }
        _ => {
            let _ = vfs
                .mkdir(&CRED, dir, other, 0o755, 0)
                .and_then(Outcome::wait);
        }
    }
}

fn damage(payloads: &mut Payloads, others: &Payloads, random: &mut Random) {
    if payloads.is_empty() {
        return;
    }
    let at = random.below(payloads.len());
    let other = random.pick(others).clone();
    match random.below(8) {
        0 => {
            payloads.remove(at);
        }
        1 => payloads.insert(at, other),
        2 => {
            let to = random.below(payloads.len());
            payloads.swap(at, to);
        }
        3 => payloads.truncate(at),
        _ => crate::mutate::bytes(&mut payloads[at].1, &other.1, random),
    }
}

/// Makes a store of records: those of a checkpoint first.
fn write(dir: &Path, payloads: &Payloads) {
    let store = Store::open(files::open(dir), &store_options())
        .expect("a store")
        .store;
    let (first, rest): (Vec<_>, Vec<_>) = payloads
        .iter()
        .partition(|(source, _)| *source == Source::Checkpoint);
    if !first.is_empty() {
        let mut writer = store.begin_checkpoint().expect("a checkpoint");
        first
            .iter()
            .for_each(|(_, payload)| writer.put(payload).expect("put"));
        writer.finish().expect("finish");
    }
    for (_, payload) in rest {
        store.append(payload).expect("append");
    }
}

/// Looks at what there is, reserved files and content included, and changes some of it.
fn look(mounted: &Mounted, random: &mut Random) {
    let vfs = &mounted.vfs;
    let mut todo = vec![NodeId(ROOT)];
    let mut looks = 0;
    while let Some(at) = todo.pop() {
        looks += 1;
        if looks > LOOKS {
            break;
        }
        let _ = vfs.getattr(&CRED, at, true);
        let _ = vfs.read(at, random.edge(), 1 << 20, &mut Vec::new());
        let _ = vfs.read(at, 0, 1 << 20, &mut Vec::new());
        let _ = vfs.readlink(at);
        let _ = vfs.listxattr(&CRED, at);
        let mut names: Vec<Vec<u8>> = [&b"@branches"[..], b".trash", b".ctl", b".commit", b"@self"]
            .map(<[u8]>::to_vec)
            .into();
        names.extend(["status", "diff", "patch", "conflicts", "log", "tree"].map(Vec::from));
        let _ = vfs.readdir(&CRED, at, 0, &mut |item| {
            names.push(item.name.to_vec());
            Sink::Taken
        });
        for name in names.iter().filter(|name| *name != b"." && *name != b"..") {
            if let Ok(Lookup::Found(entry)) = vfs.lookup(&CRED, at, name) {
                todo.push(entry.node.node);
            }
        }
    }
    for _ in 0..10 {
        change(mounted, random);
    }
    let _ = vfs.workspace().publish();
    let _ = vfs.workspace().checkpoint();
    let _ = vfs.workspace().reclaim(&Vec::new);
}
