//! How different vectors are from one another, without comparing all pairs.

use anser_core::CancelToken;
use nalgebra::DMatrix;

use super::vectors::Vectors;
use crate::Result;

/// How diverse a set of vectors is. Both figures come from all vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiversityFigures {
    /// Mean of 1 - cosine over all pairs of different rows, in [0, 2]; 0 for a single row.
    pub mean_distance: f64,
    /// Vendi score: the effective number of different vectors, from 1 when all are equal to their number when all are
    /// orthogonal (never more than the dimension).
    pub vendi: f64,
}

/// Measures diversity in linear time. The sum over all pairs of cosines is the squared norm of the sum of the vectors.
/// The Vendi score (Friedman and Dieng, "The Vendi Score: A Diversity Evaluation Metric for Machine Learning", 2023) is the
/// exponential of the entropy of the eigenvalues of the cosine matrix over n, which are those of the d x d matrix XᵀX / n.
///
/// Fails with `InvalidInput` when there are no vectors, and with `Cancelled` soon after `cancel` is set.
pub fn diversity(vectors: &Vectors, cancel: &CancelToken) -> Result<DiversityFigures> {
    vectors.check_some()?;
    let (n, d) = (vectors.len() as f64, vectors.dimension());
    let mut gram = DMatrix::<f64>::zeros(d, d);
    let mut sum = vec![0.0_f64; d];
    for chunk in vectors.as_slice().chunks(64 * d) {
        cancel.check()?;
        let x = DMatrix::from_row_iterator(chunk.len() / d, d, chunk.iter().map(|v| f64::from(*v)));
        gram.gemm_tr(1.0, &x, &x, 1.0);
        for vector in chunk.chunks_exact(d) {
            sum.iter_mut().zip(vector).for_each(|(s, v)| *s += f64::from(*v));
        }
    }
    let trace = gram.trace();
    let eigenvalues = (gram / trace).symmetric_eigenvalues();
    let entropy: f64 = eigenvalues.iter().filter(|v| **v > 0.0).map(|v| -v * v.ln()).sum();
    let squares: f64 = sum.iter().map(|v| v * v).sum();
    let mean_distance = if n > 1.0 { (1.0 - (squares - trace) / (n * (n - 1.0))).clamp(0.0, 2.0) } else { 0.0 };
    Ok(DiversityFigures { mean_distance, vendi: entropy.exp() })
}
