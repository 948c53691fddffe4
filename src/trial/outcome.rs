//! What came of one trial, and of a whole pattern.

use serde::Serialize;

use super::TrialError;
use super::cgroup::Used;
use super::process::Ended;
use crate::client::Branch;
use crate::proto::{BranchPath, ErrnoText, Score, TrialResult};

/// What became of a trial's branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It landed.
    Committed,
    /// It was aborted.
    Aborted,
    /// It is still there.
    Kept,
    /// Another branch was first.
    Lost,
}

/// What came of one trial.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which of the pattern's commands it was.
    pub index: u32,
    /// Which attempt at it.
    pub attempt: u32,
    /// The name that the user gave it.
    pub label: Option<String>,
    /// Its branch.
    pub branch: Branch,
    /// The branch that it was forked from.
    pub parent: Branch,
    /// Its branch's number.
    pub number: u32,
    /// Whether its command was begun.
    pub started: bool,
    /// How its command ended.
    pub ended: Ended,
    /// What it used.
    pub used: Used,
    /// Whether somebody else's commit has ended its branch.
    pub lost: bool,
    /// What became of its branch, once that is decided.
    pub fate: Option<Fate>,
    /// Why its work cannot land although its command succeeded.
    pub refused: Option<String>,
}

impl Outcome {
    /// Whether its command succeeded, and nothing speaks against its work.
    pub fn success(&self) -> bool {
        self.ended.succeeded() && self.refused.is_none()
    }

    /// What it wrote to descriptor 3; else 1 for a success and 0 for a failure.
    pub fn score(&self) -> f64 {
        let default = if self.ended.succeeded() { 1.0 } else { 0.0 };
        self.ended.score().map_or(default, Score::value)
    }

    /// Why it did not succeed.
    pub fn error(&self) -> Option<String> {
        if self.refused.is_some() {
            return self.refused.clone();
        }
        if self.success() {
            return None;
        }
        let ended = &self.ended;
        Some(if let Some((step, errno)) = ended.not_started {
            format!("cannot {}: {}", step.describe(), ErrnoText(errno))
        } else if ended.timed_out {
            "its time was over".to_owned()
        } else if ended.cancelled && !self.started {
            "cancelled before it began".to_owned()
        } else if ended.cancelled {
            "cancelled".to_owned()
        } else if self.used.oom_kills > 0 {
            "out of memory".to_owned()
        } else if let Some(signal) = ended.signal {
            format!("ended by signal {signal}")
        } else {
            format!("exit code {}", ended.exit_code())
        })
    }

    /// Its exit code, as a shell gives it.
    pub fn ended_with(&self) -> i32 {
        self.ended.exit_code()
    }

    /// The error of a command that could not be begun.
    pub fn not_started(&self) -> Option<TrialError> {
        let (step, errno) = self.ended.not_started?;
        Some(TrialError::NotStarted { step, errno })
    }

    /// What kind of failure it was, in one word.
    pub fn category(&self) -> &'static str {
        let ended = &self.ended;
        match () {
            () if self.refused.is_some() => "refused",
            () if ended.not_started.is_some() => "not_started",
            () if ended.timed_out => "timeout",
            () if ended.cancelled => "cancelled",
            () if self.used.oom_kills > 0 => "out_of_memory",
            () if ended.signal.is_some() => "signal",
            () => "exit",
        }
    }

    /// What the failed command had to say, for those who try next.
    pub fn feedback(&self) -> Vec<u8> {
        let mut text = self.ended.stdout.clone();
        text.extend_from_slice(&self.ended.stderr);
        if let Some(error) = self.error() {
            text.extend_from_slice(error.as_bytes());
            text.push(b'\n');
        }
        text
    }

    /// The results as events have them, with up to `output_bytes` of each output.
    pub fn result(&self, output_bytes: usize) -> TrialResult {
        let ended = &self.ended;
        TrialResult {
            exit_code: ended.exit_code(),
            signal: ended.signal,
            score: Score::new(self.score()),
            duration_ms: u64::try_from(ended.duration.as_millis()).unwrap_or(u64::MAX),
            peak_memory_bytes: self.used.peak_bytes.unwrap_or(ended.peak_bytes),
            timed_out: ended.timed_out,
            oom_killed: self.used.oom_kills > 0,
            cpu_throttled: self.used.throttled,
            stdout: tail(&ended.stdout, output_bytes),
            stderr: tail(&ended.stderr, output_bytes),
        }
    }

    /// The entry of `results` in JSON.
    pub fn report(&self) -> TrialReport {
        TrialReport {
            index: self.index,
            attempt: self.attempt,
            label: self.label.clone(),
            branch: self.branch.path.clone(),
            success: self.success(),
            cancelled: self.ended.cancelled,
            error: self.error(),
            action: self.fate,
            result: self.result(super::process::KEPT_BYTES),
        }
    }
}

/// The last `len` bytes as text.
fn tail(bytes: &[u8], len: usize) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(len)..]).into_owned()
}

/// One trial in JSON.
#[derive(Clone, Debug, Serialize)]
pub struct TrialReport {
    /// Which of the pattern's commands it was.
    pub index: u32,
    /// Which attempt at it.
    pub attempt: u32,
    /// The name that the user gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its branch.
    pub branch: BranchPath,
    /// Whether its command succeeded and its work could land.
    pub success: bool,
    /// Whether it was ended because it was not wanted any more.
    pub cancelled: bool,
    /// Why it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What became of its branch.
    pub action: Option<Fate>,
    /// Exit code, score, duration, memory, outputs.
    #[serde(flatten)]
    pub result: TrialResult,
}

/// How a pattern ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// A winner, which has landed or, if so asked, stays as a branch.
    Won,
    /// No trial succeeded.
    #[default]
    NobodyWon,
    /// Somebody else's commit was first, or the parent had changed the same paths.
    LostRace,
}

/// What came of a pattern.
#[derive(Debug, Default)]
pub struct Summary {
    /// How it ended.
    pub verdict: Verdict,
    /// Whether the winner has landed.
    pub committed: bool,
    /// The winner, as its place in `outcomes`.
    pub winner: Option<usize>,
    /// Every trial.
    pub outcomes: Vec<Outcome>,
    /// Whether the time of the whole pattern was over.
    pub timed_out: bool,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Files that commands wanted to keep that had to be given up, and the like.
    pub notes: Vec<String>,
}

impl Summary {
    /// The winner.
    pub fn winner(&self) -> Option<&Outcome> {
        self.outcomes.get(self.winner?)
    }

    /// Every trial in JSON.
    pub fn reports(&self) -> Vec<TrialReport> {
        self.outcomes.iter().map(Outcome::report).collect()
    }
}
