//! Running trials: a branch each, so many at once, until they have ended or are not wanted.
//!
//! All patterns are made of [`Runner::run_all`]: fork the branches in the order given, run the
//! commands in that order as far as the pool allows, and ask after each whether to go on.
//!
//! **Invariants**: every branch is forked before any command runs, so all see the same state.
//! Events
//! begin in the order given. When `run_all` returns, no process of its trials runs any more; the
//! branches are there, for the pattern to land or to end.

mod events;
mod execute;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

use crate::client::{Branch, Workspace};
use crate::proto::{BranchName, LimitsChange, Text, TrialPhase};
use crate::trial::cancel::{Group, Interrupt, Prepared};
use crate::trial::cgroup::{self, Hierarchies, Used};
use crate::trial::outcome::Outcome;
use crate::trial::process::{Ended, Streams};
use crate::trial::settings::{Isolation, Settings};
use crate::trial::view::Place;
use crate::trial::waiting::Waiting;
use crate::trial::{Progress, TrialError, land, telemetry};
use events::Teller;

/// How much of each output an event keeps.
const EVENT_OUTPUT_BYTES: usize = 8 << 10;

/// What a trial runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A program and its arguments.
    Argv(Vec<OsString>),
    /// A shell command, with its `$1`, `$2`, ...
    Shell(OsString, Vec<OsString>),
}

impl Action {
    fn argv(&self) -> Vec<Text> {
        let text = |part: &OsString| Text::from(part.as_bytes());
        match self {
            Action::Argv(argv) => argv.iter().map(text).collect(),
            Action::Shell(command, arguments) => {
                let shell = ["sh", "-c"].map(Text::from);
                let rest = [text(command), Text::from("sh")];
                let arguments = arguments.iter().map(text);
                shell.into_iter().chain(rest).chain(arguments).collect()
            }
        }
    }
}

/// One trial that is to be made.
#[derive(Clone, Debug)]
pub struct Job {
    /// The branch that it is forked from.
    pub parent: Branch,
    /// Which of the pattern's commands it is.
    pub index: u32,
    /// Which attempt at it.
    pub attempt: u32,
    /// What it is told as BRANCHING_ATTEMPT.
    pub told: u32,
    /// The name that the user gave it.
    pub label: Option<String>,
    /// What it runs.
    pub action: Action,
    /// What it is told of those before it.
    pub feedback: Vec<u8>,
}

/// Whether the trials that still run are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Yes.
    GoOn,
    /// No.
    Stop,
}

/// What is done about a trial that has ended by itself, given the processes of those that run
/// beside it.
pub type Decide<'a> = dyn FnMut(&mut Outcome, &Group) -> Flow + 'a;

/// What is done to a branch before its command, given the label.
pub type Prepare<'a> = dyn Fn(Option<&str>, &Branch) -> Result<(), TrialError> + 'a;

/// What one command line's trials have in common.
pub struct Runner<'a> {
    /// The workspace.
    pub workspace: &'a Workspace,
    /// The branch that the winner lands in.
    pub parent: Branch,
    /// What the user decided.
    pub settings: &'a Settings,
    /// Who is told how it goes.
    pub progress: &'a dyn Progress,
    /// What Ctrl-C does, and the end of the time.
    pub interrupt: Interrupt,
    /// Where the streams of a trial lead.
    pub streams: Streams,
    /// Whether a trial gets a session and no input, away from the terminal.
    pub own_session: bool,
    run: String,
    place: Place,
    cgroup: Option<cgroup::Group>,
    not_isolated: AtomicBool,
    told: Mutex<Vec<telemetry::Told>>,
    teller: Mutex<Teller>,
    spare: Mutex<Option<Waiting>>,
    /// The supervisor that was done last: it is reaped when the next one is done.
    exiting: Mutex<Option<Waiting>>,
}

/// A trial with its branch.
struct Forked {
    job: Job,
    branch: Branch,
    number: u32,
}

impl<'a> Runner<'a> {
    /// Prepares to run trials below the branch that one stands in.
    pub fn new(
        workspace: &'a Workspace,
        settings: &'a Settings,
        progress: &'a dyn Progress,
        prepared: Prepared,
    ) -> Result<Runner<'a>, TrialError> {
        let parent = workspace.branch(&crate::client::Address::here())?;
        let run = random_name()?;
        let deadline = settings.timeout.map(|timeout| Instant::now() + timeout);
        let cgroup = if settings.limits.any() || settings.group_limits.any() {
            let name = format!("branchfs-{}-{run}", std::process::id());
            let hierarchies = Hierarchies::of_this_process();
            let (all, each) = (&settings.group_limits, &settings.limits);
            Some(cgroup::Group::create(&hierarchies, &name, all, each)?)
        } else {
            None
        };
        Ok(Runner {
            place: Place::of(workspace, &parent),
            workspace,
            parent,
            settings,
            progress,
            interrupt: Interrupt::new(prepared.signals, deadline),
            spare: Mutex::new(prepared.spare),
            exiting: Mutex::default(),
            streams: Streams::Captured,
            own_session: true,
            run,
            cgroup,
            not_isolated: AtomicBool::new(settings.isolation == Isolation::Off),
            told: Mutex::default(),
            teller: Mutex::default(),
        })
    }

    /// A job in a fork of the branch that the winner lands in.
    pub fn job(&self, index: u32, action: Action) -> Job {
        Job {
            parent: self.parent.clone(),
            index,
            attempt: 0,
            told: index,
            label: None,
            action,
            feedback: Vec::new(),
        }
    }

    /// Whether the time of the whole pattern was over.
    pub fn timed_out(&self) -> bool {
        self.interrupt.timed_out()
    }

    /// Whether nothing more is to be begun: the time is over, or the user wants no more.
    pub fn is_over(&self) -> bool {
        self.interrupt.look()
    }

    /// What the run's events and branches are called by.
    pub fn run_name(&self) -> &str {
        &self.run
    }

    /// What its telemetry is made of.
    pub(in crate::trial) fn told(&self) -> Vec<telemetry::Told> {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes branches, runs a trial in each and calls `decide` with each that has ended.
    ///
    /// Outcomes come in the order of the jobs. Where a branch cannot be made, none stays.
    pub fn run_all(
        &self,
        jobs: Vec<Job>,
        alone: bool,
        decide: &mut Decide<'_>,
    ) -> Result<Vec<Outcome>, TrialError> {
        let forked = self.fork_all(jobs, alone)?;
        Ok(self.run_forked(forked, decide))
    }

    /// As [`Runner::run_all`], after `prepare` was called with each label and branch.
    pub fn run_prepared(
        &self,
        jobs: Vec<Job>,
        prepare: &Prepare<'_>,
        decide: &mut Decide<'_>,
    ) -> Result<Vec<Outcome>, TrialError> {
        let forked = self.fork_all(jobs, false)?;
        for one in &forked {
            prepare(one.job.label.as_deref(), &one.branch)?;
        }
        Ok(self.run_forked(forked, decide))
    }

    fn fork_all(&self, jobs: Vec<Job>, alone: bool) -> Result<Vec<Forked>, TrialError> {
        let limit = self.settings.max_branches;
        if jobs.len() > limit {
            let wanted = jobs.len();
            return Err(TrialError::TooMany { wanted, limit });
        }
        let mut forked: Vec<Forked> = Vec::new();
        for job in jobs {
            match self.fork(job, alone) {
                Ok(one) => forked.push(one),
                Err(error) => {
                    for one in &forked {
                        land::end_tree(&one.branch);
                    }
                    return Err(error);
                }
            }
        }
        for one in &forked {
            self.tell_later(self.head_of(one, TrialPhase::Pending), one);
        }
        Ok(forked)
    }

    fn fork(&self, job: Job, alone: bool) -> Result<Forked, TrialError> {
        let branch = self.fork_below(&job.parent, &self.name_of(&job, alone))?;
        let number = branch.status()?.number;
        if self.settings.branch_limits != LimitsChange::default() {
            branch.set_limits(&self.settings.branch_limits)?;
        }
        Ok(Forked {
            job,
            branch,
            number,
        })
    }

    /// Forks a branch, unless it would be nested too deep.
    pub fn fork_below(&self, parent: &Branch, name: &[u8]) -> Result<Branch, TrialError> {
        let limit = self.settings.max_nesting;
        if parent.path.names().len() >= limit {
            let parent = parent.path.clone();
            return Err(TrialError::TooDeep { parent, limit });
        }
        let name = BranchName::new(name).map_err(crate::client::ClientError::from)?;
        Ok(parent.fork(name)?)
    }

    /// What branches of this run are called, or begin with.
    pub fn base_name(&self) -> Vec<u8> {
        let generated = || format!("{}-{}", self.settings.pattern, self.run).into_bytes();
        self.settings.name.clone().unwrap_or_else(generated)
    }

    fn name_of(&self, job: &Job, alone: bool) -> Vec<u8> {
        let mut name = self.base_name();
        if !alone {
            name.extend(format!("-{}", job.index).bytes());
            if job.attempt > 0 {
                name.extend(format!("-{}", job.attempt).bytes());
            }
        }
        name
    }

    fn run_forked(&self, forked: Vec<Forked>, decide: &mut Decide<'_>) -> Vec<Outcome> {
        let count = forked.len();
        let group = self.interrupt.group();
        let queue = Mutex::new(forked.into_iter().enumerate().collect::<VecDeque<_>>());
        let mut outcomes: Vec<Option<Outcome>> = (0..count).map(|_| None).collect();
        let mut take = |place: usize, mut outcome: Outcome| {
            if !outcome.ended.cancelled && decide(&mut outcome, &group) == Flow::Stop {
                group.stop();
            }
            outcomes[place] = Some(outcome);
        };
        let threads = self.settings.jobs.clamp(1, count.max(1));
        if threads == 1 {
            while let Some((place, outcome)) = self.run_next(&queue, &group) {
                take(place, outcome);
            }
        } else {
            std::thread::scope(|scope| {
                let (send, receive) = mpsc::channel();
                for _ in 0..threads {
                    let (send, queue, group) = (send.clone(), &queue, &group);
                    scope.spawn(move || {
                        while let Some(ended) = self.run_next(queue, group) {
                            if send.send(ended).is_err() {
                                break;
                            }
                        }
                    });
                }
                drop(send);
                for (place, outcome) in receive {
                    take(place, outcome);
                }
            });
        }
        outcomes.into_iter().flatten().collect()
    }

    fn run_next(
        &self,
        queue: &Mutex<VecDeque<(usize, Forked)>>,
        group: &Arc<Group>,
    ) -> Option<(usize, Outcome)> {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (place, forked) = queue.pop_front()?;
        if self.is_over() || group.is_stopped() {
            drop(queue);
            let ended = Ended {
                cancelled: true,
                ..Ended::default()
            };
            return Some((place, forked.outcome(false, ended, Used::default())));
        }
        // While the queue is held, so that starts are told in the order given.
        let start = self.head_of(&forked, TrialPhase::Start);
        self.tell(start, &forked);
        self.progress
            .started(&forked.branch, forked.job.label.as_deref());
        drop(queue);
        let (ended, used) = self.execute(&forked, group);
        let outcome = forked.outcome(true, ended, used);
        let mut end = self.head_of(&forked, TrialPhase::End);
        end.result = Some(Box::new(outcome.result(EVENT_OUTPUT_BYTES)));
        self.tell(end, &forked);
        self.progress.ended(&outcome);
        Some((place, outcome))
    }
}

impl Forked {
    fn outcome(&self, started: bool, ended: Ended, used: Used) -> Outcome {
        Outcome {
            index: self.job.index,
            attempt: self.job.attempt,
            label: self.job.label.clone(),
            branch: self.branch.clone(),
            parent: self.job.parent.clone(),
            number: self.number,
            started,
            ended,
            used,
            lost: false,
            fate: None,
            refused: None,
        }
    }
}

/// A name that no other run has.
fn random_name() -> Result<String, TrialError> {
    let mut bytes = [0; 3];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(std::io::Error::from)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
