//! What is written to the control files, and the parsers of all texts that cross them.
//!
//! What holds: a parser takes what it has rendered, and a write is answered. Afterwards the store
//! is sound.

use std::path::Path;

use branchfs::proto;
use branchfs::tree::NodeId;
use branchfs::vfs::ops::Ops;

use crate::driver::{Cases, Target};
use crate::mounted::{Mounted, ROOT};
use crate::random::Random;

/// What is written to the control files.
pub const TARGET: Target = Target {
    name: "control",
    cases: 400,
    prepare,
};

/// Texts to start from: every command, and what other files hold.
const TEXTS: [&[u8]; 22] = [
    b"commit\n",
    b"abort",
    b"fork a\nfork \"a b\"\n",
    b"rename \"\\xff\\n\"",
    b"restore a as b",
    b"restore \"a~2\"",
    b"publish\ngc\n",
    b"policy merge",
    b"policy first-winner",
    b"note \"some words\\nand more\"",
    b"note \xff\xfe",
    b"limit bytes=10 inodes=18446744073709551615",
    b"limit bytes=1k inodes=none",
    br#"trial a 1 {"pattern":"run","trial":"x","phase":"started","score":1e308}"#,
    br#"trial a 4294967295 {"phase":{"finished":{"exit":0}}}"#,
    b"bytes=9223372036854775807\n",
    b"A \"a\\000b\"\nR a -> b\n",
    br#"{"name":"a","path":"a/b","state":"live","bytes":-1}"#,
    b"2026-01-01T00:00:00.000000001Z",
    b"-262144-01-01T00:00:00Z",
    b"a/b/c",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

fn text(random: &mut Random) -> Vec<u8> {
    let mut text = match random.below(8) {
        0 => random.bytes(300),
        1 => random.bytes(4).repeat(random.below(40_000)),
        2 => [*random.pick(&TEXTS), *random.pick(&TEXTS)].concat(),
        _ => random.pick(&TEXTS).to_vec(),
    };
    let other = random.pick(&TEXTS).to_vec();
    for _ in 0..random.below(4) {
        crate::mutate::bytes(&mut text, &other, random);
    }
    text
}

/// Gives a text to every parser.
fn parse(text: &[u8]) {
    // An error is an answer too; what is looked for is a panic.
    let _ = proto::Command::parse_all(text);
    let _ = proto::Command::parse(text);
    let _ = proto::Conflict::parse(text);
    let _ = proto::Event::parse(text);
    let _ = proto::Policy::parse(text);
    let _ = proto::Status::parse(text);
    let _ = proto::Trial::parse(text);
    let _ = proto::LimitsChange::parse(text);
    let _ = proto::TrashName::new(text);
    if let Ok(name) = proto::BranchName::new(text) {
        assert!(name.as_bytes() == text);
    }
    if let Ok(path) = proto::BranchPath::parse(text) {
        let again = proto::BranchPath::parse(&path.to_bytes()).expect("a rendered path");
        assert!(again == path, "{path}");
    }
    if let Ok(change) = proto::Change::parse(text) {
        let again = change.to_string();
        let parsed = proto::Change::parse(again.as_bytes()).expect("a rendered change");
        assert!(parsed == change, "{again}");
    }
    if let Ok(preview) = proto::Preview::parse(text) {
        let again = preview.to_string();
        let parsed = proto::Preview::parse(again.as_bytes()).expect("a rendered preview");
        assert!(parsed == preview, "{again}");
    }
    if let Ok(text) = std::str::from_utf8(text) {
        let _ = text.parse::<proto::Timestamp>();
        let _ = text.parse::<proto::ErrnoText>();
    }
}

/// Files that can be written to, below a branch's root.
const WRITABLE: &[&[&[u8]]] = &[
    &[b".ctl"],
    &[b".ctl"],
    &[b".ctl"],
    &[b".commit"],
    &[b".abort"],
    &[b"@self", b"limits"],
    &[b"@self", b"note"],
    &[b"@self", b"status"],
    &[b"@self", b"tree"],
];

fn prepare(_: &Path) -> Cases {
    Box::new(|seed, dir| {
        let mut random = Random::new(seed);
        for _ in 0..20 {
            parse(&text(&mut random));
        }
        if !random.once_in(4) {
            return;
        }
        let mounted = Mounted::new(dir, &mut random);
        for _ in 0..1 + random.below(30) {
            step(&mounted, &mut random);
        }
        mounted.end();
    })
}

/// One write to a control file of some branch.
fn step(mounted: &Mounted, random: &mut Random) {
    let cred = mounted.cred(random);
    let mut at = NodeId(ROOT);
    while random.once_in(2) {
        let child = *random.pick(&[&b"a"[..], b"b", b"a b"]);
        match mounted.walk(&cred, at, &[b"@branches", child]) {
            Some(child) => at = child,
            None => break,
        }
    }
    let path = *random.pick(WRITABLE);
    let Some(file) = mounted.walk(&cred, at, path) else {
        return;
    };
    let offset = if random.once_in(4) { random.edge() } else { 0 };
    let written = mounted
        .vfs
        .write(&cred, file, offset, &text(random), false, random.once_in(9));
    let _ = written.and_then(branchfs::vfs::ops::Outcome::wait);
    let _ = mounted.vfs.read(file, 0, 1 << 20, &mut Vec::new());
}
