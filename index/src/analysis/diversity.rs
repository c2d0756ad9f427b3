//! How different vectors are from one another, without comparing all pairs.

use anser_core::CancelToken;

use super::directions::{gram, unless_cancelled};
use super::vectors::Vectors;
use crate::Result;

/// Rows between two looks at the cancel token.
const PIECE: usize = 8192;

/// How diverse a set of vectors is. Both figures come from all vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiversityFigures {
    /// Mean of 1 - cosine over all pairs of different rows, in [0, 2]; 0 for a single row.
    pub mean_distance: f64,
    /// Vendi score: the effective number of different vectors, from 1 when all are equal to their number when all are
    /// orthogonal. It is never more than the dimension.
    pub vendi: f64,
}

/// Measures diversity in linear time. The cosines of all pairs add up to the squared norm of the sum of the vectors. The
/// Vendi score (Friedman and Dieng, "The Vendi Score: A Diversity Evaluation Metric for Machine Learning", 2023) is the
/// exponential of the entropy of the eigenvalues of K/n, where K holds the cosines of all pairs of n vectors; apart from
/// zeros these are the eigenvalues of the d x d matrix `XᵀX/n`.
///
/// Fails with `InvalidInput` when there are no vectors, and with `Cancelled` soon after `cancel` is set; the eigenvalues
/// of a large matrix (about a second for 1,024 dimensions) are then left to be finished in the background.
pub fn diversity(vectors: &Vectors, cancel: &CancelToken) -> Result<DiversityFigures> {
    vectors.check_some()?;
    let (n, d) = (vectors.len() as f64, vectors.dimension());
    let (mut sum, mut lengths) = (vec![0.0_f64; d], 0.0_f64);
    for piece in vectors.as_slice().chunks(PIECE * d) {
        cancel.check()?;
        for vector in piece.chunks_exact(d) {
            for (sum, value) in sum.iter_mut().zip(vector) {
                *sum += f64::from(*value);
                // These add up to n, but for the rounding of each vector's length.
                lengths += f64::from(*value).powi(2);
            }
        }
    }
    let squares: f64 = sum.iter().map(|v| v * v).sum();
    let distance = 1.0 - (squares - lengths) / lengths / (n - 1.0);
    let mean_distance = if n > 1.0 { distance.clamp(0.0, 2.0) } else { 0.0 };
    let gram = gram(vectors, cancel)?;
    let trace = gram.trace();
    let eigenvalues =
        unless_cancelled("the eigenvalues of a Gram matrix", cancel, move || (gram / trace).symmetric_eigenvalues())?;
    // f32 products leave some dust around 0, which is nothing.
    let shares: Vec<f64> = eigenvalues.iter().copied().filter(|share| *share > 1e-9).collect();
    let total: f64 = shares.iter().sum();
    let entropy: f64 = shares.iter().map(|share| share / total).map(|share| -share * share.ln()).sum();
    Ok(DiversityFigures { mean_distance, vendi: entropy.exp() })
}

#[cfg(test)]
mod tests {
    use anser_core::ErrorKind;
    use nalgebra::DMatrix;
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::made::{around, on_one_and_three_threads};

    fn measure(vectors: &Vectors) -> DiversityFigures {
        diversity(vectors, &CancelToken::new()).unwrap()
    }

    /// Both figures from the table of all cosines.
    fn by_definition(vectors: &Vectors) -> DiversityFigures {
        let n = vectors.len();
        let cosines = DMatrix::from_fn(n, n, |a, b| {
            vectors.row(a).iter().zip(vectors.row(b)).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
        });
        let apart = cosines.sum() - cosines.trace();
        let mean_distance = if n > 1 { 1.0 - apart / (n * (n - 1)) as f64 } else { 0.0 };
        let eigenvalues = (cosines / n as f64).symmetric_eigenvalues();
        let entropy: f64 = eigenvalues.iter().filter(|v| **v > 1e-9).map(|v| -v * v.ln()).sum();
        DiversityFigures { mean_distance, vendi: entropy.exp() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn figures_are_those_of_the_definition(
            rows in 1_usize..80, dimension in 1_usize..30, spread in 0.01_f32..3.0, seed: u64,
        ) {
            let vectors = around(3, rows, dimension, spread, seed);
            let (found, expected) = (measure(&vectors), by_definition(&vectors));
            prop_assert!((found.mean_distance - expected.mean_distance).abs() < 1e-5, "{found:?} {expected:?}");
            prop_assert!((found.vendi / expected.vendi - 1.0).abs() < 1e-4, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn equal_vectors_count_once_and_orthogonal_ones_each() {
        for rows in [1, 2, 5000] {
            let same = measure(&Vectors::new([0.6, 0.8].repeat(rows), 2).unwrap());
            assert!(same.mean_distance < 1e-9 && (same.vendi - 1.0).abs() < 2e-5, "{rows} rows: {same:?}");
        }
        let axes = DMatrix::<f32>::identity(12, 12);
        let apart = measure(&Vectors::new(axes.as_slice().to_vec(), 12).unwrap());
        assert!((apart.mean_distance - 1.0).abs() < 1e-9 && (apart.vendi - 12.0).abs() < 1e-6, "{apart:?}");
    }

    #[test]
    fn figures_do_not_depend_on_the_threads() {
        let vectors = around(5, 20_000, 16, 0.8, 2);
        let [one, three] = on_one_and_three_threads(|| measure(&vectors));
        assert_eq!(one, three);
    }

    #[test]
    fn nothing_to_measure_is_refused_and_a_cancelled_measurement_ends() {
        let none = Vectors::new(Vec::new(), 4).unwrap();
        assert_eq!(diversity(&none, &CancelToken::new()).unwrap_err().kind(), ErrorKind::InvalidInput);
        let cancel = CancelToken::new();
        cancel.cancel();
        assert_eq!(diversity(&around(1, 10, 4, 0.1, 0), &cancel).unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
