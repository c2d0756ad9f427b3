//! What was learnt from labelled documents, kept under a name: saved by a training run, listed, deleted, and used on texts
//! and on whole collections.

mod apply;
mod classifier;
mod encoding;
mod predict;
mod regressor;
mod store;

use anser_core::CancelToken;
use anser_index::analysis::Vectors;
use serde::{Deserialize, Serialize};

use crate::EngineError;
pub use apply::TextPredictions;
pub(crate) use classifier::{Classifier, Method};
pub use predict::{LabelCount, PredictOptions, PredictReport, ValueSummary, WrittenBack};
pub(crate) use regressor::Regressor;
pub(crate) use store::{NewPredictor, PredictorStore, check_predictor_name};
pub use store::{PredictorKind, SavedAs, SavedPredictor};

/// Something learnt that says what a vector means.
#[derive(Debug)]
pub(crate) enum Predictor {
    /// One of several labels: by logistic regression, nearest neighbours, or the labels' own vectors.
    Classifier(Classifier),
    /// A number: by ridge regression.
    Regressor(Regressor),
}

/// What was predicted for one text.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Prediction {
    /// The label; `None` from a regression, and from a classifier that abstained.
    pub label: Option<String>,
    /// The number; `None` from a classifier.
    pub value: Option<f64>,
    /// The probability of the most probable label; `None` from a regression.
    pub probability: Option<f64>,
    /// The probability of each of the predictor's labels, in their order; empty from a regression.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<f64>,
}

impl Predictor {
    /// What every vector means. `InvalidInput` for another dimension, `Cancelled` soon after `cancel` is set.
    pub(crate) fn predict(&self, vectors: &Vectors, cancel: &CancelToken) -> Result<Vec<Prediction>, EngineError> {
        match self {
            Self::Classifier(classifier) => classifier.predict(vectors, cancel),
            Self::Regressor(regressor) => {
                let values = regressor.values(vectors, cancel)?;
                let prediction = |value| Prediction { value: Some(value), ..Prediction::default() };
                Ok(values.into_iter().map(prediction).collect())
            }
        }
    }

    /// Its labels, in the order of [`Prediction::scores`]; none of a regression.
    pub(crate) fn labels(&self) -> Vec<String> {
        match self {
            Self::Classifier(classifier) => classifier.labels.clone(),
            Self::Regressor(_) => Vec::new(),
        }
    }

    /// How it predicts.
    pub(crate) fn kind(&self) -> PredictorKind {
        match self {
            Self::Classifier(classifier) => classifier.method.kind(),
            Self::Regressor(_) => PredictorKind::Ridge,
        }
    }
}
