//! One run of the program: what all workloads share.

use std::path::{Path, PathBuf};

use anser_core::{Progress, ProgressUnit};
use anser_models::{ModelFiles, ModelStore, ModelStoreOptions};
use serde_json::Value;

use crate::error::BenchError;
use crate::limits::Limits;
use crate::peer::Peer;
use crate::plot::Plot;
use crate::report::{Measured, ModelRecord, PeerRecord, PeerState, Row};
use crate::workload::{Scale, Task, Workload};
use crate::{clustering, duplicates, embedding, generation, scale, search, training};

/// Where models lie unless `ANSER_MODELS_DIR` says otherwise.
const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/models");

/// Scale, models and the Python of the peers.
pub(crate) struct Run {
    pub(crate) scale: Scale,
    models: ModelStore,
    python: Option<PathBuf>,
}

/// What a workload's room hands back.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) models: Vec<ModelRecord>,
    pub(crate) peers: Vec<PeerRecord>,
    pub(crate) rows: Vec<Row>,
    pub(crate) notes: Vec<String>,
    pub(crate) plots: Vec<Plot>,
}

impl Findings {
    /// Records who takes part or why not; once, however often it is tried.
    pub(crate) fn record(&mut self, record: PeerRecord) {
        if self.peers.iter().all(|known| known.label != record.label) {
            self.peers.push(record);
        }
    }
}

impl Run {
    /// A run whose peers run under `python`, if there is one.
    pub(crate) fn new(scale: Scale, python: Option<&Path>) -> Result<Self, BenchError> {
        let python = match python {
            Some(path) => Some(std::path::absolute(path).map_err(BenchError::io("find", path))?),
            None => None,
        };
        let cache = std::env::var_os("ANSER_MODELS_DIR").map_or_else(|| PathBuf::from(MODELS), PathBuf::from);
        let options = ModelStoreOptions { cache, offline: false, local: None, python: python.clone() };
        Ok(Self { scale, models: ModelStore::new(options), python })
    }

    /// Measures the limits, then the workload.
    pub(crate) fn workload(&self, workload: Workload) -> Result<Measured, BenchError> {
        eprintln!("{}: preparing", workload.name);
        let threads = workload.thread_count();
        let one = Limits::measure(1);
        let limits = &if threads == 1 { one } else { Limits::measure(threads) };
        let found = match &workload.task {
            Task::Clustering(task) => clustering::run(self, &workload, task, limits)?,
            Task::Duplicates(task) => duplicates::run(self, &workload, task, limits)?,
            Task::Embedding(task) => embedding::run(self, &workload, task, &[one, *limits])?,
            Task::Latency(task) => embedding::run_latency(self, &workload, task, limits)?,
            Task::Server(task) => embedding::run_server(self, &workload, task, limits)?,
            Task::Ingest(task) => embedding::run_ingest(self, &workload, task, limits)?,
            Task::Scale(task) => scale::run(self, &workload, task, limits)?,
            Task::Search(task) => search::run_hnsw(self, &workload, task, limits)?,
            Task::Filtered(task) => search::run_filtered(self, &workload, task, limits)?,
            Task::Growth(task) => search::run_growth(self, &workload, task, limits)?,
            Task::Generation(task) => generation::run(self, &workload, task, limits)?,
            Task::Training(task) => training::run(self, &workload, task, limits)?,
        };
        let Findings { models, peers, rows, notes, plots } = found;
        let limits = if threads == 1 { vec![one] } else { vec![one, *limits] };
        Ok(Measured { workload, limits, models, peers, rows, notes, plots })
    }

    /// The Python of the peers, if there is one.
    pub(crate) fn python(&self) -> Option<&Path> {
        self.python.as_deref()
    }

    /// A model, downloaded when it is not there.
    pub(crate) fn model(&self, name: &str) -> Result<ModelFiles, BenchError> {
        Ok(self.models.ensure(name, &Lines)?)
    }

    /// The ONNX Runtime library, downloaded when it is not there.
    pub(crate) fn runtime(&self) -> Result<PathBuf, BenchError> {
        Ok(self.models.ensure_runtime(&Lines)?)
    }

    /// Starts a peer and records it under `label`. `None` when it cannot be had here; the record says why.
    pub(crate) fn peer(
        &self,
        label: &str,
        script: &'static str,
        threads: usize,
        load: &Value,
        findings: &mut Findings,
    ) -> Option<Peer> {
        let started = match &self.python {
            None => Err("no --python was given".to_owned()),
            Some(python) => Peer::start(python, script, threads, load).map_err(|e| e.to_string()),
        };
        let (state, peer) = match started {
            Ok(peer) => (PeerState::Versions(peer.versions.clone()), Some(peer)),
            Err(reason) => (PeerState::Absent(reason), None),
        };
        findings.record(PeerRecord { label: label.to_owned(), state });
        peer
    }
}

/// Downloads, a line for each.
struct Lines;

impl Progress for Lines {
    fn start(&self, what: &str, _: Option<u64>, _: ProgressUnit) {
        eprintln!("{what}");
    }
    fn set(&self, _: u64) {}
    fn note(&self, message: &str) {
        eprintln!("{message}");
    }
    fn finish(&self) {}
}
