//! What is shown while trials run: a line per trial on a terminal, nothing where output is piped.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::{branchfs, fifo, small_base};
use crate::harness::process::{finish, limited};
use crate::harness::{Workspace, run_dir};

/// Waits until a file has `text` in it; the test's own time limit ends it.
fn wait_for(file: &Path, text: &str) -> String {
    loop {
        let bytes = std::fs::read(file).unwrap_or_default();
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        if shown.contains(text) {
            return shown;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_terminal_shows_a_line_for_each_trial_that_runs() {
    let ws = Workspace::with_base(small_base);
    let scratch = ws.scratch();
    let (gate, screen) = (fifo(&scratch, "gate"), scratch.path("screen"));
    let command = format!(
        "{} speculate -w {} -b race -c 'exit 1' -c 'read x < {}'",
        run_dir::binary().display(),
        ws.mountpoint().display(),
        gate.display()
    );
    // Runs it on a terminal of its own and writes down what that shows.
    let mut script = limited("script");
    script.args(["-qefc", &command]).arg(&screen);
    script.env("TERM", "xterm").stdin(Stdio::null());
    let mut child = script
        .stdout(Stdio::null())
        .spawn()
        .expect("start script(1)");
    let shown = wait_for(&screen, "runs");
    assert!(shown.contains("race-"), "{shown:?}");
    let shown = wait_for(&screen, "exit code 1");
    assert!(shown.contains("race-0"), "{shown:?}");
    std::fs::write(&gate, "go\n").expect("open the gate");
    assert!(child.wait().expect("wait").success());
    let shown = wait_for(&screen, "committed main/race-1 into main");
    // What was live is taken away before the results come.
    assert!(shown.contains("\x1b["), "{shown:?}");
}

#[test]
fn a_run_shows_what_its_command_shows_and_nothing_else() {
    let ws = Workspace::with_base(small_base);
    let screen = ws.scratch().path("screen");
    let (binary, root) = (run_dir::binary().display(), ws.mountpoint().display());
    let command = format!("{binary} run -w {root} -b solo -- sh -c 'test -t 1 && tty | wc -l'");
    let mut script = limited("script");
    script.args(["-qefc", &command]).arg(&screen);
    script.env("TERM", "xterm").stdin(Stdio::null());
    finish(script).ok();
    let shown = std::fs::read_to_string(&screen).expect("read the screen");
    let body: Vec<&str> = shown
        .lines()
        .filter(|l| !l.starts_with("Script "))
        .collect();
    assert_eq!(body.join("\n").trim(), "1", "{shown:?}");
}

#[test]
fn nothing_is_shown_where_the_output_is_piped() {
    let ws = Workspace::with_base(small_base);
    let done = branchfs(&ws, "speculate", &["-c", "exit 1", "-c", "true"]).ok();
    assert_eq!(done.err, "");
    assert!(!done.out.contains('\x1b'), "{}", done.out);
}
