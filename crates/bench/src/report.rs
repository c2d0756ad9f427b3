//! What a bench found, as it is written to JSON.

use std::collections::BTreeMap;

use anser_models::ModelFiles;
use serde::Serialize;

use crate::limits::{Limits, Share};
use crate::machine::Machine;
use crate::plot::Plot;
use crate::stats::Spread;
use crate::workload::Workload;

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// Whether sizes were the smaller ones.
    pub(crate) quick: bool,
    pub(crate) workloads: Vec<Measured>,
}

/// A workload and what came out.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) workload: Workload,
    /// Measured just before, with the workload's threads.
    pub(crate) limits: Limits,
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
    name: String,
    /// SHA-256 of each file.
    files: BTreeMap<String, String>,
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
    /// How many times as fast Anser was, round by round; in the rows of peers.
    pub(crate) anser_ratio: Option<Spread>,
    pub(crate) quality: Option<Quality>,
    pub(crate) share_of_limit: Option<Share>,
}

/// How good an outcome was, in [0, 1].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Quality {
    pub(crate) measure: &'static str,
    pub(crate) value: f64,
}
