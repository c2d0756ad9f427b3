//! What a job sees of the world while somebody is at it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anser_core::{Progress, ProgressUnit, StopSignal, TrainingMetrics};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::line::{Line, StagedProgress};
use super::memory::{MemoryBudget, Reservation, in_words};
use super::{EventLevel, Job, JobEvent, JobState, record};
use crate::EngineError;

/// Handed to a kind of job.
pub(crate) struct JobContext<'a> {
    pub(super) line: &'a Line<'a>,
    pub(super) job: &'a Job,
    pub(super) folder: PathBuf,
    pub(super) observer: RefCell<&'a mut dyn FnMut(&JobEvent)>,
    pub(super) memory: &'a MemoryBudget,
}

impl<'a> JobContext<'a> {
    /// The job as it was when it was taken up.
    pub(crate) fn job(&self) -> &Job {
        self.job
    }

    /// What the job was given.
    pub(crate) fn request<T: DeserializeOwned>(&self) -> Result<T, EngineError> {
        let id = &self.job.id;
        serde_json::from_value(self.job.request.clone())
            .map_err(|e| EngineError::internal(format!("the request of the job {id} cannot be read: {e}")))
    }

    /// The job's row number.
    pub(crate) fn key(&self) -> i64 {
        self.line.key
    }

    /// A folder for everything the job needs to go on after a pause or crash. Removed when the job has ended.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Set when the job is to pause or to be given up.
    pub(crate) fn stop(&self) -> &StopSignal {
        self.line.stop()
    }

    /// Writes into the job's log, durably within a quarter of a second.
    pub(crate) fn log(&self, level: EventLevel, message: impl Into<String>, metrics: Option<TrainingMetrics>) {
        let event = JobEvent::now(level, message, metrics);
        (*self.observer.borrow_mut())(&event);
        self.line.push(event);
    }

    /// Says how much of the work is done.
    pub(crate) fn set_done(&self, done: u64) {
        self.line.set_done(done);
    }

    /// Writes what was logged so far.
    pub(crate) fn flush(&self) -> Result<(), EngineError> {
        self.line.flush()
    }

    /// Replaces what came of the job so far, and says how many units of work there are.
    pub(crate) fn save(&self, detail: &impl Serialize, total: Option<u64>) -> Result<(), EngineError> {
        self.line.database.write(|tx| {
            record::write_detail(tx, self.line.key, detail)?;
            tx.execute("UPDATE jobs SET total = ?2 WHERE key = ?1", (self.line.key, total.map(|total| total as i64)))?;
            Ok(())
        })
    }

    /// For work in stages: what begins is logged and becomes the stage of the job, whose figures are then those of the
    /// stage; all of it is durable within a quarter of a second and shown to whoever watches. While the job is validated,
    /// its figures stay as they are.
    pub(crate) fn progress(&self) -> impl Progress + use<'a> {
        StagedProgress { line: self.line, counted: self.job.state != JobState::Validating }
    }

    /// Says that what was done so far need not be done again after a crash, so that crashes before it count no more.
    pub(crate) fn checkpoint(&self) -> Result<(), EngineError> {
        self.line.database.write(|tx| {
            tx.execute("UPDATE jobs SET crashes = 0 WHERE key = ?1", [self.line.key])?;
            Ok(())
        })
    }

    /// Waits until jobs of this process leave `bytes` of memory for this one, which it has until the reservation is dropped.
    /// `TooLarge` when they never could, `Cancelled` when the job is to stop.
    pub(crate) fn reserve_memory(&self, bytes: u64) -> Result<Reservation<'a>, EngineError> {
        let progress = self.progress();
        let mut waited = false;
        let reserved = self.memory.reserve(bytes, &self.stop().token(), |held| {
            waited = true;
            let (needed, held, bound) = (in_words(bytes), in_words(held), in_words(self.memory.bound()));
            progress.start("waiting for memory", None, ProgressUnit::Items);
            progress.note(&format!("The job needs {needed} of memory; other jobs hold {held} of {bound}"));
        });
        if waited {
            progress.finish();
        }
        reserved
    }

    /// The most memory that this process had resident since the job was taken up, in bytes; `None` where the system does
    /// not tell. Exact when the job set a new mark, else the largest of several samples a second.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        self.line.peak()
    }
}
