//! Tuned models: their rows, their folders, and their end.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anser_core::storage::DataDir;
use anser_core::{TrainedKind, TrainingMetrics};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::Value;

use super::promotion::{Promotion, SETTING};
use crate::control::{ControlDatabase, delete_setting, setting};
use crate::{Engine, EngineError, jobs};

const COLUMNS: &str = "id, base, parent, job, created_at, kind, folder, bytes, checkpoint_of, step, metrics, provenance, \
    (SELECT over.folder FROM tuned_models AS over WHERE over.id = tuned_models.base)";

/// A model that a fine-tuning job made and that can be served.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TunedModel {
    /// `ft:<base>:<organization>:<suffix>:<8 characters>`, with `:ckpt-step-<step>` behind it for a checkpoint.
    pub id: String,
    /// The model that an adapter is read beside, or that a whole model was trained from: a name in the catalogue, or the id
    /// of a whole tuned model.
    pub base: String,
    /// Where the base lies when it is a tuned model itself.
    pub base_folder: Option<PathBuf>,
    /// The tuned model that training went on from.
    pub parent: Option<String>,
    /// The job that made it.
    pub job: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// What lies in its folder.
    pub kind: TrainedKind,
    /// Its folder.
    pub folder: PathBuf,
    /// Size of its folder.
    pub bytes: u64,
    /// The tuned model that a checkpoint led to, whether or not its job got there.
    pub checkpoint_of: Option<String>,
    /// Optimiser steps behind it.
    pub step: usize,
    /// Figures of that step.
    pub metrics: TrainingMetrics,
    /// How it came about: base, data, settings, seed, figures, version.
    pub provenance: Value,
}

/// A tuned model to be registered; its folder lies where tuned models lie.
pub(super) struct NewTunedModel<'a> {
    pub(super) id: &'a str,
    pub(super) base: &'a str,
    pub(super) parent: Option<&'a str>,
    pub(super) job: &'a str,
    pub(super) created_at: i64,
    pub(super) kind: TrainedKind,
    pub(super) folder: &'a str,
    pub(super) bytes: u64,
    pub(super) checkpoint_of: Option<&'a str>,
    pub(super) metrics: TrainingMetrics,
    pub(super) provenance: &'a Value,
}

/// Writes the row of a tuned model.
pub(super) fn insert(connection: &Connection, model: &NewTunedModel<'_>) -> Result<(), EngineError> {
    connection.execute(
        "INSERT INTO tuned_models
            (id, base, parent, job, created_at, kind, folder, bytes, checkpoint_of, step, metrics, provenance)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            model.id,
            model.base,
            model.parent,
            model.job,
            model.created_at,
            kind_name(model.kind),
            model.folder,
            model.bytes as i64,
            model.checkpoint_of,
            model.metrics.step as i64,
            EngineError::store_json(&model.metrics)?,
            EngineError::store_json(model.provenance)?
        ],
    )?;
    Ok(())
}

fn kind_name(kind: TrainedKind) -> &'static str {
    match kind {
        TrainedKind::Adapter => "adapter",
        TrainedKind::Full => "full",
    }
}

/// All tuned models of a data folder.
pub(crate) struct TunedModels {
    database: Arc<ControlDatabase>,
    data: DataDir,
}

impl TunedModels {
    /// Opens them and sweeps folders that no model and no unfinished job owns.
    pub(crate) fn open(database: Arc<ControlDatabase>, data: DataDir) -> Result<Self, EngineError> {
        let models = Self { database, data };
        models.sweep()?;
        Ok(models)
    }

    /// One tuned model; `NotFound` when there is none of that id.
    pub(crate) fn get(&self, id: &str) -> Result<TunedModel, EngineError> {
        self.database.read(|connection| self.find(connection, id))?.ok_or_else(|| unknown(id))
    }

    /// Whether there is a tuned model of that id.
    pub(super) fn exists(&self, id: &str) -> Result<bool, EngineError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM tuned_models WHERE id = ?1)";
        self.database.read(|connection| Ok(connection.query_row(sql, [id], |row| row.get(0))?))
    }

    /// Whether a model was tuned from one of that name, which is none itself.
    pub(crate) fn is_base(&self, name: &str) -> Result<bool, EngineError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM tuned_models WHERE base = ?1)
            AND NOT EXISTS (SELECT 1 FROM tuned_models WHERE id = ?1)";
        self.database.read(|connection| Ok(connection.query_row(sql, [name], |row| row.get(0))?))
    }

    /// The id of the promoted model.
    pub(crate) fn promoted(&self) -> Result<Option<String>, EngineError> {
        let promotion: Option<Promotion> = self.database.read(|connection| setting(connection, SETTING))?;
        Ok(promotion.map(|promotion| promotion.model))
    }

    /// One tuned model, as part of a transaction.
    pub(crate) fn find(&self, connection: &Connection, id: &str) -> Result<Option<TunedModel>, EngineError> {
        let sql = format!("SELECT {COLUMNS} FROM tuned_models WHERE id = ?1");
        connection.query_row(&sql, [id], |row| Ok(self.read(row))).optional()?.transpose()
    }

    /// All of them, newest first, checkpoints included.
    pub(crate) fn list(&self) -> Result<Vec<TunedModel>, EngineError> {
        self.database.read(|connection| {
            let mut statement =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM tuned_models ORDER BY key DESC"))?;
            statement.query_and_then([], |row| self.read(row))?.collect()
        })
    }

    fn read(&self, row: &Row<'_>) -> Result<TunedModel, EngineError> {
        let id: String = row.get(0)?;
        let folder = |name: String| Ok::<_, EngineError>(self.data.tuned_model(&name)?);
        let kind = match row.get::<_, String>(5)?.as_str() {
            "adapter" => TrainedKind::Adapter,
            _ => TrainedKind::Full,
        };
        Ok(TunedModel {
            base: row.get(1)?,
            base_folder: row.get::<_, Option<String>>(12)?.map(folder).transpose()?,
            parent: row.get(2)?,
            job: row.get(3)?,
            created_at: row.get(4)?,
            kind,
            folder: folder(row.get(6)?)?,
            bytes: row.get::<_, i64>(7)? as u64,
            checkpoint_of: row.get(8)?,
            step: row.get::<_, i64>(9)? as usize,
            metrics: jobs::parse_metrics(&row.get::<_, String>(10)?, "tuned model", &id)?,
            provenance: EngineError::parse_stored(&row.get::<_, String>(11)?, "tuned model", &id)?,
            id,
        })
    }

    /// Deletes a model with its checkpoints; the ids of all that went, none when there is no such model.
    fn delete(&self, id: &str) -> Result<Vec<String>, EngineError> {
        let gone = self.database.write(|tx| {
            let sql = "SELECT id, folder FROM tuned_models WHERE id = ?1 OR checkpoint_of = ?1";
            let mut statement = tx.prepare(sql)?;
            let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
            let gone: Vec<(String, String)> = statement.query_map([id], read)?.collect::<Result<_, _>>()?;
            for (model, _) in &gone {
                refuse_while_needed(tx, model)?;
                if setting::<Promotion>(tx, SETTING)?.is_some_and(|promotion| promotion.model == *model) {
                    delete_setting(tx, SETTING)?;
                }
                tx.execute("DELETE FROM tuned_models WHERE id = ?1", [model])?;
            }
            Ok(gone)
        })?;
        for (_, folder) in &gone {
            let path = self.data.tuned_model(folder)?;
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(EngineError::io("remove the folder", path, error));
                }
                _ => {}
            }
        }
        Ok(gone.into_iter().map(|(id, _)| id).collect())
    }

    fn sweep(&self) -> Result<(), EngineError> {
        let folder = self.data.root().join("tuned");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(EngineError::io("list the folder", folder, error)),
        };
        let names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        let owned = self.database.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT folder, 1 FROM tuned_models UNION ALL
                 SELECT id, 0 FROM jobs WHERE state IN ('validating', 'queued', 'running', 'paused')",
            )?;
            let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?));
            Ok(statement.query_map([], read)?.collect::<Result<HashSet<_>, _>>()?)
        })?;
        for name in names {
            let job = super::naming::job_of_folder(&name);
            if owned.contains(&(name.clone(), true)) || job.is_none_or(|job| owned.contains(&(job.to_owned(), false))) {
                continue;
            }
            if let Err(error) = fs::remove_dir_all(folder.join(&name)) {
                tracing::warn!(%error, name, "a folder that no tuned model owns could not be removed");
            }
        }
        Ok(())
    }
}

/// The promotion needs these two of a model.
pub(super) fn id_and_base(connection: &Connection, id: &str) -> Result<(String, String), EngineError> {
    let sql = "SELECT id, base FROM tuned_models WHERE id = ?1";
    let found = connection.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    found.ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> EngineError {
    EngineError::not_found(format!("there is no model with the name \"{id}\""))
}

fn refuse_while_needed(connection: &Connection, id: &str) -> Result<(), EngineError> {
    let sql = "SELECT id FROM jobs WHERE state IN ('validating', 'queued', 'running', 'paused')
        AND json_extract(detail, '$.parent') = ?1";
    let job: Option<String> = connection.query_row(sql, [id], |row| row.get(0)).optional()?;
    if let Some(job) = job {
        let message = format!("the model {id} cannot be deleted while the job {job} trains from it; cancel that first");
        return Err(EngineError::WrongState { message });
    }
    let sql = "SELECT id FROM tuned_models WHERE base = ?1";
    let above: Option<String> = connection.query_row(sql, [id], |row| row.get(0)).optional()?;
    if let Some(above) = above {
        let message = format!("the model {id} cannot be deleted while {above} is built on it; delete that first");
        return Err(EngineError::WrongState { message });
    }
    Ok(())
}

impl Engine {
    /// Every tuned model, newest first, checkpoints included.
    pub fn tuned_models(&self) -> Result<Vec<TunedModel>, EngineError> {
        self.tuned.list()
    }

    /// One tuned model; `NotFound` when there is none of that id.
    pub fn tuned_model(&self, id: &str) -> Result<TunedModel, EngineError> {
        self.tuned.get(id)
    }

    /// Deletes a tuned model, from memory too, with its checkpoints; `false` when there is none of that id. One that was
    /// the default stops being it. `WrongState` while a job trains from it or another model is built on it.
    pub fn delete_tuned_model(&self, id: &str) -> Result<bool, EngineError> {
        let gone = self.tuned.delete(id)?;
        for id in &gone {
            self.models().forget(id);
        }
        Ok(!gone.is_empty())
    }
}
