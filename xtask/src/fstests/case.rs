//! Cases with their verdicts, and the lists of those that are excluded.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;

use super::file;

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Passed,
    /// It does not; with what was said.
    Failed(String),
    /// It did not run; with the reason.
    Skipped(String),
}

/// The cases of a run by name.
#[derive(Clone, Debug, Default)]
pub struct Cases {
    by_name: BTreeMap<String, Verdict>,
}

impl Cases {
    /// Adds a case; where the name is there already, a failure stays.
    pub fn add(&mut self, name: &str, verdict: Verdict) {
        if !matches!(self.by_name.get(name), Some(Verdict::Failed(_))) {
            self.by_name.insert(name.to_owned(), verdict);
        }
    }

    /// Adds another run's; a case that was skipped in one of the two counts as in the other.
    pub fn add_all(&mut self, other: Cases) {
        for (name, verdict) in other.by_name {
            let skipped = matches!(verdict, Verdict::Skipped(_));
            if !(skipped && self.by_name.contains_key(&name)) {
                self.add(&name, verdict);
            }
        }
    }

    /// A run that came to no verdicts.
    pub fn of_error(said: &str) -> Cases {
        let mut cases = Cases::default();
        cases.add("the run itself", Verdict::Failed(said.to_owned()));
        cases
    }

    /// The verdict on a case.
    pub fn get(&self, name: &str) -> Option<&Verdict> {
        self.by_name.get(name)
    }

    /// All cases.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Verdict)> {
        self.by_name
            .iter()
            .map(|(name, verdict)| (name.as_str(), verdict))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// Cases that are not demanded, each with the day it was listed and why.
#[derive(Debug, Default)]
pub struct Excludes {
    reasons: BTreeMap<String, String>,
}

impl Excludes {
    /// Reads `fstests/NAME.exclude`.
    pub fn load(name: &str) -> Result<Excludes, Box<dyn Error>> {
        let path = file(&format!("{name}.exclude"));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("{}: {error}", path.display()).into()),
        };
        Excludes::parse(&text).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// Lines of `NAME DATE REASON`; every one of the three must be there.
    fn parse(text: &str) -> Result<Excludes, String> {
        let mut excludes = Excludes::default();
        for line in text
            .lines()
            .filter(|l| !l.trim().is_empty() && !l.starts_with('#'))
        {
            let mut words = line.splitn(3, ' ');
            let (Some(name), Some(date), Some(reason)) = (words.next(), words.next(), words.next())
            else {
                return Err(format!("expected NAME DATE REASON: {line}"));
            };
            let is_date = date.len() == 10 && date.split('-').map(str::len).eq([4, 2, 2]);
            if !is_date || reason.trim().is_empty() {
                return Err(format!("expected NAME YYYY-MM-DD REASON: {line}"));
            }
            excludes.reasons.insert(name.to_owned(), reason.to_owned());
        }
        Ok(excludes)
    }

    /// Whether a case is on the list.
    pub fn has(&self, name: &str) -> bool {
        self.reasons.contains_key(name)
    }

    /// The names on the list.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.reasons.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exclusion_without_a_date_or_a_reason_is_refused() {
        assert!(Excludes::parse("# why\n\nlink::max 2026-11-20 libc guesses").is_ok());
        for line in [
            "link::max",
            "link::max 2026-11-20",
            "link::max because it fails",
        ] {
            assert!(Excludes::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_list_of_the_repository_can_be_read() {
        for name in [
            "pjdfstest",
            "fsx",
            "stress-ng",
            "fio",
            "git",
            "sqlite",
            "xfstests/generic",
        ] {
            Excludes::load(name).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn a_failure_is_not_covered_by_a_later_pass() {
        let mut cases = Cases::default();
        cases.add("a", Verdict::Failed("no".into()));
        cases.add("a", Verdict::Passed);
        assert_eq!(cases.get("a"), Some(&Verdict::Failed("no".into())));
    }
}
