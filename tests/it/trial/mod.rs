//! Trials: commands in branches, through a real mount.
//!
//! What a trial does is a shell script of a few words; who waits for whom is settled by fifos,
//! which lie outside of the workspace, where an isolated trial reaches them too.

mod detached;
mod examples;
mod isolation;
mod limits;
mod nested;
mod parallel;
mod patterns;
mod run;
mod supervision;
mod terminal;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::process::{Done, sh};
use crate::harness::{Tree, Workspace, run_dir};

fn small_base(base: &Tree) {
    base.write("file", b"base\n");
}

/// Runs `branchfs VERB -w WORKSPACE ARGS`.
#[track_caller]
fn branchfs(ws: &Workspace, verb: &str, args: &[&str]) -> Done {
    let workspace = ws.mountpoint().to_str().expect("ASCII");
    ws.branchfs(&[&[verb, "-w", workspace], args].concat())
}

/// As [`branchfs`] with `--json`: the exit code and what it printed.
#[track_caller]
fn json(ws: &Workspace, verb: &str, args: &[&str]) -> (i32, Value) {
    let done = branchfs(ws, verb, &[&["--json"], args].concat());
    let value = serde_json::from_str(&done.out);
    let value = value.unwrap_or_else(|e| panic!("{verb} --json: {e}: {}{}", done.out, done.err));
    (done.code, value)
}

/// Starts `branchfs VERB -w WORKSPACE ARGS` and does not wait for it.
fn start(ws: &Workspace, verb: &str, args: &[&str]) -> Child {
    Command::new(run_dir::binary())
        .arg(verb)
        .arg("-w")
        .arg(ws.mountpoint())
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start branchfs")
}

/// Makes a fifo and returns its path.
fn fifo(dir: &Tree, name: &str) -> PathBuf {
    sh(dir.root(), "mkfifo \"$1\"", &[name]).ok();
    dir.path(name)
}

/// Waits until somebody writes a line to a fifo.
fn hear(fifo: &Path) -> String {
    let line = std::fs::read_to_string(fifo).expect("read a fifo");
    line.trim_end().to_owned()
}

/// Whether nobody holds the lock on a file.
fn unlocked(file: &Path) -> bool {
    let free = sh(Path::new("/"), "flock -n \"$1\" true", &[file]);
    free.code == 0
}

/// A shell script that leaves a daemon behind, away from its session, its parents and its signals,
/// which holds a lock on `file` for as long as it lives.
fn daemon(file: &Path) -> String {
    let file = file.display();
    format!(
        "setsid sh -c '(trap \"\" TERM HUP INT; exec 9>\"{file}\"; flock 9; echo held >&2; \
         exec sleep 1000) & exit 0'; \
         until ! flock -n \"{file}\" true; do :; done"
    )
}

/// The branches below main.
fn branches(ws: &Workspace) -> Vec<String> {
    ws.main().children()
}
