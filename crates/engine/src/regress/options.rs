//! What is asked of a training run.

use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::classify::EvaluationMethod;
use crate::predictors::check_predictor_name;

/// Learns to predict a numeric attribute, and measures how well that works on documents that were not learnt from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegressorOptions {
    /// The attribute that holds the number; required. Documents without one are left out and counted.
    pub target: String,
    /// Values of the penalty α to choose from by cross-validation among the documents learnt from; one value is used as it
    /// is. Larger means stronger regularisation; each above 0.
    pub alpha: Vec<f64>,
    /// How the regression is measured.
    pub evaluation: EvaluationMethod,
    /// Keeps predictions between the lowest and the highest number learnt from.
    pub clip: bool,
    /// What splits are drawn from.
    pub seed: u64,
    /// Saves the regression, learnt from all documents with a number, as the next version of this name.
    pub save_as: Option<String>,
}

impl Default for RegressorOptions {
    fn default() -> Self {
        Self {
            target: String::new(),
            alpha: vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0],
            evaluation: EvaluationMethod::default(),
            clip: false,
            seed: 0,
            save_as: None,
        }
    }
}

impl RegressorOptions {
    /// `InvalidInput` for an option out of range.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if self.target.trim().is_empty() {
            return Err(EngineError::invalid("target", "name the attribute that holds the number"));
        }
        if self.alpha.is_empty() || !self.alpha.iter().all(|alpha| alpha.is_finite() && *alpha > 0.0) {
            return Err(EngineError::invalid("alpha", "alpha must be one or more numbers above 0"));
        }
        self.evaluation.check()?;
        check_predictor_name("save_as", self.save_as.as_deref())
    }

    /// Memory that the run takes beside the mapped vectors, in bytes.
    pub(crate) fn memory_bytes(&self, rows: u64, dimension: usize) -> u64 {
        let folds = match self.evaluation {
            EvaluationMethod::Folds(folds) => (folds as u64).max(10),
            EvaluationMethod::HeldOut(_) => 6,
        };
        // The moments of each fold, those being summed up, and the systems being solved; the numbers of the documents, and a
        // copy of their vectors where some have none.
        (folds + 24) * 8 * (dimension as u64).pow(2) + rows * (64 + 4 * dimension as u64) + (32 << 20)
    }
}
