//! Rows of the table of jobs.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::line::unix_millis;
use super::{Job, JobFailure, JobProgress, JobState, JobWish};
use crate::EngineError;
use crate::control::unix_now;

/// What [`read`] reads.
pub(super) const COLUMNS: &str = "id, kind, state, wish, request, detail, failure, done, total, unit, created_at, \
    started_at, finished_at, owner, stage, stage_started_at";

pub(super) fn read(row: &Row<'_>) -> Result<Job, EngineError> {
    let id: String = row.get(0)?;
    let json = |text: String| EngineError::parse_stored(&text, "job", &id);
    let failure: Option<String> = row.get(6)?;
    let wish = match row.get::<_, Option<String>>(3)?.as_deref() {
        Some("pause") => Some(JobWish::Pause),
        Some(_) => Some(JobWish::Cancel),
        None => None,
    };
    let state = read_state(&row.get::<_, String>(2)?)?;
    let mut progress = JobProgress {
        done: row.get::<_, i64>(7)? as u64,
        total: row.get::<_, Option<i64>>(8)?.map(|total| total as u64),
        unit: row.get(9)?,
        stage: row.get(14)?,
        stage_started_at: row.get(15)?,
        eta_seconds: None,
    };
    if state == JobState::Running {
        progress.estimate(unix_millis());
    }
    Ok(Job {
        kind: row.get(1)?,
        state,
        wish,
        request: json(row.get(4)?)?,
        detail: json(row.get(5)?)?,
        failure: failure.map(|text| EngineError::parse_stored::<JobFailure>(&text, "job", &id)).transpose()?,
        progress,
        created_at: row.get(10)?,
        started_at: row.get(11)?,
        finished_at: row.get(12)?,
        owner: row.get(13)?,
        id,
    })
}

impl JobProgress {
    /// Estimates how long the stage still takes, from how fast it went so far.
    pub(super) fn estimate(&mut self, now: i64) {
        let Some((total, started)) = self.total.zip(self.stage_started_at) else { return };
        let elapsed = (now - started).max(0) as f64 / 1000.0;
        let left = total.saturating_sub(self.done) as f64;
        if self.done > 0 {
            self.eta_seconds = Some((elapsed / self.done as f64 * left).ceil() as u64);
        }
    }
}

pub(super) fn read_state(text: &str) -> Result<JobState, EngineError> {
    let state = JobState::ALL.into_iter().find(|state| state.as_str() == text);
    state.ok_or_else(|| EngineError::internal(format!("a job is in the unknown state \"{text}\"")))
}

/// One job; `NotFound` when there is none of that id.
pub(super) fn get(connection: &Connection, id: &str) -> Result<Job, EngineError> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1");
    let job = connection.query_row(&sql, [id], |row| Ok(read(row))).optional()?;
    job.unwrap_or_else(|| Err(EngineError::not_found(format!("there is no job with the id \"{id}\""))))
}

/// Whether there is a job of that id.
pub(super) fn exists(connection: &Connection, id: &str) -> Result<bool, EngineError> {
    Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ?1)", [id], |row| row.get(0))?)
}

/// The row number of a job.
pub(crate) fn key(connection: &Connection, id: &str) -> Result<i64, EngineError> {
    let key = connection.query_row("SELECT key FROM jobs WHERE id = ?1", [id], |row| row.get(0)).optional()?;
    key.ok_or_else(|| EngineError::not_found(format!("there is no job with the id \"{id}\"")))
}

/// Takes a job from `from` to `to`; `false`, and nothing happens, when it is in another state. `from` must be a state
/// that may become `to`: an illegal step is a defect and an error.
pub(super) fn step(connection: &Connection, id: &str, from: JobState, to: JobState) -> Result<bool, EngineError> {
    if !from.may_become(to) {
        let (from, to) = (from.as_str(), to.as_str());
        return Err(EngineError::internal(format!("the job {id} cannot step from {from} to {to}")));
    }
    let now = unix_now();
    let (owner, started) = match to {
        JobState::Running => (Some(std::process::id()), Some(now)),
        _ => (None, None),
    };
    let finished = to.is_final().then_some(now);
    let changed = connection.execute(
        "UPDATE jobs SET state = ?3, owner = ?4, started_at = coalesce(started_at, ?5), finished_at = ?6,
            wish = CASE WHEN ?3 = 'running' THEN wish END,
            done = CASE WHEN ?3 = 'running' AND stage IS NOT NULL THEN 0 ELSE done END,
            total = CASE WHEN ?3 = 'running' AND stage IS NOT NULL THEN NULL ELSE total END,
            stage = CASE WHEN ?3 = 'running' THEN NULL ELSE stage END,
            stage_started_at = CASE WHEN ?3 = 'running' THEN NULL ELSE stage_started_at END
         WHERE id = ?1 AND state = ?2",
        params![id, from.as_str(), to.as_str(), owner, started, finished],
    )?;
    Ok(changed > 0)
}

/// Replaces what came of a job so far.
pub(crate) fn write_detail(connection: &Connection, key: i64, detail: &impl Serialize) -> Result<(), EngineError> {
    let detail = EngineError::store_json(detail)?;
    connection.execute("UPDATE jobs SET detail = ?2 WHERE key = ?1", params![key, detail])?;
    Ok(())
}

/// Says that all of so many units is done, and in no stage any more.
pub(crate) fn write_done(connection: &Connection, key: i64, done: u64, unit: &str) -> Result<(), EngineError> {
    connection.execute(
        "UPDATE jobs SET done = ?2, total = ?2, unit = ?3, stage = NULL, stage_started_at = NULL WHERE key = ?1",
        params![key, done as i64, unit],
    )?;
    Ok(())
}

/// Jobs in a state, oldest first.
pub(super) fn in_state(connection: &Connection, state: JobState) -> Result<Vec<(String, String)>, EngineError> {
    let mut statement = connection.prepare_cached("SELECT id, kind FROM jobs WHERE state = ?1 ORDER BY key")?;
    let pairs = statement.query_map([state.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(pairs.collect::<Result<_, _>>()?)
}
