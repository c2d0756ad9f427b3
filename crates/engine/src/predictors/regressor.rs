//! Regressions: from a vector to a number.

use anser_core::CancelToken;
use anser_index::analysis::{RidgeModel, Vectors};

use crate::EngineError;

/// A learnt regression.
#[derive(Debug)]
pub(crate) struct Regressor {
    /// The weights.
    pub(crate) model: RidgeModel,
    /// Predictions are kept between these.
    pub(crate) range: Option<(f64, f64)>,
}

impl Regressor {
    /// The number for every vector.
    pub(crate) fn values(&self, vectors: &Vectors, cancel: &CancelToken) -> Result<Vec<f64>, EngineError> {
        let mut values = self.model.predict(vectors, cancel)?;
        if let Some((low, high)) = self.range {
            for value in &mut values {
                *value = value.max(low).min(high);
            }
        }
        Ok(values)
    }
}
