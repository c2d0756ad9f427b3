//! The mean silhouette of a clustering, with cosine distance, exact and in linear time.
//!
//! Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis", 1987. With the
//! distance 1 - cosine of unit vectors, the mean distance from a vector to a cluster is 1 - (vector . sum) / size, so the
//! sums of the clusters replace all pairs: n * k dot products instead of n * n.

use anser_core::CancelToken;
use rayon::prelude::*;

use super::sums::{cluster_sizes, cluster_sums};
use super::vectors::{Vectors, sample_indices};
use crate::{IndexError, Result};

/// Vectors handled between two looks at the cancel token.
const BLOCK: usize = 1024;

/// A mean silhouette, and over how many vectors it was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampledSilhouette {
    /// The mean, in [-1, 1].
    pub mean: f64,
    /// Vectors it is the mean of: all, or a sample.
    pub vectors: usize,
}

/// The mean silhouette over all `vectors`, in [-1, 1]: near 1 when every vector is far closer to its own cluster than to
/// the next one, 0 on the border. A vector alone in its cluster counts 0. `None` when fewer than two clusters have
/// vectors, where it is not defined. Fails with `InvalidInput` when there are no vectors, their dimensions differ, or
/// there is not one assignment for each.
pub fn mean_silhouette(vectors: &Vectors, assignments: &[u32], cancel: &CancelToken) -> Result<Option<f64>> {
    let silhouette = sampled_silhouette(vectors, assignments, (vectors.len(), 0), cancel)?;
    Ok(silhouette.map(|silhouette| silhouette.mean))
}

/// [`mean_silhouette`] over `sample` vectors drawn by `seed`, or over all when there are no more. Each of them is measured
/// exactly, against the whole clusters, so only the mean is an estimate: its standard error is at most 1 / sqrt(`sample`).
pub fn sampled_silhouette(
    vectors: &Vectors,
    assignments: &[u32],
    (sample, seed): (usize, u64),
    cancel: &CancelToken,
) -> Result<Option<SampledSilhouette>> {
    vectors.check_some()?;
    if sample == 0 {
        return Err(IndexError::invalid("the mean silhouette of no vectors is not defined; sample at least one"));
    }
    if assignments.len() != vectors.len() {
        return Err(IndexError::invalid(format!(
            "{} vectors cannot have {} cluster assignments; give one for each",
            vectors.len(),
            assignments.len()
        )));
    }
    let k = assignments.iter().max().map_or(0, |&last| last as usize + 1);
    if k > vectors.len() {
        return Err(IndexError::invalid(format!(
            "cluster {} is out of range for {} vectors; number clusters from 0 without large gaps",
            k - 1,
            vectors.len()
        )));
    }
    let sizes = cluster_sizes(assignments, k);
    if sizes.iter().filter(|&&size| size > 0).count() < 2 {
        return Ok(None);
    }
    let means: Vec<Vec<f64>> = cluster_sums(vectors, assignments, k, cancel)?
        .into_iter()
        .zip(&sizes)
        .map(|(sum, &size)| sum.into_iter().map(|v| v / size.max(1) as f64).collect())
        .collect();
    let drawn = sample_indices(vectors.len(), sample, seed);
    let blocks: Vec<f64> = drawn
        .par_chunks(BLOCK)
        .map(|drawn| {
            cancel.check()?;
            Ok(drawn.iter().map(|&at| silhouette(vectors.row(at), assignments[at] as usize, &means, &sizes)).sum())
        })
        .collect::<anser_core::Result<_>>()?;
    Ok(Some(SampledSilhouette { mean: blocks.iter().sum::<f64>() / drawn.len() as f64, vectors: drawn.len() }))
}

/// The silhouette of one vector of cluster `own`.
fn silhouette(vector: &[f32], own: usize, means: &[Vec<f64>], sizes: &[usize]) -> f64 {
    if sizes[own] < 2 {
        return 0.0;
    }
    let distance = |mean: &[f64]| 1.0 - wide_dot(vector, mean);
    // The mean over the cluster includes the vector's distance from itself (0, give or take rounding of its norm), which
    // does not belong there.
    let size = sizes[own] as f64;
    let itself = 1.0 - vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    let inside = ((distance(&means[own]) * size - itself) / (size - 1.0)).max(0.0);
    let outside = means
        .iter()
        .zip(sizes)
        .enumerate()
        .filter(|(cluster, (_, size))| *cluster != own && **size > 0)
        .map(|(_, (mean, _))| distance(mean).max(0.0))
        .fold(f64::INFINITY, f64::min);
    let larger = inside.max(outside);
    if larger > 0.0 { (outside - inside) / larger } else { 0.0 }
}

/// Dot product in f64: differences between near-equal means matter here.
fn wide_dot(a: &[f32], b: &[f64]) -> f64 {
    let mut lanes = [0.0_f64; 8];
    let (a_blocks, b_blocks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(x, y)| f64::from(*x) * y).sum();
    for (x, y) in a_blocks.zip(b_blocks) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += f64::from(*x) * y;
        }
    }
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use anser_core::Embedding;
    use proptest::prelude::*;

    use super::*;

    /// The definition, over all pairs.
    fn naive(vectors: &Vectors, assignments: &[u32]) -> f64 {
        let distance = |i: usize, j: usize| {
            let pairs = vectors.row(i).iter().zip(vectors.row(j));
            1.0 - pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
        };
        let mean_to = |i: usize, cluster: u32| {
            let others: Vec<usize> = (0..vectors.len()).filter(|&j| j != i && assignments[j] == cluster).collect();
            (!others.is_empty()).then(|| others.iter().map(|&j| distance(i, j)).sum::<f64>() / others.len() as f64)
        };
        let clusters: std::collections::BTreeSet<u32> = assignments.iter().copied().collect();
        let one = |i: usize| {
            let Some(a) = mean_to(i, assignments[i]) else { return 0.0 };
            let others = clusters.iter().filter(|c| **c != assignments[i]).filter_map(|&c| mean_to(i, c));
            let b = others.fold(f64::INFINITY, f64::min);
            (b - a) / a.max(b)
        };
        (0..vectors.len()).map(one).sum::<f64>() / vectors.len() as f64
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition_over_all_pairs(
            rows in prop::collection::vec((prop::array::uniform5(-1.0_f32..1.0), 0_u32..4), 6..40)
        ) {
            let (vectors, assignments): (Vec<Embedding>, Vec<_>) = rows
                .into_iter()
                .filter_map(|(row, cluster)| Embedding::normalize(row.to_vec()).ok().map(|v| (v, cluster)))
                .unzip();
            let vectors = Vectors::from_embeddings(&vectors).unwrap();
            let clusters: std::collections::BTreeSet<&u32> = assignments.iter().collect();
            prop_assume!(clusters.len() >= 2);
            let fast = mean_silhouette(&vectors, &assignments, &CancelToken::new()).unwrap().unwrap();
            let slow = naive(&vectors, &assignments);
            prop_assert!((fast - slow).abs() < 1e-6, "{fast} against {slow}");
        }
    }

    #[test]
    fn a_sample_estimates_the_mean_over_all() {
        // Two arcs of a circle that meet, so that silhouettes differ from vector to vector.
        let angles = (0..6000_u16).map(|at| f32::from(at) * 5e-4);
        let vectors = Vectors::new(angles.flat_map(|angle| [angle.cos(), angle.sin()]).collect(), 2).unwrap();
        let assignments: Vec<u32> = (0..6000).map(|at| u32::from(at >= 3000)).collect();
        let cancel = CancelToken::new();
        let all = mean_silhouette(&vectors, &assignments, &cancel).unwrap().unwrap();
        let of = |sample, seed| {
            let found = sampled_silhouette(&vectors, &assignments, (sample, seed), &cancel).unwrap().unwrap();
            assert_eq!(found.vectors, sample.min(6000));
            found.mean
        };
        assert!((of(1_000_000, 5) - all).abs() < 1e-12);
        assert!((1e-9..0.026).contains(&(of(1500, 5) - all).abs()));
        assert_ne!(of(1500, 5).to_bits(), of(1500, 6).to_bits());
        assert!(sampled_silhouette(&vectors, &assignments, (0, 0), &cancel).is_err());
    }

    #[test]
    fn one_cluster_has_no_silhouette_and_bad_input_is_refused() {
        let v = |values: &[f32]| Vectors::new(values.to_vec(), 2).unwrap();
        let cancel = CancelToken::new();
        assert_eq!(mean_silhouette(&v(&[1.0, 0.0, 0.0, 1.0]), &[0, 0], &cancel).unwrap(), None);
        assert!(mean_silhouette(&v(&[]), &[], &cancel).is_err());
        assert!(mean_silhouette(&v(&[1.0, 0.0]), &[0, 0], &cancel).is_err());
        assert!(mean_silhouette(&v(&[1.0, 0.0]), &[u32::MAX], &cancel).is_err());
    }
}
