//! Work that takes longer than a request: every kind of job in one table, with one state machine.
//!
//! A worker holds a lock on a file in the job's folder for as long as it is at the job, so a job that the table calls
//! running and whose lock is free was left by a process that died. Whoever wants something of a job (pause, cancel) writes
//! the wish into the table, and the worker, in whatever process, reads it several times a second.

mod context;
mod delete;
mod events;
mod faults;
mod kind;
mod line;
mod lock;
mod memory;
mod record;
mod resident;
mod runner;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod work;

use std::sync::Arc;

use anser_core::{ErrorKind, Progress, StopSignal, TrainingMetrics};
use serde::{Deserialize, Serialize};

use crate::control::new_id;
use crate::{Engine, EngineError, Page, PageRequest};
pub(crate) use context::JobContext;
pub(crate) use events::{append as append_event, last_step, metrics as step_metrics, parse_metrics};
#[cfg(test)]
pub(crate) use faults::with_faults;
pub(crate) use faults::{Moment, pass};
pub(crate) use kind::{JobEnd, JobKind, JobLane};
pub(crate) use memory::{MemoryBudget, in_words};
pub(crate) use record::{write_detail, write_done};
pub use runner::{JobRunner, RunnerOptions};
pub use state::JobState;
pub(crate) use table::{Jobs, NewJob};

/// One job, of any kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// `ftjob-…` for fine-tuning, `job-…` for everything else.
    pub id: String,
    /// Which kind: `fine_tuning`, `cluster`, `outliers`, …
    pub kind: String,
    /// How far it is.
    pub state: JobState,
    /// What was asked of it and has not happened yet.
    pub wish: Option<JobWish>,
    /// What it was given; its kind knows the shape.
    pub request: serde_json::Value,
    /// What came of it so far; its kind knows the shape.
    pub detail: serde_json::Value,
    /// Why it failed.
    pub failure: Option<JobFailure>,
    /// How far the work is.
    pub progress: JobProgress,
    /// Seconds since 1970.
    pub created_at: i64,
    /// When a worker first took it up.
    pub started_at: Option<i64>,
    /// When it reached a final state.
    pub finished_at: Option<i64>,
    /// The process that is at it.
    pub owner: Option<u32>,
}

/// What somebody asked of a job that a worker is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobWish {
    /// Put it aside.
    Pause,
    /// Give it up.
    Cancel,
}

/// How far work is. Work in stages counts each stage by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct JobProgress {
    /// What is being done, for work in stages that has begun and not succeeded yet.
    pub stage: Option<String>,
    /// Units done, of the stage where there is one.
    pub done: u64,
    /// Units in all, once that is known.
    pub total: Option<u64>,
    /// What a unit is: `steps`, `documents`, `items`, `bytes`.
    pub unit: String,
    /// Seconds that the stage of a running job still takes if it goes on as fast as it went so far.
    pub eta_seconds: Option<u64>,
    /// Milliseconds since 1970 at which the stage began.
    #[serde(skip)]
    pub(crate) stage_started_at: Option<i64>,
}

/// Which jobs to list; those for which everything that is given holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// Of this kind.
    pub kind: Option<String>,
    /// In this state.
    pub state: Option<JobState>,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFailure {
    /// For programs: `invalid_training_file`, `invalid_request`, `crashed`, `internal_error`, …
    pub code: String,
    /// For people.
    pub message: String,
    /// The request's field at fault.
    pub param: Option<String>,
}

impl JobFailure {
    /// How an error is reported that means the same in most kinds of jobs.
    pub(crate) fn of(error: &EngineError) -> Self {
        let code = match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::Conflict => "invalid_request",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::NotFound | ErrorKind::Unavailable | ErrorKind::Overloaded => "unavailable",
            ErrorKind::Corrupt | ErrorKind::Io => "storage_error",
            ErrorKind::Internal | ErrorKind::Cancelled => "internal_error",
        };
        Self { code: code.to_owned(), message: error.to_string(), param: error.param().map(str::to_owned) }
    }
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventLevel {
    /// For the record.
    Info,
    /// Somebody should look at it.
    Warn,
    /// Something failed.
    Error,
}

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobEvent {
    /// `ftevent-…`.
    pub id: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// How much it matters.
    pub level: EventLevel,
    /// One sentence.
    pub message: String,
    /// Figures of a training step, where the event is one.
    pub metrics: Option<TrainingMetrics>,
}

impl Engine {
    /// Jobs of every kind, newest first unless the page says otherwise.
    pub fn jobs(&self, page: &PageRequest) -> Result<Page<Job>, EngineError> {
        self.jobs.list(&JobFilter::default(), page)
    }

    /// Those jobs that a filter lets through, newest first unless the page says otherwise.
    pub fn jobs_where(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Job>, EngineError> {
        self.jobs.list(filter, page)
    }

    /// Makes a job that waits for its turn; what it does is counted in `unit`, and it reads the uploads `files`.
    pub(crate) fn queue_job(
        &self,
        kind: &'static str,
        request: &impl Serialize,
        unit: &'static str,
        files: Vec<String>,
    ) -> Result<Job, EngineError> {
        let id = new_id("job");
        let new = NewJob {
            id: &id,
            kind,
            state: JobState::Queued,
            request: serde_json::to_value(request).map_err(|e| EngineError::internal(e.to_string()))?,
            detail: serde_json::Value::Null,
            unit,
            files,
        };
        self.control.write(|tx| Jobs::insert(tx, &new))?;
        self.jobs.announce();
        self.job(&id)
    }

    /// One job; `NotFound` when there is none of that id.
    pub fn job(&self, id: &str) -> Result<Job, EngineError> {
        self.jobs.get(id)
    }

    /// Whether a job is called running and nobody is at it any more: its process died, and no other has taken it up yet.
    pub fn job_was_interrupted(&self, job: &Job) -> Result<bool, EngineError> {
        Ok(job.state == JobState::Running && self.jobs.is_free(&job.id)?)
    }

    /// How many jobs of each kind are in each state; pairs without any are left out.
    pub fn job_counts(&self) -> Result<Vec<(String, JobState, i64)>, EngineError> {
        self.jobs.counts()
    }

    /// What happened to a job, newest first unless the page says otherwise.
    pub fn job_events(&self, id: &str, page: &PageRequest) -> Result<Page<JobEvent>, EngineError> {
        self.jobs.events(id, page)
    }

    /// Gives a job up. One that nobody is at is cancelled when this returns, a running one within a second.
    /// `WrongState` when it has ended.
    pub fn cancel_job(&self, id: &str) -> Result<Job, EngineError> {
        self.jobs.cancel(id)
    }

    /// Puts a job aside. One that nobody is at is paused when this returns, a running one within a second, with the last
    /// finished step saved. `WrongState` when it has ended.
    pub fn pause_job(&self, id: &str) -> Result<Job, EngineError> {
        self.jobs.pause(id)
    }

    /// Queues a paused job again; it goes on where it was. `WrongState` when it is not paused.
    pub fn resume_job(&self, id: &str) -> Result<Job, EngineError> {
        self.jobs.resume(id)
    }

    /// Deletes a job that has ended, with its log and results. `WrongState` when it has not ended, and for fine-tuning,
    /// whose figures the models that came of it refer to; `NotFound` when there is none of that id.
    pub fn delete_job(&self, id: &str) -> Result<(), EngineError> {
        self.jobs.delete(id)
    }

    /// Starts threads that run jobs until the runner is shut down or dropped.
    pub fn run_jobs(self: &Arc<Self>, options: &RunnerOptions) -> JobRunner {
        let files = Arc::clone(&self.files);
        JobRunner::start(&self.jobs, options, move || {
            if let Err(error) = files.expire() {
                tracing::warn!(%error, "expired files could not be deleted");
            }
        })
    }

    /// Runs the oldest job that waits, on this thread, and returns it as it is afterwards: a job being validated
    /// takes one call for that and one for its run. `None` when no job waits.
    pub fn run_next_job(&self) -> Result<Option<Job>, EngineError> {
        self.jobs.run_next(&StopSignal::default())
    }

    /// Runs one job on this thread until it ends or is put aside, tells `observer` each event from now on and `progress`
    /// how far each stage is. Where another process is at the job already, this follows it instead. `stop` pauses or
    /// cancels the job.
    pub fn run_job_here(
        &self,
        id: &str,
        stop: &StopSignal,
        observer: &mut dyn FnMut(&JobEvent),
        progress: &dyn Progress,
    ) -> Result<Job, EngineError> {
        self.jobs.run_here(id, stop, observer, progress)
    }
}
