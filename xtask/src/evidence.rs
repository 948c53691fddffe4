//! Runs single tests that show something, and hands back what they print.

use crate::cargo::{cargo, root};

/// The library's own tests.
pub const LIB: &[&str] = &["--lib"];
/// Those through a mount.
pub const MOUNTED: &[&str] = &["--test", "it"];
/// Those that make up their input.
pub const FUZZ: &[&str] = &["--test", "fuzz"];

/// One test.
#[derive(Clone, Copy)]
pub struct Test {
    /// The arguments of cargo that name its binary.
    pub target: &'static [&'static str],
    /// Its whole name.
    pub name: &'static str,
}

impl Test {
    /// Runs the test with these variables. What it printed, one line each.
    ///
    /// # Errors
    /// All that it said, where it failed; and where there is no such test, which is no evidence.
    pub fn run(&self, variables: &[(&str, String)]) -> Result<Vec<String>, String> {
        let mut test = cargo();
        test.args(["test", "--quiet", "--package", "branchfs"]);
        test.args(self.target).args(["--", "--nocapture"]);
        test.args(["--test-threads", "1", "--exact", self.name]);
        test.envs(variables.iter().map(|(name, value)| (*name, value)));
        let output = test.current_dir(root()).output();
        let output = output.map_err(|error| format!("cannot start cargo: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(said + &String::from_utf8_lossy(&output.stderr));
        }
        if !said.contains("test result: ok. 1 passed") {
            return Err(format!("there is no test {}", self.name));
        }
        Ok(lines(&said))
    }
}

/// What a test printed, without what its harness did.
fn lines(said: &str) -> Vec<String> {
    let of_the_harness = |line: &str| {
        line.is_empty()
            || line == "."
            || line.starts_with("running ")
            || line.starts_with("test result")
    };
    let lines = said.lines().filter(|line| !of_the_harness(line));
    lines.map(str::to_owned).collect()
}

/// The sum of all numbers that stand before `what` in these lines.
pub fn count<'a>(lines: impl IntoIterator<Item = &'a String>, what: &str) -> u64 {
    let before = |line: &'a String| {
        line.match_indices(what).filter_map(move |(at, _)| {
            let number = line[..at].strip_suffix(' ')?.rsplit(' ').next()?;
            number.parse::<u64>().ok()
        })
    };
    lines.into_iter().flat_map(before).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_summed_by_what_they_are_of() {
        let lines = ["4 seeds, 10 cuts", "no seeds", "store: 38 seeds"].map(str::to_owned);
        assert_eq!((count(&lines, "seeds"), count(&lines, "cuts")), (42, 10));
    }

    #[test]
    fn lines_of_the_harness_are_left_out() {
        let said = "\nrunning 1 test\n5 kills\n.\ntest result: ok. 1 passed; 0 failed\n";
        assert_eq!(lines(said), ["5 kills"]);
    }
}
