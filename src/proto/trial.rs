//! What a trial says of itself: the body of the `trial` command, of an event and of a log line.
//!
//! A trial is one command that runs in one branch. Whoever runs it writes
//!
//! ```text
//! trial NAME NUMBER {"pattern":"speculate","run":"3f9c","index":0,"attempt":0,"phase":"start"}
//! ```
//!
//! to the `.ctl` of the branch's parent, which outlives it: NAME and NUMBER are the branch's, the
//! rest of the line is JSON. It appears in the `@self/events` and `@self/log` of that branch and of
//! `main`.
//!
//! **Invariant**: a branch goes through its phases in one direction ([`TrialPhase::may_follow`]),
//! so (branch, index, attempt, phase) is unique.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ProtoError;
use super::quote::display;

/// The longest JSON of one trial.
pub const TRIAL_BYTES_MAX: usize = 256 << 10;

/// Where a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrialPhase {
    /// Its branch exists, and it waits for its turn.
    Pending,
    /// Its command runs.
    Start,
    /// Its command has ended; with it come the results.
    End,
    /// Its branch is left for inspection.
    Keep,
    /// Its branch has landed.
    Commit,
    /// Its branch was aborted.
    Abort,
    /// Another branch was first.
    Lost,
}

impl TrialPhase {
    /// Whether a trial that was in phase `last` may come into this one.
    pub fn may_follow(self, last: Option<TrialPhase>) -> bool {
        use TrialPhase::*;
        matches!(
            (last, self),
            (None, Pending | Start)
                | (Some(Pending), Start | Abort | Lost | Keep)
                | (Some(Start), End)
                | (Some(End), Keep | Commit | Abort | Lost)
                | (Some(Keep), Commit | Abort | Lost)
        )
    }

    /// Whether nothing comes after it.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            TrialPhase::Commit | TrialPhase::Abort | TrialPhase::Lost
        )
    }
}

impl fmt::Display for TrialPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrialPhase::Pending => "pending",
            TrialPhase::Start => "start",
            TrialPhase::End => "end",
            TrialPhase::Keep => "keep",
            TrialPhase::Commit => "commit",
            TrialPhase::Abort => "abort",
            TrialPhase::Lost => "lost",
        })
    }
}

/// How good a trial's work is; never NaN and never infinite.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Score(f64);

impl Eq for Score {}

impl Score {
    /// A score; `None` unless `value` is finite.
    pub fn new(value: f64) -> Option<Score> {
        value.is_finite().then_some(Score(value))
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Score {
    type Error = &'static str;

    fn try_from(value: f64) -> Result<Score, &'static str> {
        Score::new(value).ok_or("a score is a finite number")
    }
}

impl From<Score> for f64 {
    fn from(score: Score) -> f64 {
        score.0
    }
}

/// How a trial's command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialResult {
    /// Its exit code, 128 and the signal's number where one ended it.
    pub exit_code: i32,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Its score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// How long it ran.
    pub duration_ms: u64,
    /// The most memory that it held at once: of the whole trial where it has a control group, else
    /// of its largest process.
    pub peak_memory_bytes: u64,
    /// Whether it was ended by its time limit.
    #[serde(default)]
    pub timed_out: bool,
    /// Whether a process of it was killed for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// How many periods it was held back in by its CPU limit.
    #[serde(default)]
    pub cpu_throttled: u64,
    /// The end of what it printed.
    #[serde(default)]
    pub stdout: String,
    /// The end of what it printed as errors.
    #[serde(default)]
    pub stderr: String,
}

/// One step of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// What it is part of: `run`, `speculate`, ...
    pub pattern: String,
    /// What the trials of one command line have in common.
    pub run: String,
    /// Which of the commands of the pattern it is, from 0.
    pub index: u32,
    /// Which attempt at it, from 0.
    pub attempt: u32,
    /// Which step.
    pub phase: TrialPhase,
    /// The name that the user gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The process that runs it, for waiting and for ending it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The branch's files that a commit changed, where it is one; the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// The results, from the end on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<TrialResult>>,
}

impl Trial {
    /// Reads the JSON of the command.
    pub fn parse(json: &[u8]) -> Result<Trial, ProtoError> {
        if json.len() > TRIAL_BYTES_MAX {
            return Err(ProtoError::TrialTooLong {
                len_bytes: json.len(),
                max_bytes: TRIAL_BYTES_MAX,
            });
        }
        serde_json::from_slice(json).map_err(|source| ProtoError::Json {
            file: "trial",
            source,
        })
    }

    /// The JSON of the command, on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a trial has only string keys")
    }
}

/// What follows the branch on a line of `@self/log`.
impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pattern, index, attempt) = (&self.pattern, self.index, self.attempt);
        write!(
            f,
            "{} {index} attempt {attempt}",
            display(pattern.as_bytes())
        )?;
        if let Some(label) = &self.label {
            write!(f, " {}", display(label.as_bytes()))?;
        }
        let Some(result) = &self.result else {
            return Ok(());
        };
        let (ms, peak) = (result.duration_ms, result.peak_memory_bytes);
        write!(f, ", exit {}", result.exit_code)?;
        if let Some(score) = result.score {
            write!(f, ", score {}", score.value())?;
        }
        write!(f, ", {ms} ms, {peak} bytes at most")?;
        if result.timed_out {
            f.write_str(", timed out")?;
        }
        if result.oom_killed {
            f.write_str(", out of memory")?;
        }
        for (name, text) in [("stdout", &result.stdout), ("stderr", &result.stderr)] {
            if !text.is_empty() {
                write!(f, ", {name} {}", display(text.as_bytes()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A trial that has ended.
    pub fn ended() -> Trial {
        Trial {
            pattern: "speculate".into(),
            run: "3f9c".into(),
            index: 1,
            attempt: 0,
            phase: TrialPhase::End,
            label: None,
            pid: None,
            paths: Vec::new(),
            result: Some(Box::new(TrialResult {
                exit_code: 1,
                score: Score::new(0.5),
                duration_ms: 12,
                peak_memory_bytes: 4096,
                stdout: "two\nlines".into(),
                ..TrialResult::default()
            })),
        }
    }

    #[test]
    fn a_trial_is_read_as_it_was_written() {
        let trial = ended();
        assert!(!trial.to_json().contains('\n'));
        assert_eq!(Trial::parse(trial.to_json().as_bytes()), Ok(trial));
        assert!(Trial::parse(b"{}").is_err());
        assert!(Trial::parse(&vec![b' '; TRIAL_BYTES_MAX + 1]).is_err());
        assert!(Score::new(f64::NAN).is_none());
    }

    #[test]
    fn the_log_shows_it_on_one_line() {
        assert_eq!(
            ended().to_string(),
            "speculate 1 attempt 0, exit 1, score 0.5, 12 ms, 4096 bytes at most, \
             stdout \"two\\nlines\""
        );
    }

    #[test]
    fn phases_go_one_way() {
        use TrialPhase::*;
        for (last, next, legal) in [
            (None, Start, true),
            (None, End, false),
            (Some(Pending), Start, true),
            (Some(Start), Start, false),
            (Some(Start), End, true),
            (Some(End), Start, false),
            (Some(End), Commit, true),
            (Some(Keep), Commit, true),
            (Some(Commit), Abort, false),
            (Some(Lost), Start, false),
        ] {
            assert_eq!(next.may_follow(last), legal, "{last:?} -> {next}");
        }
    }
}
