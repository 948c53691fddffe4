//! Rules for the text of one file: its length, its opening, words that must not be in it.

/// A file's most lines.
const LINES: usize = 600;
/// A line's most columns.
const COLUMNS: usize = 100;
/// Names that say nothing of what is in a file.
const EMPTY_NAMES: [&str; 8] = [
    "util", "utils", "helper", "helpers", "manager", "misc", "common", "stuff",
];

/// Complaints about the file `path` with this content.
pub fn check(path: &str, source: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !source.starts_with("//!") {
        complaints.push(format!("{path}:1: a file opens with `//!`, its contract"));
    }
    let count = source.lines().count();
    if count > LINES {
        complaints.push(format!("{path}: {count} lines, at most {LINES}"));
    }
    let stem = path
        .rsplit('/')
        .next()
        .unwrap_or(path)
        .trim_end_matches(".rs");
    if EMPTY_NAMES.contains(&stem) || path.split('/').any(|part| EMPTY_NAMES.contains(&part)) {
        complaints.push(format!(
            "{path}: the name says nothing of what is in the file"
        ));
    }
    for (number, line) in source.lines().enumerate() {
        let at = format!("{path}:{}", number + 1);
        let columns = line.chars().count();
        if columns > COLUMNS {
            complaints.push(format!("{at}: {columns} columns, at most {COLUMNS}"));
        }
        for name in ["todo", "unimplemented", "dbg"] {
            if calls_macro(code_of(line), name) {
                complaints.push(format!("{at}: {name}! has no place in what is finished"));
            }
        }
        if path.starts_with("src/")
            && !path.starts_with("src/sys/")
            && has_word(code_of(line), "unsafe")
        {
            complaints.push(format!("{at}: `unsafe` is only in src/sys/"));
        }
    }
    complaints
}

/// A line without the comment at its end. A `//` in a string counts as one too, which errs on the
/// side of no complaint.
pub fn code_of(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Whether `line` has `word` with nothing of an identifier on either side.
pub fn has_word(line: &str, word: &str) -> bool {
    positions(line, word).next().is_some()
}

/// Where `word` is in `line` as a whole identifier: the position after it.
pub fn positions<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).filter_map(move |(at, _)| {
        let end = at + word.len();
        let alone = !line[..at].ends_with(part) && !line[end..].starts_with(part);
        alone.then_some(end)
    })
}

fn calls_macro(line: &str, name: &str) -> bool {
    positions(line, name).any(|end| line[end..].starts_with('!'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn complains(path: &str, source: &str, of: &[&str]) {
        let complaints = check(path, source);
        assert_eq!(complaints.len(), of.len(), "{complaints:?}");
        for (complaint, word) in complaints.iter().zip(of) {
            assert!(complaint.contains(word), "{complaint}");
        }
    }

    #[test]
    fn a_good_file_gets_no_complaint() {
        complains(
            "src/store/journal.rs",
            "//! The journal.\nfn unsafe_code() {}\n",
            &[],
        );
        complains("src/sys/map.rs", "//! Maps.\nunsafe { x() }\n", &[]);
        complains("tests/it/a.rs", "//! Says that todo!() is bad.\n", &[]);
    }

    #[test]
    fn each_rule_is_applied() {
        complains("src/a.rs", "fn main() {}\n", &["opens with"]);
        complains(
            "src/a.rs",
            &format!("//!\n{}\n", "x".repeat(101)),
            &["101 columns"],
        );
        complains("src/a.rs", &"//!\n".repeat(601), &["601 lines"]);
        complains("src/a.rs", &format!("//!\n{}!()\n", "todo"), &["no place"]);
        complains("src/a.rs", "//!\nlet x = unsafe { y() };\n", &["src/sys"]);
        complains("src/store/utils.rs", "//!\n", &["says nothing"]);
        complains("src/common/x.rs", "//!\n", &["says nothing"]);
    }

    #[test]
    fn a_line_of_a_hundred_columns_that_are_not_ascii_is_not_too_long() {
        complains("src/a.rs", &format!("//!\n{}\n", "\u{fc}".repeat(100)), &[]);
    }
}
