//! Text and command definitions in mdoc(7), the language of manual pages.

use std::fmt::Write;

use clap::{Arg, ArgAction, Command};

/// As long as mandoc wants a line; escapes make it longer.
const COLUMNS: usize = 72;

/// Text as it may stand on lines of its own: one sentence per line, nothing taken for a macro.
pub fn text(text: &str) -> String {
    let mut out = String::new();
    for paragraph in text.split("\n\n").filter(|p| !p.trim().is_empty()) {
        if !out.is_empty() {
            out.push_str(".Pp\n");
        }
        let words = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut rest = words.as_str();
        while let Some(end) = sentence_end(rest) {
            write_lines(&mut out, &rest[..end]);
            rest = rest[end..].trim_start();
        }
        write_lines(&mut out, &format!("{rest}{}", stop(rest)));
    }
    out
}

/// One sentence, in lines that are not too long.
fn write_lines(out: &mut String, sentence: &str) {
    let mut line = String::new();
    for word in sentence.split(' ') {
        if !line.is_empty() && line.len() + word.len() >= COLUMNS {
            let _ = writeln!(out, "{}", escaped(&line));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{}", escaped(&line));
}

/// Where the first of several sentences ends.
fn sentence_end(text: &str) -> Option<usize> {
    let mut stops = text.match_indices(". ");
    let (at, _) = stops.find(|(at, _)| {
        let next = text[at + 2..].chars().next();
        next.is_some_and(|c| c.is_ascii_uppercase() || !c.is_alphanumeric())
            && !text[..*at].ends_with(' ')
    })?;
    Some(at + 1)
}

/// Help texts of one sentence have no full stop; a manual's sentences have.
fn stop(text: &str) -> &'static str {
    match text.ends_with(['.', ':', '!', '?']) {
        true => "",
        false => ".",
    }
}

fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace("--", "\\-\\-");
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line,
    }
}

/// A word as an argument of a macro.
fn word(word: &str) -> String {
    word.replace('\\', "\\e")
}

/// The `.Nm` line of a command, with its arguments.
pub fn synopsis(command: &Command) -> String {
    let mut out = format!(".Nm branchfs {}\n", command.get_name());
    for arg in shown(command).filter(|arg| !arg.is_positional()) {
        let flags = flags(arg, " | ");
        let macro_name = if arg.is_required_set() { "" } else { ".Op " };
        let line = match macro_name {
            "" => format!(".{flags}"),
            op => format!("{op}{flags}"),
        };
        let more = if repeats(arg) { " ..." } else { "" };
        let _ = writeln!(out, "{line}{more}");
    }
    for arg in shown(command).filter(|arg| arg.is_positional()) {
        let more = if repeats(arg) { " ..." } else { "" };
        let value = value(arg);
        let dashes = if arg.is_last_set() { "Fl - " } else { "" };
        let _ = match arg.is_required_set() {
            true => writeln!(out, ".{dashes}Ar {value}{more}"),
            false => writeln!(out, ".Op {dashes}Ar {value}{more}"),
        };
    }
    out
}

/// A command with what it does and each of its options.
pub fn command(command: &Command) -> String {
    let mut out = format!(".Ss branchfs {}\n", command.get_name());
    let about = command.get_long_about().or(command.get_about());
    out.push_str(&text(&about.map(ToString::to_string).unwrap_or_default()));
    let mut list = String::new();
    let positional = shown(command).filter(|arg| arg.is_positional());
    let options = shown(command).filter(|arg| !arg.is_positional());
    for arg in positional.chain(options) {
        let head = match arg.is_positional() {
            true => format!("Ar {}", value(arg)),
            false => flags(arg, " , "),
        };
        let help = arg.get_long_help().or(arg.get_help());
        let help = text(&help.map(ToString::to_string).unwrap_or_default());
        let _ = write!(list, ".It {head}\n{help}");
        let values = arg.get_possible_values();
        if !values.is_empty() && !arg.is_hide_possible_values_set() && takes_value(arg) {
            let names: Vec<&str> = values.iter().map(|v| v.get_name()).collect();
            let _ = writeln!(list, "One of {}.", names.join(", "));
        }
        let defaults: Vec<_> = arg.get_default_values().iter().collect();
        if let [default] = defaults[..]
            && takes_value(arg)
            && !arg.is_hide_default_value_set()
        {
            let default = default.to_string_lossy();
            let _ = writeln!(list, "The default is\n.Ql {} .", word(&default));
        }
    }
    if !list.is_empty() {
        let _ = write!(out, ".Bl -tag -width Ds\n{list}.El\n");
    }
    if let Some(after) = command.get_after_long_help().or(command.get_after_help()) {
        let _ = write!(out, ".Pp\n{}", text(&after.to_string()));
    }
    out
}

/// The arguments that a manual shows: `--help` is told once for all commands.
fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    let arguments = command.get_arguments();
    arguments.filter(|arg| !arg.is_hide_set() && arg.get_id() != "help")
}

fn flags(arg: &Arg, between: &str) -> String {
    let short = arg.get_short().map(|short| format!("Fl {short}"));
    let long = arg.get_long().map(|long| format!("Fl -{long}"));
    let flags: Vec<String> = [short, long].into_iter().flatten().collect();
    let flags = flags.join(between);
    match takes_value(arg) {
        true => format!("{flags} Ar {}", value(arg)),
        false => flags,
    }
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn repeats(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
        || arg
            .get_num_args()
            .is_some_and(|count| count.max_values() > 1)
}

fn value(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let names: Vec<String> = names.iter().map(|name| word(name)).collect();
    match names.is_empty() {
        true => arg.get_id().as_str().to_uppercase(),
        false => names.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expect: &str) {
        assert_eq!(text(input), expect);
    }

    #[test]
    fn each_sentence_gets_a_line_and_a_stop() {
        check("Print JSON", "Print JSON.\n");
        check(
            "One. Two\nmore, e.g. three. Four",
            "One.\nTwo more, e.g. three.\nFour.\n",
        );
        check("One\n\nTwo.", "One.\n.Pp\nTwo.\n");
    }

    #[test]
    fn nothing_is_taken_for_a_macro() {
        check(". is here", "\\&. is here.\n");
        check("as --store\\x", "as \\-\\-store\\ex.\n");
    }

    #[test]
    fn a_command_is_shown_with_its_options() {
        let fork = Command::new("fork")
            .about("Make a branch")
            .arg(Arg::new("name").required(true).help("The new branch"))
            .arg(
                Arg::new("note")
                    .short('m')
                    .long("note")
                    .value_name("TEXT")
                    .help("A note"),
            );
        assert_eq!(
            synopsis(&fork),
            ".Nm branchfs fork\n.Op Fl m | Fl -note Ar TEXT\n.Ar NAME\n"
        );
        assert_eq!(
            command(&fork),
            ".Ss branchfs fork\nMake a branch.\n.Bl -tag -width Ds\n.It Ar NAME\nThe new branch.\n\
             .It Fl m , Fl -note Ar TEXT\nA note.\n.El\n"
        );
    }
}
