//! What goes back and forth between a job at work and the database.

use std::sync::atomic::{AtomicU64, Ordering};

use anser_core::{Progress, ProgressUnit, StopSignal};
use parking_lot::Mutex;
use rusqlite::{Transaction, params};

use super::resident::Resident;
use super::{JobEvent, events};
use crate::EngineError;
use crate::control::ControlDatabase;

/// One job at work. The work writes into it without waiting; the pulse carries everything to the database.
pub(super) struct Line<'a> {
    pub(super) database: &'a ControlDatabase,
    pub(super) key: i64,
    stop: StopSignal,
    waiting: Mutex<Vec<JobEvent>>,
    done: AtomicU64,
    stage: Mutex<Standing>,
    /// What was written last. Held while something is written, so that events are written in their order.
    written: Mutex<Written>,
    /// Told what the work tells.
    watcher: &'a dyn Progress,
    peak: Mutex<Peak>,
}

/// The stage that the work is in.
#[derive(Default)]
struct Standing {
    /// How many stages have begun.
    number: u64,
    stage: Option<Stage>,
}

/// A part of the work with figures of its own.
#[derive(Debug, Clone)]
struct Stage {
    name: String,
    total: Option<u64>,
    unit: ProgressUnit,
    /// Milliseconds since 1970.
    started_at: i64,
}

/// Figures as the database has them.
struct Written {
    done: u64,
    number: u64,
}

/// Memory of this process while the job is at work.
#[derive(Default)]
struct Peak {
    before: Option<Resident>,
    sampled: u64,
}

impl<'a> Line<'a> {
    /// `done` is what the job had done when it was taken up.
    pub(super) fn new(database: &'a ControlDatabase, key: i64, done: u64, watcher: &'a dyn Progress) -> Self {
        Self {
            database,
            key,
            stop: StopSignal::default(),
            waiting: Mutex::default(),
            done: AtomicU64::new(done),
            stage: Mutex::default(),
            written: Mutex::new(Written { done, number: 0 }),
            watcher,
            peak: Mutex::new(Peak { before: Resident::now(), sampled: 0 }),
        }
    }

    pub(super) fn stop(&self) -> &StopSignal {
        &self.stop
    }

    /// Appends to the log, at the next flush.
    pub(super) fn push(&self, event: JobEvent) {
        self.waiting.lock().push(event);
    }

    pub(super) fn set_done(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }

    /// Writes what was logged, and how far the work is, where that changed. What could not be written waits for the next
    /// time.
    pub(super) fn flush(&self) -> Result<(), EngineError> {
        let mut written = self.written.lock();
        let (number, stage, done) = {
            let standing = self.stage.lock();
            (standing.number, standing.stage.clone(), self.done.load(Ordering::Relaxed))
        };
        let events = std::mem::take(&mut *self.waiting.lock());
        let begun = stage.filter(|_| number != written.number);
        if events.is_empty() && begun.is_none() && done == written.done {
            return Ok(());
        }
        let outcome = self.database.write(|tx| {
            events.iter().try_for_each(|event| events::append(tx, self.key, event))?;
            tx.execute("UPDATE jobs SET done = ?2 WHERE key = ?1", [self.key, done as i64])?;
            begun.as_ref().map_or(Ok(()), |stage| self.write_stage(tx, stage))
        });
        match &outcome {
            Ok(()) => *written = Written { done, number },
            Err(_) => drop(self.waiting.lock().splice(0..0, events)),
        }
        outcome
    }

    fn write_stage(&self, tx: &Transaction<'_>, stage: &Stage) -> Result<(), EngineError> {
        let total = stage.total.map(|total| total as i64);
        tx.execute(
            "UPDATE jobs SET stage = ?2, stage_started_at = ?3, total = ?4, unit = ?5 WHERE key = ?1",
            params![self.key, stage.name, stage.started_at, total, unit_name(stage.unit)],
        )?;
        Ok(())
    }

    /// Notes how much memory the process has now.
    pub(super) fn sample(&self) {
        if let Some(now) = Resident::now() {
            let mut peak = self.peak.lock();
            peak.sampled = peak.sampled.max(now.bytes);
        }
    }

    /// The most memory that the process had resident while the job was at work.
    pub(super) fn peak(&self) -> Option<u64> {
        self.sample();
        let peak = self.peak.lock();
        let (before, after) = (peak.before?, Resident::now()?);
        // A mark above the one before was left by this job, and no sample can have missed it.
        Some(if after.high > before.high { after.high } else { peak.sampled })
    }
}

/// Tells the log, the table and whoever watches.
pub(super) struct StagedProgress<'a> {
    pub(super) line: &'a Line<'a>,
    /// Whether figures go into the job's own. Not while it is validated: its figures are those of the run.
    pub(super) counted: bool,
}

impl Progress for StagedProgress<'_> {
    fn start(&self, what: &str, total: Option<u64>, unit: ProgressUnit) {
        self.line.push(JobEvent::info(what));
        if self.counted {
            let mut standing = self.line.stage.lock();
            standing.number += 1;
            standing.stage = Some(Stage { name: what.to_owned(), total, unit, started_at: unix_millis() });
            self.line.done.store(0, Ordering::Relaxed);
        }
        self.line.watcher.start(what, total, unit);
    }

    fn set(&self, done: u64) {
        if self.counted {
            self.line.set_done(done);
        }
        self.line.watcher.set(done);
    }

    fn note(&self, message: &str) {
        self.line.push(JobEvent::info(message));
        self.line.watcher.note(message);
    }

    fn finish(&self) {
        self.line.watcher.finish();
    }
}

/// A unit as the table holds it.
fn unit_name(unit: ProgressUnit) -> &'static str {
    match unit {
        ProgressUnit::Bytes => "bytes",
        ProgressUnit::Items => "items",
    }
}

/// The unit of a name.
pub(super) fn unit_of(name: &str) -> ProgressUnit {
    if name == unit_name(ProgressUnit::Bytes) { ProgressUnit::Bytes } else { ProgressUnit::Items }
}

/// Milliseconds since 1970.
pub(super) fn unix_millis() -> i64 {
    i64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}
