//! Limits on memory and CPU, by the control groups of this machine.

use serde_json::Value;

use super::{json, small_base};
use crate::harness::{Workspace, requirements};

/// Takes 300 MB and says that it has them.
const GREEDY: &str = "python3 -c 'b = bytearray(300 << 20); print(len(b))'";

#[test]
fn a_memory_limit_kills_one_trial_and_no_other() {
    requirements::root();
    let ws = Workspace::with_base(small_base);
    let script = format!("[ $BRANCHING_ATTEMPT = 1 ] || exec true; {GREEDY}");
    let args = [
        "-n",
        "3",
        "--memory-limit",
        "64M",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let (code, told) = json(&ws, "best-of-n", &args);
    assert_eq!(code, 0, "{told}");
    let results = told["results"].as_array().expect("results");
    let oom: Vec<&Value> = results.iter().map(|result| &result["oom_killed"]).collect();
    assert_eq!(
        oom,
        [&Value::from(false), &Value::from(true), &Value::from(false)]
    );
    assert_eq!(results[1]["error"], "out of memory");
    // Where the command goes on, one is told all the same.
    let script = format!("{GREEDY}; true");
    let args = ["--memory-limit", "64M", "--", "sh", "-c", &script];
    let done = super::branchfs(&ws, "run", &args).ok();
    assert!(done.err.contains("more memory"), "{}", done.err);
    assert_eq!(told["winner"]["index"], 0);
}

#[test]
fn the_whole_trial_ends_when_it_is_out_of_memory_if_so_asked() {
    requirements::root();
    let ws = Workspace::with_base(small_base);
    let script = format!("{GREEDY}; sleep 1000");
    let args = [
        "--memory-limit",
        "64M",
        "--oom-group",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let (code, told) = json(&ws, "run", &args);
    assert_eq!(code, 137, "{told}");
    assert_eq!(told["result"]["oom_killed"], true);
}

#[test]
fn limits_are_in_force_before_the_first_instruction_and_gone_afterwards() {
    requirements::root();
    let ws = Workspace::with_base(small_base);
    // The limit is read through the groups that the trial is in, of either version.
    let script = "while IFS=: read n c p; do for f in \
        /sys/fs/cgroup/memory$p/memory.limit_in_bytes /sys/fs/cgroup$p/memory.max \
        /sys/fs/cgroup/cpu$p/cpu.cfs_quota_us /sys/fs/cgroup$p/cpu.max; do
        case $p in *branchfs*) [ -e $f ] && cat $f;; esac; done; done < /proc/self/cgroup
        grep -o 'branchfs-[0-9a-f-]*' /proc/self/cgroup | head -1; true";
    let args = [
        "--memory-limit",
        "64M",
        "--cpu-limit",
        "0.5",
        "--group-memory-limit",
        "128M",
        "--",
        "sh",
        "-c",
        script,
    ];
    let (code, told) = json(&ws, "run", &args);
    assert_eq!(code, 0, "{told}");
    let said = told["result"]["stdout"].as_str().expect("text");
    assert!(
        said.contains("67108864\n") && said.contains("50000"),
        "{told}"
    );
    let name = said.lines().last().expect("the group's name");
    assert!(name.starts_with("branchfs-"), "{told}");
    let find = "find /sys/fs/cgroup -maxdepth 4 -name \"$1\"";
    let left = crate::harness::process::sh(std::path::Path::new("/"), find, &[name]);
    assert_eq!(left.out, "", "a control group is left");
}

#[test]
fn a_cpu_limit_holds_a_trial_back_and_is_told() {
    requirements::root();
    let ws = Workspace::with_base(small_base);
    let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done";
    let args = ["--cpu-limit", "0.1", "--", "sh", "-c", spin];
    let (code, told) = json(&ws, "run", &args);
    assert_eq!(code, 0, "{told}");
    assert!(told["result"]["cpu_throttled"].as_u64() > Some(0), "{told}");
}
