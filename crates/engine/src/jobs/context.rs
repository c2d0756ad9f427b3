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
    /// Held while waiting events are written, so that they are written in their order.
    writing: Mutex<()>,
    done: AtomicU64,
    /// Told what the work tells.
    watcher: &'a dyn Progress,
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
    fn start(&self, what: &str, total: Option<u64>, unit: ProgressUnit) {
        self.0.waiting.lock().push(JobEvent::info(what));
        self.0.watcher.start(what, total, unit);
    }

    fn set(&self, done: u64) {
        self.0.watcher.set(done);
    }

    fn note(&self, message: &str) {
        self.0.waiting.lock().push(JobEvent::info(message));
        self.0.watcher.note(message);
    }

    fn finish(&self) {
        self.0.watcher.finish();
    }
}

impl<'a> Line<'a> {
    pub(super) fn new(database: &'a ControlDatabase, key: i64, done: u64, watcher: &'a dyn Progress) -> Self {
        Self {
            database,
            key,
            stop: StopSignal::default(),
            waiting: Mutex::default(),
            writing: Mutex::default(),
            done: AtomicU64::new(done),
            watcher,
        }
    }

    pub(super) fn stop(&self) -> &StopSignal {
        &self.stop
    }

    /// Writes what was logged since the last time. What could not be written waits for the next.
    pub(super) fn flush(&self) -> Result<(), EngineError> {
        let _writing = self.writing.lock();
        let events = std::mem::take(&mut *self.waiting.lock());
        if events.is_empty() {
            return Ok(());
        }
        let done = self.done.load(Ordering::Relaxed) as i64;
        let written = self.database.write(|tx| {
            events.iter().try_for_each(|event| events::append(tx, self.key, event))?;
            tx.execute("UPDATE jobs SET done = ?2 WHERE key = ?1", [self.key, done])?;
            Ok(())
        });
        if written.is_err() {
            self.waiting.lock().splice(0..0, events);
        }
        written
    }
}
