//! What a bench found, as it is written to JSON.

use std::collections::BTreeMap;

use anser_models::ModelFiles;
use serde::Serialize;

use crate::limits::{Limits, Share};
use crate::machine::Machine;
use crate::plot::Plot;
use crate::stats::Spread;
use crate::workload::{Scale, Workload};

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) scale: Scale,
    pub(crate) workloads: Vec<Measured>,
}

/// A workload and what came out.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) workload: Workload,
    /// Measured just before, with one thread and with the workload's.
    pub(crate) limits: Vec<Limits>,
    /// Models of both sides.
    pub(crate) models: Vec<ModelRecord>,
    pub(crate) peers: Vec<PeerRecord>,
    pub(crate) rows: Vec<Row>,
    /// What a reader must know to read the rows rightly.
    pub(crate) notes: Vec<String>,
    /// Curves, which `--plots` draws.
    pub(crate) plots: Vec<Plot>,
}

/// The files of a model.
#[derive(Debug, Serialize)]
pub(crate) struct ModelRecord {
    pub(crate) name: String,
    /// SHA-256 of each file.
    pub(crate) files: BTreeMap<String, String>,
}

impl ModelRecord {
    pub(crate) fn of(files: &ModelFiles) -> Self {
        let hashes = files.spec.files.iter().map(|f| (f.name.clone(), f.sha256.clone())).collect();
        Self { name: files.spec.name.clone(), files: hashes }
    }
}

/// A peer that ran, or why it did not.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PeerRecord {
    pub(crate) label: String,
    #[serde(flatten)]
    pub(crate) state: PeerState,
}

/// Whether a peer ran.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PeerState {
    /// It ran, made of these.
    Versions(BTreeMap<String, String>),
    /// It did not; why.
    Absent(String),
}

/// One figure of one contender.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) unit: &'static str,
    pub(crate) contender: String,
    #[serde(flatten)]
    pub(crate) spread: Spread,
    /// Whether smaller values are the better ones, as of times and sizes.
    pub(crate) less_is_better: bool,
    pub(crate) ratio: Option<Ratio>,
    pub(crate) quality: Option<Quality>,
    pub(crate) share_of_limit: Option<Share>,
}

/// How many times one contender's value is another's, round by round.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) of: String,
    pub(crate) to: String,
    #[serde(flatten)]
    pub(crate) spread: Spread,
}

/// How good an outcome was, in [0, 1].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Quality {
    pub(crate) measure: &'static str,
    pub(crate) value: f64,
    /// Of the worst part, where `value` is a mean of parts.
    pub(crate) worst: Option<f64>,
}

impl Quality {
    pub(crate) fn new(measure: &'static str, value: f64) -> Self {
        Self { measure, value, worst: None }
    }
}
