//! What a job sees of the world while somebody is at it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anser_core::{Progress, ProgressUnit, StopSignal, TrainingMetrics};
use parking_lot::Mutex;
use serde::Serialize;

use super::{EventLevel, Job, JobEvent, events, record};
use crate::EngineError;
use crate::control::ControlDatabase;

/// Handed to a kind of job.
pub(crate) struct JobContext<'a> {
    pub(super) line: &'a Line<'a>,
    pub(super) job: &'a Job,
    pub(super) folder: PathBuf,
    pub(super) observer: RefCell<&'a mut dyn FnMut(&JobEvent)>,
}

/// What goes back and forth between a job at work and the database.
pub(super) struct Line<'a> {
    database: &'a ControlDatabase,
    key: i64,
    stop: StopSignal,
    waiting: Mutex<Vec<JobEvent>>,
    done: AtomicU64,
}

impl JobContext<'_> {
    /// The job as it was when it was taken up.
    pub(crate) fn job(&self) -> &Job {
        self.job
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
        &self.line.stop
    }

    /// Writes into the job's log, durably within a quarter of a second.
    pub(crate) fn log(&self, level: EventLevel, message: impl Into<String>, metrics: Option<TrainingMetrics>) {
        let event = JobEvent::now(level, message, metrics);
        (*self.observer.borrow_mut())(&event);
        self.line.waiting.lock().push(event);
    }

    /// Says how much of the work is done.
    pub(crate) fn set_done(&self, done: u64) {
        self.line.done.store(done, Ordering::Relaxed);
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

    /// For work that tells its progress, a download for one: what begins is logged.
    pub(crate) fn progress(&self) -> impl Progress {
        LoggedProgress(self.line)
    }
}

/// Logs what begins and what is remarked.
struct LoggedProgress<'a>(&'a Line<'a>);

impl Progress for LoggedProgress<'_> {
    fn start(&self, what: &str, _: Option<u64>, _: ProgressUnit) {
        self.note(what);
    }

    fn set(&self, _: u64) {}

    fn note(&self, message: &str) {
        self.0.waiting.lock().push(JobEvent::info(message));
    }

    fn finish(&self) {}
}

impl<'a> Line<'a> {
    pub(super) fn new(database: &'a ControlDatabase, key: i64, done: u64) -> Self {
        let (stop, waiting, done) = (StopSignal::default(), Mutex::default(), AtomicU64::new(done));
        Self { database, key, stop, waiting, done }
    }

    pub(super) fn stop(&self) -> &StopSignal {
        &self.stop
    }

    pub(super) fn flush(&self) -> Result<(), EngineError> {
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() {
            return Ok(());
        }
        let done = self.done.load(Ordering::Relaxed) as i64;
        self.database.write(|tx| {
            waiting.iter().try_for_each(|event| events::append(tx, self.key, event))?;
            tx.execute("UPDATE jobs SET done = ?2 WHERE key = ?1", [self.key, done])?;
            Ok(())
        })?;
        waiting.clear();
        Ok(())
    }
}
