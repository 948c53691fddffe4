//! stress-ng: the stressors of its file system class, one after the other.

use std::fs;
use std::process::Command;

use super::case::{Cases, Verdict};
use super::run::Run;
use super::{Ran, file};

/// Seconds for each stressor: two minutes for all of them.
const SECONDS: u64 = 3;
/// Seconds for all of them side by side.
const SECONDS_QUICK: u64 = 15;

/// How stress-ng ends when a stressor was not supported.
const SOME_SKIPPED: i32 = 3;

/// Runs the class.
pub fn run(run: &Run<'_>) -> Ran {
    let args = fs::read_to_string(file("stress-ng.args"))?;
    let args = args.lines().filter(|line| !line.starts_with('#'));
    let mut command = Command::new("stress-ng");
    command.args(args.flat_map(str::split_whitespace));
    let seconds = if run.quick {
        command.args(["--all", "1"]);
        SECONDS_QUICK
    } else {
        command.args(["--sequential", "2"]);
        SECONDS
    };
    command.args(["--timeout", &seconds.to_string()]);
    let excluded: Vec<&str> = run.excludes.names().collect();
    if !excluded.is_empty() {
        command.args(["--exclude", &excluded.join(",")]);
    }
    // The stressor `open` makes files where it was started, too.
    command.arg("--temp-path").arg(run.dir).current_dir(run.dir);
    let output = run.log.run(&command, 900)?;
    let mut cases = parse(&output.text);
    if cases.is_empty() {
        return Err(format!("stress-ng ran nothing: see {}", run.log.path().display()).into());
    }
    let failed = cases
        .iter()
        .any(|(_, verdict)| matches!(verdict, Verdict::Failed(_)));
    let fine = matches!(output.status.code(), Some(0 | SOME_SKIPPED));
    if !fine && !failed {
        cases.add(
            "the exit status",
            Verdict::Failed(output.status.to_string()),
        );
    }
    Ok(cases)
}

/// Lines are `stress-ng: LEVEL: [PID] NAME: TEXT`. A stressor passes unless a line says else.
fn parse(text: &str) -> Cases {
    let mut cases = Cases::default();
    let lines = text.lines().filter_map(|line| {
        let (level, rest) = line.strip_prefix("stress-ng: ")?.split_once(':')?;
        let (_, said) = rest.split_once("] ")?;
        Some((level.trim(), said.trim()))
    });
    let mut known: Vec<&str> = Vec::new();
    for (level, said) in lines {
        if let Some(list) = said.strip_prefix("dispatching hogs: ") {
            known = list
                .split(", ")
                .filter_map(|one| one.split_once(' '))
                .map(|(_, n)| n)
                .collect();
        }
        let about = said
            .split_once(": ")
            .filter(|(name, _)| known.contains(name));
        match (level, about) {
            ("fail" | "error", Some((name, text))) => {
                cases.add(name, Verdict::Failed(text.to_owned()));
            }
            ("fail" | "error", None) => cases.add("stress-ng", Verdict::Failed(said.to_owned())),
            (_, Some((name, text))) if text.contains("skipping") => {
                cases.add(name, Verdict::Skipped(text.to_owned()));
            }
            _ => {
                if let Some(name) = aborted_early(said) {
                    cases.add(name, Verdict::Skipped(said.to_owned()));
                }
            }
        }
    }
    for name in known {
        if cases.get(name).is_none() {
            cases.add(name, Verdict::Passed);
        }
    }
    cases
}

/// `process [123] (NAME) aborted early, out of system resources`
fn aborted_early(said: &str) -> Option<&str> {
    let (_, rest) = said.strip_prefix("process [")?.split_once("] (")?;
    let (name, rest) = rest.split_once(") ")?;
    rest.starts_with("aborted early").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stressor_passes_unless_a_line_says_else() {
        let text = "stress-ng: info: [1] dispatching hogs: 2 access, 2 verity, 2 link, 2 binderfs\n\
                    stress-ng: info:  [2] verity: not supported, skipping stress test\n\
                    stress-ng: warn:  [1] process [9] (binderfs) aborted early, out of resources\n\
                    stress-ng: fail:  [3] link: link failed, errno=5\n";
        let cases = parse(text);
        assert_eq!(cases.get("access"), Some(&Verdict::Passed));
        assert!(matches!(cases.get("verity"), Some(Verdict::Skipped(_))));
        assert!(matches!(cases.get("binderfs"), Some(Verdict::Skipped(_))));
        let failed = Verdict::Failed("link failed, errno=5".into());
        assert_eq!(cases.get("link"), Some(&failed));
        assert_eq!(cases.iter().count(), 4);
    }
}
