//! Looking at a machine and a mount: doctor, metrics, completion.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::process::{finish, limited};
use crate::harness::{Workspace, requirements, run_dir};

/// A sample's labels and value.
type Sample = (BTreeMap<String, String>, f64);

/// The samples of a text in the format of Prometheus, by metric; panics where promtool would
/// complain: a metric without HELP or TYPE, twice the same, not in one piece, or a bad histogram.
fn parse(text: &str) -> BTreeMap<String, Vec<Sample>> {
    let mut metrics: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut helped, mut current, mut seen) = (BTreeSet::new(), "", BTreeSet::new());
    assert!(text.ends_with('\n'), "the last line does not end");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a help text");
            assert!(helped.insert(name) && !text.is_empty(), "{line}");
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(
                helped.contains(name) && kinds.insert(name, kind).is_none(),
                "{line}"
            );
            current = name;
            let counter = kind == "counter";
            assert_eq!(name.ends_with("_total"), counter, "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        assert!(seen.insert(series), "twice: {line}");
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("a brace")),
            None => (series, ""),
        };
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .any(|end| kinds[current] == "histogram" && name == format!("{current}{end}"));
        assert!(name == current || of_histogram, "not in its place: {line}");
        assert!(
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
            "{line}"
        );
        let labels = labels
            .split(',')
            .filter(|label| !label.is_empty())
            .map(|label| {
                let (key, value) = label.split_once('=').expect("a label");
                let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                (key.to_owned(), value.expect("quotes").to_owned())
            });
        let value = value.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
        let sample = (labels.collect(), value);
        metrics.entry(name.to_owned()).or_default().push(sample);
    }
    metrics
}

/// Every histogram grows to its count.
fn check_histogram(metrics: &BTreeMap<String, Vec<Sample>>, name: &str) {
    let mut highest: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (labels, value) in &metrics[&format!("{name}_bucket")] {
        let bound = match labels["le"].as_str() {
            "+Inf" => f64::INFINITY,
            bound => bound.parse().expect("a bound"),
        };
        let (last, count) = highest.entry(&labels["op"]).or_insert((0.0, 0.0));
        assert!(bound > *last && *value >= *count, "{labels:?} {value}");
        (*last, *count) = (bound, *value);
    }
    for (labels, count) in &metrics[&format!("{name}_count")] {
        assert_eq!(
            highest[labels["op"].as_str()],
            (f64::INFINITY, *count),
            "{labels:?}"
        );
    }
}

#[test]
fn the_manual_tells_of_every_metric() {
    let manual = include_str!("../../man/branchfs-ctl.5");
    let text = Workspace::new().main().about("metrics");
    let metrics = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names: Vec<_> = metrics.filter_map(|line| line.split(' ').next()).collect();
    assert!(names.len() > 10, "{text}");
    for name in names {
        let item = format!("\n.It Ql {name}\n");
        assert!(manual.contains(&item), "{name} is not in branchfs-ctl(5)");
    }
}

#[test]
fn the_metrics_are_text_that_prometheus_takes_and_cover_the_mount() {
    let ws = Workspace::with_base(|base| base.write("file", b"base"));
    let winner = ws.fork("winner");
    ws.fork("loser").write("file", b"x");
    ws.fork("given-up").abort();
    winner.write("file", b"y");
    winner.commit();
    let text = ws.main().about("metrics");
    let metrics = parse(&text);
    check_histogram(&metrics, "branchfs_request_seconds");
    let value = |name: &str, label: &str| {
        let samples = metrics
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in\n{text}"));
        let mut found = samples
            .iter()
            .filter(|(labels, _)| label.is_empty() || labels.values().any(|value| value == label));
        found
            .next()
            .unwrap_or_else(|| panic!("no {name} {label}"))
            .1
    };
    let branches = ["open", "lost", "aborted"].map(|state| value("branchfs_branches", state));
    assert_eq!(branches, [1.0, 1.0, 1.0]);
    assert!(value("branchfs_request_seconds_count", "mkdir") >= 3.0);
    assert!(value("branchfs_store_bytes", "journal") > 0.0);
    assert!(value("branchfs_store_free_bytes", "") > 0.0);
    assert!(value("branchfs_journal_records_total", "") > 3.0);
    assert!(value("branchfs_known_nodes", "") >= 1.0);
    assert_eq!(value("branchfs_store_poisoned", ""), 0.0);
    for name in [
        "branchfs_cache_entries",
        "branchfs_journal_bytes_since_checkpoint",
    ] {
        assert!(value(name, "") >= 0.0);
    }
}

#[test]
fn the_metrics_are_those_of_now_whenever_they_are_opened() {
    let ws = Workspace::with_base(|base| base.write("file", b"base"));
    let reads = || {
        let metrics = parse(&ws.main().about("metrics"));
        let samples = &metrics["branchfs_request_seconds_count"];
        let of_reads = samples
            .iter()
            .filter(|(labels, _)| labels.values().any(|op| op == "read"));
        of_reads.map(|(_, count)| *count).sum::<f64>()
    };
    // Reading them is at least one READ.
    let counts: Vec<f64> = (0..20).map(|_| reads()).collect();
    assert!(counts.is_sorted_by(|a, b| a < b), "{counts:?}");
}

#[test]
fn doctor_looks_at_the_machine_and_at_stores() {
    let ws = Workspace::with_base(|base| base.write("file", b"base"));
    let base = ws.base().to_str().expect("ASCII");
    let done = ws.branchfs(&["doctor", base]).ok();
    for word in [
        "kernel",
        "fuse",
        "fusermount3",
        "user namespaces",
        "cgroups",
        "answers",
    ] {
        assert!(done.out.contains(word), "no {word} in\n{}", done.out);
    }
    let json = ws.branchfs(&["doctor", "--json", base]).ok().out;
    let lines: Vec<serde_json::Value> = serde_json::from_str(&json).expect("JSON");
    assert!(
        lines
            .iter()
            .any(|l| l["subject"] == "fuse" && l["verdict"] == "ok"),
        "{json}"
    );
    ws.unmount();
    let done = ws.branchfs(&["doctor", base]).ok();
    assert!(done.out.contains("every invariant holds"), "{}", done.out);
    let journal = ws.store().join("journal/0000000000000001");
    let mut bytes = std::fs::read(&journal).expect("the journal");
    bytes[20] ^= 1;
    std::fs::write(&journal, bytes).expect("damage the journal");
    let done = ws.branchfs(&["doctor", base]).fails();
    assert!(done.code == 4 || done.code == 1, "{done:?}");
}

#[test]
fn the_shells_complete_commands_options_and_branches() {
    requirements::check();
    let ws = Workspace::new();
    ws.fork("fix-a").fork("inner");
    ws.fork("other").abort();
    let root = env!("CARGO_MANIFEST_DIR");
    let script = r#"
    PATH=$(dirname "$1"):$PATH; cd "$2"; . "$3/contrib/completions/bash/branchfs"
    complete_line() {
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9 COMPREPLY=()
        _clap_complete_branchfs branchfs "${COMP_WORDS[COMP_CWORD]}" ""
        echo "${COMPREPLY[*]}"
    }
    complete_line branchfs com
    complete_line branchfs mount --fore
    complete_line branchfs commit fi
    complete_line branchfs commit fix-a/
    complete_line branchfs commit -w "$2" fi
    complete_line branchfs restore ot
    "#;
    let mut command = limited("bash");
    command.args(["-c", script, "bash"]).arg(run_dir::binary());
    command.arg(ws.mountpoint()).arg(root);
    let done = finish(command).ok();
    let lines: Vec<&str> = done.out.lines().map(str::trim).collect();
    let expect = [
        "commit",
        "--foreground",
        "fix-a",
        "fix-a/inner",
        "fix-a",
        "other",
    ];
    assert_eq!(lines, expect, "{}", done.err);
}
