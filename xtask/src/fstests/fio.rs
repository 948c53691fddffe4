//! fio: several ways of writing side by side, every block verified when it is read back.

use std::process::Command;

use super::case::{Cases, Verdict};
use super::run::Run;
use super::{Ran, file};

const SECONDS: u64 = 120;
const SECONDS_QUICK: u64 = 10;

/// Where fio's terse format (version 3, fio(1)) has the job's name and its error.
const NAME_FIELD: usize = 2;
const ERROR_FIELD: usize = 4;

/// Runs the jobs of `verify.fio`.
pub fn run(run: &Run<'_>) -> Ran {
    let seconds = if run.quick { SECONDS_QUICK } else { SECONDS };
    let mut command = Command::new("fio");
    command.args(["--output-format=terse", "--terse-version=3", "--eta=never"]);
    command.arg(format!("--runtime={seconds}"));
    command
        .arg("--directory")
        .arg(run.dir)
        .arg(file("verify.fio"));
    // What fio keeps beside its files, it keeps where it runs.
    command.current_dir(run.scratch);
    let output = run.log.run(&command, seconds * 4 + 60)?;
    let mut cases = parse(&output.text);
    if cases.is_empty() {
        return Err(format!("fio ran nothing: see {}", run.log.path().display()).into());
    }
    if !output.status.success() {
        cases.add(
            "the exit status",
            Verdict::Failed(output.status.to_string()),
        );
    }
    Ok(cases)
}

/// One line for each job, its fields separated by `;`.
fn parse(text: &str) -> Cases {
    let mut cases = Cases::default();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(';').collect();
        let (Some(name), Some(error)) = (fields.get(NAME_FIELD), fields.get(ERROR_FIELD)) else {
            continue;
        };
        match error.parse::<i32>() {
            Ok(0) => cases.add(name, Verdict::Passed),
            Ok(errno) => cases.add(name, Verdict::Failed(format!("error {errno}"))),
            Err(_) => continue,
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_fails_with_its_error() {
        let text = "fio: a message; of; several; parts; here\n\
                    3;fio-3.33;mapped;0;0;1024;1\n3;fio-3.33;direct;1;84;0;0\n";
        let cases = parse(text);
        assert_eq!(cases.get("mapped"), Some(&Verdict::Passed));
        assert_eq!(
            cases.get("direct"),
            Some(&Verdict::Failed("error 84".into()))
        );
        assert_eq!(cases.iter().count(), 2);
    }
}
