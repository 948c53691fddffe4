//! The order of the layers: what is drawn in the code map of `src/lib.rs` is what `use` may do.
//!
//! The map is the first fenced block of the crate's documentation: chains of layers joined by `->`,
//! where `{ a, b }` stands for layers side by side and a line that begins with `->` goes on from
//! the first layer of the map. An edge may skip layers downwards and never goes up or sideways.

use std::collections::{BTreeMap, BTreeSet};

use super::text::{code_of, has_word, positions};

/// Edges beside the drawing, each to one layer and not to what lies below it: the two sides of the
/// drawing meet in these.
const BESIDE: [(&str, &str); 10] = [
    // The verbs `mount` and `umount` start and end a daemon.
    ("cli", "daemon"),
    // What the control files hold is written by one side and read by the other.
    ("ctlfs", "proto"),
    ("vfs", "proto"),
    ("daemon", "proto"),
    ("branch", "proto"),
    // Both sides speak of times and ids.
    ("proto", "tree"),
    ("client", "tree"),
    ("client", "sys"),
    ("cli", "sys"),
    // Starting and confining processes takes system calls that are nobody else's.
    ("trial", "sys"),
];

/// Crates that only one layer names.
const OWNED: [(&str, &str); 2] = [("fuser", "fuse"), ("clap", "cli")];

/// Which layer may use which.
#[derive(Debug)]
pub struct Order {
    below: BTreeMap<String, BTreeSet<String>>,
}

impl Order {
    /// Reads the code map out of the documentation of `lib.rs`.
    pub fn parse(lib: &str) -> Result<Order, String> {
        let doc = lib.lines().filter_map(|line| line.strip_prefix("//!"));
        let mut inside = false;
        let mut edges = Vec::new();
        let mut first: Option<Vec<String>> = None;
        for line in doc {
            if line.trim_start().starts_with("```") {
                if inside {
                    break;
                }
                inside = true;
            } else if inside && line.contains("->") {
                let steps: Vec<Vec<String>> = line.split("->").map(names).collect();
                let mut from = match steps[0].is_empty() {
                    true => first.clone().ok_or("the code map begins with an arrow")?,
                    false => steps[0].clone(),
                };
                first.get_or_insert_with(|| from.clone());
                for to in &steps[1..] {
                    let pairs = from
                        .iter()
                        .flat_map(|a| to.iter().map(move |b| (a.clone(), b.clone())));
                    edges.extend(pairs);
                    from = to.clone();
                }
            }
        }
        if edges.is_empty() {
            return Err("there is no code map with arrows in its documentation".to_owned());
        }
        Order::from_edges(&edges)
    }

    fn from_edges(edges: &[(String, String)]) -> Result<Order, String> {
        let mut below: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in edges {
            below.entry(from.clone()).or_default().insert(to.clone());
            below.entry(to.clone()).or_default();
        }
        // Transitive closure: as many rounds as there are layers are enough.
        for _ in 0..below.len() {
            let before = below.clone();
            for reached in below.values_mut() {
                let more: Vec<String> = reached.iter().flat_map(|l| before[l].clone()).collect();
                reached.extend(more);
            }
        }
        if let Some((layer, _)) = below
            .iter()
            .find(|(layer, reached)| reached.contains(*layer))
        {
            return Err(format!("the code map has a cycle through `{layer}`"));
        }
        for (from, to) in BESIDE {
            if let Some(reached) = below.get_mut(from) {
                reached.insert(to.to_owned());
            }
        }
        Ok(Order { below })
    }

    /// Complaints about what the file `path` uses.
    pub fn check(&self, path: &str, source: &str) -> Vec<String> {
        let Some(layer) = layer_of(path) else {
            return Vec::new();
        };
        let mut complaints = Vec::new();
        let Some(below) = self.below.get(layer) else {
            return vec![format!(
                "{path}: `{layer}` is not in the code map of src/lib.rs"
            )];
        };
        let root = if layer == "main" { "branchfs" } else { "crate" };
        for (number, used) in uses(source, root) {
            let known = self.below.contains_key(&used);
            if known && used != layer && !below.contains(&used) {
                complaints.push(format!("{path}:{number}: `{layer}` must not use `{used}`"));
            }
        }
        for (number, line) in source.lines().enumerate() {
            for (owned, owner) in OWNED {
                let code = code_of(line);
                let named = positions(code, owned).any(|end| code[end..].starts_with("::"))
                    || (code.trim_start().starts_with("use ") && has_word(code, owned));
                if named && layer != owner {
                    complaints.push(format!(
                        "{path}:{}: only {owner}/ names {owned}",
                        number + 1
                    ));
                }
            }
        }
        complaints
    }
}

/// The layer names of one step of a chain.
fn names(step: &str) -> Vec<String> {
    let letters = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    step.split(letters)
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The layer that a file belongs to: its folder under `src/`, or `main`.
fn layer_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    match inside.split_once('/') {
        Some((layer, _)) => Some(layer),
        None if inside == "lib.rs" => None,
        None => inside.strip_suffix(".rs"),
    }
}

/// What follows `root::` in the code of a file, with line numbers, in groups with braces too.
fn uses(source: &str, root: &str) -> Vec<(usize, String)> {
    let code: Vec<&str> = source.lines().map(code_of).collect();
    let mut found = Vec::new();
    for (index, line) in code.iter().enumerate() {
        for end in positions(line, root) {
            let Some(rest) = line[end..].strip_prefix("::") else {
                continue;
            };
            if !rest.starts_with('{') {
                let name = names(rest).into_iter().next();
                found.extend(name.map(|name| (index + 1, name)));
                continue;
            }
            let group = [&[rest], &code[index + 1..]].concat().join(" ");
            found.extend(heads(&group).into_iter().map(|name| (index + 1, name)));
        }
    }
    found
}

/// The first names in `{a, b::{c, d}, e}`: a, b and e.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut head, mut found) = (0, true, Vec::new());
    let mut name = String::new();
    for c in group.chars() {
        if c.is_alphanumeric() || c == '_' {
            if depth == 1 && head {
                name.push(c);
            }
            continue;
        }
        if !name.is_empty() {
            found.push(std::mem::take(&mut name));
            head = false;
        }
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => head = true,
            _ => {}
        }
    }
    if !name.is_empty() {
        found.push(name);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "//! The crate.\n//!\n//! ```text\n\
        //! main -> cli -> client -> proto\n\
        //!      -> daemon -> fuse -> vfs -> { ctlfs, overlay } -> branch\n\
        //! branch -> { store, base } -> tree -> sys\n\
        //! ```\n";

    #[track_caller]
    fn complains(path: &str, source: &str, of: &[&str]) {
        let order = Order::parse(MAP).expect("a code map");
        let complaints = order.check(path, source);
        assert_eq!(complaints.len(), of.len(), "{complaints:?}");
        for (complaint, word) in complaints.iter().zip(of) {
            assert!(complaint.contains(word), "{complaint}");
        }
    }

    #[test]
    fn edges_go_down_and_may_skip_layers() {
        complains(
            "src/vfs/a.rs",
            "use crate::branch::X;\nuse crate::tree::{Attr, Kind};\n",
            &[],
        );
        complains(
            "src/overlay/a.rs",
            "use crate::{base, store::X, tree::{A, B}};\n",
            &[],
        );
        complains("src/vfs/mod.rs", "use crate::vfs::ops;\n", &[]);
        complains("src/main.rs", "fn main() { branchfs::cli::run() }\n", &[]);
        complains(
            "src/cli/mount.rs",
            "use crate::daemon;\nuse clap::Parser;\n",
            &[],
        );
        complains("src/store/a.rs", "// as crate::vfs does\n", &[]);
    }

    #[test]
    fn edges_that_go_up_or_sideways_are_found() {
        complains(
            "src/store/a.rs",
            "use crate::branch::X;\n",
            &["`store` must not use `branch`"],
        );
        complains(
            "src/store/a.rs",
            "use crate::base;\n",
            &["`store` must not use `base`"],
        );
        complains(
            "src/ctlfs/a.rs",
            "use crate::{\n    overlay::X,\n    tree::Y,\n};\n",
            &["overlay"],
        );
        complains(
            "src/cli/a.rs",
            "use crate::store::Store;\n",
            &["must not use `store`"],
        );
        complains("src/tree/a.rs", "fn f(x: crate::vfs::Ops) {}\n", &["`vfs`"]);
        complains("src/nowhere/a.rs", "", &["not in the code map"]);
    }

    #[test]
    fn crates_that_one_layer_owns_are_named_by_no_other() {
        complains("src/fuse/a.rs", "use fuser::Session;\n", &[]);
        complains(
            "src/vfs/a.rs",
            "fn f(x: fuser::Session) {}\n",
            &["only fuse/ names fuser"],
        );
        complains(
            "src/client/a.rs",
            "use clap::Parser;\n",
            &["only cli/ names clap"],
        );
        complains("src/vfs/b.rs", "// what fuser::Session does\n", &[]);
    }

    #[test]
    fn a_map_with_a_cycle_or_without_arrows_is_an_error() {
        assert!(Order::parse("//! ```\n//! a -> b -> a\n//! ```\n").is_err());
        assert!(Order::parse("//! no map\n").is_err());
    }

    #[test]
    fn the_heads_of_nested_groups_are_found() {
        assert_eq!(
            heads("{a, b::{c, d}, e as f, g::h}; x"),
            ["a", "b", "e", "g"]
        );
        assert_eq!(heads("{self_one}"), ["self_one"]);
    }
}
