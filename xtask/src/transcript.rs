//! How the verbs that show something tell what they do: steps, commands and answers, coloured on a
//! terminal.

use std::io::{IsTerminal, Write};

fn print(colour: &str, text: &str) {
    let mut out = std::io::stdout().lock();
    // They go on without a reader: what they show is in the exit code too.
    let _ = match out.is_terminal() {
        true => writeln!(out, "\x1b[{colour}m{text}\x1b[0m"),
        false => writeln!(out, "{text}"),
    };
    let _ = out.flush();
}

/// A headline.
pub fn step(text: &str) {
    print("1", &format!("\n== {text}"));
}

/// A command, as a user would type it.
pub fn shell(command: &str) {
    print("36", &format!("$ {command}"));
}

/// What came of it.
pub fn say(text: &str) {
    print("0", &format!("  {text}"));
}
