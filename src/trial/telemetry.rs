//! Trials as an OpenTelemetry trace: one line of OTLP/JSON per command line
//! (opentelemetry-proto, `ExportTraceServiceRequest`), with a span per trial.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::proto::{BranchPath, Trial, TrialPhase};

/// A step of a trial and when it was.
#[derive(Clone, Debug)]
pub struct Told {
    time_ns: u128,
    branch: BranchPath,
    trial: Trial,
}

impl Told {
    /// A step that happens now.
    pub fn now(branch: BranchPath, trial: Trial) -> Told {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Told {
            time_ns: since.as_nanos(),
            branch,
            trial,
        }
    }
}

/// Appends the trace to a file.
pub fn append(file: &Path, told: &[Told]) -> io::Result<()> {
    let mut ids = [0; 32];
    rustix::rand::getrandom(&mut ids, rustix::rand::GetRandomFlags::empty())?;
    let line = trace(told, &ids).to_string() + "\n";
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)?
        .write_all(line.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn trace(told: &[Told], ids: &[u8; 32]) -> Value {
    let (trace_id, root) = (hex(&ids[..16]), hex(&ids[16..24]));
    let (first, last) = (told.first(), told.last());
    let pattern = first.map_or("", |told| told.trial.pattern.as_str());
    let time = |told: Option<&Told>| told.map_or(0, |told| told.time_ns).to_string();
    let mut spans = vec![json!({
        "traceId": trace_id, "spanId": root, "name": format!("branchfs {pattern}"), "kind": 1,
        "startTimeUnixNano": time(first), "endTimeUnixNano": time(last),
        "attributes": [text("branchfs.pattern", pattern)],
    })];
    let starts = told
        .iter()
        .filter(|told| told.trial.phase == TrialPhase::Start);
    for (number, start) in starts.enumerate() {
        let of_trial = |told: &&Told| {
            told.branch == start.branch
                && (told.trial.index, told.trial.attempt)
                    == (start.trial.index, start.trial.attempt)
        };
        let mut span_id = ids[24..32].to_vec();
        for (byte, count) in span_id.iter_mut().zip((number as u64 + 1).to_le_bytes()) {
            *byte ^= count;
        }
        let steps: Vec<&Told> = told.iter().filter(of_trial).collect();
        spans.push(span(start, &steps, &trace_id, &hex(&span_id), &root));
    }
    json!({"resourceSpans": [{
        "resource": {"attributes": [text("service.name", "branchfs")]},
        "scopeSpans": [{
            "scope": {"name": "branchfs", "version": env!("CARGO_PKG_VERSION")},
            "spans": spans,
        }],
    }]})
}

fn span(start: &Told, steps: &[&Told], trace_id: &str, span_id: &str, root: &str) -> Value {
    let end = steps
        .iter()
        .find(|told| told.trial.phase == TrialPhase::End);
    let branch = start.branch.to_string();
    let mut attributes = vec![
        text("branchfs.branch", &branch),
        text("branchfs.pattern", &start.trial.pattern),
        int("branchfs.index", start.trial.index.into()),
        int("branchfs.attempt", start.trial.attempt.into()),
    ];
    let result = end.and_then(|end| end.trial.result.as_ref());
    if let Some(result) = result {
        attributes.push(int("process.exit.code", result.exit_code.into()));
        if let Some(score) = result.score {
            attributes.push(json!({
                "key": "branchfs.score", "value": {"doubleValue": score.value()},
            }));
        }
    }
    let events: Vec<Value> = steps
        .iter()
        .map(|told| {
            json!({
                "timeUnixNano": told.time_ns.to_string(), "name": told.trial.phase.to_string(),
                "attributes": [text("branchfs.phase", &told.trial.phase.to_string())],
            })
        })
        .collect();
    let failed = result.is_none_or(|result| result.exit_code != 0);
    json!({
        "traceId": trace_id, "spanId": span_id, "parentSpanId": root,
        "name": start.trial.label.clone().unwrap_or(branch), "kind": 1,
        "startTimeUnixNano": start.time_ns.to_string(),
        "endTimeUnixNano": end.map_or(start.time_ns, |end| end.time_ns).to_string(),
        "attributes": attributes, "events": events,
        "status": {"code": if failed { 2 } else { 1 }},
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// OTLP/JSON writes 64-bit integers as strings.
fn int(key: &str, value: i64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}
