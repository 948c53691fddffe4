//! A branch of a mounted workspace, driven as any program would: by files.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::ops::Deref;
use std::path::PathBuf;

use super::tree::Tree;

/// One branch: its tree, and its reserved files.
#[derive(Clone, Debug)]
pub struct Branch {
    tree: Tree,
}

impl Deref for Branch {
    type Target = Tree;
    fn deref(&self) -> &Tree {
        &self.tree
    }
}

impl Branch {
    /// The branch whose root is `root`.
    pub fn at(root: impl Into<PathBuf>) -> Branch {
        Branch {
            tree: Tree::at(root),
        }
    }

    /// The child `name`, which need not exist.
    pub fn child(&self, name: impl AsRef<[u8]>) -> Branch {
        Branch {
            tree: self.sub("@branches").sub(name),
        }
    }

    /// Forks a child, or fails as mkdir(2) did.
    pub fn try_fork(&self, name: impl AsRef<[u8]>) -> io::Result<Branch> {
        let child = self.child(name);
        fs::create_dir(child.root())?;
        Ok(child)
    }

    /// Forks a child.
    #[track_caller]
    pub fn fork(&self, name: impl AsRef<[u8]>) -> Branch {
        let name = name.as_ref();
        let shown = String::from_utf8_lossy(name).into_owned();
        self.try_fork(name)
            .unwrap_or_else(|e| panic!("fork {shown}: {e}"))
    }

    /// What `echo LINE > NAME` does at the branch's root: one open with O_TRUNC, one write.
    pub fn echo(&self, line: &str, name: &str) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.path(name))?;
        file.write_all(format!("{line}\n").as_bytes())
    }

    /// Writes a command to `.ctl`.
    pub fn ctl(&self, command: &str) -> io::Result<()> {
        self.echo(command, ".ctl")
    }

    /// Commits, or fails as the write did.
    pub fn try_commit(&self) -> io::Result<()> {
        self.ctl("commit")
    }

    /// Commits.
    #[track_caller]
    pub fn commit(&self) {
        if let Err(e) = self.try_commit() {
            panic!("commit {}: {e}", self.root().display());
        }
    }

    /// Aborts.
    #[track_caller]
    pub fn abort(&self) {
        if let Err(e) = self.ctl("abort") {
            panic!("abort {}: {e}", self.root().display());
        }
    }

    /// The text of `@self/NAME`.
    #[track_caller]
    pub fn about(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.read(format!("@self/{name}"))).into_owned()
    }

    /// How many requests of one kind the daemon has answered, from main's `@self/metrics`.
    pub fn requests(&self, operation: &str) -> u64 {
        let metrics = self.about("metrics");
        let wanted = format!("branchfs_request_seconds_count{{op=\"{operation}\"}} ");
        let mut values = metrics.lines().filter_map(|l| l.strip_prefix(&wanted));
        // What was never asked for is not listed.
        values
            .next()
            .map_or(0, |v| v.trim().parse().expect("a number"))
    }

    /// `@self/status`, parsed.
    #[track_caller]
    pub fn status(&self) -> serde_json::Value {
        let text = self.about("status");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("@self/status: {e}: {text}"))
    }

    /// The sentence that explains the last refusal.
    #[track_caller]
    pub fn last_error(&self) -> String {
        let status = self.status();
        status["last_error"]
            .as_str()
            .unwrap_or_else(|| panic!("no last_error: {status}"))
            .to_owned()
    }

    /// The `key value` lines of `.ctl`.
    #[track_caller]
    pub fn ctl_lines(&self) -> BTreeMap<String, String> {
        let text = self.text(".ctl");
        let pair = |line: &str| {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            (key.to_owned(), value.trim().to_owned())
        };
        text.lines().map(pair).collect()
    }

    /// The lines of `@self/diff` as (letter, rest), sorted by path.
    #[track_caller]
    pub fn diff(&self) -> Vec<(char, String)> {
        let text = self.about("diff");
        let mut lines: Vec<(char, String)> = text.lines().map(diff_line).collect();
        lines.sort_by(|a, b| a.1.cmp(&b.1));
        lines
    }

    /// The names of the live children.
    #[track_caller]
    pub fn children(&self) -> Vec<String> {
        self.names("@branches")
    }
}

fn diff_line(line: &str) -> (char, String) {
    let mut chars = line.chars();
    let letter = chars.next().expect("a letter on each line of @self/diff");
    (letter, chars.as_str().trim_start().to_owned())
}
