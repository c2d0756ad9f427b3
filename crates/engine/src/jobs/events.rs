//! The log of a job.

use anser_core::TrainingMetrics;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use serde_json::Value;

use super::{EventLevel, JobEvent, record};
use crate::control::{Listing, list, new_id, unix_now};
use crate::{EngineError, Page, PageRequest};

const COLUMNS: &str = "id, created_at, level, message, metrics";

impl JobEvent {
    /// Something that happens now.
    pub(crate) fn now(level: EventLevel, message: impl Into<String>, metrics: Option<TrainingMetrics>) -> Self {
        Self { id: new_id("ftevent"), created_at: unix_now(), level, message: message.into(), metrics }
    }

    /// A remark that needs nobody's attention.
    pub(crate) fn info(message: impl Into<String>) -> Self {
        Self::now(EventLevel::Info, message, None)
    }
}

impl EventLevel {
    /// As it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Appends to the log. A step that was done before, and is done again after a crash, is one
/// event: its place and time are those of the first, its figures those of the last.
pub(crate) fn append(connection: &Connection, job: i64, event: &JobEvent) -> Result<(), EngineError> {
    let metrics = event.metrics.as_ref().map(EngineError::store_json).transpose()?;
    let step = event.metrics.map(|metrics| metrics.step as i64);
    connection.prepare_cached(
        "INSERT INTO job_events (id, job, created_at, level, message, step, metrics) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (job, step) WHERE step IS NOT NULL
         DO UPDATE SET level = ?4, message = ?5, metrics = ?7",
    )?
    .execute(params![event.id, job, event.created_at, event.level.as_str(), event.message, step, metrics])?;
    Ok(())
}

/// One page of a job's log.
pub(super) fn page(connection: &Connection, job: &str, page: &PageRequest) -> Result<Page<JobEvent>, EngineError> {
    let job = record::key(connection, job)?;
    let values: [&dyn ToSql; 1] = [&job];
    let listing = Listing { table: "job_events", columns: COLUMNS, condition: "job = ?", values: &values };
    list(connection, &listing, page, read)
}

/// Events of a job with a row number above `after`, oldest first, and the number of the last one.
pub(super) fn since(connection: &Connection, job: i64, after: i64) -> Result<(Vec<JobEvent>, i64), EngineError> {
    let sql = format!("SELECT {COLUMNS}, key FROM job_events WHERE job = ?1 AND key > ?2 ORDER BY key");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut last = after;
    let mut events = Vec::new();
    let mut rows = statement.query([job, after])?;
    while let Some(row) = rows.next()? {
        events.push(read(row)?);
        last = row.get(5)?;
    }
    Ok((events, last))
}

/// The row number of a job's newest event.
pub(super) fn newest(connection: &Connection, job: i64) -> Result<i64, EngineError> {
    let sql = "SELECT coalesce(max(key), 0) FROM job_events WHERE job = ?1";
    Ok(connection.query_row(sql, [job], |row| row.get(0))?)
}

/// The figures of every step, in order.
pub(crate) fn metrics(connection: &Connection, job: i64) -> Result<Vec<TrainingMetrics>, EngineError> {
    let sql = "SELECT metrics FROM job_events WHERE job = ?1 AND step IS NOT NULL ORDER BY step";
    let mut statement = connection.prepare_cached(sql)?;
    let texts = statement.query_map([job], |row| row.get::<_, String>(0))?;
    texts.map(|text| parse_metrics(&text?, "step of job", &job.to_string())).collect()
}

/// When the last step of a job was done, and its figures.
pub(crate) fn last_step(connection: &Connection, job: &str) -> Result<Option<(i64, TrainingMetrics)>, EngineError> {
    let sql = "SELECT created_at, metrics FROM job_events WHERE step IS NOT NULL
        AND job = (SELECT jobs.key FROM jobs WHERE jobs.id = ?1) ORDER BY step DESC LIMIT 1";
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
    let last = connection.prepare_cached(sql)?.query_row([job], read).optional()?;
    last.map(|(at, text)| Ok((at, parse_metrics(&text, "last step of job", job)?))).transpose()
}

/// Stored figures. JSON has no word for a loss that is not a number any more, so it is stored as null and read as one.
pub(crate) fn parse_metrics(text: &str, what: &str, id: &str) -> Result<TrainingMetrics, EngineError> {
    let mut stored: Value = EngineError::parse_stored(text, what, id)?;
    let optional = |key: &str| key.starts_with("valid_") || key.starts_with("full_valid_");
    let mut lost = Vec::new();
    for (key, value) in stored.as_object_mut().into_iter().flatten() {
        if value.is_null() && !optional(key) {
            *value = Value::from(0.0);
            lost.push(key.clone());
        }
    }
    let mut metrics: TrainingMetrics = EngineError::parse_stored(&stored.to_string(), what, id)?;
    for key in lost {
        match key.as_str() {
            "epoch" => metrics.epoch = f64::NAN,
            "train_loss" => metrics.train_loss = f64::NAN,
            "train_token_accuracy" => metrics.train_token_accuracy = f64::NAN,
            "train_sequence_accuracy" => metrics.train_sequence_accuracy = f64::NAN,
            "learning_rate" => metrics.learning_rate = f64::NAN,
            "gradient_norm" => metrics.gradient_norm = f64::NAN,
            "tokens_per_second" => metrics.tokens_per_second = f64::NAN,
            _ => metrics.seconds_left = f64::NAN,
        }
    }
    Ok(metrics)
}

fn read(row: &Row<'_>) -> Result<JobEvent, EngineError> {
    let id: String = row.get(0)?;
    let level = match row.get::<_, String>(2)?.as_str() {
        "info" => EventLevel::Info,
        "warn" => EventLevel::Warn,
        _ => EventLevel::Error,
    };
    let metrics: Option<String> = row.get(4)?;
    let metrics = metrics.map(|text| parse_metrics(&text, "event", &id)).transpose()?;
    Ok(JobEvent { created_at: row.get(1)?, level, message: row.get(3)?, metrics, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_are_no_numbers_are_read_again() {
        let lost = TrainingMetrics {
            step: 3,
            train_loss: f64::NAN,
            gradient_norm: f64::INFINITY,
            seconds_left: f64::NAN,
            valid_loss: Some(0.5),
            learning_rate: 0.1,
            ..TrainingMetrics::default()
        };
        let read = parse_metrics(&EngineError::store_json(&lost).unwrap(), "step", "1").unwrap();
        assert!(read.train_loss.is_nan() && read.gradient_norm.is_nan() && read.seconds_left.is_nan());
        assert_eq!((read.step, read.valid_loss, read.full_valid_loss), (3, Some(0.5), None));
        assert!((read.learning_rate - 0.1).abs() < 1e-12 && read.tokens_per_second == 0.0);
        assert!(parse_metrics("{\"step\": \"x\"}", "step", "1").is_err());
    }
}
