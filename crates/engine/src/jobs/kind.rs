//! What a kind of job must be able to do.

use rusqlite::Transaction;

use super::{JobContext, JobFailure};
use crate::EngineError;

/// What is written, in one transaction with the job's last step, when it has succeeded. What it owns (files that are
/// locked until their rows are there, for one) is dropped after the commit.
pub(crate) type Completion = Box<dyn FnOnce(&Transaction<'_>) -> Result<AfterCommit, EngineError> + Send>;

/// What is done once the transaction is committed.
pub(crate) type AfterCommit = Box<dyn FnOnce() + Send>;

/// How a run ended, if not by an error.
pub(crate) enum JobEnd {
    /// The work is done.
    Done(Completion),
    /// It stopped because it was told to, with its state saved if it was to pause.
    Stopped,
}

/// Jobs of one lane wait for each other, and for none of another lane: an analysis of seconds does not wait for a training
/// of hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobLane {
    /// Uses all processors for minutes to hours; one at a time.
    Training,
    /// Everything else.
    Analysis,
}

/// One kind of job. Its methods may be called again for the same job in another process: after a pause, and after a crash
/// at any point.
pub(crate) trait JobKind: Send + Sync {
    /// Name in the table of jobs.
    fn name(&self) -> &'static str;

    /// Which jobs it waits for.
    fn lane(&self) -> JobLane {
        JobLane::Analysis
    }

    /// Checks what the job was given. Called for jobs that begin as `validating`; after `Ok` they are queued.
    fn validate(&self, _: &JobContext<'_>) -> Result<(), EngineError> {
        Ok(())
    }

    /// Does the work, or goes on with it, until it is done or the context says stop.
    fn run(&self, context: &JobContext<'_>) -> Result<JobEnd, EngineError>;

    /// How an error of this kind is reported.
    fn failure(&self, error: &EngineError) -> JobFailure {
        JobFailure::of(error)
    }
}
