//! How trials go, live: a line per trial on a terminal, nothing where stderr leads elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::client::Branch;
use crate::proto::display;
use crate::trial::{Outcome, Progress};

/// The user's terminal, if there is one.
pub struct Terminal {
    lines: Option<MultiProgress>,
    running: Mutex<HashMap<String, ProgressBar>>,
}

impl Terminal {
    /// Shows lines where stderr is a terminal and `wanted`.
    pub fn new(wanted: bool) -> Terminal {
        let shown = wanted && std::io::stderr().is_terminal();
        Terminal {
            lines: shown.then(MultiProgress::new),
            running: Mutex::default(),
        }
    }

    /// Takes the lines away; the results say the same.
    pub fn close(&self) {
        if let Some(lines) = &self.lines {
            // A terminal that cannot be written to shows nothing to take away.
            let _ = lines.clear();
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, ProgressBar>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Terminal {
    fn started(&self, branch: &Branch, label: Option<&str>) {
        let Some(lines) = &self.lines else { return };
        let style = ProgressStyle::with_template("{spinner} {prefix}  {elapsed}  {msg}");
        let line = lines.add(ProgressBar::new_spinner());
        if let Ok(style) = style {
            line.set_style(style);
        }
        let name = display(branch.path.name());
        line.set_prefix(label.map_or(name, |label| display(label.as_bytes())));
        line.set_message("runs");
        line.enable_steady_tick(Duration::from_millis(120));
        self.running().insert(branch.path.to_string(), line);
    }

    fn ended(&self, outcome: &Outcome) {
        if let Some(line) = self.running().remove(&outcome.branch.path.to_string()) {
            line.abandon_with_message(match outcome.error() {
                Some(error) => display(error.as_bytes()),
                None => format!("done, score {}", outcome.score()),
            });
        }
    }

    fn note(&self, text: &str) {
        let text = format!("branchfs: {}", display(text.as_bytes()));
        match &self.lines {
            // As below: nobody to be told is no error.
            Some(lines) => drop(lines.println(text)),
            None => eprintln!("{text}"),
        }
    }
}
