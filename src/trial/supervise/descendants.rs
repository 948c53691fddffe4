//! Ending every descendant of this process, however it has hidden.
//!
//! This process is the reaper of its descendants, so all of them hang below it at every moment.
//! They
//! are stopped first, until a look at /proc shows no new one, and killed then: a stopped process
//! forks no more.

use std::collections::{HashMap, HashSet};
use std::fs;

use nix::sys::wait::{WaitPidFlag, waitpid};
use rustix::process::{Pid, Signal, getpid, kill_process};

/// Kills and reaps them all.
pub fn end() {
    while has_children() {
        let mut stopped = HashSet::new();
        loop {
            let new: Vec<i32> = below(getpid().as_raw_nonzero().get())
                .into_iter()
                .filter(|pid| stopped.insert(*pid))
                .collect();
            if new.is_empty() {
                break;
            }
            send(&new, Signal::STOP);
        }
        let all: Vec<i32> = stopped.into_iter().collect();
        send(&all, Signal::KILL);
        // Each that ends leaves its children here, and they were killed as well; the next round
        // looks whether anything is left.
        let _ = waitpid(None, None);
    }
}

/// Whether there is a child, after the dead ones are reaped.
fn has_children() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(nix::sys::wait::WaitStatus::StillAlive) => return true,
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(_) => return false,
        }
    }
}

fn send(pids: &[i32], signal: Signal) {
    for pid in pids {
        if let Some(pid) = Pid::from_raw(*pid) {
            // It may have ended by itself. Its number is not given away before it is reaped, and
            // its only reapers are its parent, which is stopped as well, and this process.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Every live process below `root`.
fn below(root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = live_parent(&entry.path().join("stat")) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(pid) = next.pop() {
        if let Some(below) = children.remove(&pid) {
            found.extend(&below);
            next.extend(below);
        }
    }
    found
}

/// The parent of the process that `stat` describes, unless it is dead.
///
/// A process with live children of its own is never left out: a zombie has none.
fn live_parent(stat: &std::path::Path) -> Option<i32> {
    let text = fs::read(stat).ok()?;
    // The name, in parentheses, may hold anything, parentheses and blanks included (proc(5)).
    let after = text.iter().rposition(|byte| *byte == b')')? + 1;
    let text = std::str::from_utf8(&text[after..]).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.next()?.parse().ok()
}
