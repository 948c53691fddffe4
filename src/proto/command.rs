//! The commands that are written to `.ctl`, one per line.
//!
//! ```text
//! commit                      publish                  fork NAME
//! abort                       gc                       rename NAME
//! policy first-winner|merge   note TEXT                restore NAME [as NEW]
//! undo                        redo                     limit [bytes=N] [inodes=N]
//! trial NAME NUMBER JSON
//! ```
//!
//! Words are separated by blanks; a word with a blank in it is quoted as in C (`fork "my branch"`).
//! A note is the rest of its line, or one quoted string, which may hold newlines. Blank lines are
//! skipped. Everything that was written is parsed before anything is done, so a bad second line
//! leaves the first undone.

use std::fmt;

use super::limits::LimitsChange;
use super::name::{BranchName, TrashName};
use super::quote::{excerpt, take_word, unquoted, word, words};
use super::status::Policy;
use super::trial::Trial;
use super::{ProtoError, display};

/// The longest note.
pub const NOTE_BYTES_MAX: usize = 4096;

const KNOWN: &str = "commit, abort, undo, redo, fork, rename, restore, publish, gc, policy, note, \
                     limit, trial";

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Publish the branch's changes into its parent; on `main`, into the base.
    Commit,
    /// End the branch and move it to the trash.
    Abort,
    /// Take back the last commit into the branch.
    Undo,
    /// Take back the last undo.
    Redo,
    /// Make a child.
    Fork(BranchName),
    /// Give the branch another name.
    Rename(BranchName),
    /// Bring a child back from the trash.
    Restore {
        /// Its entry there.
        entry: TrashName,
        /// Its new name; its old one if `None`.
        new_name: Option<BranchName>,
    },
    /// Move `main`'s changes into the base.
    Publish,
    /// Free what nothing reaches.
    Gc,
    /// Decide what happens to siblings when a child of this branch commits.
    Policy(Policy),
    /// Replace the note.
    Note(String),
    /// Change limits.
    Limit(LimitsChange),
    /// Tell of a step of a trial in a child.
    Trial {
        /// The child; it may have ended.
        name: BranchName,
        /// Its number.
        number: u32,
        /// The step.
        trial: Box<Trial>,
    },
}

impl Command {
    /// Reads everything that one write brought.
    pub fn parse_all(text: &[u8]) -> Result<Vec<Command>, ProtoError> {
        let lines = text.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
        let commands: Vec<Command> = lines
            .filter(|line| !line.is_empty())
            .map(Command::parse)
            .collect::<Result<_, _>>()?;
        if commands.is_empty() {
            return Err(ProtoError::NoCommand);
        }
        Ok(commands)
    }

    /// Reads one line.
    pub fn parse(line: &[u8]) -> Result<Command, ProtoError> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Err(ProtoError::NoCommand);
        }
        let (verb, rest) = take_word(line)?;
        if verb == b"note" {
            return Ok(Command::Note(note(rest.trim_ascii())?));
        }
        if verb == b"trial" {
            return trial(rest.trim_ascii());
        }
        let arguments = words(rest)?;
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let arguments = arguments.as_slice();
        match verb.as_slice() {
            b"commit" => bare(Command::Commit, arguments, "commit"),
            b"abort" => bare(Command::Abort, arguments, "abort"),
            b"undo" => bare(Command::Undo, arguments, "undo"),
            b"redo" => bare(Command::Redo, arguments, "redo"),
            b"publish" => bare(Command::Publish, arguments, "publish"),
            b"gc" => bare(Command::Gc, arguments, "gc"),
            b"fork" => Ok(Command::Fork(one_name(arguments, "fork NAME")?)),
            b"rename" => Ok(Command::Rename(one_name(arguments, "rename NAME")?)),
            b"restore" => restore(arguments),
            b"policy" => match arguments {
                [word] => Policy::parse(word).map(Command::Policy),
                _ => Err(ProtoError::Usage {
                    usage: "policy first-winner|merge",
                }),
            },
            b"limit" => limit(arguments),
            _ => Err(ProtoError::UnknownCommand {
                word: excerpt(&verb),
                known: KNOWN,
            }),
        }
    }
}

fn bare(command: Command, arguments: &[&[u8]], usage: &'static str) -> Result<Command, ProtoError> {
    if arguments.is_empty() {
        Ok(command)
    } else {
        Err(ProtoError::Usage { usage })
    }
}

fn one_name(arguments: &[&[u8]], usage: &'static str) -> Result<BranchName, ProtoError> {
    match arguments {
        [name] => BranchName::new(name),
        _ => Err(ProtoError::Usage { usage }),
    }
}

fn restore(arguments: &[&[u8]]) -> Result<Command, ProtoError> {
    let (entry, new_name) = match arguments {
        [entry] => (entry, None),
        [entry, b"as", new] => (entry, Some(BranchName::new(new)?)),
        _ => {
            return Err(ProtoError::Usage {
                usage: "restore NAME [as NEW]",
            });
        }
    };
    Ok(Command::Restore {
        entry: TrashName::new(entry)?,
        new_name,
    })
}

fn limit(arguments: &[&[u8]]) -> Result<Command, ProtoError> {
    let mut change = LimitsChange::default();
    for pair in arguments {
        if !pair.contains(&b'=') {
            return Err(ProtoError::Usage {
                usage: "limit [bytes=N] [inodes=N]",
            });
        }
        change.set(pair)?;
    }
    Ok(Command::Limit(change))
}

fn trial(rest: &[u8]) -> Result<Command, ProtoError> {
    const USAGE: &str = "trial NAME NUMBER JSON";
    let usage = || ProtoError::Usage { usage: USAGE };
    if rest.is_empty() {
        return Err(usage());
    }
    let (name, rest) = take_word(rest)?;
    let rest = rest.trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, json) = rest.split_at(digits);
    let number = std::str::from_utf8(number)
        .ok()
        .and_then(|n| n.parse().ok());
    Ok(Command::Trial {
        name: BranchName::new(&name)?,
        number: number.ok_or_else(usage)?,
        trial: Box::new(Trial::parse(json.trim_ascii())?),
    })
}

fn note(text: &[u8]) -> Result<String, ProtoError> {
    let bytes = unquoted(text)?;
    if bytes.len() > NOTE_BYTES_MAX {
        let len_bytes = bytes.len();
        return Err(ProtoError::NoteTooLong {
            len_bytes,
            max_bytes: NOTE_BYTES_MAX,
        });
    }
    let fail = ProtoError::NotUtf8 {
        what: "the note",
        text: excerpt(&bytes),
    };
    String::from_utf8(bytes).or(Err(fail))
}

/// The line, without its newline.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Commit => f.write_str("commit"),
            Command::Abort => f.write_str("abort"),
            Command::Undo => f.write_str("undo"),
            Command::Redo => f.write_str("redo"),
            Command::Publish => f.write_str("publish"),
            Command::Gc => f.write_str("gc"),
            Command::Fork(name) => write!(f, "fork {}", word(name.as_bytes())),
            Command::Rename(name) => write!(f, "rename {}", word(name.as_bytes())),
            Command::Restore {
                entry,
                new_name: None,
            } => {
                write!(f, "restore {}", word(entry.as_bytes()))
            }
            Command::Restore {
                entry,
                new_name: Some(new),
            } => {
                write!(
                    f,
                    "restore {} as {}",
                    word(entry.as_bytes()),
                    word(new.as_bytes())
                )
            }
            Command::Policy(policy) => write!(f, "policy {policy}"),
            // A note that begins or ends with a blank would lose it, so it is quoted.
            Command::Note(text) if text.trim_ascii() == text => {
                write!(f, "note {}", display(text.as_bytes()))
            }
            Command::Note(text) => write!(f, "note {}", word(text.as_bytes())),
            Command::Limit(change) => write!(f, "limit {change}"),
            Command::Trial {
                name,
                number,
                trial,
            } => {
                let name = word(name.as_bytes());
                write!(f, "trial {name} {number} {}", trial.to_json())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::limits::tests::changes;
    use super::super::name::tests::names;
    use super::*;

    fn name(text: &str) -> BranchName {
        BranchName::new(text.as_bytes()).unwrap()
    }

    #[track_caller]
    fn check(line: &str, expect: Command) {
        assert_eq!(Command::parse(line.as_bytes()), Ok(expect));
    }

    #[track_caller]
    fn check_error(line: &[u8], expect: &str) {
        assert_eq!(Command::parse(line).unwrap_err().to_string(), expect);
    }

    #[test]
    fn commands_are_read() {
        check("commit", Command::Commit);
        check("  abort\r\n", Command::Abort);
        check("undo", Command::Undo);
        check("redo", Command::Redo);
        check("publish", Command::Publish);
        check("gc", Command::Gc);
        check("fork fix-a", Command::Fork(name("fix-a")));
        check(r#"fork "my branch""#, Command::Fork(name("my branch")));
        check("rename \t b", Command::Rename(name("b")));
        let entry = TrashName::new(b"a~7").unwrap();
        check(
            "restore a~7",
            Command::Restore {
                entry: entry.clone(),
                new_name: None,
            },
        );
        check(
            "restore a~7 as b",
            Command::Restore {
                entry,
                new_name: Some(name("b")),
            },
        );
        check("policy merge", Command::Policy(Policy::Merge));
        check("note  any  text ", Command::Note("any  text".into()));
        check(r#"note "two\nlines""#, Command::Note("two\nlines".into()));
        check("note", Command::Note(String::new()));
        let trial = Command::Trial {
            name: name("my branch"),
            number: 7,
            trial: Box::new(super::super::trial::tests::ended()),
        };
        check(&trial.to_string(), trial);
        assert!(Command::parse(b"trial a x {}").is_err());
        assert!(Command::parse(b"trial").is_err());
        let change = LimitsChange {
            bytes: Some(Some(1 << 30)),
            inodes: Some(None),
        };
        check("limit bytes=1G inodes=none", Command::Limit(change));
    }

    #[test]
    fn errors_say_what_was_expected() {
        check_error(b"", "no command given; try commit, abort or fork NAME");
        check_error(b"commit now", "wrong arguments; usage: commit");
        check_error(b"fork", "wrong arguments; usage: fork NAME");
        check_error(b"fork a b", "wrong arguments; usage: fork NAME");
        check_error(b"fork a/b", "a branch name cannot contain '/': a/b");
        check_error(b"fork .x", "a branch name cannot begin with '.': .x");
        check_error(
            b"restore a b c",
            "wrong arguments; usage: restore NAME [as NEW]",
        );
        check_error(
            b"policy last",
            "unknown policy last; the policies are first-winner and merge",
        );
        check_error(
            b"limit 3",
            "wrong arguments; usage: limit [bytes=N] [inodes=N]",
        );
        check_error(b"note \xff", "the note is not UTF-8: \"\\377\"");
        check_error(b"fork \"x", "bad quoting at byte 2 of \"\\\"x\"");
        check_error(
            &[b"note ", &[b'x'; 5000][..]].concat(),
            "a note has at most 4096 bytes, this one has 5000",
        );
        let unknown = Command::parse(b"\x1b[2Jcommit").unwrap_err().to_string();
        assert!(
            unknown.starts_with("unknown command \"\\033[2Jcommit\"; "),
            "{unknown}"
        );
    }

    #[test]
    fn one_write_may_hold_several_commands() {
        let commands = Command::parse_all(b"note done\n\ncommit\n").unwrap();
        assert_eq!(commands, [Command::Note("done".into()), Command::Commit]);
        assert_eq!(Command::parse_all(b" \n\n"), Err(ProtoError::NoCommand));
        assert!(Command::parse_all(b"commit\nfork a b\n").is_err());
    }

    fn commands() -> impl Strategy<Value = Command> {
        prop_oneof![
            Just(Command::Commit),
            Just(Command::Abort),
            Just(Command::Undo),
            Just(Command::Redo),
            Just(Command::Publish),
            Just(Command::Gc),
            names().prop_map(Command::Fork),
            names().prop_map(Command::Rename),
            (names(), any::<u32>(), proptest::option::of(names())).prop_map(
                |(name, number, new_name)| {
                    let entry = TrashName::numbered(&name, number);
                    Command::Restore { entry, new_name }
                }
            ),
            Just(Command::Policy(Policy::FirstWinner)),
            Just(Command::Policy(Policy::Merge)),
            any::<String>().prop_map(Command::Note),
            changes().prop_map(Command::Limit),
        ]
    }

    proptest! {
        #[test]
        fn commands_are_reversible(list in proptest::collection::vec(commands(), 1..4)) {
            let text: String = list.iter().map(|command| format!("{command}\n")).collect();
            prop_assert_eq!(Command::parse_all(text.as_bytes()), Ok(list));
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>, verb in "[a-z]{0,8}") {
            let _ = Command::parse_all(&bytes);
            let _ = Command::parse_all(&[verb.as_bytes(), b" ", &bytes[..]].concat());
        }
    }
}
