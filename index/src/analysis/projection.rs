//! A flat map of vectors: principal component analysis onto the two directions of largest variance.
//!
//! Hotelling, "Analysis of a complex of statistical variables into principal components", 1933. The directions are
//! eigenvectors of the exact covariance matrix, of all vectors or, when there are many, of a sample.

use anser_core::CancelToken;
use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;

use super::vectors::{Vectors, sample_indices};
use crate::{IndexError, Result};

/// Most vectors the covariance is computed from.
const COVARIANCE_SAMPLE: usize = 10_000;

/// Eigenvalue rounds allowed before giving up; the algorithm needs a few for each dimension.
const ROUNDS_PER_DIMENSION: usize = 100;

/// Vectors in the plane.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// For each vector its coordinates along the first and second principal direction, from the mean.
    pub points: Vec<[f32; 2]>,
    /// The share of the variance, in [0, 1], that each of the two directions holds; 0 when nothing varies.
    pub explained_variance: [f32; 2],
}

/// Projects vectors onto their first two principal components. The sign of each direction is chosen so that its largest
/// number is positive. `seed` draws the sample that the directions are computed from when there are more than 10,000
/// vectors; every vector is projected.
///
/// Fails with `InvalidInput` when there are no vectors or dimensions differ.
pub fn project_2d(vectors: &Vectors, seed: u64, cancel: &CancelToken) -> Result<Projection> {
    vectors.check_some()?;
    let dimension = vectors.dimension();
    let sample = sample_indices(vectors.len(), COVARIANCE_SAMPLE, seed);
    let mean = mean(vectors, &sample, dimension);
    let centred = DMatrix::from_fn(sample.len(), dimension, |row, column| {
        f64::from(vectors.row(sample[row])[column]) - mean[column]
    });
    cancel.check()?;
    let covariance = centred.tr_mul(&centred) / sample.len() as f64;
    let total = covariance.trace();
    cancel.check()?;
    let eigen = SymmetricEigen::try_new(covariance, f64::EPSILON, ROUNDS_PER_DIMENSION * dimension)
        .ok_or_else(|| IndexError::internal("the principal directions of the vectors did not converge"))?;
    cancel.check()?;
    let mut order: Vec<usize> = (0..dimension).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]).then(a.cmp(&b)));
    // Below this the spread is rounding, and a direction through it would be noise.
    let varies = |value: f64| value > 1e-12;
    let mut directions: [Option<Vec<f64>>; 2] = [None, None];
    let mut explained_variance = [0.0_f32; 2];
    for ((direction, explained), &at) in directions.iter_mut().zip(&mut explained_variance).zip(&order) {
        let value = eigen.eigenvalues[at];
        if varies(value) && varies(total) {
            *direction = Some(with_positive_peak(eigen.eigenvectors.column(at).iter().copied().collect()));
            *explained = (value / total).clamp(0.0, 1.0) as f32;
        }
    }
    let along = |vector: &[f32], direction: &Option<Vec<f64>>| {
        let Some(direction) = direction else { return 0.0 };
        let terms = vector.iter().zip(&mean).zip(direction);
        terms.map(|((v, m), d)| (f64::from(*v) - m) * d).sum::<f64>() as f32
    };
    let points = vectors
        .as_slice()
        .par_chunks_exact(dimension)
        .map(|v| [along(v, &directions[0]), along(v, &directions[1])])
        .collect();
    Ok(Projection { points, explained_variance })
}

fn mean(vectors: &Vectors, sample: &[usize], dimension: usize) -> Vec<f64> {
    let mut sum = vec![0.0_f64; dimension];
    for &at in sample {
        for (total, value) in sum.iter_mut().zip(vectors.row(at)) {
            *total += f64::from(*value);
        }
    }
    sum.iter().map(|v| v / sample.len() as f64).collect()
}

/// An eigenvector has no sign of its own; this gives it the one in which its largest number, the first among equals, is
/// positive.
fn with_positive_peak(mut direction: Vec<f64>) -> Vec<f64> {
    let mut peak = 0.0_f64;
    for &value in &direction {
        if value.abs() > peak.abs() + 1e-9 {
            peak = value;
        }
    }
    if peak < 0.0 {
        for value in &mut direction {
            *value = -*value;
        }
    }
    direction
}

#[cfg(test)]
mod tests {
    use anser_core::Embedding;

    use super::*;

    /// Unit vectors near the first axis that lean along the second by `wide` and along the third by `narrow`.
    fn ellipse() -> Vectors {
        let mut vectors = Vec::new();
        for i in -10_i16..=10 {
            for j in -10_i16..=10 {
                let (wide, narrow) = (f32::from(i) * 0.03, f32::from(j) * 0.01);
                vectors.push(Embedding::normalize(vec![1.0, wide, -narrow, 0.0, 0.0]).unwrap());
            }
        }
        Vectors::from_embeddings(&vectors).unwrap()
    }

    #[test]
    fn the_axes_are_the_known_directions_of_spread() {
        let vectors = ellipse();
        let projection = project_2d(&vectors, 0, &CancelToken::new()).unwrap();
        for (vector, point) in vectors.iter().zip(&projection.points) {
            // Second and third number of the vector, up to the curvature of the sphere.
            assert!((point[0] - vector[1]).abs() < 2e-3, "{point:?} {vector:?}");
            assert!((point[1].abs() - vector[2].abs()).abs() < 2e-3, "{point:?} {vector:?}");
        }
        let [first, second] = projection.explained_variance;
        assert!(first > 0.85 && second > 0.05 && first + second <= 1.0 + 1e-6, "{first} {second}");
    }

    #[test]
    fn variance_along_the_map_equals_the_explained_share() {
        let vectors = ellipse();
        let projection = project_2d(&vectors, 0, &CancelToken::new()).unwrap();
        let n = vectors.len() as f64;
        let variance = |values: Vec<f64>| {
            let mean = values.iter().sum::<f64>() / n;
            values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n
        };
        let total: f64 = (0..5).map(|d| variance(vectors.iter().map(|v| f64::from(v[d])).collect())).sum();
        for axis in 0..2 {
            let along = variance(projection.points.iter().map(|p| f64::from(p[axis])).collect());
            assert!((along / total - f64::from(projection.explained_variance[axis])).abs() < 1e-5);
        }
    }

    #[test]
    fn nothing_to_spread_gives_the_origin() {
        let v = Embedding::normalize(vec![1.0, 2.0]).unwrap();
        for vectors in [vec![v.clone()], vec![v; 5]] {
            let vectors = Vectors::from_embeddings(&vectors).unwrap();
            let projection = project_2d(&vectors, 0, &CancelToken::new()).unwrap();
            assert!(projection.points.iter().all(|p| p.iter().all(|c| c.abs() < 1e-6)));
            assert!(projection.explained_variance.iter().all(|share| *share == 0.0));
        }
        let line = [vec![1.0], vec![-1.0]].map(|v| Embedding::normalize(v).unwrap());
        let line = Vectors::from_embeddings(&line).unwrap();
        let projection = project_2d(&line, 0, &CancelToken::new()).unwrap();
        let numbers: Vec<f32> = projection.points.concat().into_iter().chain(projection.explained_variance).collect();
        let expected = [1.0, 0.0, -1.0, 0.0, 1.0, 0.0];
        assert!(numbers.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6), "{numbers:?}");
    }
}
