//! Analyses of many documents at once, as durable jobs: what is asked, over which documents, and what comes back.
//!
//! The road of an analysis: a request names a source and a kind ([`AnalysisRequest`]); the job reads the source once into
//! files of its own ([`Subject`]: rows and mapped vectors), so that it sees one moment of the collection and goes on from
//! there after a crash; the kind's own folder does the work; what comes of it is kept as files ([`JobResult`]).

mod formats;
mod kind;
mod reading;
mod results;
mod rows;
mod source;
mod subject;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::classify::ClassifierOptions;
use crate::cluster::ClusterOptions;
use crate::diversity::DiversityOptions;
use crate::duplicates::DuplicateOptions;
use crate::evaluate::ClusterEvaluationOptions;
use crate::outliers::OutlierOptions;
use crate::predictors::PredictOptions;
use crate::projection::ProjectionOptions;
use crate::regress::RegressorOptions;
use crate::{Engine, EngineError, Job};
pub use formats::ResultFormat;
pub(crate) use formats::convert;
pub use kind::AnalysisFigures;
pub(crate) use kind::{AnalysisJobs, AnalysisParts, Work};
pub use results::JobResult;
pub(crate) use results::{REPORT, TableWriter};
pub use source::AnalysisSource;
pub(crate) use subject::Subject;

/// An analysis and what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnalysisRequest {
    /// The documents.
    pub source: AnalysisSource,
    /// What to do with them.
    pub analysis: Analysis,
}

/// A kind of analysis with its options, each of which may be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Analysis {
    /// Groups of documents that mean similar things.
    Cluster(ClusterOptions),
    /// Documents unlike all others.
    Outliers(OutlierOptions),
    /// Groups of documents that say nearly the same.
    Duplicates(DuplicateOptions),
    /// How varied the documents are.
    Diversity(DiversityOptions),
    /// A flat map of the documents.
    Projection(ProjectionOptions),
    /// Learn to put documents into classes.
    TrainClassifier(ClassifierOptions),
    /// Learn to predict a number.
    TrainRegressor(RegressorOptions),
    /// Apply a saved predictor.
    Predict(PredictOptions),
    /// Compare clusters with known labels, over several seeds.
    EvaluateClusters(ClusterEvaluationOptions),
}

/// Says the same of every kind's options.
macro_rules! options_of {
    ($analysis:expr, $options:ident => $said:expr) => {
        match $analysis {
            Self::Cluster($options) => $said,
            Self::Outliers($options) => $said,
            Self::Duplicates($options) => $said,
            Self::Diversity($options) => $said,
            Self::Projection($options) => $said,
            Self::TrainClassifier($options) => $said,
            Self::TrainRegressor($options) => $said,
            Self::Predict($options) => $said,
            Self::EvaluateClusters($options) => $said,
        }
    };
}

impl Analysis {
    /// The names of all kinds, as requests and jobs give them.
    pub fn kinds() -> &'static [&'static str] {
        &Self::KINDS
    }

    /// The names of all kinds, as the table of jobs holds them.
    pub(crate) const KINDS: [&'static str; 9] = [
        "cluster",
        "outliers",
        "duplicates",
        "diversity",
        "projection",
        "train_classifier",
        "train_regressor",
        "predict",
        "evaluate_clusters",
    ];

    /// The name of this kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cluster(_) => "cluster",
            Self::Outliers(_) => "outliers",
            Self::Duplicates(_) => "duplicates",
            Self::Diversity(_) => "diversity",
            Self::Projection(_) => "projection",
            Self::TrainClassifier(_) => "train_classifier",
            Self::TrainRegressor(_) => "train_regressor",
            Self::Predict(_) => "predict",
            Self::EvaluateClusters(_) => "evaluate_clusters",
        }
    }

    /// `InvalidInput` for an option out of range. What depends on the documents is found out by the run.
    fn check(&self) -> Result<(), EngineError> {
        options_of!(self, options => options.check())
    }

    /// Memory that the run takes beside the mapped vectors, in bytes: an upper estimate.
    pub(crate) fn memory_bytes(&self, rows: u64, dimension: usize) -> u64 {
        options_of!(self, options => options.memory_bytes(rows, dimension))
    }

    /// Does the work. Files, `report.json` among them, go into `work.results`.
    pub(crate) fn run(&self, work: &Work<'_>) -> Result<(), EngineError> {
        options_of!(self, options => options.run(work))
    }
}

impl Engine {
    /// Makes a job of an analysis. A running [`JobRunner`](crate::JobRunner) takes it up, or
    /// [`run_job_here`](Engine::run_job_here) does it at once.
    ///
    /// `InvalidInput` for an option out of range, `NotFound` for an unknown collection or file.
    pub fn create_analysis_job(&self, request: &AnalysisRequest) -> Result<Job, EngineError> {
        request.analysis.check()?;
        let files = request.source.check(self)?;
        self.queue_job(request.analysis.kind(), request, "documents", files)
    }
}
