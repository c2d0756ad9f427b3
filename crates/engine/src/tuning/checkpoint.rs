//! Models written on the way of a job.

use anser_core::TrainingMetrics;
use rusqlite::{Row, ToSql, Transaction, params};
use serde::Serialize;

use crate::control::{Listing, list, new_id};
use crate::{Engine, EngineError, Page, PageRequest, jobs};

const COLUMNS: &str =
    "id, created_at, (SELECT jobs.id FROM jobs WHERE jobs.key = checkpoints.job), model, step, metrics";

/// A checkpoint of a fine-tuning job. Its model can be served while and after the job runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FineTuningCheckpoint {
    /// `ftckpt-…`.
    pub id: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Its job.
    pub job_id: String,
    /// The tuned model: `ft:…:ckpt-step-<step>`.
    pub model: String,
    /// Optimiser steps behind it.
    pub step_number: usize,
    /// Figures of that step.
    pub metrics: TrainingMetrics,
}

/// Writes the row of a checkpoint, unless it is there already from before a crash.
pub(super) fn insert(
    tx: &Transaction<'_>,
    job: i64,
    model: &str,
    created_at: i64,
    metrics: &TrainingMetrics,
) -> Result<(), EngineError> {
    tx.execute(
        "INSERT INTO checkpoints (id, job, created_at, model, step, metrics) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (model) DO NOTHING",
        params![new_id("ftckpt"), job, created_at, model, metrics.step as i64, EngineError::store_json(metrics)?],
    )?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<FineTuningCheckpoint, EngineError> {
    let id: String = row.get(0)?;
    Ok(FineTuningCheckpoint {
        created_at: row.get(1)?,
        job_id: row.get(2)?,
        model: row.get(3)?,
        step_number: row.get::<_, i64>(4)? as usize,
        metrics: jobs::parse_metrics(&row.get::<_, String>(5)?, "checkpoint", &id)?,
        id,
    })
}

impl Engine {
    /// Checkpoints of a job, newest first unless the page says otherwise.
    pub fn fine_tuning_checkpoints(
        &self,
        id: &str,
        page: &PageRequest,
    ) -> Result<Page<FineTuningCheckpoint>, EngineError> {
        self.fine_tuning_job(id)?;
        let values: [&dyn ToSql; 1] = [&id];
        let condition = "job = (SELECT jobs.key FROM jobs WHERE jobs.id = ?)";
        let listing = Listing { table: "checkpoints", columns: COLUMNS, condition, values: &values };
        self.control.read(|connection| list(connection, &listing, page, read))
    }
}
