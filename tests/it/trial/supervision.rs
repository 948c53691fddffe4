//! Nothing outlives a trial, whatever it does and however it ends.

use std::path::Path;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use super::{branches, branchfs, daemon, fifo, hear, json, small_base, start, unlocked};
use crate::harness::Workspace;

const BOTH: [&str; 2] = ["--isolate", "--no-isolate"];

fn end(mut child: Child, signal: Signal) -> Option<i32> {
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a pid");
    kill_process(pid, signal).expect("send a signal");
    child.wait().expect("wait").code()
}

#[test]
fn daemons_die_with_the_trial() {
    for isolate in BOTH {
        let ws = Workspace::with_base(small_base);
        let lock = ws.scratch().path("lock");
        let script = format!("{}; echo x > new", daemon(&lock));
        branchfs(&ws, "run", &[isolate, "--", "sh", "-c", &script]).ok();
        assert!(unlocked(&lock), "a daemon of a trial goes on, {isolate}");
        assert!(ws.main().exists("new"));
    }
}

#[test]
fn ctrl_c_ends_everything_and_exits_130() {
    for isolate in BOTH {
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
            let ws = Workspace::with_base(small_base);
            let scratch = ws.scratch();
            let (ready, lock) = (fifo(&scratch, "ready"), scratch.path("lock"));
            let script = format!(
                "trap '' INT TERM; {}; echo x > new; echo go > {}; exec sleep 1000",
                daemon(&lock),
                ready.display()
            );
            let child = start(&ws, "run", &[isolate, "--", "sh", "-c", &script]);
            assert_eq!(hear(&ready), "go");
            assert_eq!(end(child, signal), Some(code), "{isolate}");
            assert!(unlocked(&lock), "a daemon of a trial goes on, {isolate}");
            assert!(branches(&ws).is_empty() && !ws.main().exists("new"));
        }
    }
}

#[test]
fn ctrl_c_ends_every_trial_of_a_pattern() {
    let ws = Workspace::with_base(small_base);
    let scratch = ws.scratch();
    let (first, second) = (fifo(&scratch, "first"), fifo(&scratch, "second"));
    let script = |fifo: &Path| format!("echo go > {}; exec sleep 1000", fifo.display());
    let args = ["-c", &script(&first), "-c", &script(&second), "--keep"];
    let child = start(&ws, "speculate", &args[..4]);
    assert_eq!((hear(&first), hear(&second)), ("go".into(), "go".into()));
    assert_eq!(end(child, Signal::INT), Some(130));
    assert!(branches(&ws).is_empty());
}

#[test]
fn a_trial_ends_with_a_pattern_that_is_killed() {
    for isolate in BOTH {
        let ws = Workspace::with_base(small_base);
        let scratch = ws.scratch();
        let (ready, gone) = (fifo(&scratch, "ready"), fifo(&scratch, "gone"));
        // The end of the fifo is open in the trial for as long as it lives.
        let script = format!(
            "exec 8>{}; echo go > {}; exec sleep 1000",
            gone.display(),
            ready.display()
        );
        let child = start(&ws, "run", &[isolate, "--", "sh", "-c", &script]);
        let reader = std::thread::spawn(move || hear(&gone));
        assert_eq!(hear(&ready), "go");
        assert_eq!(end(child, Signal::KILL), None);
        assert_eq!(reader.join().expect("the fifo ends"), "");
    }
}

#[test]
fn time_limits_end_a_trial_and_a_pattern() {
    let ws = Workspace::with_base(small_base);
    for limit in ["--timeout", "--trial-timeout"] {
        let (code, told) = json(
            &ws,
            "best-of-n",
            &["-n", "1", limit, "200ms", "--", "sleep", "1000"],
        );
        assert_eq!(code, 4, "{told}");
        assert_eq!(told["winner"], serde_json::Value::Null);
    }
    for limit in ["--timeout", "--trial-timeout"] {
        let done = branchfs(&ws, "run", &[limit, "200ms", "--", "sleep", "1000"]);
        assert_eq!(done.code, 124, "{}", done.err);
        assert!(done.err.contains("time was over"), "{}", done.err);
    }
    assert!(branches(&ws).is_empty());
}

#[test]
fn the_time_of_a_pattern_ends_what_it_asks_too() {
    let ws = Workspace::with_base(small_base);
    let limit = ["--timeout", "500ms"];
    for (verb, args) in [
        ("reflexion", ["--critique", "sleep 1000", "--", "false"]),
        ("tournament", ["--judge", "sleep 1000", "--", "true"]),
    ] {
        let count: &[&str] = if verb == "tournament" {
            &["-n", "2"]
        } else {
            &[]
        };
        let (code, told) = json(&ws, verb, &[&limit[..], count, &args].concat());
        assert_eq!((code, &told["timed_out"]), (4, &true.into()), "{told}");
        assert_eq!(told["committed"], false);
        assert!(branches(&ws).is_empty());
    }
}

#[test]
fn megabytes_of_output_are_read_and_the_end_is_kept() {
    let ws = Workspace::with_base(small_base);
    let script = "yes | head -c 5000000; echo last; echo error >&2";
    let (code, told) = json(&ws, "run", &["--", "sh", "-c", script]);
    assert_eq!(code, 0);
    let out = told["result"]["stdout"].as_str().expect("text");
    assert!(
        out.ends_with("y\nlast\n") && out.len() == 64 << 10,
        "{} bytes",
        out.len()
    );
    let log = ws.main().about("log");
    assert!(log.contains("stderr \"error\\n\""), "{log}");
}

#[test]
fn scores_that_are_none_and_a_closed_descriptor_3_count_as_not_given() {
    let ws = Workspace::with_base(small_base);
    for script in [
        "exec 3>&-",
        "echo garbage >&3",
        "head -c 300000 /dev/zero >&3",
        "echo nan >&3",
    ] {
        let (code, told) = json(&ws, "run", &["--", "sh", "-c", script]);
        assert_eq!(
            (code, &told["result"]["score"]),
            (0, &1.0.into()),
            "{script}"
        );
    }
}
