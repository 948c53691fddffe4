//! What was found, counted: one row for each suite and place.

use std::fmt;

use super::case::{Cases, Excludes, Verdict};

/// A suite in a place.
#[derive(Debug, Default)]
pub struct Row {
    suite: &'static str,
    place: &'static str,
    passed: usize,
    failed: usize,
    skipped: usize,
    excluded: usize,
}

impl Row {
    /// Counts the cases as they are.
    pub fn new(suite: &'static str, place: &'static str, cases: &Cases) -> Row {
        Row::judged(suite, place, cases, None, &Excludes::default())
    }

    /// Counts them against what the same cases did on ext4, and prints what failed.
    ///
    /// A case that passed there must pass; one that failed or was skipped there too is skipped. A
    /// case on the list of excluded ones counts as that, unless it passes, which takes it off the
    /// list.
    pub fn judged(
        suite: &'static str,
        place: &'static str,
        cases: &Cases,
        reference: Option<&Cases>,
        excludes: &Excludes,
    ) -> Row {
        let mut row = Row {
            suite,
            place,
            ..Row::default()
        };
        let complain = |name: &str, said: &str| eprintln!("  {suite}, {place}: {name}: {said}");
        for (name, verdict) in cases.iter() {
            let on_ext4 = reference.and_then(|cases| cases.get(name));
            match verdict {
                Verdict::Passed if excludes.has(name) => {
                    row.failed += 1;
                    complain(name, "it passes: take it off the list of excluded cases");
                }
                Verdict::Passed => row.passed += 1,
                _ if excludes.has(name) => row.excluded += 1,
                Verdict::Failed(_) if matches!(on_ext4, Some(v) if *v != Verdict::Passed) => {
                    row.skipped += 1;
                }
                Verdict::Failed(said) => {
                    row.failed += 1;
                    complain(name, said);
                }
                Verdict::Skipped(why) if on_ext4 == Some(&Verdict::Passed) => {
                    row.failed += 1;
                    complain(name, &format!("skipped, though it passes on ext4: {why}"));
                }
                Verdict::Skipped(_) => row.skipped += 1,
            }
        }
        for (name, _) in reference.into_iter().flat_map(Cases::iter) {
            if cases.get(name).is_none() && !excludes.has(name) {
                row.failed += 1;
                complain(name, "it ran on ext4 and not here");
            }
        }
        row.excluded += excludes
            .names()
            .filter(|name| cases.get(name).is_none())
            .count();
        row
    }
}

/// All rows so far.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a row and prints it, since the whole takes its time.
    pub fn add(&mut self, row: Row) {
        eprintln!(
            "  {}, {}: {} passed, {} failed, {} skipped, {} excluded",
            row.suite, row.place, row.passed, row.failed, row.skipped, row.excluded
        );
        self.rows.push(row);
    }

    /// How many cases failed in branchfs.
    pub fn failures(&self) -> usize {
        let ours = self.rows.iter().filter(|row| row.place != "ext4");
        ours.map(|row| row.failed).sum()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| suite     | where    | passed | failed | skipped | excluded |"
        )?;
        writeln!(
            f,
            "| --------- | -------- | -----: | -----: | ------: | -------: |"
        )?;
        for row in &self.rows {
            let Row {
                suite,
                place,
                passed,
                failed,
                skipped,
                excluded,
            } = row;
            writeln!(
                f,
                "| {suite:9} | {place:8} | {passed:6} | {failed:6} | {skipped:7} | {excluded:8} |"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(list: &[(&str, Verdict)]) -> Cases {
        let mut cases = Cases::default();
        for (name, verdict) in list {
            cases.add(name, verdict.clone());
        }
        cases
    }

    #[test]
    fn what_passes_on_ext4_must_pass_and_what_fails_there_is_no_finding() {
        let bad = || Verdict::Failed("bad".into());
        let skipped = || Verdict::Skipped("cannot".into());
        let ext4 = [("a", Verdict::Passed), ("b", bad()), ("c", Verdict::Passed)];
        let ext4 = cases(&[&ext4[..], &[("d", skipped()), ("e", Verdict::Passed)]].concat());
        let here = cases(&[
            ("a", bad()),
            ("b", bad()),
            ("c", skipped()),
            ("d", skipped()),
        ]);
        let row = Row::judged("s", "main", &here, Some(&ext4), &Excludes::default());
        // a, c and the missing e.
        assert_eq!((row.passed, row.failed, row.skipped), (0, 3, 2));
    }

    #[test]
    fn the_table_counts_only_our_failures() {
        let mut table = Table::default();
        table.add(Row::new(
            "s",
            "ext4",
            &cases(&[("a", Verdict::Failed("x".into()))]),
        ));
        assert_eq!(table.failures(), 0);
        table.add(Row::new(
            "s",
            "main",
            &cases(&[("a", Verdict::Failed("x".into()))]),
        ));
        assert_eq!(table.failures(), 1);
        assert!(
            table
                .to_string()
                .contains("| s         | main     |      0 |      1 |")
        );
    }
}
