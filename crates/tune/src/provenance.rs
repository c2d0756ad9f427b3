//! Where a model comes from: a record beside every finished one.

use std::path::Path;

use anser_core::storage::write_atomic;
use anser_core::{Hyperparameters, Objective, TrainableParts, TrainedKind, TrainingMetrics};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::TuneError;

/// Name of the record's file in a model's folder.
pub const PROVENANCE: &str = "provenance.json";

/// The record: with the same data and software it is enough to train the same model again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The program.
    pub software: String,
    /// Its version.
    pub version: String,
    /// What lies beside the record.
    pub kind: TrainedKind,
    /// Name of the base model; `None` for one that was trained from scratch.
    pub base: Option<String>,
    /// SHA-256 of the base model's weights.
    pub base_sha256: Option<String>,
    /// SHA-256 over the data as the model reads it.
    pub data_fingerprint: String,
    /// Training examples.
    pub examples: usize,
    /// Validation examples.
    pub validation_examples: usize,
    /// What the loss rewarded.
    pub objective: Objective,
    /// Which weights learned.
    pub parts: TrainableParts,
    /// Whether training went on from an adapter.
    pub continued: bool,
    /// Settings, none of them open.
    pub hyperparameters: Hyperparameters,
    /// Where everything random came from.
    pub seed: u64,
    /// Weights that learned.
    pub trainable_parameters: u64,
    /// Figures of the step that the model was written after.
    pub metrics: TrainingMetrics,
    /// Tokens that the loss counted, over all steps.
    pub trained_tokens: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// When it was finished (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub finished_at: OffsetDateTime,
}

impl Provenance {
    /// The program's own name and version.
    pub(crate) fn software() -> (String, String) {
        ("Anser".to_owned(), env!("CARGO_PKG_VERSION").to_owned())
    }

    /// Writes the record into a model's folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), TuneError> {
        let json = serde_json::to_string_pretty(self).map_err(|error| TuneError::Internal(error.to_string()))?;
        Ok(write_atomic(&folder.join(PROVENANCE), format!("{json}\n").as_bytes())?)
    }

    /// Reads the record of a model's folder.
    pub fn read(folder: &Path) -> Result<Self, TuneError> {
        let path = folder.join(PROVENANCE);
        let text = std::fs::read_to_string(&path).map_err(|error| TuneError::io("read", &path, error))?;
        serde_json::from_str(&text).map_err(|error| TuneError::File {
            path,
            line: error.line() as u64,
            field: None,
            reason: format!("it is not a provenance record ({error})"),
        })
    }
}
