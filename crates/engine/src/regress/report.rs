//! What a training run tells.

use anser_index::analysis::AlphaScore;
use serde::{Deserialize, Serialize};

use crate::Estimate;
use crate::classify::EvaluationMethod;
use crate::predictors::SavedAs;

/// A regression and how good it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegressorReport {
    /// The collection or file.
    pub source: String,
    /// Who made the vectors.
    pub embedder: String,
    /// The attribute that held the number.
    pub attribute: String,
    /// All documents of the source.
    pub documents: usize,
    /// Those with a number.
    pub labelled: usize,
    /// Those without the attribute.
    pub missing: usize,
    /// Those whose attribute is no number.
    pub not_numeric: usize,
    /// The numbers.
    pub values: ValueFigures,
    /// The penalty that was used for learning from all of them.
    pub alpha: f64,
    /// What was tried, when there was a choice.
    pub tried: Vec<AlphaScore>,
    /// Whether predictions are kept between the lowest and the highest number.
    pub clip: bool,
    /// How good it is.
    pub evaluation: RegressorEvaluation,
    /// Where it was saved.
    pub saved: Option<SavedAs>,
}

/// The numbers that are learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ValueFigures {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

/// How well numbers were predicted for documents that the regression had not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegressorEvaluation {
    /// How it was measured.
    pub method: EvaluationMethod,
    /// Documents that were predicted.
    pub documents: usize,
    /// Mean squared error, with the 95 % interval of a bootstrap over documents.
    pub mean_squared_error: Estimate,
    /// Mean absolute error.
    pub mean_absolute_error: Estimate,
    /// 1 − mean squared error ÷ variance; 0 when all measured numbers are equal.
    pub r_squared: f64,
    /// What always saying the mean of the documents learnt from would have reached.
    pub baseline: MeanBaseline,
    /// By how many per cent the mean squared error is below the baseline's.
    pub improvement_percent: f64,
}

/// Always the mean.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct MeanBaseline {
    /// Its mean squared error.
    pub mean_squared_error: f64,
    /// Its mean absolute error.
    pub mean_absolute_error: f64,
}
