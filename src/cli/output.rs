//! What is written to the terminal, and how.
//!
//! A [`Session`] holds where results and errors go, so that tests can look at both, and whether
//! they may be coloured. `--json` prints one object, always with `command`, `workspace` and
//! `fstype` and, for what lists branches, `branches`: tools for other branching filesystems read
//! these four.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use super::error::{CliError, Exit};
use crate::client::{ClientError, IsMount, Workspace, is_fuse};
use crate::proto::Text;

/// A colour of the terminal's own palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Added, open.
    Green,
    /// Deleted, lost, an error.
    Red,
    /// Changed.
    Yellow,
    /// Beside the point.
    Dim,
}

impl Color {
    fn code(self) -> &'static str {
        match self {
            Color::Green => "32",
            Color::Red => "31",
            Color::Yellow => "33",
            Color::Dim => "2",
        }
    }
}

/// One run of the program: where it writes, and what it takes for a mount.
pub struct Session<'a> {
    /// Results.
    pub out: &'a mut dyn Write,
    /// Errors and hints.
    pub err: &'a mut dyn Write,
    /// Whether results are coloured.
    pub out_color: bool,
    /// Whether errors are coloured.
    pub err_color: bool,
    /// What a workspace is looked for on.
    pub is_mount: IsMount,
}

/// Runs `body` with the process's own stdout and stderr.
pub(super) fn with_process_session<T>(body: impl FnOnce(&mut Session<'_>) -> T) -> T {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr());
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let dumb = set("TERM").is_none_or(|term| term == "dumb");
    let allowed = set("NO_COLOR").is_none() && !dumb;
    let out_color = allowed && out.is_terminal();
    let err_color = allowed && err.is_terminal();
    body(&mut Session {
        out: &mut out,
        err: &mut err,
        out_color,
        err_color,
        is_mount: is_fuse,
    })
}

/// The object that `--json` prints.
#[derive(Serialize)]
struct Envelope<'a, T> {
    command: &'a str,
    workspace: Text,
    fstype: &'a str,
    #[serde(flatten)]
    body: T,
}

impl Session<'_> {
    /// Writes a line of the result.
    pub(super) fn line(&mut self, line: impl Display) -> Result<(), CliError> {
        Ok(writeln!(self.out, "{line}")?)
    }

    /// Writes a path as its bytes, for scripts: `cd "$(branchfs fork x)"`.
    pub(super) fn path(&mut self, path: &Path) -> Result<(), CliError> {
        self.out.write_all(path.as_os_str().as_bytes())?;
        Ok(self.out.write_all(b"\n")?)
    }

    /// Writes the object of `--json`.
    pub(super) fn json(
        &mut self,
        command: &str,
        workspace: &Workspace,
        body: impl Serialize,
    ) -> Result<(), CliError> {
        let root = Text::from(workspace.root().as_os_str().as_bytes());
        let object = Envelope {
            command,
            workspace: root,
            fstype: "branchfs",
            body,
        };
        serde_json::to_writer_pretty(&mut *self.out, &object).map_err(io::Error::from)?;
        Ok(self.out.write_all(b"\n")?)
    }

    /// `text` in a colour, where results are coloured.
    pub(super) fn paint(&self, color: Color, text: impl Display) -> String {
        paint(self.out_color, color, text)
    }

    /// Says what to do next, on stderr. Nothing is lost when nobody reads it.
    pub(super) fn hint(&mut self, text: impl Display) {
        let label = paint(self.err_color, Color::Yellow, "hint:");
        self.say(format_args!("{label} {text}"));
    }

    /// Reports what went wrong with something that was done all the same.
    pub(super) fn warn(&mut self, error: ClientError) {
        let error = CliError::from(error);
        let label = paint(self.err_color, Color::Yellow, "branchfs: warning:");
        self.say(format_args!("{label} {error}"));
        if let Some(hint) = error.hint() {
            self.hint(hint);
        }
    }

    /// Reports an error; the answer is the exit code.
    pub(super) fn fail(&mut self, error: &CliError) -> Exit {
        if error.is_broken_pipe() {
            return Exit::Done;
        }
        let label = paint(self.err_color, Color::Red, "branchfs:");
        self.say(format_args!("{label} {error}"));
        if let Some(hint) = error.hint() {
            self.hint(hint);
        }
        error.exit()
    }

    /// Shows what clap has to say: the help, the version, or what is wrong with the arguments.
    pub(super) fn usage(&mut self, error: &clap::Error) -> Result<Exit, CliError> {
        let text = error.render();
        if !error.use_stderr() {
            let color = self.out_color;
            let text = if color {
                text.ansi().to_string()
            } else {
                text.to_string()
            };
            self.out.write_all(text.as_bytes())?;
            return Ok(Exit::Done);
        }
        let text = text.to_string();
        let label = paint(self.err_color, Color::Red, "branchfs:");
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        self.say(format_args!("{label} {}", text.trim_end()));
        Ok(Exit::Usage)
    }

    /// A closed stderr is no reason to do anything else.
    fn say(&mut self, text: fmt::Arguments<'_>) {
        let _ = writeln!(self.err, "{text}");
    }
}

fn paint(color: bool, which: Color, text: impl Display) -> String {
    if color {
        format!("\x1b[{}m{text}\x1b[0m", which.code())
    } else {
        text.to_string()
    }
}

/// Bytes for people: `12 B`, `3.4 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = bytes.ilog2() / 10;
    let unit = UNITS[power as usize - 1];
    format!("{:.1} {unit}", bytes as f64 / (1u64 << (10 * power)) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        assert_eq!(paint(false, Color::Red, "x"), "x");
        assert_eq!(paint(true, Color::Red, "x"), "\x1b[31mx\x1b[0m");
    }
}
