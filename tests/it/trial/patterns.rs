//! speculate, best-of-n, reflexion, tournament, cascade: who wins and what is left.

use serde_json::{Value, json as value};

use super::{branches, branchfs, daemon, fifo, json, small_base, unlocked};
use crate::harness::Workspace;

#[test]
fn the_first_success_lands_and_the_losers_are_gone() {
    let ws = Workspace::with_base(small_base);
    let scratch = ws.scratch();
    let (ready, lock) = (fifo(&scratch, "ready"), scratch.path("lock"));
    let loser = format!(
        "echo loser > file; {}; echo go > {}; exec sleep 1000",
        daemon(&lock),
        ready.display()
    );
    let winner = format!("read x < {}; echo winner > file", ready.display());
    let args = ["-c", "echo no > file; exit 1", "-c", &loser, "-c", &winner];
    let (code, told) = json(&ws, "speculate", &args);
    assert_eq!(code, 0, "{told}");
    assert!(unlocked(&lock), "a loser's process goes on");
    assert!(branches(&ws).is_empty());
    ws.main().check("file", b"winner\n");
    assert_eq!(told["command"], "speculate");
    assert_eq!(
        (&told["committed"], &told["winner"]),
        (&true.into(), &2.into())
    );
    assert_eq!(told["candidates"], 3);
    let results = told["results"].as_array().expect("results");
    let success: Vec<&Value> = results.iter().map(|r| &r["success"]).collect();
    assert_eq!(success, [&value!(false), &value!(false), &value!(true)]);
    assert_eq!(results[0]["error"], "exit code 1");
    assert_eq!(results[1]["error"], "cancelled");
}

#[test]
fn nobody_wins_with_4_and_the_losers_can_be_kept() {
    let ws = Workspace::with_base(small_base);
    let (code, told) = json(
        &ws,
        "speculate",
        &[
            "-b",
            "s",
            "--keep",
            "-c",
            "echo x > a; exit 1",
            "-c",
            "exit 2",
        ],
    );
    assert_eq!((code, &told["winner"]), (4, &Value::Null));
    assert_eq!(branches(&ws), ["s-0", "s-1"]);
    ws.main().child("s-0").check("a", b"x\n");
    // Kept beside a winner, a loser comes back from where the commit has sent it.
    let ws = Workspace::with_base(small_base);
    let (code, _) = json(
        &ws,
        "best-of-n",
        &[
            "-b",
            "n",
            "-n",
            "2",
            "--keep",
            "--",
            "sh",
            "-c",
            "echo $BRANCHING_ATTEMPT > file; echo $BRANCHING_ATTEMPT >&3",
        ],
    );
    assert_eq!((code, branches(&ws)), (0, vec!["n-0".to_owned()]));
    ws.main().child("n-0").check("file", b"0\n");
}

#[test]
fn somebody_elses_commit_is_a_lost_race() {
    let ws = Workspace::with_base(small_base);
    let root = ws.mountpoint().display();
    let script = format!(
        "mkdir {root}/@branches/other; echo theirs > {root}/@branches/other/file
         echo commit > {root}/@branches/other/.ctl; echo mine > file"
    );
    let (code, told) = json(&ws, "speculate", &["--no-isolate", "-c", &script]);
    assert_eq!(
        (code, &told["committed"], &told["lost_race"]),
        (3, &false.into(), &true.into())
    );
    ws.main().check("file", b"theirs\n");
}

#[test]
fn a_pool_runs_one_after_the_other_from_the_same_state() {
    let ws = Workspace::with_base(small_base);
    let lock = ws.scratch().path("lock");
    let script = format!(
        "flock -n {0} sh -c 'grep base file && sleep 0.05' && echo x > file",
        lock.display()
    );
    let (code, told) = json(
        &ws,
        "best-of-n",
        &["-n", "4", "-j", "1", "--", "sh", "-c", &script],
    );
    assert_eq!(code, 0, "{told}");
    let results = told["results"].as_array().expect("results");
    assert!(results.iter().all(|r| r["success"] == true), "{told}");
}

#[test]
fn the_highest_success_wins_and_ties_go_to_the_lowest_index() {
    let ws = Workspace::with_base(small_base);
    let script = "case $BRANCHING_ATTEMPT in
        0) s=1;; 1) s=5;; 2) s=5;; 3) s=9; x=1;; *) s=garbage;; esac
        echo $BRANCHING_ATTEMPT > file; echo $s >&3; exit ${x:-0}";
    let (code, told) = json(&ws, "best-of-n", &["-n", "8", "--", "sh", "-c", script]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(told["n"], 8);
    assert_eq!(told["winner"], value!({"index": 1, "score": 5.0}));
    ws.main().check("file", b"1\n");
    assert!(branches(&ws).is_empty());
}

#[test]
fn without_a_commit_the_parent_stays_identical() {
    let ws = Workspace::with_base(small_base);
    let before = ws.main().status();
    let args = [
        "-b",
        "n",
        "-n",
        "2",
        "--no-commit",
        "--",
        "sh",
        "-c",
        "echo x > file",
    ];
    let (code, told) = json(&ws, "best-of-n", &args);
    assert_eq!(
        (code, &told["committed"], &told["winner"]["index"]),
        (0, &false.into(), &0.into())
    );
    ws.main().check("file", b"base\n");
    assert_eq!(ws.main().status()["generation"], before["generation"]);
    assert_eq!(branches(&ws), ["n-0"]);
}

#[test]
fn the_third_attempt_succeeds_thanks_to_the_critique() {
    let ws = Workspace::with_base(small_base);
    let script = "[ ! -e tried ] || exit 9; echo $BRANCHING_ATTEMPT > tried
        echo said $BRANCHING_ATTEMPT; [ \"$BRANCHING_FEEDBACK\" = 'do 2' ] && echo fixed > file";
    // It sees what the attempt has left in its branch, and what it has printed.
    let critique = "echo $BRANCHING_FEEDBACK | grep -q \"said $(cat tried)\" && \
        echo do $((BRANCHING_ATTEMPT + 1))";
    let args = [
        "--retries",
        "4",
        "--critique",
        critique,
        "--",
        "sh",
        "-c",
        script,
    ];
    let (code, told) = json(&ws, "reflexion", &args);
    assert_eq!(code, 0, "{told}");
    assert_eq!((&told["attempts"], &told["winner"]), (&3.into(), &2.into()));
    ws.main().check("file", b"fixed\n");
    assert!(branches(&ws).is_empty());
    let (code, told) = json(&ws, "reflexion", &["--retries", "1", "--", "false"]);
    assert_eq!(
        (code, &told["attempts"], &told["committed"]),
        (4, &2.into(), &false.into())
    );
}

#[test]
fn a_judge_decides_a_tournament_and_an_odd_one_gets_a_bye() {
    let ws = Workspace::with_base(small_base);
    let script = "echo $BRANCHING_ATTEMPT > file; [ $BRANCHING_ATTEMPT != 1 ]";
    let judge = "a=$(cat $1/file); b=$(cat $2/file); [ $a -gt $b ] && echo 0 || echo 1";
    let (code, told) = json(
        &ws,
        "tournament",
        &["-n", "4", "--judge", judge, "--", "sh", "-c", script],
    );
    assert_eq!((code, &told["winner"]), (0, &3.into()), "{told}");
    assert_eq!(
        told["matches"],
        value!([
            {"round": 0, "pair": [0, 2], "winner": 2},
            {"round": 0, "pair": [3, null], "winner": 3},
            {"round": 1, "pair": [2, 3], "winner": 3},
        ])
    );
    ws.main().check("file", b"3\n");
    let done = branchfs(
        &ws,
        "tournament",
        &["-n", "2", "--judge", "echo maybe", "--", "true"],
    );
    assert!(done.code == 1 && done.err.contains("maybe"), "{}", done.err);
    assert!(branches(&ws).is_empty());
}

#[test]
fn a_cascade_grows_and_tells_what_went_wrong() {
    let ws = Workspace::with_base(small_base);
    let script = "echo failed $BRANCHING_ATTEMPT
        [ \"$(echo \"$BRANCHING_FEEDBACK\" | grep -c failed)\" = 2 ] || exit 1
        [ $BRANCHING_ATTEMPT = 5 ] && echo five > file";
    let (code, told) = json(&ws, "cascade", &["--", "sh", "-c", script]);
    assert_eq!(
        (code, &told["winner"], &told["waves"]),
        (0, &5.into(), &3.into()),
        "{told}"
    );
    assert_eq!(told["results"].as_array().expect("results").len(), 7);
    ws.main().check("file", b"five\n");
    assert!(branches(&ws).is_empty());
}

#[test]
fn events_come_in_order_and_once_and_the_trace_says_the_same() {
    let ws = Workspace::with_base(small_base);
    let trace = ws.scratch().path("trace");
    let args = [
        "-n",
        "4",
        "--telemetry",
        trace.to_str().expect("ASCII"),
        "--",
        "true",
    ];
    json(&ws, "best-of-n", &args);
    let events = ws.main().about("events");
    let events = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let trials: Vec<Value> = events.filter(|event| event["event"] == "trial").collect();
    let starts = trials.iter().filter(|event| event["phase"] == "start");
    let starts: Vec<u64> = starts
        .map(|event| event["index"].as_u64().expect("index"))
        .collect();
    assert_eq!(starts, [0, 1, 2, 3]);
    let key = |event: &Value| {
        ["branch", "index", "attempt", "phase"].map(|field| event[field].to_string())
    };
    let keys: std::collections::HashSet<[String; 4]> = trials.iter().map(key).collect();
    assert_eq!(keys.len(), trials.len(), "an event is told twice");
    let ended = |phase| {
        trials
            .iter()
            .filter(|event| event["phase"] == phase)
            .count()
    };
    assert_eq!((ended("end"), ended("commit"), ended("lost")), (4, 1, 3));
    let trace = std::fs::read_to_string(trace).expect("read the trace");
    let trace: Value = serde_json::from_str(&trace).expect("one line of JSON");
    let spans = trace["resourceSpans"][0]["scopeSpans"][0]["spans"]
        .as_array()
        .expect("spans");
    assert_eq!(spans.len(), 5);
    let again = r#"trial x 999 {"pattern":"p","run":"r","index":0,"attempt":0,"phase":"end"}"#;
    let refused = ws
        .main()
        .ctl(again)
        .expect_err("an end without a start is refused");
    assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
}
