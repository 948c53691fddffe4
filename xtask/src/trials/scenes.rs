//! The other commands, each on the same repository.

use std::fs;

use serde_json::Value;

use super::repository::{BUGS, Bug, SOURCE};
use super::{World, expect, suite};
use crate::Done;
use crate::transcript::{say, shell, step};

/// Takes much more memory than the limit.
const GREEDY: &str = "head -c 300000000 /dev/zero | tail -n 1 | wc -c";

fn results(told: &Value) -> &[Value] {
    told["results"].as_array().map_or(&[], Vec::as_slice)
}

/// Eight attempts, each with other repairs; the one with the most tests that pass lands.
pub fn best_of_n(world: &World) -> Done {
    step("best-of-n: eight attempts at three bugs, scored by the number of tests that pass");
    BUGS.iter().try_for_each(|bug| bug.put_into(world.root()))?;
    let repairs: Vec<String> = BUGS
        .iter()
        .enumerate()
        .map(|(bit, bug)| {
            let repair = bug.repair();
            format!("[ $((BRANCHING_ATTEMPT >> {bit} & 1)) = 0 ] || {repair}")
        })
        .collect();
    let script = format!(
        "{}\n{} | sed -n 's/.* \\([0-9]*\\) passed.*/\\1/p' >&3",
        repairs.join("\n"),
        suite()
    );
    shell("branchfs best-of-n -n 8 -j 2 -- sh -c 'REPAIR SOME; cargo test | COUNT >&3'");
    let args = ["-n", "8", "-j", "2", "--", "sh", "-c", &script];
    let (code, told) = world.branchfs("best-of-n", &args)?;
    let scores: Vec<f64> = results(&told)
        .iter()
        .filter_map(|result| result["score"].as_f64())
        .collect();
    say(&format!("tests that pass, by attempt: {scores:?}"));
    let best = scores.iter().copied().fold(f64::MIN, f64::max);
    expect(scores.len() == 8 && scores[0] < best, "the scores differ")?;
    expect(
        code == 0 && told["winner"]["index"] == 7 && told["winner"]["score"] == best,
        "the attempt with all three repairs has landed",
    )?;
    check_bugs(world, |_| false)?;
    world.check_at_rest()
}

/// Each attempt repairs what it was told of; the critique names one more test that fails.
pub fn reflexion(world: &World) -> Done {
    step("reflexion: attempts that are told what was wrong with the one before");
    let bugs = &BUGS[..2];
    bugs.iter().try_for_each(|bug| bug.put_into(world.root()))?;
    let repairs: Vec<String> = bugs
        .iter()
        .map(|bug| format!("{}) {};;", bug.name, bug.repair()))
        .collect();
    let script = format!(
        "mkdir -p target; echo $BRANCHING_FEEDBACK > target/repaired
         for bug in $BRANCHING_FEEDBACK; do case $bug in {} esac; done; {}",
        repairs.join(" "),
        suite()
    );
    // It sees the files that the attempt has left, and what the attempt has printed.
    let names: Vec<&str> = bugs.iter().map(|bug| bug.name).collect();
    let critique = format!(
        "cat target/repaired; echo \"$BRANCHING_FEEDBACK\" | grep FAILED |
             grep -o -E '{}' | head -n 1",
        names.join("|")
    );
    shell("branchfs reflexion --retries 4 --critique 'NAME A TEST' -- sh -c 'REPAIR; cargo test'");
    let args = [
        "--retries",
        "4",
        "--critique",
        &critique,
        "--",
        "sh",
        "-c",
        &script,
    ];
    let (code, told) = world.branchfs("reflexion", &args)?;
    for result in results(&told) {
        let said = result["stdout"].as_str().unwrap_or_default();
        let line = said.lines().rfind(|line| line.starts_with("test result"));
        say(&format!(
            "{}: {}",
            result["attempt"],
            line.unwrap_or("no result")
        ));
    }
    expect(
        code == 0 && told["attempts"] == 3 && told["winner"] == 2,
        "the third attempt has landed",
    )?;
    check_bugs(world, |_| false)?;
    world.check_at_rest()
}

fn check_bugs(world: &World, there: impl Fn(&Bug) -> bool) -> Done {
    for bug in &BUGS {
        if bug.is_in(world.root())? != there(bug) {
            return Err(format!("{} is not as it should be", bug.name).into());
        }
    }
    Ok(())
}

/// Four branches, of which one fails; what the others did lands.
pub fn parallel(world: &World) -> Done {
    step("parallel --policy collect: four branches, one of which fails");
    let version = "version=sed -i 's/^version = \"0.11.1\"/version = \"0.11.2\"/' Cargo.toml";
    let changes = "changes=sleep 0.2; sed -i '1i # Unreleased' CHANGELOG.md";
    let lint = format!("lint=! grep -n 'HashMap::new()' {SOURCE} >&2");
    let tests = format!("tests={} > target/report", suite());
    shell("branchfs parallel --policy collect -b tests=… -b changes=… -b lint=… -b version=…");
    let branches = [tests.as_str(), changes, &lint, version];
    let mut args = vec!["--policy", "collect"];
    branches
        .iter()
        .for_each(|branch| args.extend(["-b", branch]));
    let (code, told) = world.branchfs("parallel", &args)?;
    let failures = told["failures"].as_array().map_or(&[][..], Vec::as_slice);
    for failure in failures {
        say(&format!("failed: {failure}"));
    }
    expect(
        failures.len() == 1
            && failures[0]["branch"] == "lint"
            && failures[0]["category"] == "exit"
            && failures[0]["cause"]
                .as_str()
                .is_some_and(|cause| cause.contains("HashMap::new()")),
        "the failure names its branch, its kind and its cause",
    )?;
    expect(
        code == 0 && told["applied"] == serde_json::json!(["tests", "changes", "version"]),
        "the other three were applied, in the order given",
    )?;
    let read = |file: &str| fs::read_to_string(world.root().join(file));
    expect(
        read("Cargo.toml")?.contains("0.11.2")
            && read("CHANGELOG.md")?.starts_with("# Unreleased")
            && read("target/report")?.contains("test result: ok"),
        "their work has landed",
    )?;
    world.check_at_rest()
}

/// Three trials under a memory limit, of which one wants more.
pub fn memory_limit(world: &World) -> Done {
    step("A memory limit kills one trial and no other");
    let script = format!("[ $BRANCHING_ATTEMPT = 1 ] || exec true; {GREEDY}");
    shell("branchfs best-of-n -n 3 --memory-limit 64M --oom-group -- …");
    let limit = ["-n", "3", "--memory-limit", "64M", "--oom-group"];
    let args = [&limit[..], &["--", "sh", "-c", &script]].concat();
    let (code, told) = world.branchfs("best-of-n", &args)?;
    for result in results(&told) {
        let error = result["error"].as_str().unwrap_or("none");
        let peak = result["peak_memory_bytes"].as_u64().unwrap_or(0) >> 20;
        say(&format!(
            "{}: error {error}, peak {peak} MiB",
            result["index"]
        ));
    }
    let killed: Vec<bool> = results(&told)
        .iter()
        .map(|result| result["oom_killed"] == true)
        .collect();
    expect(
        killed == [false, true, false],
        "the second was out of memory, the others not",
    )?;
    expect(
        code == 0 && told["winner"]["index"] == 0,
        "the first has landed",
    )?;
    world.check_at_rest()
}
