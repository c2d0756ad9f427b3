//! Saved predictors: rows of the control database, each a version of a name.

use std::sync::Arc;

use anser_core::EmbedderInfo;
use anser_core::storage::check_name;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Predictor;
use crate::control::{ControlDatabase, unix_now};
use crate::{Engine, EngineError};

const COLUMNS: &str = "name, version, kind, collection, embedder, job, created_at, summary";

/// Largest saved predictor: what one row of the database holds.
const MAX_BYTES: usize = 900_000_000;

/// How a predictor predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictorKind {
    /// A classifier by logistic regression.
    Logistic,
    /// A classifier by the vote of the nearest labelled documents.
    Nearest,
    /// A classifier by the labels' own vectors.
    ZeroShot,
    /// A ridge regression to a number.
    Ridge,
}

impl PredictorKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logistic => "logistic",
            Self::Nearest => "nearest",
            Self::ZeroShot => "zero_shot",
            Self::Ridge => "ridge",
        }
    }

    /// Whether it gives labels; else it gives numbers.
    pub fn classifies(self) -> bool {
        self != Self::Ridge
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Logistic, Self::Nearest, Self::ZeroShot, Self::Ridge].into_iter().find(|kind| kind.name() == name)
    }
}

/// One version of a saved predictor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedPredictor {
    /// Its name.
    pub name: String,
    /// Counted from 1 for each name; the highest is used when none is asked for. A deleted number is given again only when
    /// it was the highest.
    pub version: u32,
    /// How it predicts.
    pub kind: PredictorKind,
    /// The collection or file whose documents it was learnt from.
    pub collection: Option<String>,
    /// Who made the vectors that it reads.
    pub embedder: EmbedderInfo,
    /// The job that made it.
    pub job: Option<String>,
    /// Seconds since 1970.
    pub created_at: i64,
    /// How good it was on documents that it had not seen: the main figures of its report, see
    /// [`ClassifierReport`](crate::classify::ClassifierReport) and [`RegressorReport`](crate::regress::RegressorReport).
    pub summary: Value,
}

/// Where a training run saved what it learnt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAs {
    /// The name asked for.
    pub name: String,
    /// The version that this is.
    pub version: u32,
}

/// A predictor to be saved.
pub(crate) struct NewPredictor<'a> {
    pub(crate) name: &'a str,
    pub(crate) source: &'a str,
    pub(crate) embedder: &'a EmbedderInfo,
    pub(crate) job: &'a str,
    pub(crate) summary: Value,
    pub(crate) predictor: &'a Predictor,
}

/// `InvalidInput` for a name that a predictor cannot have; `param` is the field that holds it.
pub(crate) fn check_predictor_name(param: &'static str, name: Option<&str>) -> Result<(), EngineError> {
    let Some(name) = name else { return Ok(()) };
    check_name("predictor", name).map_err(|error| EngineError::invalid(param, error.to_string()))
}

/// All saved predictors.
pub(crate) struct PredictorStore {
    database: Arc<ControlDatabase>,
}

impl PredictorStore {
    pub(crate) fn new(database: Arc<ControlDatabase>) -> Self {
        Self { database }
    }

    /// Saves a predictor as the next version of its name. What the same job saved before, a crash ago, is replaced and keeps
    /// its version.
    pub(crate) fn save(&self, new: &NewPredictor<'_>) -> Result<SavedAs, EngineError> {
        check_predictor_name("save_as", Some(new.name))?;
        let model = new.predictor.encode()?;
        if model.len() > MAX_BYTES {
            let message = "the labelled documents take more than 900 MB and cannot be saved; use the method logistic";
            return Err(EngineError::invalid("save_as", message));
        }
        let (embedder, summary) = (EngineError::store_json(new.embedder)?, EngineError::store_json(&new.summary)?);
        self.database.write(|tx| {
            let sql = "SELECT version FROM predictors WHERE name = ?1 AND job = ?2";
            let before: Option<u32> = tx.query_row(sql, [new.name, new.job], |row| row.get(0)).optional()?;
            let sql = "SELECT coalesce(max(version), 0) + 1 FROM predictors WHERE name = ?1";
            let version: u32 = match before {
                Some(version) => version,
                None => tx.query_row(sql, [new.name], |row| row.get(0))?,
            };
            tx.execute("DELETE FROM predictors WHERE name = ?1 AND version = ?2", params![new.name, version])?;
            tx.execute(
                "INSERT INTO predictors (name, version, kind, collection, embedder, job, created_at, summary, model)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    new.name,
                    version,
                    new.predictor.kind().name(),
                    new.source,
                    embedder,
                    new.job,
                    unix_now(),
                    summary,
                    model
                ],
            )?;
            Ok(SavedAs { name: new.name.to_owned(), version })
        })
    }

    fn list(&self) -> Result<Vec<SavedPredictor>, EngineError> {
        self.database.read(|connection| {
            let sql = format!("SELECT {COLUMNS} FROM predictors ORDER BY name, version DESC");
            let mut statement = connection.prepare_cached(&sql)?;
            statement.query_and_then([], read)?.collect()
        })
    }

    /// One version, the latest for `None`; `NotFound` when there is none.
    pub(super) fn get(&self, name: &str, version: Option<u32>) -> Result<SavedPredictor, EngineError> {
        self.database.read(|connection| find(connection, name, version))
    }

    /// One version with what was learnt.
    pub(super) fn load(&self, name: &str, version: Option<u32>) -> Result<(SavedPredictor, Predictor), EngineError> {
        let (saved, bytes) = self.database.read(|connection| {
            let saved = find(connection, name, version)?;
            let sql = "SELECT model FROM predictors WHERE name = ?1 AND version = ?2";
            let bytes: Vec<u8> = connection.query_row(sql, params![name, saved.version], |row| row.get(0))?;
            Ok((saved, bytes))
        })?;
        let predictor = Predictor::decode(&bytes, name)?;
        Ok((saved, predictor))
    }

    fn delete(&self, name: &str, version: Option<u32>) -> Result<bool, EngineError> {
        let sql = "DELETE FROM predictors WHERE name = ?1 AND (?2 IS NULL OR version = ?2)";
        self.database.write(|tx| Ok(tx.execute(sql, params![name, version])? > 0))
    }
}

fn find(connection: &Connection, name: &str, version: Option<u32>) -> Result<SavedPredictor, EngineError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM predictors WHERE name = ?1 AND (?2 IS NULL OR version = ?2) ORDER BY version DESC LIMIT 1"
    );
    let found = connection.query_row(&sql, params![name, version], |row| Ok(read(row))).optional()?.transpose()?;
    found.ok_or_else(|| {
        EngineError::not_found(match version {
            Some(version) => format!("there is no version {version} of a predictor called \"{name}\""),
            None => format!("there is no predictor called \"{name}\"; train one and save it under that name"),
        })
    })
}

fn read(row: &Row<'_>) -> Result<SavedPredictor, EngineError> {
    let (name, kind): (String, String) = (row.get(0)?, row.get(2)?);
    let (embedder, summary): (String, String) = (row.get(4)?, row.get(7)?);
    Ok(SavedPredictor {
        version: row.get(1)?,
        kind: PredictorKind::of(&kind)
            .ok_or_else(|| EngineError::internal(format!("the predictor \"{name}\" is of the unknown kind {kind}")))?,
        collection: row.get(3)?,
        embedder: EngineError::parse_stored(&embedder, "predictor", &name)?,
        job: row.get(5)?,
        created_at: row.get(6)?,
        summary: EngineError::parse_stored(&summary, "predictor", &name)?,
        name,
    })
}

impl Engine {
    /// All saved predictors, by name, the latest version of each first.
    pub fn predictors(&self) -> Result<Vec<SavedPredictor>, EngineError> {
        self.analyses.predictors.list()
    }

    /// One version of a predictor, the latest for `None`; `NotFound` when there is none.
    pub fn predictor(&self, name: &str, version: Option<u32>) -> Result<SavedPredictor, EngineError> {
        self.analyses.predictors.get(name, version)
    }

    /// Deletes one version of a predictor, or all for `None`; `false` when there was none.
    pub fn delete_predictor(&self, name: &str, version: Option<u32>) -> Result<bool, EngineError> {
        self.analyses.predictors.delete(name, version)
    }
}
