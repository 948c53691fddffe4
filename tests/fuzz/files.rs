//! A directory's files in memory, to be damaged and written out again; and checksums that match the
//! damage, by the format that branchfs-store(5) describes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::random::Random;

/// Regular files by path, and directories by a path that ends in a slash.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Reads a directory.
pub fn read(root: &Path) -> Files {
    let mut files = Files::new();
    let mut todo = vec![String::new()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(root.join(&dir)).expect("read a directory") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("names are ASCII");
            if entry.file_type().expect("its type").is_dir() {
                let path = format!("{dir}{name}/");
                files.insert(path.clone(), Vec::new());
                todo.push(path);
            } else {
                let content = fs::read(entry.path()).expect("read a file");
                files.insert(format!("{dir}{name}"), content);
            }
        }
    }
    files
}

/// Writes a directory.
pub fn write(root: &Path, files: &Files) {
    for (path, content) in files {
        let at = root.join(path);
        match path.strip_suffix('/') {
            Some(_) => fs::create_dir_all(at),
            None => fs::write(at, content),
        }
        .unwrap_or_else(|e| panic!("write {path}: {e}"));
    }
}

/// Opens a directory.
pub fn open(path: &Path) -> OwnedFd {
    File::open(path).expect("open a directory").into()
}

/// Whether damage to this file is of interest: all that open and replay read.
pub fn is_read(path: &str) -> bool {
    ["journal/", "checkpoint/", "superblock", "mounted"]
        .iter()
        .any(|start| path.starts_with(start))
        && !path.ends_with('/')
}

/// Damages one file, or a name.
pub fn damage(files: &mut Files, random: &mut Random) {
    let names: Vec<String> = files.keys().filter(|path| is_read(path)).cloned().collect();
    if names.is_empty() {
        return;
    }
    let (name, other) = (random.pick(&names).clone(), random.pick(&names).clone());
    let other_bytes = files[&other].clone();
    match random.below(16) {
        0 => {
            files.remove(&name);
        }
        1 => {
            let bytes = files[&name].clone();
            files.insert(other, bytes);
            files.insert(name, other_bytes);
        }
        2 => {
            files.insert(format!("journal/{:016x}", random.edge()), other_bytes);
        }
        3 => {
            files.insert(format!("checkpoint/{:016x}", random.edge()), other_bytes);
        }
        _ => crate::mutate::bytes(
            files.get_mut(&name).expect("its name"),
            &other_bytes,
            random,
        ),
    }
}

/// Makes every checksum match what is there.
pub fn seal(files: &mut Files) {
    let Some(superblock) = files
        .get_mut("superblock")
        .filter(|bytes| bytes.len() >= 128)
    else {
        return;
    };
    put_sum(&mut superblock[..128], 124);
    let uuid: [u8; 16] = superblock[40..56].try_into().expect("16 bytes");
    for (path, bytes) in files.iter_mut() {
        let (kind, digits) = path.split_once('/').unwrap_or((path, ""));
        let number = u64::from_str_radix(digits, 16).unwrap_or_default();
        match kind {
            "mounted" => {
                for slot in [0, 4096] {
                    if let Some(slot) = bytes.get_mut(slot..slot + 64) {
                        put_sum(slot, 60);
                    }
                }
            }
            "journal" if bytes.len() >= 64 => {
                put_sum(&mut bytes[..64], 60);
                seal_frames(bytes, seed(&uuid, b'j', number));
            }
            "checkpoint" if bytes.len() >= 64 => {
                put_sum(&mut bytes[..64], 60);
                seal_frames(bytes, seed(&uuid, b'c', number));
            }
            _ => {}
        }
    }
}

fn put_sum(bytes: &mut [u8], at: usize) {
    let sum = crc32fast::hash(&bytes[..at]);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

fn seed(uuid: &[u8; 16], stream: u8, number: u64) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(uuid);
    sum.update(&[stream]);
    sum.update(&number.to_le_bytes());
    sum.finalize()
}

/// Seals each frame from the first on, as far as lengths lead; a trailer's sum over the file too.
fn seal_frames(bytes: &mut [u8], seed: u32) {
    let mut at = 64;
    while at + 16 <= bytes.len() {
        let word = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let len = (word & 0xff_ffff) as usize;
        if word == 0 || at + 16 + len > bytes.len() {
            return;
        }
        if word >> 24 == 3 && len >= 12 {
            let whole = crc32fast::hash(&bytes[..at]);
            bytes[at + 24..at + 28].copy_from_slice(&whole.to_le_bytes());
        }
        let mut sum = crc32fast::Hasher::new();
        sum.update(&bytes[at + 16..at + 16 + len]);
        sum.update(&word.to_le_bytes());
        sum.update(&seed.to_le_bytes());
        sum.update(&bytes[at + 8..at + 16]);
        let sum = sum.finalize();
        bytes[at + 4..at + 8].copy_from_slice(&sum.to_le_bytes());
        at += (16 + len).next_multiple_of(8);
    }
}
