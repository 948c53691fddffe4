//! The regions of manual pages that are generated.
//!
//! A region is what stands between two comments in a page of `man/`:
//!
//! ```text
//! .\" BEGIN synopsis fork commit
//! .\" END
//! ```
//!
//! | region | what is in it |
//! | --- | --- |
//! | `synopsis COMMAND...` | how each command is called |
//! | `commands COMMAND...` | what each does, with its options |
//! | `index` | every command in one line, with the page that describes it |
//! | `mount-options` | the options of a mount |
//!
//! **Invariant**: every command is in one `commands` region of one page, except where a region says
//! `*`, which stands for the commands that no other page names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use branchfs::daemon::{OPTION_TEXTS, OptionText};
use clap::Command;

use super::mdoc;

const BEGIN: &str = ".\\\" BEGIN ";
const END: &str = ".\\\" END";

type Failure = Box<dyn std::error::Error>;

/// Every page of `dir` with its regions as they are to be.
pub fn pages(dir: &Path) -> Result<super::Files, Failure> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        pages.push((path.clone(), fs::read_to_string(path)?));
    }
    pages.sort();
    let command = branchfs::cli::command();
    let texts: Vec<(&Path, &str)> = pages
        .iter()
        .map(|(p, t)| (p.as_path(), t.as_str()))
        .collect();
    let index = Index::new(&command, &texts)?;
    pages
        .iter()
        .map(|(path, text)| {
            let text = fill(text, &index).map_err(|e| format!("{}: {e}", path.display()))?;
            Ok((path.clone(), text.into_bytes()))
        })
        .collect()
}

/// Which page describes which command.
struct Index<'a> {
    commands: Vec<&'a Command>,
    /// The name of a command and the page, such as `branchfs-branch 1`.
    page_of: BTreeMap<String, String>,
    /// The commands that a `*` stands for.
    rest: Vec<String>,
}

impl<'a> Index<'a> {
    fn new(command: &'a Command, pages: &[(&Path, &str)]) -> Result<Index<'a>, Failure> {
        let commands: Vec<_> = command
            .get_subcommands()
            .filter(|c| !c.is_hide_set())
            .collect();
        let mut page_of = BTreeMap::new();
        let mut catch_all = None;
        for (path, text) in pages {
            let name = path.file_name().ok_or("a page without a name")?;
            let name = name.to_string_lossy();
            let (title, section) = name.rsplit_once('.').ok_or("a page without a section")?;
            let page = format!("{title} {section}");
            for line in text.lines() {
                let Some(words) = line.strip_prefix(&format!("{BEGIN}commands ")) else {
                    continue;
                };
                for word in words.split(' ') {
                    if word == "*" {
                        catch_all = Some(page.clone());
                    } else if page_of.insert(word.to_owned(), page.clone()).is_some() {
                        return Err(format!("{word} is described twice").into());
                    }
                }
            }
        }
        let mut rest = Vec::new();
        for name in commands.iter().map(|command| command.get_name()) {
            if page_of.contains_key(name) {
                continue;
            }
            let page = catch_all.clone().ok_or_else(|| {
                format!("no page of man/ describes {name}: add it to a `BEGIN commands` line")
            })?;
            page_of.insert(name.to_owned(), page);
            rest.push(name.to_owned());
        }
        Ok(Index {
            commands,
            page_of,
            rest,
        })
    }

    fn command(&self, name: &str) -> Result<&Command, Failure> {
        let mut commands = self.commands.iter();
        let found = commands.find(|command| command.get_name() == name);
        Ok(found.ok_or_else(|| format!("there is no command {name}"))?)
    }

    /// What is to stand in a region.
    fn region(&self, kind: &str) -> Result<String, Failure> {
        let mut words = kind.split(' ');
        let kind = words.next().unwrap_or_default();
        let names = words.flat_map(|word| match word {
            "*" => self.rest.clone(),
            name => vec![name.to_owned()],
        });
        let mut out = String::new();
        match kind {
            "synopsis" => {
                for name in names {
                    out.push_str(&mdoc::synopsis(self.command(&name)?));
                }
            }
            "commands" => {
                for name in names {
                    out.push_str(&mdoc::command(self.command(&name)?));
                }
            }
            "index" => self.write_index(&mut out),
            "mount-options" => write_mount_options(&mut out),
            other => return Err(format!("there is no region {other}").into()),
        }
        Ok(out)
    }

    fn write_index(&self, out: &mut String) {
        out.push_str(".Bl -tag -width tree-of-thoughts -compact\n");
        for command in &self.commands {
            let name = command.get_name();
            let about = command
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            let (about, page) = (mdoc::text(&about), &self.page_of[name]);
            let _ = write!(out, ".It Cm {name}\n{about}See\n.Xr {page} .\n");
        }
        out.push_str(".El\n");
    }
}

fn write_mount_options(out: &mut String) {
    out.push_str(".Bl -tag -width Ds\n");
    for OptionText { name, value, text } in OPTION_TEXTS {
        let _ = match value {
            None => writeln!(out, ".It Cm {name}"),
            Some(value) if value.contains('|') => {
                let words: Vec<String> =
                    value.split('|').map(|word| format!("Cm {word}")).collect();
                writeln!(out, ".It Cm {name} Ns = Ns {}", words.join(" | "))
            }
            Some(value) => writeln!(out, ".It Cm {name} Ns = Ns Ar {value}"),
        };
        out.push_str(&mdoc::text(text));
    }
    out.push_str(".El\n");
}

/// A page with its regions filled.
fn fill(text: &str, index: &Index<'_>) -> Result<String, Failure> {
    let mut out = String::new();
    let mut inside = false;
    for line in text.lines() {
        if inside && line != END {
            continue;
        }
        out.push_str(line);
        out.push('\n');
        inside = false;
        if let Some(kind) = line.strip_prefix(BEGIN) {
            out.push_str(&index.region(kind)?);
            inside = true;
        }
    }
    match inside {
        true => Err("a region does not end".into()),
        false => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands() -> Command {
        let verbs = ["fork", "run"].map(|name| Command::new(name).about("Do it"));
        Command::new("branchfs").subcommands(verbs)
    }

    #[track_caller]
    fn check(page: &str, expect: Result<&str, &str>) {
        let command = commands();
        let filled = Index::new(&command, &[(Path::new("man/a.1"), page)])
            .and_then(|index| fill(page, &index));
        match expect {
            Ok(part) => {
                let text = filled.expect("a page");
                assert!(text.contains(part), "no {part:?} in\n{text}");
            }
            Err(part) => {
                let error = filled.expect_err("an error").to_string();
                assert!(error.contains(part), "no {part:?} in {error}");
            }
        }
    }

    #[test]
    fn regions_are_replaced_and_the_rest_is_kept() {
        let page = "by hand\n.\\\" BEGIN commands fork *\nold\n.\\\" END\nmore\n";
        check(
            page,
            Ok("by hand\n.\\\" BEGIN commands fork *\n.Ss branchfs fork\nDo it.\n"),
        );
        check(page, Ok(".Ss branchfs run\nDo it.\n.\\\" END\nmore\n"));
        let page = ".\\\" BEGIN commands *\n.\\\" END\n.\\\" BEGIN index\n.\\\" END\n";
        check(page, Ok(".It Cm run\nDo it.\nSee\n.Xr a 1 .\n"));
    }

    #[test]
    fn a_command_without_a_page_and_a_page_without_a_command_are_named() {
        check(
            ".\\\" BEGIN commands fork\n.\\\" END\n",
            Err("no page of man/ describes run"),
        );
        check(
            ".\\\" BEGIN commands * gone\n.\\\" END\n",
            Err("no command gone"),
        );
        check(".\\\" BEGIN commands *\n", Err("does not end"));
        check(
            ".\\\" BEGIN nonsense\n.\\\" BEGIN commands *\n.\\\" END\n",
            Err("nonsense"),
        );
    }
}
