//! The table of figures.

use std::fmt;

/// A figure, its limit, and whether it holds.
struct Row {
    what: String,
    figure: String,
    limit: String,
    holds: bool,
}

/// All figures so far.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a figure that must be below its limit, both in the same unit.
    pub fn below(&mut self, what: &str, figure: f64, limit: f64, unit: &str) {
        let show = |value: f64| match value {
            v if v >= 100.0 => format!("{v:.0} {unit}"),
            v => format!("{v:.2} {unit}"),
        };
        self.rows.push(Row {
            what: what.to_owned(),
            figure: show(figure),
            limit: format!("< {}", show(limit)),
            holds: figure < limit,
        });
    }

    /// Adds a measurement that could not be made.
    pub fn failed(&mut self, what: &str, why: &str) {
        let row = Row {
            what: what.to_owned(),
            figure: why.trim().replace('\n', "; "),
            limit: "measured".to_owned(),
            holds: false,
        };
        self.rows.push(row);
    }

    /// How many figures do not hold.
    pub fn failures(&self) -> usize {
        self.rows.iter().filter(|row| !row.holds).count()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&Row) -> &str, title: &str| {
            let longest = self.rows.iter().map(|r| of(r).chars().count()).max();
            longest.unwrap_or(0).max(title.len())
        };
        let titles = ["what", "figure", "limit"];
        let a = width(|r| &r.what, titles[0]);
        let b = width(|r| &r.figure, titles[1]);
        let c = width(|r| &r.limit, titles[2]);
        writeln!(
            f,
            "| {:a$} | {:b$} | {:c$} |      |",
            titles[0], titles[1], titles[2]
        )?;
        writeln!(f, "| {:-<a$} | {:-<b$} | {:-<c$} | ---- |", "", "", "")?;
        for Row {
            what,
            figure,
            limit,
            holds,
        } in &self.rows
        {
            let verdict = if *holds { "pass" } else { "FAIL" };
            writeln!(f, "| {what:a$} | {figure:b$} | {limit:c$} | {verdict} |")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_verdict_on_each_row() {
        let mut table = Table::default();
        table.below("fork", 0.25, 1.0, "ms");
        table.below("memory", 500.0, 400.0, "MB");
        table.failed("walk", "no\nroot");
        let text = table.to_string();
        assert_eq!(table.failures(), 2);
        assert!(
            text.contains("| fork   | 0.25 ms  | < 1.00 ms | pass |"),
            "{text}"
        );
        assert!(
            text.contains("500 MB") && text.contains("no; root"),
            "{text}"
        );
        assert_eq!(text.matches("FAIL").count(), 2);
    }
}
