//! What patterns of trials print when they are over, and their exit codes.

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::{Color, Session, size};
use crate::client::Workspace;
use crate::proto::display;
use crate::trial::{Fate, Outcome, Summary, TrialReport, Verdict};

/// What the JSON of every pattern has beside its own.
#[derive(Serialize)]
pub struct Common {
    /// Whether the winner has landed.
    pub committed: bool,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether it was out of time.
    pub timed_out: bool,
    /// Whether somebody else's commit was first.
    pub lost_race: bool,
    /// Every trial.
    pub results: Vec<TrialReport>,
}

impl Common {
    /// From what came of a pattern.
    pub fn of(summary: &Summary) -> Common {
        Common {
            committed: summary.committed,
            signal: summary.signal,
            timed_out: summary.timed_out,
            lost_race: summary.verdict == Verdict::LostRace,
            results: summary.reports(),
        }
    }
}

/// The exit code of a pattern.
pub fn exit(summary: &Summary) -> Exit {
    match (summary.signal, summary.verdict) {
        (_, Verdict::Won) if summary.committed => Exit::Done,
        (Some(signal), _) => Exit::Passed(u8::try_from(128 + signal).unwrap_or(255)),
        (None, Verdict::Won) => Exit::Done,
        (None, Verdict::LostRace) => Exit::Conflict,
        (None, Verdict::NobodyWon) => Exit::NobodyWon,
    }
}

/// Prints a pattern's result: as JSON, or a line per trial.
pub fn print(
    session: &mut Session<'_>,
    (command, json): (&str, bool),
    workspace: &Workspace,
    summary: &Summary,
    body: impl Serialize,
) -> Result<Exit, CliError> {
    if json {
        session.json(command, workspace, body)?;
        return Ok(exit(summary));
    }
    for outcome in &summary.outcomes {
        line(session, outcome)?;
    }
    let end = match (summary.winner(), summary.verdict) {
        (Some(winner), _) if summary.committed => {
            format!(
                "committed {} into {}",
                winner.branch.path, winner.parent.path
            )
        }
        (None, Verdict::Won) if summary.committed => "committed".to_owned(),
        (Some(winner), Verdict::Won) => format!("the winner is {}", winner.branch.path),
        (_, Verdict::LostRace) => "somebody else's commit was first".to_owned(),
        _ if summary.timed_out => "no trial has succeeded in time".to_owned(),
        _ if summary.outcomes.iter().any(Outcome::success) => "nothing has landed".to_owned(),
        _ => "no trial has succeeded".to_owned(),
    };
    session.line(end)?;
    let reasons = summary.outcomes.iter().filter_map(Outcome::not_started);
    if let Some(hint) = reasons.filter_map(|reason| reason.hint()).next() {
        session.hint(hint);
    }
    for note in &summary.notes {
        session.hint(display(note.as_bytes()));
    }
    Ok(exit(summary))
}

/// One trial.
fn line(session: &mut Session<'_>, outcome: &Outcome) -> Result<(), CliError> {
    let result = outcome.result(0);
    let name = outcome.label.as_ref().map_or_else(
        || outcome.branch.path.to_string(),
        |label| display(label.as_bytes()),
    );
    let (color, state) = match (outcome.fate, outcome.error()) {
        (Some(Fate::Committed), _) => (Color::Green, "committed".to_owned()),
        (Some(Fate::Kept), None) => (Color::Green, format!("kept {}", outcome.branch.path)),
        (_, None) => (Color::Dim, "done".to_owned()),
        (Some(Fate::Kept), Some(error)) => {
            (Color::Red, format!("{error}, kept {}", outcome.branch.path))
        }
        (_, Some(error)) => (Color::Red, display(error.as_bytes())),
    };
    let state = session.paint(color, state);
    let seconds = result.duration_ms as f64 / 1000.0;
    let memory = size(result.peak_memory_bytes);
    let score = outcome.score();
    session.line(format_args!(
        "{name}  {seconds:.2} s  {memory}  score {score}  {state}"
    ))
}
