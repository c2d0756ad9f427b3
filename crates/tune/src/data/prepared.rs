//! Prepared examples and the files that they become.

use std::path::{Path, PathBuf};

use anser_core::storage::{check_name, sha256_hex, write_atomic};

use super::dataset::Dataset;
use super::dialogue::{AppliedMend, Finding};
use super::example::TrainingExample;
use super::report::{PrepareReport, SplitReport};
use super::source::SourceFormat;
use super::tokens::{TokenCounter, TokenStatistics};
use crate::TuneError;

/// Where prepared examples come from and what was done to them.
pub(super) struct Provenance {
    pub(super) source: String,
    pub(super) source_format: SourceFormat,
    pub(super) rows_read: usize,
    pub(super) split: SplitReport,
    pub(super) findings: Vec<Finding>,
    pub(super) mends: Vec<AppliedMend>,
}

/// Examples that are ready to be trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparedDataset {
    /// Examples to train on.
    pub training: Vec<TrainingExample>,
    /// Examples to measure on; may be empty.
    pub validation: Vec<TrainingExample>,
    /// What was found and done. A caller that knows what training costs fills in its `estimate` before writing.
    pub report: PrepareReport,
}

/// The files that were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedFiles {
    /// `<name>.train.jsonl`.
    pub training: PathBuf,
    /// `<name>.valid.jsonl`; `None` when nothing was held out.
    pub validation: Option<PathBuf>,
    /// `report.json`.
    pub report: PathBuf,
}

impl PreparedDataset {
    pub(super) fn new(
        data: Dataset,
        provenance: Provenance,
        tokens: Option<&dyn TokenCounter>,
    ) -> Result<Self, TuneError> {
        let (validation, training): (Vec<_>, Vec<_>) = data.rows.into_iter().partition(|row| row.validation);
        let examples = |rows: Vec<super::dataset::Row>| rows.into_iter().map(|row| row.example).collect();
        let report = PrepareReport {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            source: provenance.source,
            source_format: provenance.source_format,
            format: String::new(),
            rows_read: provenance.rows_read,
            training_examples: 0,
            validation_examples: 0,
            split: provenance.split,
            findings: provenance.findings,
            mends: provenance.mends,
            tokens: None,
            estimate: None,
            fingerprint: String::new(),
        };
        let mut prepared = Self { training: examples(training), validation: examples(validation), report };
        prepared.measure(tokens)?;
        Ok(prepared)
    }

    /// Brings counts, token statistics and fingerprint of the report up to date with the examples.
    pub(super) fn measure(&mut self, tokens: Option<&dyn TokenCounter>) -> Result<(), TuneError> {
        let report = &mut self.report;
        report.training_examples = self.training.len();
        report.validation_examples = self.validation.len();
        report.format = self.training.first().map(|example| example.format().as_str().to_owned()).unwrap_or_default();
        report.tokens = match tokens {
            None => None,
            Some(counter) => {
                let count = |examples: &[TrainingExample]| {
                    examples.iter().map(|e| counter.count(e)).collect::<Result<Vec<_>, _>>()
                };
                TokenStatistics::of(&count(&self.training)?, &count(&self.validation)?)
            }
        };
        let all = format!("{}\n{}", lines(&self.training), lines(&self.validation));
        report.fingerprint = sha256_hex(all.as_bytes());
        Ok(())
    }

    /// Writes `<name>.train.jsonl`, `<name>.valid.jsonl` when something was held out, and `report.json` into `folder`, each
    /// replacing what was there.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `name` is no file name; `Io`.
    pub fn write(&self, folder: &Path, name: &str) -> Result<PreparedFiles, TuneError> {
        check_name("dataset", name)?;
        let files = PreparedFiles {
            training: folder.join(format!("{name}.train.jsonl")),
            validation: (!self.validation.is_empty()).then(|| folder.join(format!("{name}.valid.jsonl"))),
            report: folder.join("report.json"),
        };
        write_atomic(&files.training, lines(&self.training).as_bytes())?;
        if let Some(path) = &files.validation {
            write_atomic(path, lines(&self.validation).as_bytes())?;
        }
        let mut report = serde_json::to_string_pretty(&self.report).map_err(|e| TuneError::Internal(e.to_string()))?;
        report.push('\n');
        write_atomic(&files.report, report.as_bytes())?;
        Ok(files)
    }
}

/// Examples as JSON lines.
fn lines(examples: &[TrainingExample]) -> String {
    let mut text = String::new();
    for example in examples {
        text.push_str(&example.to_json_line());
        text.push('\n');
    }
    text
}
