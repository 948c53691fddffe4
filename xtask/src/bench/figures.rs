//! What was measured: for every row and system the samples of all rounds, as a table and as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::system::Kind;
use super::targets;

/// A row's samples.
struct Row {
    name: String,
    unit: &'static str,
    samples: BTreeMap<Kind, Vec<f64>>,
}

/// All rows, in the order in which they came.
#[derive(Default)]
pub struct Figures {
    rows: Vec<Row>,
    /// Show the best round in place of the median of all.
    best: bool,
    /// Systems that could not be set up, and why.
    missing: BTreeMap<Kind, String>,
}

/// The middle one; of an even number the lower.
pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The sample below which a share of them lies.
pub fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n => sorted[(((n - 1) as f64) * share) as usize],
    }
}

impl Figures {
    /// No rows. With `best` the table shows the best round instead of the median of all.
    pub fn new(best: bool) -> Figures {
        Figures {
            best,
            ..Figures::default()
        }
    }

    fn shown(&self, samples: &[f64]) -> f64 {
        match self.best {
            true => quantile(samples, 0.0),
            false => median(samples),
        }
    }

    /// Adds a sample to a row.
    pub fn add(&mut self, kind: Kind, name: &str, unit: &'static str, sample: f64) {
        let row = match self.rows.iter().position(|row| row.name == name) {
            Some(row) => row,
            None => {
                self.rows.push(Row {
                    name: name.to_owned(),
                    unit,
                    samples: BTreeMap::new(),
                });
                self.rows.len() - 1
            }
        };
        let samples = &mut self.rows[row].samples;
        samples.entry(kind).or_default().push(sample);
    }

    /// Notes that a system is missing from the table.
    pub fn missing(&mut self, kind: Kind, why: &str) {
        // What a command said may be pages.
        let said = why.trim().replace('\n', "; ");
        self.missing.insert(kind, said.chars().take(100).collect());
    }

    fn systems(&self) -> Vec<Kind> {
        let has = |kind: &Kind| self.rows.iter().any(|row| row.samples.contains_key(kind));
        Kind::ALL.into_iter().filter(has).collect()
    }

    /// A table in Markdown: medians, ratios, and what was aimed at. Nothing where nothing was
    /// measured.
    pub fn table(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let systems = self.systems();
        let mut lines = vec![header(&systems)];
        for row in &self.rows {
            let of = |kind| row.samples.get(&kind).map(|s| self.shown(s));
            let mut cells = vec![row.name.clone(), row.unit.to_owned()];
            cells.extend(systems.iter().map(|&kind| show(of(kind))));
            for other in [Kind::Overlayfs, Kind::Floor] {
                let ratio = of(Kind::Branchfs).zip(of(other)).map(|(a, b)| a / b);
                cells.push(ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")));
            }
            cells.push(targets::verdicts(&row.name, of).join(", "));
            lines.push(cells);
        }
        let mut text = align(&lines);
        for (kind, why) in &self.missing {
            text.push_str(&format!("\nnot measured: {}: {why}\n", kind.name()));
        }
        text
    }

    /// The table for the README: medians and ratios, without the slowest percent.
    pub fn brief(&self) -> String {
        let mut systems = self.systems();
        systems.retain(|kind| *kind != Kind::NoXattr);
        let mut header = header(&systems);
        header.pop();
        header.remove(1);
        let mut lines = vec![header];
        for row in self.rows.iter().filter(|row| !row.name.ends_with("p99")) {
            let of = |kind| row.samples.get(&kind).map(|s| self.shown(s));
            let mut cells = vec![format!("{}, {}", row.name, row.unit)];
            cells.extend(systems.iter().map(|&kind| show(of(kind))));
            for other in [Kind::Overlayfs, Kind::Floor] {
                let ratio = of(Kind::Branchfs).zip(of(other)).map(|(a, b)| a / b);
                cells.push(ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")));
            }
            lines.push(cells);
        }
        let mut text = align(&lines);
        for (kind, why) in &self.missing {
            text.push_str(&format!("\nnot measured: {}: {why}\n", kind.name()));
        }
        text
    }

    /// Every sample.
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let systems = row.samples.iter().map(|(kind, samples)| {
                let value = json!({ "median": median(samples), "samples": samples });
                (kind.name().to_owned(), value)
            });
            let systems: serde_json::Map<String, Value> = systems.collect();
            json!({ "name": row.name, "unit": row.unit, "systems": systems })
        });
        let missing = self.missing.iter();
        let missing: BTreeMap<_, _> = missing.map(|(kind, why)| (kind.name(), why)).collect();
        json!({ "rows": rows.collect::<Vec<_>>(), "missing": missing })
    }
}

fn header(systems: &[Kind]) -> Vec<String> {
    let names = systems.iter().map(|kind| kind.name());
    let all =
        ["what", "unit"]
            .into_iter()
            .chain(names)
            .chain(["to overlayfs", "to floor", "aimed at"]);
    all.map(str::to_owned).collect()
}

fn show(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(v) if v >= 100.0 => format!("{v:.0}"),
        Some(v) if v >= 10.0 => format!("{v:.1}"),
        Some(v) => format!("{v:.2}"),
    }
}

fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(&format!("| {cell:width$} "));
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                text.push_str(&format!("| {:-<width$} ", ""));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_moved_by_one_slow_round() {
        assert_eq!(median(&[1.0, 900.0, 2.0, 3.0, 2.0]), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 1.0), 3.0);
    }

    #[test]
    fn a_row_shows_medians_ratios_and_what_is_missing() {
        let mut figures = Figures::default();
        for (kind, sample) in [
            (Kind::Overlayfs, 2.0),
            (Kind::Floor, 4.0),
            (Kind::Branchfs, 6.0),
        ] {
            figures.add(kind, "stat", "us", sample);
        }
        figures.missing(Kind::Btrfs, "no\nmkfs");
        let text = figures.table();
        assert!(text.contains("| 3.00         | 1.50     |"), "{text}");
        assert!(text.contains("not measured: btrfs: no; mkfs"), "{text}");
        figures.add(Kind::Branchfs, "stat, p99", "us", 9.0);
        let brief = figures.brief();
        assert!(
            brief.contains("| stat, us | 2.00      | 4.00  | 6.00     | 3.00"),
            "{brief}"
        );
        assert!(
            !brief.contains("p99") && !brief.contains("aimed"),
            "{brief}"
        );
    }
}
