//! Drivers in shell, which print `ok NAME` and `not ok NAME: WHAT`.

use std::process::Command;

use super::case::{Cases, Verdict};
use super::run::{Log, Run};
use super::{Ran, file};

/// git with its own checks; the argument is the number of rounds.
pub fn git(run: &Run<'_>) -> Ran {
    in_place(run, "git.sh", if run.quick { 2 } else { 20 })
}

/// SQLite with its own checks; the argument is the number of rows of each writer.
pub fn sqlite(run: &Run<'_>) -> Ran {
    in_place(run, "sqlite.sh", if run.quick { 10 } else { 200 })
}

fn in_place(run: &Run<'_>, script: &str, size: u32) -> Ran {
    let mut command = Command::new("sh");
    command.arg(file(script)).arg(run.dir).arg(size.to_string());
    driver(&command, run.log)
}

/// Runs a driver.
pub fn driver(command: &Command, log: &Log) -> Ran {
    let output = log.run(command, 1_200)?;
    let mut cases = parse(&output.text);
    if cases.is_empty() {
        return Err(format!("{command:?} ran nothing: see {}", log.path().display()).into());
    }
    if !output.status.success() {
        cases.add(
            "the exit status",
            Verdict::Failed(output.status.to_string()),
        );
    }
    Ok(cases)
}

fn parse(text: &str) -> Cases {
    let mut cases = Cases::default();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("ok ") {
            cases.add(name, Verdict::Passed);
        } else if let Some(rest) = line.strip_prefix("not ok ") {
            let (name, said) = rest.split_once(": ").unwrap_or((rest, ""));
            cases.add(name, Verdict::Failed(said.to_owned()));
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_driver_become_cases() {
        let cases = parse("ok init\nnoise\nnot ok fsck 3: bad object\n");
        assert_eq!(cases.get("init"), Some(&Verdict::Passed));
        assert_eq!(
            cases.get("fsck 3"),
            Some(&Verdict::Failed("bad object".into()))
        );
        assert_eq!(cases.iter().count(), 2);
    }
}
