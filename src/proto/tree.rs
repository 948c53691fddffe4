//! The tree of branches: the text of `@self/tree` and the JSON of `branchfs tree --json`.
//!
//! ```text
//! main  #0 open, generation 4
//! ├── fix-a  #7 open, 2 added, 1 deleted
//! │   └── sub  #9 open, no changes
//! └── fix-b  #8 open, 3 modified  "try the other parser"
//! ```

use std::fmt;

use serde::Serialize;

use super::quote::display;
use super::status::Status;

/// A branch and its live children.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TreeNode {
    /// What the branch says of itself.
    #[serde(flatten)]
    pub status: Status,
    /// Its live children, in the order they are shown in.
    #[serde(rename = "branches")]
    pub children: Vec<TreeNode>,
}

impl TreeNode {
    fn label(&self) -> String {
        let Status {
            name,
            number,
            state,
            generation,
            changed,
            note,
            ..
        } = &self.status;
        let mut label = format!("{name}  #{number} {state}");
        if *generation > 0 {
            label.push_str(&format!(", generation {generation}"));
        }
        if let Some(counts) = changed {
            label.push_str(&format!(", {counts}"));
        }
        if let Some(line) = note.lines().next() {
            label.push_str(&format!("  {}", display(line.as_bytes())));
        }
        label
    }
}

/// The drawing, one line per branch, each with its newline.
impl fmt::Display for TreeNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.label())?;
        // A stack instead of recursion: how deep branches are nested is up to the user.
        let mut open = vec![(self.children.iter(), String::new())];
        while let Some((children, prefix)) = open.last_mut() {
            let Some(child) = children.next() else {
                open.pop();
                continue;
            };
            let last = children.as_slice().is_empty();
            writeln!(
                f,
                "{prefix}{}{}",
                if last { "└── " } else { "├── " },
                child.label()
            )?;
            let below = format!("{prefix}{}", if last { "    " } else { "│   " });
            open.push((child.children.iter(), below));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::BranchPath;
    use super::super::{ChangeCounts, Policy, State, Text, Timestamp};
    use super::*;

    fn node(path: &str, number: u32, children: Vec<TreeNode>) -> TreeNode {
        let branch = BranchPath::parse(path.as_bytes()).unwrap();
        let status = Status {
            name: Text::from(branch.name()),
            parent: branch.parent(),
            branch,
            number,
            state: State::Open,
            policy: Policy::FirstWinner,
            generation: 0,
            fork_generation: 0,
            children: children.len() as u64,
            changed: None,
            usage: Default::default(),
            limits: Default::default(),
            created: Timestamp::default(),
            expires: None,
            last_error: None,
            undo: None,
            redo: None,
            last_errno: None,
            publish_error: None,
            read_only: None,
            note: String::new(),
        };
        TreeNode { status, children }
    }

    #[test]
    fn the_drawing_shows_nesting() {
        let mut sub = node("a/sub", 3, vec![]);
        sub.status.note = "first line\nsecond".into();
        let mut last = node("b", 2, vec![node("b/x", 4, vec![])]);
        last.status.changed = Some(ChangeCounts {
            added: 1,
            ..Default::default()
        });
        let mut main = node("main", 0, vec![node("a", 1, vec![sub]), last]);
        main.status.generation = 4;
        let expect = "\
main  #0 open, generation 4
├── a  #1 open
│   └── sub  #3 open  first line
└── b  #2 open, 1 added
    └── x  #4 open
";
        assert_eq!(main.to_string(), expect);
    }

    #[test]
    fn the_json_nests_branches() {
        let main = node("main", 0, vec![node("a", 1, vec![])]);
        let json = serde_json::to_value(&main).unwrap();
        assert_eq!(json["branch"], "main");
        assert_eq!(json["children"], 1);
        assert_eq!(json["branches"][0]["branch"], "main/a");
    }

    #[test]
    fn deep_nesting_is_drawn() {
        let mut tree = node("deep", 0, vec![]);
        for number in 1..500 {
            tree = node("deep", number, vec![tree]);
        }
        assert_eq!(tree.to_string().lines().count(), 500);
    }
}
