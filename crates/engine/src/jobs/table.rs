//! The table of jobs: making them, looking at them, and asking something of them.

use std::sync::Arc;
use std::time::Duration;

use anser_core::storage::DataDir;
use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, ToSql, Transaction, params};
use serde_json::Value;

use super::memory::MemoryBudget;
use super::{Job, JobEvent, JobFilter, JobKind, JobState, JobWish, events, record};
use crate::control::{ControlDatabase, Listing, list, unix_now};
use crate::{EngineError, Page, PageRequest};

/// Name of the folder, in a job's, that holds everything it needs to go on.
const WORK_FOLDER: &str = "run";

/// A job to be made.
pub(crate) struct NewJob<'a> {
    pub(crate) id: &'a str,
    pub(crate) kind: &'static str,
    /// [`JobState::Validating`] or [`JobState::Queued`].
    pub(crate) state: JobState,
    pub(crate) request: Value,
    pub(crate) detail: Value,
    /// What a unit of its progress is.
    pub(crate) unit: &'static str,
    /// Files that must not be deleted before it has ended.
    pub(crate) files: Vec<String>,
}

/// All jobs of a data folder.
pub(crate) struct Jobs {
    pub(super) database: Arc<ControlDatabase>,
    pub(super) data: DataDir,
    pub(super) kinds: Vec<Box<dyn JobKind>>,
    /// What jobs of this process may take together.
    pub(super) memory: MemoryBudget,
    /// Counts what might interest a waiting worker of this process.
    news: Mutex<u64>,
    wake: Condvar,
}

impl Jobs {
    /// The jobs of `data`, of which this process runs those of `kinds`. Sweeps what ended jobs left on disk.
    pub(crate) fn open(
        database: Arc<ControlDatabase>,
        data: DataDir,
        kinds: Vec<Box<dyn JobKind>>,
        memory: MemoryBudget,
    ) -> Result<Self, EngineError> {
        let jobs = Self { database, data, kinds, memory, news: Mutex::new(0), wake: Condvar::new() };
        jobs.sweep()?;
        Ok(jobs)
    }

    /// Makes a job, as part of a transaction, and returns its row number; [`announce`](Self::announce) it after the commit.
    pub(crate) fn insert(tx: &Transaction<'_>, job: &NewJob<'_>) -> Result<i64, EngineError> {
        let (request, detail) = (EngineError::store_json(&job.request)?, EngineError::store_json(&job.detail)?);
        tx.execute(
            "INSERT INTO jobs (id, kind, state, request, detail, unit, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![job.id, job.kind, job.state.as_str(), request, detail, job.unit, unix_now()],
        )?;
        let key = tx.last_insert_rowid();
        for file in &job.files {
            tx.execute("INSERT OR IGNORE INTO job_files VALUES (?1, ?2)", params![key, file])?;
        }
        Ok(key)
    }

    /// Wakes workers of this process; those of others look by themselves.
    pub(crate) fn announce(&self) {
        *self.news.lock() += 1;
        self.wake.notify_all();
    }

    /// Waits until something is announced, at most so long.
    pub(super) fn wait(&self, timeout: Duration) {
        let mut news = self.news.lock();
        let seen = *news;
        self.wake.wait_while_for(&mut news, |news| *news == seen, timeout);
    }

    /// One job; `NotFound` when there is none of that id.
    pub(crate) fn get(&self, id: &str) -> Result<Job, EngineError> {
        self.database.read(|connection| record::get(connection, id))
    }

    /// Jobs that a filter lets through, newest first unless the page says otherwise.
    pub(crate) fn list(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Job>, EngineError> {
        let (kind, state) = (&filter.kind, filter.state.map(JobState::as_str));
        let values: [&dyn ToSql; 4] = [kind, kind, &state, &state];
        let condition = "(? IS NULL OR kind = ?) AND (? IS NULL OR state = ?)";
        self.database.read(|connection| Self::list_where(connection, condition, &values, page))
    }

    /// Jobs for which a condition, written in the code, holds.
    pub(crate) fn list_where(
        connection: &Connection,
        condition: &str,
        values: &[&dyn ToSql],
        page: &PageRequest,
    ) -> Result<Page<Job>, EngineError> {
        list(connection, &Listing { table: "jobs", columns: record::COLUMNS, condition, values }, page, record::read)
    }

    /// How many jobs of each kind are in each state.
    pub(crate) fn counts(&self) -> Result<Vec<(String, JobState, i64)>, EngineError> {
        self.database.read(|connection| {
            let sql = "SELECT kind, state, count(*) FROM jobs GROUP BY kind, state ORDER BY kind, state";
            let mut statement = connection.prepare_cached(sql)?;
            statement
                .query_and_then([], |row| {
                    Ok((row.get(0)?, record::read_state(&row.get::<_, String>(1)?)?, row.get(2)?))
                })?
                .collect()
        })
    }

    /// One page of a job's log.
    pub(crate) fn events(&self, id: &str, page: &PageRequest) -> Result<Page<JobEvent>, EngineError> {
        self.database.read(|connection| events::page(connection, id, page))
    }

    /// Gives a job up.
    pub(crate) fn cancel(&self, id: &str) -> Result<Job, EngineError> {
        self.ask(id, JobWish::Cancel)
    }

    /// Puts a job aside.
    pub(crate) fn pause(&self, id: &str) -> Result<Job, EngineError> {
        self.ask(id, JobWish::Pause)
    }

    fn ask(&self, id: &str, wish: JobWish) -> Result<Job, EngineError> {
        let (goal, name, said) = match wish {
            JobWish::Pause => (JobState::Paused, "pause", "The job was paused"),
            JobWish::Cancel => (JobState::Cancelled, "cancel", "The job was cancelled"),
        };
        let state = self.database.write(|tx| {
            let job = record::get(tx, id)?;
            if job.state.is_final() {
                let message = format!("the job {id} has already {}; it is too late to {name} it", ended(job.state));
                return Err(EngineError::WrongState { message });
            }
            let busy = job.state == JobState::Running || (job.state == JobState::Validating && wish == JobWish::Pause);
            if busy {
                let sql = "UPDATE jobs SET wish = ?2 WHERE id = ?1 AND (wish IS NULL OR ?2 = 'cancel')";
                tx.execute(sql, [id, name])?;
            } else if job.state != goal {
                record::step(tx, id, job.state, goal)?;
                events::append(tx, record::key(tx, id)?, &JobEvent::info(said))?;
            }
            Ok(job.state)
        })?;
        if state == JobState::Running {
            self.recover(id)?;
        }
        let job = self.get(id)?;
        if job.state.is_final() {
            self.clean(id);
        }
        Ok(job)
    }

    /// Queues a paused job again, or takes a pause back that has not happened yet.
    pub(crate) fn resume(&self, id: &str) -> Result<Job, EngineError> {
        self.database.write(|tx| {
            let job = record::get(tx, id)?;
            if job.state == JobState::Paused {
                record::step(tx, id, JobState::Paused, JobState::Queued)?;
                return events::append(tx, record::key(tx, id)?, &JobEvent::info("The job was resumed"));
            }
            if job.wish == Some(JobWish::Pause) {
                tx.execute("UPDATE jobs SET wish = NULL WHERE id = ?1", [id])?;
                return Ok(());
            }
            let message = format!("the job {id} is not paused but {}, so it cannot be resumed", job.state.as_str());
            Err(EngineError::WrongState { message })
        })?;
        self.announce();
        self.get(id)
    }

    /// The folder in which a job works.
    pub(super) fn work_folder(&self, id: &str) -> Result<std::path::PathBuf, EngineError> {
        Ok(self.data.job(id)?.join(WORK_FOLDER))
    }
}

fn ended(state: JobState) -> &'static str {
    match state {
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        _ => "been cancelled",
    }
}
